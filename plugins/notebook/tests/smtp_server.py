"""A mail server for tests: requires STARTTLS and a login, and writes each mail to a file."""
import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder = pathlib.Path(sys.argv[1])


class Handler:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        Handler.count += 1
        path = folder / f"{Handler.count}.new"
        path.write_bytes(f"To: {envelope.rcpt_tos[0]}\n".encode() + envelope.content)
        path.rename(folder / f"{Handler.count}.eml")
        return "250 OK"


def login(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"notebook", b"mail secret")
    return AuthResult(success=right)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    loop = asyncio.get_running_loop()

    def session():
        return SMTP(Handler(), loop=loop, tls_context=context, require_starttls=True, authenticator=login, auth_required=True, timeout=3)

    server = await loop.create_server(session, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # It ends with the test, which holds the other end.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
