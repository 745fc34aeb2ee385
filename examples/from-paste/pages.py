"""One page for each part of Paste. The config says which parts are around it."""

import os

MISSPELLED = "<!doctype html><title>Page</title><p>An <b>unclosed tag</p>"


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/error":
        raise ValueError("an error of the application")
    if path == "/upload":
        body = environ["wsgi.input"].read()
        return answer(start_response, f"{len(body)} bytes")
    if path == "/config":
        return answer(start_response, os.environ["GREETING"])
    if path == "/long":
        return answer(start_response, "A text that is worth compressing. " * 100)
    if path == "/html":
        return answer(start_response, MISSPELLED, kind="text/html; charset=utf-8")
    if path == "/forbidden":
        return answer(start_response, "", "403 Forbidden")
    if path == "/wrong":
        return answer(start_response, "a text of an unknown type", kind=None)
    if path == "/session":
        session = environ["paster.session"]
        session["visits"] = session.get("visits", 0) + 1
        return answer(start_response, f"visit {session['visits']}")
    if path == "/prefix":
        return answer(start_response, environ["SCRIPT_NAME"] + path)
    if path == "/errors/missing":
        return answer(start_response, f"There is no {environ['HTTP_X_ERROR_PATH']} here")
    if path in ("/basic", "/digest", "/form/page", "/ticket", "/ticket/login", "/network", "/sso"):
        return answer(start_response, f"{environ.get('REMOTE_USER', 'nobody')} by {environ.get('AUTH_TYPE', 'nothing')}")
    return answer(start_response, "not here", "404 Not Found")


def answer(start_response, text, status="200 OK", kind="text/plain; charset=utf-8"):
    body = text.encode()
    headers = [("Content-Length", str(len(body)))]
    if kind:
        headers.append(("Content-Type", kind))
    start_response(status, headers)
    return [body]
