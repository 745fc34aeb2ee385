

def _shell():
    name, folder = sys.argv[1:3]
    shown = name.partition(" ")[0].lstrip("@")
    sys.argv[:] = [shown]
    try:
        application = load(name, folder)
    except BaseException as error:
        sys.exit(format(error))
    names = {"__name__": "__console__", "application": application}
    if not sys.stdin.isatty():
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), names)
        return
    banner = f"Python {sys.version.split()[0]}; `application` is {shown}"
    try:
        from IPython import start_ipython
    except ModuleNotFoundError:
        import code

        try:
            import readline  # edits lines
        except ModuleNotFoundError:
            pass
        code.interact(banner, local=names, exitmsg="")
    else:
        print(banner)
        start_ipython(argv=["--no-banner"], user_ns=names)


_shell()
