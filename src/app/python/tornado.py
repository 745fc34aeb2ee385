

def _serve():
    """Serves the application of the arguments on the Unix socket `SOCKET`, until a signal ends the process."""
    import asyncio
    import inspect
    import signal

    name, folder = sys.argv[1:3]
    sys.argv[:] = [name.partition(" ")[0].lstrip("@")]

    async def run():
        from tornado.httpserver import HTTPServer
        from tornado.netutil import bind_unix_socket

        class Server(HTTPServer):
            """Tracks the connections with requests, so that requests in progress are finished before the process ends."""

            def start_request(self, server_conn, request_conn):
                connections.add(server_conn)
                return super().start_request(server_conn, request_conn)

            def on_close(self, server_conn):
                connections.discard(server_conn)
                if ending.is_set() and not connections:
                    ended.set()
                super().on_close(server_conn)

        connections, ending, ended = set(), asyncio.Event(), asyncio.Event()
        # The application may need the event loop while it is being created.
        application = load(name, folder)
        if inspect.isawaitable(application):
            application = await application
        # paster is the only client. It sends the address of its own client.
        server = Server(application, xheaders=True)
        server.add_socket(bind_unix_socket(os.environ["SOCKET"], mode=0o600))
        for one in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(one, ending.set)
        await ending.wait()
        server.stop()
        if connections:
            await ended.wait()

    try:
        asyncio.run(run())
    except Exception as error:
        sys.exit(format(error))


_serve()
