"""Loads an application and describes its process. Part of paster's Python library, which embeds this file.

Functions import what only some applications need, because each process would keep it in memory."""

import os
import sys


class LoadError(Exception):
    """The application's name is wrong. A traceback would not help."""

    def __init__(self, message, expected=()):
        super().__init__(message)
        # Files whose creation would fix it.
        self.expected = expected


def load(name, folder):
    """The application that `name` stands for: `module:object`, `module:factory()`, `FILE.wsgi`, `config:FILE.ini#name`, or
    `@framework {options}` for one that `frameworks.py` finds."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if name.startswith("@"):
        return load_framework(name[1:], folder)
    if name.startswith(("config:", "egg:")):
        return _paste(name, folder)
    path, _, attribute = name.partition(":")
    if path.endswith(".wsgi") and "/" not in path and not os.path.isfile(os.path.join(folder, path)):
        module = _module_named_wsgi(path, folder)
    elif path.endswith((".wsgi", ".py")) or "/" in path:
        module = _file(os.path.join(folder, path))
    else:
        module = _module(path, folder)
    return _member(module, path, attribute)


def _module_named_wsgi(name, folder):
    """The module `wsgi` of a package, as Django creates it. There is no file of this name."""
    try:
        return _module(name, folder)
    except LoadError as error:
        path = os.path.join(folder, name)
        raise LoadError(f"there is no file `{path}`, and no module `{name}`", [path, *error.expected]) from None


def _module(name, folder):
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module itself is missing, not one that it imports.
        missing = error.name or ""
        if name != missing and not name.startswith(missing + "."):
            raise
        place = os.path.join(folder, *missing.split("."))
        expected = [place + ".py", os.path.join(place, "__init__.py")]
        message = f"there is no module `{missing}` in this environment or in the application's directory"
        raise LoadError(message, expected) from None


def _file(path):
    import importlib.machinery
    import importlib.util

    if not os.path.isfile(path):
        raise LoadError(f"there is no file `{path}`", [path])
    name = os.path.splitext(os.path.basename(path))[0].replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def _member(module, path, text):
    if not text:
        for name in ("application", "app"):
            if hasattr(module, name):
                return getattr(module, name)
        raise LoadError(f"`{path}` has neither `application` nor `app`: name the object, as in `{path}:NAME`")
    names, call = _read_name(text)
    found = module
    for name in names:
        if not hasattr(found, name):
            known = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
            help = f"; it has {', '.join(f'`{one}`' for one in known[:8])}" if known else ""
            raise LoadError(f"`{path}` has no `{name}`{help}")
        found = getattr(found, name)
    if call is None:
        return found
    positional, named = call
    return found(*positional, **named)


def _read_name(text):
    """The names in `name.name`, and the arguments of a call."""
    names = text.strip().split(".")
    if all(name.isidentifier() for name in names):
        return names, None
    import ast

    wrong = LoadError(f"`{text}` is neither the name of an object nor a call to one")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise wrong from None
    call, names = None, []
    if isinstance(tree, ast.Call):
        try:
            positional = [ast.literal_eval(value) for value in tree.args]
            call = positional, {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords}
        except ValueError:
            raise LoadError(f"the arguments of `{text}` must be literals: strings, numbers, lists, …") from None
        tree = tree.func
    while isinstance(tree, ast.Attribute):
        names.insert(0, tree.attr)
        tree = tree.value
    if not isinstance(tree, ast.Name):
        raise wrong
    return [tree.id, *names], call


def _paste(name, folder):
    try:
        from paste.deploy import loadapp
    except ModuleNotFoundError:
        raise LoadError("`config:` needs the package PasteDeploy in this environment") from None
    return loadapp(name, relative_to=folder)


def check(application, kind):
    """Refuses what cannot be called as an application of `kind`."""
    if not callable(application):
        raise LoadError(f"the application is not callable: it is of the type `{type(application).__name__}`")
    call = getattr(type(application), "__call__", None)
    is_async = _is_async(application) or _is_async(call)
    if kind == "wsgi" and is_async:
        raise LoadError('the application is an ASGI application: set `use = "asgi"`')
    if kind == "asgi" and not is_async and _parameters(application) == 2:
        raise LoadError('the application is a WSGI application: set `use = "wsgi"`')


def _is_async(function):
    """`inspect.iscoroutinefunction` without `inspect`."""
    while type(function).__name__ == "partial":
        function = function.func
    function = getattr(function, "__func__", function)
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return bool(flags & 0x80) or hasattr(function, "_is_coroutine_marker")


def _parameters(function):
    """How many arguments a call may have; 0 if that is unknown."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0
    return sum(one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in parameters)


def format(error):
    """The traceback of `error`, without the frames of this file."""
    import traceback

    if isinstance(error, LoadError):
        return str(error)
    own = load.__code__.co_filename
    tail = error.__traceback__
    while tail is not None and (tail.tb_frame.f_code.co_filename == own or _is_import(tail)):
        tail = tail.tb_next
    error.__traceback__ = tail or error.__traceback__
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()


