"""The built-in Python kernel of the paster notebook: Jupyter's messages, with only the standard library.

Run as `python paster_kernel.py SOCKET`. Each line on the Unix socket is one message as JSON, in both directions, with the
keys channel, header, parent_header, metadata and content. Works with Python 3.8 and newer.
"""

import ast
import asyncio
import builtins
import codecs
import inspect
import io
import itertools
import json
import keyword
import linecache
import os
import queue
import re
import signal
import socket
import sys
import threading
import time
import traceback
import types
import uuid
from base64 import b64encode
from datetime import datetime, timezone

VERSION = "1.0"
# How long output text is collected before it is sent to the page, in seconds.
FLUSH = 0.03


class Connection:
    """The socket, shared by all threads."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.lock = threading.Lock()
        self.session = uuid.uuid4().hex
        self.numbers = itertools.count(1)

    def send(self, channel, msg_type, content, parent, metadata=None):
        message = {
            "channel": channel,
            "header": {
                "msg_id": "%s_%d" % (self.session, next(self.numbers)),
                "msg_type": msg_type,
                "session": self.session,
                "username": "kernel",
                "date": datetime.now(timezone.utc).isoformat().replace("+00:00", "Z"),
                "version": "5.4",
            },
            "parent_header": parent.get("header", {}) if parent else {},
            "metadata": metadata or {},
            "content": content,
        }
        line = to_json(message).encode("utf-8", "replace") + b"\n"
        with HELD, self.lock:
            self.socket.sendall(line)


def to_json(value):
    """JSON that every reader accepts: NaN and infinities become null, unknown values their repr.

    Lone surrogates stay characters of the text, for the encoder to replace: as an escape no reader takes them.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=repr)
    except ValueError:
        return json.dumps(without_nan(value), ensure_ascii=False, default=repr)


def without_nan(value):
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return value


