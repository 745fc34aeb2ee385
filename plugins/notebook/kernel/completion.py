# A part of the built-in kernel: wire.py has the imports.


# What is at the cursor in a cell's text.

NAME = re.compile(r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*)*$")
PREFIX = re.compile(r"(?:([^\W\d][\w.]*(?:\[[^\[\]()]*\])?)\.)?(\w*)$")


def complete(code, cursor, namespace):
    """(matches, where they begin, their kinds)."""
    before = code[:cursor]
    line = before.rpartition("\n")[2]
    found = re.match(r"^\s*(?:import|from)\s+([\w.]*)$", line)
    if found:
        return complete_module(found.group(1), cursor)
    found = re.match(r"^\s*from\s+([\w.]+)\s+import\s+(?:[\w\s,]*,\s*)?(\w*)$", line)
    if found:
        return complete_member(found.group(1), found.group(2), cursor)
    found = re.match(r"^\s*(%%?)(\w*)$", line)
    if found:
        return complete_magic(found.group(1), found.group(2), cursor)
    found = re.search(r"""([^\W\d][\w.]*)\[(["'])([^"']*)$""", line)
    if found:
        return complete_key(found, cursor, namespace)
    found = re.match(r"^\s*%(?:run|load|cd)\s+(\S*)$", line) or re.search(r"""["']([^"'\s]*)$""", line)
    if found and (line.lstrip().startswith("%") or (line.count('"') + line.count("'")) % 2):
        return complete_path(found.group(1), cursor)
    found = PREFIX.search(line)
    owner, prefix = found.group(1), found.group(2)
    start = cursor - len(prefix)
    if owner is None:
        if line[: len(line) - len(prefix)].endswith("."):
            return [], cursor, []
        names = {name: kind_of(namespace.get(name)) for name in namespace}
        for name in dir(builtins):
            names.setdefault(name, kind_of(getattr(builtins, name)))
        for name in keyword.kwlist:
            names.setdefault(name, "keyword")
        for name in call_arguments(before, namespace):
            names[name] = "param"
        if not prefix.startswith("_"):
            names = {name: kind for name, kind in names.items() if not name.startswith("_")}
    else:
        value = look_up(owner, namespace)
        if value is NOTHING:
            return [], cursor, []
        names = {}
        for name in dir(value):
            if not isinstance(name, str) or (name.startswith("_") and not prefix.startswith("_")):
                continue
            static = inspect.getattr_static(value, name, None)
            names[name] = "property" if isinstance(static, property) else kind_of(static)
    matches = sorted(name for name in names if name.startswith(prefix))
    if not matches and prefix:
        matches = sorted(name for name in names if name.lower().startswith(prefix.lower()))
    matches = matches[:500]
    return matches, start, [names[name] for name in matches]


def complete_magic(sign, prefix, cursor):
    names = (CELL_MAGICS if sign == "%%" else LINE_MAGICS).keys()
    matches = sorted(name for name in names if name.startswith(prefix))
    return matches, cursor - len(prefix), ["magic"] * len(matches)


def complete_path(path, cursor):
    """Files and folders, in a text or after a magic that takes a file."""
    folder, _, prefix = path.rpartition("/")
    folder = os.path.expanduser(folder) if folder else "/" if path.startswith("/") else "."
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name + "/" * entry.is_dir(), "path") for entry in entries if entry.name.startswith(prefix)]
    except OSError:
        found = []
    matches = sorted(name for name, _ in found if prefix or not name.startswith("."))[:500]
    return matches, cursor - len(prefix), ["path"] * len(matches)


def complete_module(path, cursor):
    import pkgutil

    package, _, prefix = path.rpartition(".")
    if package:
        try:
            import importlib.util

            module = sys.modules.get(package)
            places = getattr(module, "__path__", None)
            if places is None:
                spec = importlib.util.find_spec(package)
                places = spec.submodule_search_locations if spec else None
        except Exception:
            places = None
        names = {item.name for item in pkgutil.iter_modules(places)} if places else set()
    else:
        names = {item.name for item in pkgutil.iter_modules()} | set(sys.builtin_module_names)
    matches = sorted(name for name in names if name.startswith(prefix) and (prefix or not name.startswith("_")))
    return matches, cursor - len(prefix), ["module"] * len(matches)