# Separates the traceback of a failed request from the traceback with variables.
_VARIABLES = "\n\0variables\0\n"
# Names of variables whose values are hidden.
_SECRET = ("password", "passwd", "secret", "token", "key", "auth", "cookie", "session", "credential")
# Variables that contain the request's header fields, with cookies and credentials. The page shows the request without them.
_REQUEST = ("environ", "scope", "headers")
_LONGEST_VALUE = 200
_LONGEST_TEXT = 32768
_development = False


def describe(error):
    """Like `format`. In development, followed by the traceback with the variables of each frame, for the debug page."""
    text = format(error)
    if not _development or isinstance(error, LoadError):
        return text
    import traceback

    try:
        shown = traceback.TracebackException(type(error), error, error.__traceback__, capture_locals=True)
        _shorten(shown, set())
        variables = "".join(shown.format()).rstrip()
    except Exception:  # the application's own `__repr__` may fail
        return text
    return text + _VARIABLES + variables[-_LONGEST_TEXT:]


def _shorten(shown, seen):
    """Hides secrets and shortens long values."""
    if shown is None or id(shown) in seen:
        return
    seen.add(id(shown))
    for frame in shown.stack:
        for name, value in (frame.locals or {}).items():
            secret = name in _REQUEST or any(word in name.lower() for word in _SECRET)
            frame.locals[name] = "***" if secret else value[:_LONGEST_VALUE]
    _shorten(shown.__cause__, seen)
    _shorten(shown.__context__, seen)


def _is_import(entry):
    name = entry.tb_frame.f_code.co_filename
    return name.startswith("<frozen importlib") or name.endswith("/importlib/__init__.py")


def summary(error):
    """`ValueError: why`, in one line."""
    import traceback

    if isinstance(error, LoadError):
        return str(error)
    return traceback.format_exception_only(type(error), error)[-1].strip().splitlines()[-1]


def facts():
    """The interpreter's description for `paster check`."""
    return {
        "language": "Python" if sys.implementation.name == "cpython" else sys.implementation.name,
        "version": sys.version.split()[0],
        "executable": sys.executable or "",
        "prefix": sys.prefix,
        "in_environment": str(sys.prefix != sys.base_prefix).lower(),
    }


_outside = None
# Files that are not modules, but whose changes reload the application.
_watched = set()


def sources(error=None):
    """The application's own source files among the imported ones, without Python's and those of installed packages."""
    global _outside
    if _outside is None:
        import sysconfig

        names = ("stdlib", "platstdlib", "purelib", "platlib")
        places = {sysconfig.get_path(name) for name in names}
        _outside = tuple(os.path.realpath(place) + os.sep for place in places if place)
    found, expected = set(), getattr(error, "expected", ())
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith((".py", ".wsgi")):
            found.add(path)
    while error is not None:
        if isinstance(error, SyntaxError) and error.filename:
            found.add(error.filename)
        entry = error.__traceback__
        while entry is not None:
            found.add(entry.tb_frame.f_code.co_filename)
            entry = entry.tb_next
        error = error.__cause__ or error.__context__
    found = {os.path.realpath(path) for path in found if os.path.isfile(path)}
    found.update(expected, _watched)
    return sorted(path for path in found if not path.startswith(_outside) and "/site-packages/" not in path)


def prepare(application, development, forked, stacks):
    """Prepares the process as if the application had been started directly, and enables stack dumps."""
    import faulthandler
    import signal

    global _development
    _development = development
    sys.argv[:] = [application.partition(" ")[0]]
    # A cached file is recognized by its time in whole seconds and its length, which is too coarse for frequent saves.
    sys.dont_write_bytecode = development
    # A crash in a library logs each thread's stack. When a process hangs and is about to be replaced, a signal requests the
    # stacks, which does not need the interpreter.
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, file=stacks, all_threads=True)
    # A child that the application forks must not keep the sockets to paster.
    os.register_at_fork(after_in_child=lambda: _close(forked()))


def _close(descriptors):
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            pass


def _close_server():
    """In a child that the application has forked in a worker: closes the listening sockets and the connections of clients."""
    import socket

    sockets = []
    for name in os.listdir("/proc/self/fd"):
        try:
            sockets.append(socket.socket(fileno=int(name)))
        except OSError:
            pass  # another kind of descriptor

    def place(one):
        name = one.getsockname()
        # A client may use any address of the port.
        return name[1] if isinstance(name, tuple) else name

    listening = {place(one) for one in sockets if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)}
    for one in sockets:
        if place(one) in listening:
            one.close()
        else:
            one.detach()


def prepare_worker(application, development, folder, variables):
    """The same in a worker of paster, which has signals of its own."""
    import faulthandler

    global _development
    _development = development
    sys.argv[:] = [application.partition(" ")[0]]
    sys.dont_write_bytecode = development
    os.chdir(folder)
    for variable in variables:
        name, _, value = variable.partition("=")
        os.environ[name] = value
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True)
    if not faulthandler.is_enabled():
        faulthandler.enable()
    os.register_at_fork(after_in_child=_close_server)


def start(threads, run):
    """Starts the application's threads."""
    import threading

    started = [threading.Thread(target=run, name=f"wsgi-{number}", daemon=True) for number in range(threads)]
    for thread in started:
        thread.start()
    return started


def join(threads, own_process):
    """Waits for the threads. Ends the process if they do not end."""
    for thread in threads:
        thread.join(2)
    if own_process and any(thread.is_alive() for thread in threads):
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        os._exit(0)
