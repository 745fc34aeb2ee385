"""Loads an application as the framework's own command does. Part of the loader's module."""


# Whether the process runs a single command, without workers that could serve files.
_alone = True


def load_framework(text, folder):
    """Loads the application. `text` is the framework's kind in paster, and options as JSON."""
    import json

    framework, _, options = text.partition(" ")
    options = json.loads(options)
    loader = {
        "django": _django, "flask": _flask, "pyramid": _pyramid, "bottle": _bottle, "cherrypy": _cherrypy, "quixote": _quixote,
    }.get(framework, _object)
    return loader(framework, folder, options)


def _found(framework, folder, options, kind=None):
    """The object that `application` names or that was found, its module, and the text after its name."""
    named = options.get("application")
    if named:
        return load(named, folder)
    kind = kind or framework
    found = find(kind, folder)
    if not found:
        looked = ", ".join(f"`{os.path.relpath(path, folder)}`" for path in files(folder)[:6]) or "no Python files"
        expected = [os.path.join(folder, name) for name in ("app.py", "main.py", "wsgi.py")]
        message = f"there is no {_TITLES[framework]} application in `{folder}` (looked at {looked}): set `application`"
        raise LoadError(message, [*expected, *files(folder)])
    if len(found) > 1:
        names = ", ".join(f"`{module}:{name}`" for _, module, name in found)
        raise LoadError(f"there are several {_TITLES[framework]} applications: set `application` to one of {names}", files(folder))
    root, module, name = found[0]
    if root not in sys.path:
        sys.path.insert(0, root)
    return load(f"{module}:{name}", folder) if name else _module(module, folder)


_TITLES = {
    "flask": "Flask", "pyramid": "Pyramid", "bottle": "Bottle", "cherrypy": "CherryPy", "quixote": "Quixote", "fastapi": "FastAPI",
    "starlette": "Starlette", "tornado": "Tornado", "django": "Django",
}


def _object(framework, folder, options):
    return _found(framework, folder, options)


def _flask(framework, folder, options):
    application = _found(framework, folder, options)
    config = getattr(application, "config", None)
    if options.get("development") and config is not None and config.get("TEMPLATES_AUTO_RELOAD", 0) is None:
        config["TEMPLATES_AUTO_RELOAD"] = True
    return application


def _bottle(framework, folder, options):
    import types

    application = _found(framework, folder, options)
    if isinstance(application, types.ModuleType):
        import bottle

        application = bottle.default_app()
    if options.get("development"):
        import bottle

        bottle.TEMPLATES.clear()
        bottle.debug(True)  # templates are read again when they change
    return application


def _cherrypy(framework, folder, options):
    import atexit
    import types

    import cherrypy

    # paster manages the sockets, the processes and the signals.
    cherrypy.config.update({"environment": "embedded"})
    cherrypy.server.unsubscribe()
    cherrypy.quickstart = lambda root=None, script_name="", config=None: cherrypy.tree.mount(root, script_name, config)
    application = _found(framework, folder, options)
    if isinstance(application, (types.ModuleType, type(cherrypy.tree))):
        application = cherrypy.tree
        if not application.apps:
            raise LoadError("nothing is mounted on CherryPy's tree: call `cherrypy.tree.mount(…)` when the module is imported", files(folder))
    cherrypy.engine.start()
    atexit.register(cherrypy.engine.exit)
    return application


def _quixote(framework, folder, options):
    from quixote.publish import Publisher

    found = _found(framework, folder, options)
    if not isinstance(found, Publisher):
        return found
    from quixote.wsgi import QWIP

    return QWIP(found)


def _pyramid(framework, folder, options):
    if options.get("application"):
        return load(options["application"], folder)
    name = _ini(folder, options.get("development"))
    if name is None:
        return _found(framework, folder, options)
    path = os.path.join(folder, name)
    _watched.add(path)
    if "[loggers]" in open(path, encoding="utf-8").read():
        from pyramid.paster import setup_logging

        setup_logging(path)
    return _paste(f"config:{name}", folder)


