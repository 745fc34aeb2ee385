"""Finds the application in a directory by the syntax of its files, of which nothing is run. The loader's module contains this file; `paster serve
DIRECTORY` runs it alone."""

import ast
import os
import warnings

# Maps a callable to the kind of the application that it creates.
_CLASSES = {
    "flask.Flask": "flask",
    "bottle.Bottle": "bottle",
    "cherrypy.Application": "cherrypy",
    "quixote.publish.Publisher": "quixote",
    "fastapi.FastAPI": "fastapi",
    "fastapi.applications.FastAPI": "fastapi",
    "starlette.applications.Starlette": "starlette",
    "falcon.App": "wsgi",
    "falcon.API": "wsgi",
    "falcon.asgi.App": "asgi",
    "quart.Quart": "asgi",
    "litestar.Litestar": "asgi",
    "django.core.wsgi.get_wsgi_application": "wsgi",
    "django.core.asgi.get_asgi_application": "asgi",
    "webob.dec.wsgify": "wsgi",
    "tornado.web.Application": "tornado",
    "aiohttp.web.Application": "aiohttp",
    "sanic.Sanic": "sanic",
}
# File names in the order in which they are checked.
_FILES = ("wsgi.py", "asgi.py", "app.py", "main.py", "application.py", "api.py", "server.py", "index.py", "run.py", "hello.py")
_OBJECTS = ("application", "app", "api")
_FACTORIES = ("create_app", "make_app", "create_application")
_SKIPPED = {"tests", "test", "docs", "node_modules", "site-packages", "venv", "env", "build", "dist", "target", "migrations", "__pycache__"}
_LARGEST = 1 << 20  # bytes of a file that is parsed
_MOST = 60  # files without a usual name that are parsed


def files(folder):
    """The Python files that may contain an application: those with usual names in the directory, in `src` and in packages, then the other files of the directory."""
    folders = [folder, os.path.join(folder, "src")]
    for parent in tuple(folders):
        folders += [os.path.join(parent, name) for name in _entries(parent) if os.path.isdir(os.path.join(parent, name))]
    found = []
    for place in folders:
        usual = _FILES if place in folders[:2] else (*_FILES, "__init__.py")
        found += [path for path in (os.path.join(place, name) for name in usual) if os.path.isfile(path)]
    others = [name for name in _entries(folder) if name.endswith(".py") and not name.startswith(("test_", "conftest"))]
    others = [name for name in others if name not in (*_FILES, "setup.py", "manage.py", "noxfile.py", "tasks.py")]
    found += [path for path in (os.path.join(folder, name) for name in others[:_MOST]) if os.path.isfile(path)]
    return found


def _entries(folder):
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [name for name in names if not name.startswith(".") and name not in _SKIPPED]


def applications(path):
    """The applications of one file. For each, the name of the object (`name()` for a factory) and its framework (`None` if the syntax does not show it). A module that uses Bottle's default application or CherryPy's tree has one without a name."""
    tree = _parse(path)
    if tree is None:
        return []
    imports, statements = _imports(tree), list(_statements(tree.body))
    classes = {
        one.name: _CLASSES[base]
        for one in statements
        if isinstance(one, ast.ClassDef)
        for base in (_dotted(base, imports) for base in one.bases)
        if base in _CLASSES
    }
    functions = {one.name for one in statements if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}
    found = {}
    for one in statements:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.update(_function(one, imports, classes))
            continue
        for name, value in _bindings(one):
            if isinstance(value, ast.Call):
                made = _dotted(value.func, imports)
                framework = _CLASSES.get(made) or classes.get(made)
                if framework:
                    found[name] = framework
                    continue
                own = made and (made in functions or made.partition(".")[0] in imports.own or "." not in made)
                if not own and made and made.partition(".")[0] in imports.modules:
                    continue  # an object of another library
            if name in _OBJECTS:
                found.setdefault(name, None)
    for framework in ("bottle", "cherrypy"):
        if framework not in found.values() and framework in imports.modules and _is_default(framework, statements, imports):
            found[""] = framework
    return list(found.items())


class _Imports:
    def __init__(self):
        # The dotted name that each name stands for.
        self.names = {}
        # The imported libraries, and the modules that may be the application's own.
        self.modules, self.own = set(), set()


def _imports(tree):
    found = _Imports()
    for one in ast.walk(tree):
        if isinstance(one, ast.Import):
            for alias in one.names:
                found.names[alias.asname or alias.name.partition(".")[0]] = alias.name if alias.asname else alias.name.partition(".")[0]
                found.modules.add(alias.name.partition(".")[0])
        elif isinstance(one, ast.ImportFrom):
            module = one.module or ""
            for alias in one.names:
                name = alias.asname or alias.name
                found.names[name] = f"{module}.{alias.name}" if not one.level else f".{module}.{alias.name}"
            if one.level:
                found.own.add("")
            else:
                found.modules.add(module.partition(".")[0])
    return found


