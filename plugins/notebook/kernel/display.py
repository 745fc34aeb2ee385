# A part of the built-in kernel: wire.py has the imports.


class DisplayHandle:
    """Returned by display(..., display_id=True): shows values in one place and updates them."""

    def __init__(self, display_id):
        self.display_id = display_id

    def display(self, value, **options):
        display(value, display_id=self.display_id, **options)

    def update(self, value, **options):
        update_display(value, display_id=self.display_id, **options)


class _Plain:
    """A value that is shown as one MIME type: HTML("<b>x</b>"), Markdown("*x*"), SVG(filename="x.svg")."""

    mime = "text/plain"

    def __init__(self, data=None, filename=None, **_ignored):
        if filename is not None:
            with open(filename, encoding="utf-8") as file:
                data = file.read()
        self.data = data

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {self.mime: self.data, "text/plain": repr(self)}

    def __repr__(self):
        return "<%s>" % type(self).__name__


class HTML(_Plain):
    mime = "text/html"


class Markdown(_Plain):
    mime = "text/markdown"


class Latex(_Plain):
    mime = "text/latex"


class SVG(_Plain):
    mime = "image/svg+xml"


class JSON(_Plain):
    mime = "application/json"


class Javascript(_Plain):
    mime = "application/javascript"


class Pretty(_Plain):
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": self.data}


class Math(_Plain):
    """A formula in LaTeX, without dollar signs."""

    mime = "text/latex"

    def __init__(self, data=None, **options):
        super().__init__(data, **options)
        self.data = "$\\displaystyle %s$" % self.data.strip("$")


class Code(_Plain):
    """The source of a program."""

    mime = "text/markdown"

    def __init__(self, data=None, filename=None, language="", **_ignored):
        super().__init__(data, filename)
        self.data = "~~~~%s\n%s\n~~~~" % (language, self.data)


def attributes(**values):
    """` width="3"` for each value that is not None."""
    from html import escape

    return "".join(
        " %s" % name if value is True else ' %s="%s"' % (name, escape(str(value)))
        for name, value in values.items()
        if value is not None and value is not False
    )