def _ini(folder, development):
    """The `.ini` file of the directory: in development `development.ini`, otherwise `production.ini`. If it does not exist, the other of the two; if neither exists, the only one with an application."""
    import configparser

    def has_application(name):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(os.path.join(folder, name), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            return False
        return any(parser.has_section(f"{kind}:main") for kind in ("app", "composite", "pipeline"))

    usual = ["development.ini", "production.ini"]
    for name in usual if development else reversed(usual):
        if has_application(name):
            return name
    found = [name for name in sorted(os.listdir(folder)) if name.endswith(".ini") and has_application(name)]
    if len(found) > 1:
        names = ", ".join(f"`config:{name}`" for name in found)
        raise LoadError(f"several files have an application: set `application` to one of {names}")
    return found[0] if found else None


def _django(framework, folder, options):
    from importlib import import_module

    root, settings = _django_settings(folder, options)
    if root not in sys.path:
        sys.path.insert(0, root)
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    try:
        import django
        from django.conf import settings as configured
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        raise LoadError("there is no Django in this environment: install it, or set `python`") from None
    options["collect"] = not (options["development"] or _alone)
    is_asgi, name = options["asgi"], "ASGI_APPLICATION" if options["asgi"] else "WSGI_APPLICATION"
    if options["collect"]:
        configured.STATIC_ROOT = options["static_dir"]
    path = getattr(configured, name, None)
    if path:
        module, _, attribute = path.rpartition(".")
        application = getattr(import_module(module), attribute)
    elif is_asgi:
        from django.core.asgi import get_asgi_application

        application = get_asgi_application()
    else:
        from django.core.wsgi import get_wsgi_application

        application = get_wsgi_application()
    if options["development"]:
        _reload_templates()
    return _django_files(application, configured, options)


def _django_settings(folder, options):
    named = options.get("settings") or os.environ.get("DJANGO_SETTINGS_MODULE")
    found = django_settings(folder)
    roots = sorted({root for root, _ in found})
    if named:
        return (roots[0] if len(roots) == 1 else folder), named
    if not found:
        message = f"there is no `manage.py` that names a settings module in `{folder}`: set `settings`"
        raise LoadError(message, [os.path.join(folder, "manage.py")])
    if len(found) > 1:
        names = ", ".join(f"`{os.path.relpath(root, folder)}`" for root, _ in found)
        raise LoadError(f"there are several Django projects: set `publish_dir` to one of {names}")
    return found[0]


def _reload_templates():
    """Since Django 4.1, templates are cached in development too, and `runserver` drops them when they change."""
    from django.core.signals import request_started
    from django.template.autoreload import reset_loaders

    request_started.connect(lambda **_: reset_loaders(), weak=False)


def _django_files(application, settings, options):
    """Collects the static files, and lists the directories to serve with their addresses. Without collecting, Django serves the static
    files itself."""
    import json

    from django.apps import apps

    listed = {}
    url = _local(settings.STATIC_URL)
    if url and apps.is_installed("django.contrib.staticfiles"):
        if options["collect"]:
            _collect(options["static_dir"])
            listed[url] = options["static_dir"]
        else:
            from django.contrib.staticfiles import handlers

            wrapper = handlers.ASGIStaticFilesHandler if options["asgi"] else handlers.StaticFilesHandler
            application = wrapper(application)
    url = _local(settings.MEDIA_URL)
    if url and settings.MEDIA_ROOT:
        listed[url] = os.path.abspath(settings.MEDIA_ROOT)
    if not _alone:
        list = os.path.join(options["static_dir"], options["list"])
        new = f"{list}.{os.getpid()}"
        try:
            os.makedirs(options["static_dir"], exist_ok=True)
            with open(new, "w", encoding="utf-8") as file:
                json.dump(listed, file)
            os.replace(new, list)
        except OSError as error:
            raise LoadError(f"cannot write to the directory of the static files: {error}: set `static_dir`") from None
    return application


def _local(url):
    """The path of an address of the project itself; `None` for one of another server, and for the root."""
    return url if url and url.startswith("/") and not url.startswith("//") and url.strip("/") else None


def _collect(folder):
    """Copies the files that have changed. Several processes may do this at the same time."""
    import fcntl

    from django.core.management import call_command

    try:
        os.makedirs(folder, exist_ok=True)
        lock = open(os.path.join(folder, ".paster.lock"), "w")
    except OSError as error:
        raise LoadError(f"cannot write to the directory of the static files: {error}: set `static_dir`") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call_command("collectstatic", interactive=False, verbosity=0)
