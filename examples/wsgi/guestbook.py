"""A guest book without a framework: it forgets its entries when its process ends."""

from html import escape
from urllib.parse import parse_qs

PAGE = """<!doctype html>
<title>Guest book</title>
<h1>Guest book</h1>
<ul>{entries}</ul>
<form method="post"><input name="entry" aria-label="Entry" required> <button>Sign</button></form>
"""

entries = []


def application(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        form = parse_qs(environ["wsgi.input"].read().decode())
        entries.extend(form.get("entry", []))
        here = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        start_response("303 See Other", [("Location", here), ("Content-Type", "text/plain")])
        return [b""]
    items = "".join(f"<li>{escape(entry)}</li>" for entry in entries)
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [PAGE.format(entries=items).encode()]