def complete_member(name, prefix, cursor):
    try:
        module = sys.modules.get(name) or __import__(name, fromlist=["x"])
    except Exception:
        return [], cursor, []
    matches = sorted(item for item in dir(module) if item.startswith(prefix) and (prefix or not item.startswith("_")))
    submodules, _, _ = complete_module(name + "." + prefix, cursor)
    matches = sorted(set(matches) | set(submodules))
    return matches, cursor - len(prefix), [kind_of(getattr(module, item, module)) for item in matches]


def complete_key(found, cursor, namespace):
    value = look_up(found.group(1), namespace)
    prefix = found.group(3)
    keys = getattr(value, "keys", None)
    if value is NOTHING or not callable(keys):
        return [], cursor, []
    try:
        matches = [key for key in itertools.islice(keys(), 2000) if isinstance(key, str) and key.startswith(prefix)]
    except Exception:
        matches = []
    return matches, cursor - len(prefix), ["key"] * len(matches)


def call_arguments(before, namespace):
    """`name=` for the parameters of the call around the cursor."""
    depth = 0
    for place in range(len(before) - 1, max(-1, len(before) - 2000), -1):
        letter = before[place]
        if letter in ")]}":
            depth += 1
        elif letter in "([{":
            if depth:
                depth -= 1
                continue
            found = NAME.search(before[:place]) if letter == "(" else None
            value = look_up(found.group(), namespace) if found else NOTHING
            if value is NOTHING or not callable(value):
                return []
            try:
                parameters = inspect.signature(value).parameters.values()
            except (TypeError, ValueError):
                return []
            wanted = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
            return [item.name + "=" for item in parameters if item.kind in wanted]
    return []


NOTHING = object()


def look_up(path, namespace):
    """The value of a dotted name, by attributes only: nothing except properties is called."""
    try:
        node = ast.parse(path.strip(), mode="eval").body
    except SyntaxError:
        return NOTHING

    def value(node):
        if isinstance(node, ast.Name):
            if node.id in namespace:
                return namespace[node.id]
            return getattr(builtins, node.id)
        if isinstance(node, ast.Attribute):
            return getattr(value(node.value), node.attr)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            return value(node.value)[node.slice.value]
        if isinstance(node, ast.Constant):
            return node.value
        raise LookupError

    try:
        return value(node)
    except Exception:
        return NOTHING


def kind_of(value):
    if inspect.ismodule(value):
        return "module"
    if inspect.isclass(value):
        return "class"
    if callable(value):
        return "function"
    return "instance"


def name_at(code, cursor):
    """The dotted name at the cursor, or the name of the call around it."""
    end = cursor
    while end < len(code) and (code[end].isalnum() or code[end] == "_"):
        end += 1
    found = NAME.search(code[:end])
    if found and found.end() == end:
        return found.group()
    depth = 0
    for place in range(min(cursor, len(code)) - 1, -1, -1):
        letter = code[place]
        if letter == ")":
            depth += 1
        elif letter == "(":
            if depth == 0:
                found = NAME.search(code[:place])
                return found.group() if found else None
            depth -= 1
    return None


def describe(name, namespace, detail):
    value = look_up(name, namespace)
    if value is NOTHING:
        return None
    lines = []

    def field(title, text):
        lines.append("%s%s:%s %s" % (RED, title, END, text))

    if callable(value):
        try:
            field("Signature", name.rpartition(".")[2] + str(inspect.signature(value)))
        except (TypeError, ValueError):
            pass
    field("Type", type(value).__name__)
    if not callable(value) and not inspect.ismodule(value):
        text = text_of(value)
        field("Value", text if len(text) < 500 else text[:500] + "…")
    try:
        file = inspect.getsourcefile(value)
        if file:
            field("File", file)
    except (TypeError, OSError):
        pass
    source = None
    if detail:
        try:
            source = inspect.getsource(value)
        except (TypeError, OSError):
            pass
    if source:
        lines += ["%sSource:%s" % (RED, END), source.rstrip()]
    else:
        doc = inspect.getdoc(value)
        if doc:
            lines += ["%sDocumentation:%s" % (RED, END), doc]
    return "\n".join(lines)