def _statements(body):
    """The statements that an import runs, without those for running the file as a program."""
    for one in body:
        if isinstance(one, ast.If) and any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(one.test)):
            continue
        yield one
        if isinstance(one, (ast.If, ast.Try, ast.With)):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(one, field, []))
            for handler in getattr(one, "handlers", []):
                yield from _statements(handler.body)


def _bindings(one):
    if isinstance(one, ast.Assign):
        return [(target.id, one.value) for target in one.targets if isinstance(target, ast.Name)]
    if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.value is not None:
        return [(one.target.id, one.value)]
    if isinstance(one, ast.ImportFrom):
        return [(alias.asname or alias.name, None) for alias in one.names]
    return []


def _function(one, imports, classes):
    """A function that is an application, or a factory of one."""
    arguments = [*getattr(one.args, "posonlyargs", []), *one.args.args]
    required = len(arguments) - len(one.args.defaults)
    if one.name in _OBJECTS:
        if isinstance(one, ast.AsyncFunctionDef) and required == 3:
            yield one.name, "asgi"
        elif isinstance(one, ast.FunctionDef) and required == 2:
            yield one.name, "wsgi"
    elif one.name == "create_publisher" and required == 0 and "quixote" in imports.modules:
        yield "create_publisher()", "quixote"
    elif one.name in _FACTORIES and required == 0 and not any(default is None for default in one.args.kw_defaults):
        made = (_dotted(part.func, imports) for part in ast.walk(one) if isinstance(part, ast.Call))
        framework = next((_CLASSES.get(name) or classes.get(name) for name in made if name in _CLASSES or name in classes), None)
        yield one.name + "()", framework


def _is_default(framework, statements, imports):
    """Whether importing the module adds to the application that the framework keeps itself."""
    if framework == "bottle":
        routes = {f"bottle.{name}" for name in ("route", "get", "post", "put", "delete", "error", "mount")}
        decorators = [part for one in statements for part in getattr(one, "decorator_list", [])]
        calls = [one.value for one in statements if isinstance(one, ast.Expr)]
        parts = [part.func for part in decorators + calls if isinstance(part, ast.Call)]
        return any(_dotted(part, imports) in routes for part in parts)
    mounts = ("cherrypy.tree.mount", "cherrypy.tree.graft", "cherrypy.quickstart")
    calls = [getattr(one, "value", None) for one in statements]
    return any(isinstance(part, ast.Call) and _dotted(part.func, imports) in mounts for part in calls)


def _dotted(part, imports):
    """Resolves an expression with the file's imports, such as to `flask.Flask`."""
    names = []
    while isinstance(part, ast.Attribute):
        names.append(part.attr)
        part = part.value
    if not isinstance(part, ast.Name):
        return None
    names.append(imports.names.get(part.id, part.id))
    return ".".join(reversed(names))


def _parse(path):
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text) if len(text) <= _LARGEST else None
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def place(path, folder):
    """The directory from which a file is imported (the first one that is not a package), and the name of its module."""
    root, names = os.path.dirname(path), [os.path.splitext(os.path.basename(path))[0]]
    while root != folder and os.path.isfile(os.path.join(root, "__init__.py")):
        names.insert(0, os.path.basename(root))
        root = os.path.dirname(root)
    inner = os.path.basename(root)
    tree = _parse(path) if root != folder and inner.isidentifier() and inner != "src" else None
    if tree is not None and inner in _imports(tree).modules:
        # A package without `__init__.py`. The file imports its neighbours using the directory's name.
        names.insert(0, inner)
        root = os.path.dirname(root)
    if names[-1] == "__init__" and len(names) > 1:
        names.pop()
    return root, ".".join(names)


def find(kind, folder):
    """The applications of `kind` in the best file: for each its directory, its module and its object. Files are tried in order. Objects with usual names come before others, and objects before factories."""
    for path in files(folder):
        known = applications(path)
        fits = [name for name, framework in known if framework == kind]
        unknown = [name for name, framework in known if framework is None]
        for names in ([one for one in fits if not one.endswith("()")], fits, unknown):
            usual = [name for name in (*_OBJECTS, *(f"{name}()" for name in _FACTORIES)) if name in names]
            if names:
                return [(*place(path, folder), name) for name in (usual[:1] or names)]
    return []


def django_settings(folder):
    """The `manage.py` files in the directory or its subdirectories, each with the settings module that it names."""
    found = []
    for place in (folder, *(os.path.join(folder, name) for name in _entries(folder))):
        path = os.path.join(place, "manage.py")
        tree = _parse(path) if os.path.isfile(path) else None
        for part in ast.walk(tree) if tree is not None else ():
            strings = []
            if isinstance(part, ast.Call):
                strings = [one.value for one in part.args if isinstance(one, ast.Constant)]
            elif isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant) and isinstance(part.targets[0], ast.Subscript):
                key = part.targets[0].slice
                key = getattr(key, "value", key)
                strings = [getattr(key, "value", key), part.value.value]
            if len(strings) == 2 and strings[0] == "DJANGO_SETTINGS_MODULE" and isinstance(strings[1], str):
                found.append((place, strings[1]))
                break
    return found