class Image(_Plain):
    """An image from bytes, a file (PNG, JPEG, GIF, WebP or SVG) or an address."""

    def __init__(self, data=None, url=None, filename=None, width=None, height=None, alt=None, **_ignored):
        if isinstance(data, str) and re.match(r"(https?|data):", data):
            data, url = None, data
        self.url, self.size, self.alt = url, {"width": width, "height": height}, alt
        if url is None and (filename is not None or isinstance(data, (str, os.PathLike))):
            with open(filename if filename is not None else data, "rb") as file:
                data = file.read()
        super().__init__(data)
        kinds = [(b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp")]
        self.mime = next((mime for start, mime in kinds if data and data.startswith(start)), "image/svg+xml")

    def _repr_mimebundle_(self, include=None, exclude=None):
        if self.url is not None:
            return {"text/html": "<img%s>" % attributes(src=self.url, alt=self.alt, **self.size), "text/plain": repr(self)}
        data = self.data.decode() if self.mime == "image/svg+xml" else b64encode(self.data).decode()
        size = {name: value for name, value in self.size.items() if value is not None}
        return {self.mime: data, "text/plain": repr(self)}, {self.mime: size} if size else {}


class IFrame(_Plain):
    """Another page, in a frame."""

    mime = "text/html"

    def __init__(self, src, width="100%", height=400, **_ignored):
        super().__init__("<iframe%s></iframe>" % attributes(src=src, width=width, height=height, frameborder=0))


class _Media(_Plain):
    mime = "text/html"

    def __init__(self, data=None, filename=None, url=None, embed=None, **options):
        import mimetypes

        if isinstance(data, (str, os.PathLike)):
            data, filename = None, str(data)
        if filename is not None and re.match(r"https?:", filename):
            filename, url = None, filename
        if url is None:
            kind = mimetypes.guess_type(filename or "")[0] or self.kind
            if data is None:
                with open(filename, "rb") as file:
                    data = file.read()
            url = "data:%s;base64,%s" % (kind, b64encode(data).decode())
        super().__init__("<%s controls%s></%s>" % (self.tag, attributes(src=url, **options), self.tag))


class Audio(_Media):
    """Sound from a file, an address, the bytes of a file, or samples between -1 and 1 with their `rate` per second."""

    tag, kind = "audio", "audio/wav"

    def __init__(self, data=None, filename=None, url=None, rate=None, autoplay=False, **_ignored):
        if data is not None and not isinstance(data, (bytes, str, os.PathLike)):
            data = wave_of(data, rate)
        super().__init__(data, filename, url, autoplay=autoplay)


class Video(_Media):
    """A film from a file, an address, or the bytes of a file."""

    tag, kind = "video", "video/mp4"

    def __init__(self, data=None, filename=None, url=None, width=None, height=None, **_ignored):
        super().__init__(data, filename, url, width=width, height=height)


def wave_of(samples, rate):
    """A WAV file of samples; the loudest one is 1."""
    import array
    import wave

    if rate is None:
        raise ValueError("Audio: samples need their `rate` per second")
    samples = [float(sample) for sample in samples]
    largest = max((abs(sample) for sample in samples), default=0) or 1
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(rate))
        numbers = array.array("h", (int(sample / largest * 32767) for sample in samples))
        if sys.byteorder == "big":
            numbers.byteswap()
        file.writeframes(numbers.tobytes())
    return out.getvalue()


REPRS = [
    ("_repr_html_", "text/html"),
    ("_repr_markdown_", "text/markdown"),
    ("_repr_svg_", "image/svg+xml"),
    ("_repr_png_", "image/png"),
    ("_repr_jpeg_", "image/jpeg"),
    ("_repr_latex_", "text/latex"),
    ("_repr_json_", "application/json"),
    ("_repr_javascript_", "application/javascript"),
    ("_repr_pdf_", "application/pdf"),
]


def text_of(value):
    """repr, with pprint for containers that are too long for a line."""
    if isinstance(value, (dict, list, tuple, set, frozenset)) and type(value).__repr__ in BUILTIN_REPRS:
        from pprint import pformat

        return pformat(value, width=79, sort_dicts=False) if sys.version_info >= (3, 8) else pformat(value, width=79)
    return repr(value)


BUILTIN_REPRS = {kind.__repr__ for kind in (dict, list, tuple, set, frozenset)}


def mime_bundle(value):
    """(data, metadata) of a value, from its _repr_*_ methods."""
    data, metadata = {}, {}
    if not inspect.isclass(value):
        bundle = call_repr(value, "_repr_mimebundle_", include=None, exclude=None)
        if isinstance(bundle, tuple) and len(bundle) == 2:
            bundle, extra = bundle
            metadata.update(extra or {})
        if isinstance(bundle, dict):
            data.update(bundle)
        for name, mime in REPRS:
            if mime in data:
                continue
            found = call_repr(value, name)
            if isinstance(found, tuple) and len(found) == 2:
                found, metadata[mime] = found
            if found is not None:
                data[mime] = found
        if not any(mime.startswith("image/") for mime in data):
            figure = matplotlib_figure(value)
            if figure is not None:
                data["image/png"] = figure
    if "text/plain" not in data:
        data["text/plain"] = text_of(value)
    for mime, item in list(data.items()):
        if isinstance(item, (bytes, bytearray)):
            data[mime] = b64encode(bytes(item)).decode("ascii")
    return data, metadata


def call_repr(value, name, **arguments):
    try:
        method = getattr(value, name, None)
        # Objects with every attribute (mocks, proxies) do not really have this method.
        if method is None or not callable(method) or callable(getattr(value, "_paster_no_such_name_", None)):
            return None
        return method(**arguments)
    except NotImplementedError:
        return None
    except Exception:
        traceback.print_exc()
        return None


def show_itself(value):
    """Whether the value has shown itself (`_ipython_display_`)."""
    if inspect.isclass(value) or getattr(value, "_ipython_display_", None) is None:
        return False
    if callable(getattr(value, "_paster_no_such_name_", None)):
        return False
    try:
        value._ipython_display_()
    except NotImplementedError:
        return False
    return True


def matplotlib_figure(value):
    module = sys.modules.get("matplotlib.figure")
    if module is None or not isinstance(value, module.Figure):
        return None
    out = io.BytesIO()
    value.savefig(out, format="png", bbox_inches="tight", dpi=value.dpi if value.dpi != 100 else 96)
    return out.getvalue()


def display(*values, raw=False, display_id=None, metadata=None, **_ignored):
    """Shows values below the cell, each in its richest form."""
    handle = None
    if display_id is True:
        display_id = uuid.uuid4().hex
    if display_id is not None:
        handle = DisplayHandle(display_id)
    for value in values:
        KERNEL.show("display_data", value, raw, display_id, metadata)
    return handle


def update_display(value, *, display_id, raw=False, metadata=None, **_ignored):
    """Shows `value` instead of what display(..., display_id=...) showed."""
    KERNEL.show("update_display_data", value, raw, display_id, metadata)


def clear_output(wait=False):
    """Removes the outputs of the cell; with wait=True only when the next output comes."""
    KERNEL.flush()
    KERNEL.connection.send("iopub", "clear_output", {"wait": bool(wait)}, KERNEL.parent)


def publish_display_data(data, metadata=None, *, transient=None, **_ignored):
    """Shows a dict of MIME types."""
    KERNEL.show("display_data", data, True, (transient or {}).get("display_id"), metadata)


# Modules.


def install_display_modules():
    """Makes `from paster_display import HTML` and `from IPython.display import HTML` work."""
    helpers = types.ModuleType("paster_display", "What cells can show: HTML, Markdown, Image, interact and others.")
    kinds = (HTML, Markdown, Latex, Math, SVG, JSON, Javascript, Image, IFrame, Audio, Video, Code, Pretty, DisplayHandle)
    controls = (interact, fixed, IntSlider, FloatSlider, Checkbox, Text, Dropdown)
    for part in kinds + controls + (display, update_display, clear_output, publish_display_data):
        setattr(helpers, part.__name__, part)
    for kind in (HTML, Markdown, Latex, SVG, JSON, Javascript):
        name = "display_" + kind.__name__.lower()
        setattr(helpers, name, lambda *values, raw=False, kind=kind: display(*(kind(value) for value in values)))
    sys.modules["paster_display"] = helpers
    install_ipython(helpers)


def install_ipython(helpers):
    """`from IPython.display import HTML` works. IPython itself knows no page here, even if it is installed."""
    import importlib.util

    try:
        spec = importlib.util.find_spec("IPython")
    except (ImportError, ValueError):
        spec = None
    package = types.ModuleType("IPython", "A stand-in: only IPython.display is here.")
    package.__path__ = list(spec.submodule_search_locations or ()) if spec else []
    package.get_ipython = lambda: None
    package.version_info = (0, 0, 0)
    package.__version__ = "0"
    package.display = helpers
    sys.modules["IPython"] = package
    sys.modules["IPython.display"] = helpers


BACKEND = "paster_matplotlib"


class MatplotlibBackend:
    """Finds the module that matplotlib draws with, when matplotlib asks for it: figures are shown below the cell."""

    def find_spec(self, name, path=None, target=None):
        import importlib.util

        return importlib.util.spec_from_loader(name, self) if name == BACKEND else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from matplotlib.backend_bases import FigureManagerBase
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        module.FigureCanvas, module.FigureManager = FigureCanvasAgg, FigureManagerBase
        module.show = lambda *arguments, **options: show_figures()


def install_matplotlib_backend():
    """If matplotlib is installed, it must not look for a screen."""
    sys.meta_path.append(MatplotlibBackend())
    os.environ.setdefault("MPLBACKEND", "module://" + BACKEND)


def show_figures():
    """Shows the open figures of pyplot and closes them."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not hasattr(pyplot, "get_fignums"):
        return
    # Before the first figure there is no backend, and asking for it would choose one.
    if not pyplot.get_fignums() or pyplot.get_backend().lower() not in ("agg", "module://" + BACKEND):
        return
    try:
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            if figure.axes or figure.lines or figure.texts or figure.images:
                KERNEL.show("display_data", figure, False, None, None)
    finally:
        pyplot.close("all")
