"""A shop with a basket in the session. Anyone can fill it; who orders must log in."""

from html import escape
from urllib.parse import parse_qs

GOODS = ("apples", "bread", "cheese")

PAGE = """<!doctype html>
<title>The shop</title>
<h1>The shop</h1>
<p>Your basket: {basket}</p>
<form method="post">{buttons}</form>
<p><a href="/order">Order</a></p>
"""


def page(start_response, text):
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [text.encode()]


def application(environ, start_response):
    session = environ["paster.session"]
    if environ["PATH_INFO"] == "/order":
        ordered = ", ".join(session.pop("basket", [])) or "nothing"
        return page(start_response, f"<h1>Thank you, {escape(environ['REMOTE_USER'])}</h1><p>You ordered: {ordered}.</p>")
    if environ["REQUEST_METHOD"] == "POST":
        form = parse_qs(environ["wsgi.input"].read().decode())
        wanted = [one for one in form.get("add", []) if one in GOODS]
        session.setdefault("basket", []).extend(wanted)
        start_response("303 See Other", [("Location", "/")])
        return []
    buttons = "".join(f'<button name="add" value="{one}">Add {one}</button> ' for one in GOODS)
    return page(start_response, PAGE.format(basket=", ".join(session.get("basket", ["empty"])), buttons=buttons))