class Stream(io.TextIOBase):
    """sys.stdout or sys.stderr: collects what is written and sends it."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, kernel, name, descriptor):
        self.kernel = kernel
        self.name = name
        self.descriptor = descriptor
        self.lock = threading.RLock()
        self.parts = []
        self.parent = None
        self.size = 0

    def fileno(self):
        return self.descriptor

    def writable(self):
        return True

    def isatty(self):
        return False

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not %s" % type(text).__name__)
        if not text:
            return 0
        with HELD, self.lock:
            parent = self.kernel.parent
            if parent is not self.parent and self.parts:
                self._send()
            self.parent = parent
            self.parts.append(text)
            self.size += len(text)
            if self.size > 1 << 18:
                self._send()
            else:
                self.kernel.flush_soon.set()
        return len(text)

    def flush(self):
        with HELD, self.lock:
            self._send()

    def _send(self):
        if self.parts:
            text = "".join(self.parts)
            parent = self.parent
            self.parts = []
            self.size = 0
            self.kernel.connection.send("iopub", "stream", {"name": self.name, "text": text}, parent)


class DisplayHandle:
    """Returned by display(..., display_id=True): shows values in one place and updates them."""

    def __init__(self, display_id):
        self.display_id = display_id

    def display(self, value, **options):
        display(value, display_id=self.display_id, **options)

    def update(self, value, **options):
        update_display(value, display_id=self.display_id, **options)


class _Plain:
    """A value that is shown as one MIME type: HTML("<b>x</b>"), Markdown("*x*")."""

    mime = "text/plain"

    def __init__(self, data):
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


class Image(_Plain):
    """An image from bytes or a file (PNG, JPEG, GIF, WebP or SVG)."""

    def __init__(self, data=None, filename=None):
        if filename is not None or isinstance(data, (str, os.PathLike)):
            with open(filename if filename is not None else data, "rb") as file:
                data = file.read()
        super().__init__(data)
        kinds = [(b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp")]
        self.mime = next((mime for start, mime in kinds if data.startswith(start)), "image/svg+xml")

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = self.data.decode() if self.mime == "image/svg+xml" else b64encode(self.data).decode()
        return {self.mime: data, "text/plain": repr(self)}


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


class Interrupts:
    """SIGINT raises KeyboardInterrupt in a running cell, and does nothing between cells."""

    def __init__(self):
        self.running = False
        signal.signal(signal.SIGINT, self.handle)

    def handle(self, number, frame):
        if self.running:
            if HELD.depth:
                HELD.pending = True
            else:
                raise KeyboardInterrupt


class Held:
    """`with HELD:` keeps KeyboardInterrupt out of the main thread, so that a message is sent completely or not at all."""

    def __init__(self):
        self.main = threading.main_thread().ident
        self.depth = 0
        self.pending = False

    def __enter__(self):
        if threading.get_ident() == self.main:
            self.depth += 1

    def __exit__(self, *error):
        if threading.get_ident() == self.main:
            self.depth -= 1
            if self.pending and not self.depth:
                self.pending = False
                raise KeyboardInterrupt


HELD = Held()


class Kernel:
    def __init__(self, path):
        self.connection = Connection(path)
        self.parent = None
        self.count = 0
        self.requests = queue.Queue()
        self.inputs = queue.Queue()
        self.flush_soon = threading.Event()
        self.files = {}
        self.loop = None
        self.interrupts = Interrupts()
        self.handlers = {
            "kernel_info_request": self.kernel_info,
            "execute_request": self.execute,
            "complete_request": self.complete,
            "inspect_request": self.inspect,
            "is_complete_request": self.is_complete,
            "history_request": lambda request: ("history_reply", {"status": "ok", "history": []}),
            "comm_info_request": lambda request: ("comm_info_reply", {"status": "ok", "comms": {}}),
        }
        module = types.ModuleType("__main__", "The notebook's cells.")
        module.__builtins__ = builtins
        self.module = module
        self.namespace = module.__dict__
        self.namespace.update(display=display, update_display=update_display, clear_output=clear_output)
        self.namespace.update({"In": [""], "Out": {}, "_": "", "__": "", "___": ""})

    # Set-up.

    def run(self):
        sys.modules["__main__"] = self.module
        helpers = types.ModuleType("paster_display", "What cells can show: HTML, Markdown, Image and others.")
        for kind in (HTML, Markdown, Latex, SVG, JSON, Javascript, Image, DisplayHandle):
            setattr(helpers, kind.__name__, kind)
        helpers.display, helpers.update_display, helpers.clear_output = display, update_display, clear_output
        sys.modules["paster_display"] = helpers
        self.stand_in_for_ipython(helpers)
        self.take_descriptors()
        sys.stdin = Closed()
        builtins.input = self.input
        import getpass

        getpass.getpass = self.getpass
        sys.displayhook = self.displayhook
        sys.argv = [""]
        sys.path.insert(0, "")
        # If matplotlib is installed, it must not look for a screen.
        os.environ.setdefault("MPLBACKEND", "Agg")
        # Lets tracebacks and inspect.getsource show the lines of functions defined in cells.
        self.check_cache = linecache.checkcache
        linecache.checkcache = self.keep_cells
        self.helper(self.read)
        self.helper(self.flush_in_time)
        while True:
            request = self.requests.get()
            if request is None:
                return
            try:
                self.handle(request)
            except KeyboardInterrupt:
                pass

    def helper(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        # Only the main thread handles SIGINT.
        if hasattr(signal, "pthread_sigmask"):
            old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            thread.start()
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        else:
            thread.start()

    def stand_in_for_ipython(self, helpers):
        """Makes `from IPython.display import display, HTML` work if IPython is not installed."""
        import importlib.util

        try:
            if importlib.util.find_spec("IPython") is not None:
                return
        except (ImportError, ValueError):
            return
        package = types.ModuleType("IPython", "A stand-in: only IPython.display is here.")
        package.__path__ = []
        package.get_ipython = lambda: None
        package.version_info = (0, 0, 0)
        package.__version__ = "0"
        package.display = helpers
        sys.modules["IPython"] = package
        sys.modules["IPython.display"] = helpers

    def take_descriptors(self):
        """Turns descriptors 1 and 2 (of C code and child processes) into streams too."""
        sys.__stdout__.flush()
        self.stdout, self.stderr = Stream(self, "stdout", 1), Stream(self, "stderr", 2)
        self.real_stderr = os.dup(2)
        self.pipes = []
        for stream, descriptor in ((self.stdout, 1), (self.stderr, 2)):
            reader, writer = os.pipe()
            os.dup2(writer, descriptor)
            os.close(writer)
            self.helper(self.relay, reader, stream)
        sys.stdout, sys.stderr = self.stdout, self.stderr
        import faulthandler

        # A crash is reported on the real stderr, which the server keeps.
        faulthandler.enable(file=self.real_stderr)

    def relay(self, reader, stream):
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        while True:
            chunk = os.read(reader, 65536)
            if not chunk:
                return
            stream.write(decode(chunk))
            stream.flush()

    def flush_in_time(self):
        while True:
            self.flush_soon.wait()
            self.flush_soon.clear()
            time.sleep(FLUSH)
            self.flush()

    def flush(self):
        self.stdout.flush()
        self.stderr.flush()

    def read(self):
        """Dispatches incoming messages; ends the process when the socket closes."""
        with self.connection.socket.makefile("rb") as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                    kind = message["header"]["msg_type"]
                    channel = message.get("channel", "shell")
                except (ValueError, KeyError, TypeError):
                    continue
                if kind == "shutdown_request":
                    reply = dict(message["content"], status="ok")
                    self.connection.send(channel, "shutdown_reply", reply, message)
                    os._exit(0)
                elif kind == "interrupt_request":
                    os.kill(os.getpid(), signal.SIGINT)
                    self.connection.send(channel, "interrupt_reply", {"status": "ok"}, message)
                elif kind == "input_reply":
                    self.inputs.put(message["content"].get("value", ""))
                elif channel == "control":
                    self.answer_control(message, kind)
                else:
                    self.requests.put(message)
        os._exit(0)

    def answer_control(self, message, kind):
        """Handles requests that may overtake a running cell."""
        if kind == "kernel_info_request":
            self.connection.send("control", *self.kernel_info(message), message)
        else:
            content = {"status": "error", "ename": "NotImplemented", "evalue": kind, "traceback": []}
            self.connection.send("control", kind.replace("_request", "_reply"), content, message)

    # Requests.

    def handle(self, request):
        kind = request["header"]["msg_type"]
        handler = self.handlers.get(kind)
        if handler is None:
            return
        self.parent = request
        self.connection.send("iopub", "status", {"execution_state": "busy"}, request)
        try:
            reply = handler(request)
        except KeyboardInterrupt:
            reply = (kind.replace("_request", "_reply"), {"status": "aborted"})
        except Exception as error:
            content = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
            reply = (kind.replace("_request", "_reply"), content)
        self.flush()
        failed = kind == "execute_request" and reply[1]["status"] == "error"
        # Only what was queued at the failure is dropped. What a client sends after it has seen the reply runs.
        waiting = self.waiting_cells() if failed and request["content"].get("stop_on_error", True) else []
        self.connection.send("shell", reply[0], reply[1], request)
        self.connection.send("iopub", "status", {"execution_state": "idle"}, request)
        for cell in waiting:
            self.connection.send("iopub", "status", {"execution_state": "busy"}, cell)
            self.connection.send("shell", "execute_reply", {"status": "aborted"}, cell)
            self.connection.send("iopub", "status", {"execution_state": "idle"}, cell)

    def waiting_cells(self):
        """Removes the cells from the queue; other requests stay in it."""
        cells, others = [], []
        while True:
            try:
                request = self.requests.get_nowait()
            except queue.Empty:
                break
            is_cell = request is not None and request["header"]["msg_type"] == "execute_request"
            (cells if is_cell else others).append(request)
        for request in others:
            self.requests.put(request)
        return cells

    def kernel_info(self, request):
        version = "%d.%d.%d" % sys.version_info[:3]
        return "kernel_info_reply", {
            "status": "ok",
            "protocol_version": "5.4",
            "implementation": "paster",
            "implementation_version": VERSION,
            "language_info": {
                "name": "python",
                "version": version,
                "mimetype": "text/x-python",
                "codemirror_mode": {"name": "ipython", "version": 3},
                "pygments_lexer": "ipython3",
                "nbconvert_exporter": "python",
                "file_extension": ".py",
            },
            "banner": "Python %s (paster's built-in kernel)" % version,
            "help_links": [],
            "supported_features": [],
        }

    def execute(self, request):
        content = request["content"]
        code = content["code"]
        silent = content.get("silent", False)
        keep = content.get("store_history", True) and not silent
        if keep:
            self.count += 1
            self.namespace["In"].append(code)
        if not silent:
            self.connection.send(
                "iopub", "execute_input", {"code": code, "execution_count": self.count}, request
            )
        self.allow_stdin = content.get("allow_stdin", True)
        self.silent = silent
        reply = {"status": "ok", "execution_count": self.count, "payload": [], "user_expressions": {}}
        try:
            try:
                self.interrupts.running = True
                self.run_code(code, keep)
                self.show_figures()
                for name, expression in (content.get("user_expressions") or {}).items():
                    reply["user_expressions"][name] = self.user_expression(expression)
            finally:
                self.interrupts.running = False
                HELD.pending = False
        except SystemExit as error:
            if error.code not in (None, 0):
                reply.update(self.error(error, silent, request))
        except BaseException as error:
            reply.update(self.error(error, silent, request))
        return "execute_reply", reply

    def user_expression(self, expression):
        try:
            data, metadata = mime_bundle(eval(expression, self.namespace))
            return {"status": "ok", "data": data, "metadata": metadata}
        except Exception as error:
            return {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}

    def run_code(self, code, keep):
        name = "<cell %s>" % (self.count if keep else "0")
        self.files[name] = (len(code), None, [line + "\n" for line in code.splitlines()], name)
        linecache.cache[name] = self.files[name]
        code = shell_escapes(code)
        tree = ast.parse(code, name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        last = None
        quiet = code.rstrip().endswith(";")
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not quiet:
            last = ast.Expression(tree.body.pop().value)
        if tree.body:
            self.evaluate(compile(tree, name, "exec", flags))
        if last is not None:
            value = self.evaluate(compile(last, name, "eval", flags))
            sys.displayhook(value)

    def evaluate(self, code):
        if code.co_flags & inspect.CO_COROUTINE:
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                asyncio.set_event_loop(self.loop)
            task = self.loop.create_task(as_coroutine(eval(code, self.namespace)))
            try:
                return self.loop.run_until_complete(task)
            except KeyboardInterrupt:
                task.cancel()
                try:
                    self.loop.run_until_complete(task)
                except BaseException:
                    pass
                raise
        return eval(code, self.namespace)

    def displayhook(self, value):
        if value is None:
            return
        space = self.namespace
        space["___"], space["__"], space["_"] = space.get("__"), space.get("_"), value
        space["Out"][self.count] = value
        space["_%d" % self.count] = value
        if self.silent:
            return
        data, metadata = mime_bundle(value)
        self.flush()
        content = {"execution_count": self.count, "data": data, "metadata": metadata}
        self.connection.send("iopub", "execute_result", content, self.parent)

    def show(self, msg_type, value, raw, display_id, metadata):
        data, found = (value, {}) if raw else mime_bundle(value)
        found.update(metadata or {})
        transient = {} if display_id is None else {"display_id": str(display_id)}
        self.flush()
        content = {"data": data, "metadata": found, "transient": transient}
        self.connection.send("iopub", msg_type, content, self.parent)

    def show_figures(self):
        """Shows open pyplot figures after the cell and closes them."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or not hasattr(pyplot, "get_fignums"):
            return
        try:
            backend = pyplot.get_backend().lower()
            if backend != "agg":
                return
            for number in pyplot.get_fignums():
                figure = pyplot.figure(number)
                if figure.axes or figure.lines or figure.texts or figure.images:
                    self.show("display_data", figure, False, None, None)
        finally:
            pyplot.close("all")

    def error(self, error, silent, request):
        lines = traceback_lines(error)
        content = {"ename": type(error).__name__, "evalue": str_of(error), "traceback": lines}
        if not silent:
            self.flush()
            self.connection.send("iopub", "error", content, request)
        return dict(content, status="error")

    # Questions to the user.

    def input(self, prompt=""):
        return self.ask(str(prompt), False)

    def getpass(self, prompt="Password: ", stream=None):
        return self.ask(str(prompt), True)

    def ask(self, prompt, password):
        if not self.allow_stdin:
            raise EOFError("this client cannot be asked for input")
        self.flush()
        while not self.inputs.empty():
            self.inputs.get_nowait()
        self.connection.send("stdin", "input_request", {"prompt": prompt, "password": password}, self.parent)
        while True:
            try:
                # With a timeout, so that SIGINT is handled.
                return self.inputs.get(timeout=0.2)
            except queue.Empty:
                pass

    # Help while typing.

    def complete(self, request):
        code, cursor = request["content"]["code"], request["content"]["cursor_pos"]
        matches, start, kinds = complete(code, cursor, self.namespace)
        metadata = {
            "_jupyter_types_experimental": [
                {"text": match, "type": kind, "start": start, "end": cursor} for match, kind in zip(matches, kinds)
            ]
        }
        return "complete_reply", {
            "status": "ok",
            "matches": matches,
            "cursor_start": start,
            "cursor_end": cursor,
            "metadata": metadata,
        }

    def inspect(self, request):
        content = request["content"]
        name = name_at(content["code"], content["cursor_pos"])
        found = describe(name, self.namespace, content.get("detail_level", 0)) if name else None
        data = {"text/plain": found} if found else {}
        return "inspect_reply", {"status": "ok", "found": bool(found), "data": data, "metadata": {}}

    def is_complete(self, request):
        import codeop

        code = request["content"]["code"]
        try:
            done = codeop.compile_command(code + "\n", "<cell>", "exec")
        except (SyntaxError, ValueError, OverflowError):
            return "is_complete_reply", {"status": "invalid"}
        if done is not None:
            return "is_complete_reply", {"status": "complete"}
        last = code.splitlines()[-1] if code else ""
        indent = re.match(r"\s*", last).group() + ("    " if last.rstrip().endswith(":") else "")
        return "is_complete_reply", {"status": "incomplete", "indent": indent}

    def keep_cells(self, filename=None):
        self.check_cache(filename)
        linecache.cache.update(self.files)


