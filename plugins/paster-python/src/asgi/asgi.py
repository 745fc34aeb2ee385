"""Runs ASGI applications on an event loop. Part of paster's Python library, which embeds this file."""

import asyncio

VERSION = {"version": "3.0", "spec_version": "2.4"}


def new_loop(choice):
    """Creates the event loop: that of the config, or uvloop's if it is installed."""
    if choice != "asyncio":
        try:
            import uvloop

            return uvloop.new_event_loop()
        except ModuleNotFoundError:
            if choice == "uvloop":
                raise
    return asyncio.new_event_loop()


class Disconnected(OSError):
    """The client has left."""


class Lifespan:
    """Starts and stops the application (ASGI, "Lifespan Protocol")."""

    def __init__(self, application):
        self.application = application
        self.state = {}
        self.supported = False
        self.started = asyncio.Event()
        self.stopped = asyncio.Event()
        self.stopping = asyncio.Event()
        self.asked = False
        self.error = None
        self.message = None

    async def start(self):
        self.task = asyncio.ensure_future(self._run())
        await self.started.wait()
        if self.error is not None:
            raise self.error
        if self.message is not None:
            raise RuntimeError(self.message or "the application failed at startup")

    async def stop(self):
        if not self.supported or self.task.done():
            self.task.cancel()
            return
        self.stopping.set()
        done = asyncio.ensure_future(self.stopped.wait())
        await asyncio.wait({done, self.task}, return_when=asyncio.FIRST_COMPLETED)

    async def _run(self):
        scope = {"type": "lifespan", "asgi": VERSION, "state": self.state}
        try:
            await self.application(scope, self._receive, self._send)
        except BaseException as error:
            # An application that raises at once does not support the lifespan protocol.
            if self.supported and not self.started.is_set():
                self.error = error
        finally:
            self.started.set()
            self.stopped.set()

    async def _receive(self):
        if not self.asked:
            self.asked = self.supported = True
            return {"type": "lifespan.startup"}
        await self.stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message):
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self.started.set()
        elif kind == "lifespan.startup.failed":
            self.message = message.get("message", "")
            self.started.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            self.stopped.set()


class Call:
    """One request, as the application sees it."""

    def __init__(self, loop, stream):
        self.loop, self.stream = loop, stream
        self.head = None
        self.session = None

    def session_changes(self):
        return None if self.session is None else self.session._changes()

    async def changed(self):
        future = self.loop.create_future()
        if self.stream.wait(future):
            await future


class Http(Call):
    async def receive(self):
        while True:
            part = self.stream.receive()
            if part is None:
                await self.changed()
            elif part is False:
                return {"type": "http.disconnect"}
            else:
                body, more = part
                return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message):
        kind = message["type"]
        stream = self.stream
        if kind == "http.response.start":
            if self.head is not None:
                raise RuntimeError("`http.response.start` was sent twice")
            self.head = True
            stream.start(message["status"], message.get("headers", ()), self.session_changes())
        elif kind == "http.response.body":
            if self.head is None:
                raise RuntimeError("`http.response.body` was sent before `http.response.start`")
            rest = stream.send(message.get("body", b""), not message.get("more_body", False))
            while rest is not None:
                if rest is False:
                    raise Disconnected("the client has left")
                await self.changed()
                rest = stream.send_rest(rest, not message.get("more_body", False))
        elif kind == "http.response.pathsend":
            stream.send_file(message["path"])
        elif kind not in ("http.response.trailers", "http.response.push", "http.response.debug"):
            raise RuntimeError(f"`{kind}` is not a message of an HTTP response")


class WebSocket(Call):
    async def receive(self):
        while True:
            message = self.stream.receive_message()
            if message is not None:
                return message
            await self.changed()

    async def send(self, message):
        kind = message["type"]
        stream = self.stream
        if kind == "websocket.accept":
            stream.accept(message.get("subprotocol"), message.get("headers", ()), self.session_changes())
        elif kind == "websocket.close":
            stream.close(message.get("code", 1000), message.get("reason") or "")
        elif kind == "websocket.send":
            data = message.get("bytes")
            rest = stream.send_message(message["text"] if data is None else data)
            while rest is not None:
                if rest is False:
                    raise Disconnected("the client has left")
                await self.changed()
                rest = stream.send_message(rest)
        elif kind == "websocket.http.response.start":
            stream.start(message["status"], message.get("headers", ()), self.session_changes())
        elif kind == "websocket.http.response.body":
            stream.send(message.get("body", b""), not message.get("more_body", False))
        else:
            raise RuntimeError(f"`{kind}` is not a message of a WebSocket")


async def call(application, loop, stream, scope, describe):
    kind = WebSocket if scope["type"] == "websocket" else Http
    one = kind(loop, stream)
    if "session" in scope:
        one.session = scope["session"] = Session(scope["session"])
    try:
        await application(scope, one.receive, one.send)
        stream.returned()
    except asyncio.CancelledError:
        stream.failed("the application was cancelled")
        raise
    except BaseException as error:
        stream.failed(describe(error))


def run(application, inbox, start, choice, describe):
    """Serves until the process is asked to end."""
    loop = new_loop(choice)
    asyncio.set_event_loop(loop)
    tasks = set()
    lifespan = None

    async def begin():
        nonlocal lifespan
        lifespan = Lifespan(application)
        await lifespan.start()

    loop.run_until_complete(begin())
    state = lifespan.state

    def drain():
        entries = inbox.take()
        for entry in entries:
            if type(entry) is tuple:
                stream, scope = entry
                scope["asgi"] = VERSION
                scope["state"] = state.copy()
                task = loop.create_task(call(application, loop, stream, scope, describe))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            elif not entry.done():
                entry.set_result(None)
        if len(entries) > 1:
            # After the first step of each of them.
            loop.call_soon(inbox.flush)

    def look():
        start.look()
        loop.call_later(1, look)

    loop.add_reader(inbox.fileno(), drain)
    ended = start.serve()

    def stop():
        # The descriptor stays readable.
        loop.remove_reader(ended)
        loop.stop()

    loop.add_reader(ended, stop)
    look()
    loop.run_forever()
    loop.remove_reader(inbox.fileno())

    async def finish():
        if tasks:
            await asyncio.wait(tasks, timeout=3)
        await lifespan.stop()

    loop.run_until_complete(finish())
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
