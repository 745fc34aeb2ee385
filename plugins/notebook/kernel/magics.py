# A part of the built-in kernel: wire.py has the imports.


CELL_MAGIC = re.compile(r"\s*%%(\w+)[ \t]*([^\n]*)(?:\n|$)")
ESCAPE = re.compile(r"^(\s*)(?:([\w.,\s\[\]'\"]+?)\s*=\s*)?([!%])\s*(\S.*)$")
HELP = re.compile(r"^(\s*)(?:(\?{1,2})\s*([\w.]+)|([\w.]+)\s*(\?{1,2}))\s*;?\s*$")


def translate(code):
    """Python for a cell with `%magics`, `!commands` and `name?`. What is Python already does not change.

    Only lines that Python rejects are translated, so that a line of a text or a formula that begins with `%` stays.
    """
    found = CELL_MAGIC.match(code)
    if found:
        return "__import__('paster_magics').run_cell(%r, %r, %r)\n" % (*found.groups(), code[found.end() :])
    lines = code.split("\n")
    for _ in range(len(lines) + 1):
        try:
            ast.parse("\n".join(lines))
            break
        except SyntaxError as error:
            number = (error.lineno or 0) - 1
            line = translate_line(lines[number]) if 0 <= number < len(lines) else None
            if line is None:
                break
            lines[number] = line
        except ValueError:
            break
    return "\n".join(lines)


def translate_line(line):
    found = ESCAPE.match(line)
    if found:
        space, target, sign, rest = found.groups()
        target = target + " = " if target else ""
        if sign == "!":
            name = "read_command" if target else "run_command"
            return "%s%s__import__('paster_magics').%s(%r)" % (space, target, name, rest)
        name, _, arguments = rest.strip().partition(" ")
        return "%s%s__import__('paster_magics').run_line(%r, %r)" % (space, target, name, arguments.strip())
    found = HELP.match(line)
    if found:
        space, before, first, second, after = found.groups()
        detail = len(before or after) - 1
        return "%s__import__('paster_magics').show_help(%r, %d)" % (space, first or second, detail)
    return None


def show_help(name, detail):
    text = describe(name, KERNEL.namespace, detail)
    if text is None:
        print("`%s` is not defined" % name, file=sys.stderr)
    else:
        KERNEL.payload.append({"source": "page", "data": {"text/plain": text}, "start": 0})


# Magics. Their first line of documentation is what `%lsmagic` prints.


def run_line(name, arguments):
    found = LINE_MAGICS.get(name)
    if found is None:
        raise unknown_magic("%" + name, name in CELL_MAGICS)
    return found(arguments)


def run_cell(name, arguments, body):
    found = CELL_MAGICS.get(name)
    if found is None:
        raise unknown_magic("%%" + name, False)
    return found(arguments.strip(), body)


def unknown_magic(name, is_cell_magic):
    if is_cell_magic:
        return NameError("`%s` is for whole cells: write `%%%s` in the first line" % (name, name))
    return NotImplementedError(
        "the built-in kernel has no `%s`. `%%lsmagic` lists what it has. IPython has all: install ipykernel with `%%pip install "
        "ipykernel`, and choose the kernel `Python 3`" % name
    )


def time_line(arguments):
    """Runs a statement and prints how long it took."""
    wall, processor = time.perf_counter(), time.process_time()
    try:
        return KERNEL.run_block(translate(arguments), "<timed>")
    finally:
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
        print("CPU time: %s\nWall time: %s" % (duration(processor), duration(wall)))


def time_cell(arguments, body):
    """Runs the cell and prints how long it took."""
    return time_line(arguments + "\n" + body)


def timeit_line(arguments):
    """Runs a statement many times and prints the time of one run: [-n LOOPS] [-r REPEATS] STATEMENT."""
    return measure(arguments, "pass")


def timeit_cell(arguments, body):
    """Runs the cell many times and prints the time of one run; what follows `%%timeit` runs before."""
    options = re.match(r"((?:-[nr]\s*\d+\s*)*)(.*)", arguments)
    return measure(options.group(1) + "\n" + body, options.group(2) or "pass")


def measure(text, setup):
    import statistics
    import timeit

    loops, repeats = 0, 7
    while True:
        option = re.match(r"\s*-([nr])\s*(\d+)\s*", text)
        if not option:
            break
        if option.group(1) == "n":
            loops = int(option.group(2))
        else:
            repeats = max(1, int(option.group(2)))
        text = text[option.end() :]
    timer = timeit.Timer(text.strip("\n"), setup, globals=KERNEL.namespace)
    if not loops:
        loops, _ = timer.autorange()
    times = [total / loops for total in timer.repeat(repeats, loops)]
    spread = statistics.pstdev(times)
    print(
        "%s ± %s per loop (mean ± standard deviation of %d runs, %s loops each)"
        % (duration(statistics.mean(times)), duration(spread), repeats, format(loops, ","))
    )