class Closed(io.TextIOBase):
    """sys.stdin: input() asks the page; all other reads return nothing."""

    def readable(self):
        return True

    def read(self, size=-1):
        return ""

    def readline(self, size=-1):
        return ""


async def as_coroutine(awaitable):
    return await awaitable


ESCAPE = re.compile(r"^(\s*)([!%])(.+)$")


def shell_escapes(code):
    """Turns `!command` and `%pip install x` lines into calls if the cell is not valid Python otherwise."""
    try:
        ast.parse(code)
        return code
    except SyntaxError:
        pass
    lines = []
    for line in code.split("\n"):
        found = ESCAPE.match(line)
        if found and found.group(2) == "!":
            line = "%s__import__('paster_shell').run(%r)" % (found.group(1), found.group(3))
        elif found and found.group(3).split()[0] == "pip":
            line = "%s__import__('paster_shell').pip(%r)" % (found.group(1), found.group(3)[3:].strip())
        elif found and found.group(3).strip().startswith("matplotlib"):
            line = found.group(1) + "pass"
        elif found:
            name = found.group(3).split()[0]
            line = "%s__import__('paster_shell').unknown(%r)" % (found.group(1), name)
        lines.append(line)
    return "\n".join(lines)


def make_shell_module():
    import shlex
    import subprocess

    shell = types.ModuleType("paster_shell", "Behind `!command` and `%pip`.")

    def run(command):
        code = subprocess.call(command, shell=True, stdin=subprocess.DEVNULL)
        time.sleep(FLUSH)
        if code:
            print("[exit status %d]" % code, file=sys.stderr)

    def pip(arguments):
        subprocess.call([sys.executable, "-m", "pip"] + shlex.split(arguments), stdin=subprocess.DEVNULL)
        time.sleep(FLUSH)

    def unknown(name):
        raise NotImplementedError("the built-in kernel has no %" + name + ": install ipykernel for IPython's magics")

    shell.run, shell.pip, shell.unknown = run, pip, unknown
    sys.modules["paster_shell"] = shell


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
    found = re.search(r"""([^\W\d][\w.]*)\[(["'])([^"']*)$""", line)
    if found:
        return complete_key(found, cursor, namespace)
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


if __name__ == "__main__":
    make_shell_module()
    KERNEL = Kernel(sys.argv[1])
    # The running module is replaced in sys.modules: keep these names alive.
    sys.modules["paster_kernel"] = sys.modules["__main__"]
    KERNEL.run()
