# A part of the built-in kernel: wire.py has the imports.


def str_of(error):
    try:
        return str(error)
    except Exception:
        return "<str() of the exception failed>"


RED, GREEN, BOLD, END = "\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[0m"


def traceback_lines(error):
    """The traceback without the kernel's own frames, colored."""
    here = __file__
    seen = set()

    def clean(entry):
        if entry is None or id(entry) in seen:
            return
        seen.add(id(entry))
        entry.stack[:] = [frame for frame in entry.stack if frame.filename != here]
        clean(entry.__cause__)
        clean(entry.__context__)
        for one in getattr(entry, "exceptions", None) or ():
            clean(one)

    try:
        entry = traceback.TracebackException(type(error), error, error.__traceback__, compact=True) if sys.version_info >= (
            3,
            10,
        ) else traceback.TracebackException(type(error), error, error.__traceback__)
        clean(entry)
        text = "".join(entry.format())
    except Exception:
        text = "%s: %s\n" % (type(error).__name__, str_of(error))
    lines = []
    for line in text.rstrip("\n").split("\n"):
        found = re.match(r'^( *(?:\| )?)File "(<cell \d+>|[^"]+)", line (\d+)(.*)$', line)
        if found:
            space, name, number, rest = found.groups()
            line = '%s%sFile%s "%s", line %s%s%s%s' % (space, "", "", GREEN + name + END, GREEN, number, END, rest)
        elif line.startswith("Traceback "):
            line = RED + line + END
        elif not line.startswith(" "):
            head, colon, tail = line.partition(":")
            line = BOLD + RED + head + END + colon + tail
        lines.append(line)
    return lines


def hints(error):
    """What to do about an error that newcomers meet with this kernel."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name.partition(".")[0]
        lines = ["", "To install it, run `%%pip install %s`." % INSTALLED_AS.get(name, name)]
        if name == "ipywidgets":
            lines.append("This kernel has its own `interact`: leave the import out. Other widgets need ipykernel.")
        return lines if name not in sys.modules else []
    return []


# Packages whose modules have other names.
INSTALLED_AS = {"bs4": "beautifulsoup4", "cv2": "opencv-python", "PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml"}