def duration(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return "%.3g %s" % (seconds / size, unit)
    return "%.3g ns" % (seconds / 1e-9)


def variables():
    names = (name for name in KERNEL.namespace if name not in KERNEL.own_names and not name.startswith("_"))
    return sorted(names)


def who(arguments):
    """Lists the variables."""
    print("  ".join(variables()) or "no variables")


def whos(arguments):
    """Lists the variables with their types and values."""
    rows = []
    for name in variables():
        value = KERNEL.namespace[name]
        try:
            text = repr(value)
        except Exception as error:
            text = "<repr() failed: %s>" % str_of(error)
        rows.append((name, type(value).__name__, text.replace("\n", " ")[:80]))
    rows.insert(0, ("Name", "Type", "Value"))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, kind, text in rows:
        print("%s  %s  %s" % (name.ljust(widths[0]), kind.ljust(widths[1]), text))


def load(arguments):
    """Puts the text of a file or URL into this cell."""
    source = arguments.strip("\"'")
    if re.match(r"https?://", source):
        import urllib.request

        with urllib.request.urlopen(source, timeout=30) as response:
            text = response.read().decode("utf-8", "replace")
    else:
        with open(os.path.expanduser(source), encoding="utf-8") as file:
            text = file.read()
    text = "# %%load %s\n%s" % (arguments, text)
    KERNEL.payload.append({"source": "set_next_input", "text": text, "replace": True})


def run_file(arguments):
    """Runs a Python file, and keeps its variables: FILE [ARGUMENTS]."""
    import runpy
    import shlex

    words = shlex.split(arguments)
    if not words:
        raise ValueError("`%run` needs the name of a file")
    name = os.path.expanduser(words[0])
    name = name if os.path.exists(name) or name.endswith(".py") else name + ".py"
    before, sys.argv = sys.argv, [name] + words[1:]
    try:
        result = runpy.run_path(name, run_name="__main__")
    finally:
        sys.argv = before
    KERNEL.namespace.update((key, value) for key, value in result.items() if not key.startswith("__"))


def change_folder(arguments):
    """Changes the folder."""
    os.chdir(os.path.expanduser(expand(arguments.strip("\"'")) or "~"))
    print(os.getcwd())


def environment(arguments):
    """Shows the environment variables, shows one, or sets one: [NAME[=VALUE]]."""
    name, sign, value = arguments.partition("=")
    if not sign:
        name, _, value = arguments.partition(" ")
    if not arguments:
        return dict(os.environ)
    if not value:
        return os.environ[name.strip()]
    os.environ[name.strip()] = expand(value.strip())
    return None


def pip(arguments):
    """Runs pip in the kernel's Python."""
    import shlex

    status = follow([sys.executable, "-m", "pip"] + shlex.split(expand(arguments)))
    importlib_caches()
    if status:
        print("[exit status %d]" % status, file=sys.stderr)


def importlib_caches():
    import importlib

    importlib.invalidate_caches()


def matplotlib_line(arguments):
    """Does nothing: figures are always shown below the cell."""
    if arguments not in ("", "inline"):
        print("[the built-in kernel shows figures as pictures: `%%matplotlib %s` needs ipykernel]" % arguments, file=sys.stderr)


def ignored(arguments):
    """Does nothing: the settings are IPython's."""
    print("[the built-in kernel ignores this setting of IPython]", file=sys.stderr)


def reset(arguments):
    """Deletes the variables."""
    for name in variables():
        del KERNEL.namespace[name]


def history(arguments):
    """Prints what ran."""
    print("\n".join(KERNEL.namespace["In"][1:]))


def list_magics(arguments):
    """Lists the magics."""
    for sign, table in (("%", LINE_MAGICS), ("%%", CELL_MAGICS)):
        for name in sorted(table):
            print("%-14s %s" % (sign + name, table[name].__doc__.partition("\n")[0]))
    print("!COMMAND       Runs a command of the shell.\nNAME?          Shows help; NAME?? shows the source.")


def shown_as(kind):
    def show(arguments, body):
        display(kind(body))

    show.__doc__ = "Shows the cell as %s." % kind.__name__
    return show


def shell_cell(program):
    def run(arguments, body):
        status = follow([program, "-c", body])
        KERNEL.namespace["_exit_code"] = status
        if status:
            raise OSError("%s: exit status %d" % (program, status))

    run.__doc__ = "Runs the cell with %s." % program
    return run


def write_file(arguments, body):
    """Writes the cell to a file: [-a] FILE; -a appends."""
    append = arguments.startswith("-a ")
    name = os.path.expanduser(arguments[2 * append :].strip().strip("\"'"))
    if not name:
        raise ValueError("`%%writefile` needs the name of a file")
    existed = os.path.exists(name)
    with open(name, "a" if append else "w", encoding="utf-8") as file:
        file.write(body if body.endswith("\n") else body + "\n")
    print("%s %s" % ("Appending to" if append else "Overwriting" if existed else "Writing", name))


LINE_MAGICS = {
    "cd": change_folder,
    "config": ignored,
    "env": environment,
    "history": history,
    "load": load,
    "ls": lambda arguments: run_command("ls " + arguments),
    "lsmagic": list_magics,
    "matplotlib": matplotlib_line,
    "pip": pip,
    "pwd": lambda arguments: os.getcwd(),
    "reset": reset,
    "run": run_file,
    "set_env": environment,
    "time": time_line,
    "timeit": timeit_line,
    "who": who,
    "whos": whos,
}
LINE_MAGICS["ls"].__doc__ = "Lists the files."
LINE_MAGICS["pwd"].__doc__ = "Tells the folder."


def make_cell_magics():
    tables = {"html": HTML, "markdown": Markdown, "latex": Latex, "svg": SVG, "javascript": Javascript, "js": Javascript}
    magics = {name: shown_as(kind) for name, kind in tables.items()}
    magics.update({"sh": shell_cell("sh"), "bash": shell_cell("bash")})
    magics.update({"time": time_cell, "timeit": timeit_cell, "writefile": write_file})
    return magics


CELL_MAGICS = make_cell_magics()


def install_magics():
    module = types.ModuleType("paster_magics", "Behind `%magics`, `!command` and `name?`.")
    for function in (run_line, run_cell, run_command, read_command, show_help):
        setattr(module, function.__name__, function)
    sys.modules["paster_magics"] = module
