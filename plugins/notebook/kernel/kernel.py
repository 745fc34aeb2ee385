# A part of the built-in kernel: wire.py has the imports.


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
        self.payload = []
        self.allow_stdin = False
        self.silent = False
        self.comms = {}
        self.interrupts = Interrupts()
        self.handlers = {
            "kernel_info_request": self.kernel_info,
            "execute_request": self.execute,
            "complete_request": self.complete,
            "inspect_request": self.inspect,
            "is_complete_request": self.is_complete,
            "history_request": lambda request: ("history_reply", {"status": "ok", "history": []}),
            "comm_info_request": self.comm_info,
            "comm_open": self.comm_message,
            "comm_msg": self.comm_message,
            "comm_close": self.comm_message,
        }
        module = types.ModuleType("__main__", "The notebook's cells.")
        module.__builtins__ = builtins
        self.module = module
        self.namespace = module.__dict__
        self.namespace.update(display=display, update_display=update_display, clear_output=clear_output, interact=interact)
        self.namespace.update({"In": [""], "Out": {}, "_": "", "__": "", "___": ""})
        # What `%who` leaves out.
        self.own_names = set(self.namespace)

    # Set-up.

    def run(self):
        sys.modules["__main__"] = self.module
        install_display_modules()
        self.take_descriptors()
        sys.stdin = Closed()
        builtins.input = self.input
        import getpass

        getpass.getpass = self.getpass
        sys.displayhook = self.displayhook
        sys.argv = [""]
        sys.path.insert(0, "")
        install_matplotlib_backend()
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
        if reply is None:
            self.connection.send("iopub", "status", {"execution_state": "idle"}, request)
            return
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
        self.payload = []
        reply = {"status": "ok", "execution_count": self.count, "payload": self.payload, "user_expressions": {}}
        try:
            try:
                self.interrupts.running = True
                self.run_code(code, keep)
                show_figures()
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

    def comm_info(self, request):
        comms = {comm.comm_id: {"target_name": comm.target_name} for comm in self.comms.values()}
        return "comm_info_reply", {"status": "ok", "comms": comms}

    def comm_message(self, request):
        """What a page does with a widget. An error is shown where the widget's outputs are."""
        self.interrupts.running = True
        try:
            take_comm_message(request)
        except BaseException as error:
            self.error(error, False, request)
        finally:
            self.interrupts.running = False
            HELD.pending = False

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
        value = self.run_block(translate(code), name)
        if not code.rstrip().endswith(";"):
            sys.displayhook(value)

    def run_block(self, code, name):
        """Runs statements. Returns the value of the last one if it is an expression."""
        tree = ast.parse(code, name)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        if tree.body:
            self.evaluate(compile(tree, name, "exec", flags))
        return None if last is None else self.evaluate(compile(last, name, "eval", flags))

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
        if self.silent or show_itself(value):
            return
        data, metadata = mime_bundle(value)
        self.flush()
        content = {"execution_count": self.count, "data": data, "metadata": metadata}
        self.connection.send("iopub", "execute_result", content, self.parent)

    def show(self, msg_type, value, raw, display_id, metadata):
        if not raw and show_itself(value):
            return
        data, found = (dict(value), {}) if raw else mime_bundle(value)
        found.update(metadata or {})
        transient = {} if display_id is None else {"display_id": str(display_id)}
        self.flush()
        content = {"data": data, "metadata": found, "transient": transient}
        self.connection.send("iopub", msg_type, content, self.parent)

    def error(self, error, silent, request):
        lines = traceback_lines(error)
        lines += hints(error)
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
