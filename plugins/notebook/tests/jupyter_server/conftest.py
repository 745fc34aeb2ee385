"""Runs jupyter_server's own tests against a running notebook.

The tests are used as they are. This file takes the place of their `conftest.py`: it has the same fixtures, but those
that start a server in the test's process are about the running one. `not_applicable.txt` lists the tests that cannot
apply, each with its reason.

Environment: PASTER_URL (with the prefix), PASTER_TOKEN, PASTER_ROOT (the served folder), PASTER_DATA (Jupyter's data
folder of the server).
"""

import fnmatch
import json
import os
import pathlib
import shutil
import sys
import urllib.parse
import urllib.request

import pytest
import tornado.httpclient
import tornado.websocket
from jupyter_server.utils import url_path_join
from tornado.escape import url_escape

from tests.original_conftest import *  # noqa: F403
from tests.original_conftest import dirs, pytest_plugins  # noqa: F401

# Tests of nbconvert are skipped without pandoc, which the notebook does not need.
_which = shutil.which
shutil.which = lambda name, *more, **named: name if name == "pandoc" else _which(name, *more, **named)

URL = os.environ["PASTER_URL"].rstrip("/")
TOKEN = os.environ["PASTER_TOKEN"]
ROOT = pathlib.Path(os.environ["PASTER_ROOT"])
DATA = pathlib.Path(os.environ["PASTER_DATA"])
HEADERS = {"Authorization": f"token {TOKEN}"}


class ContentsManager:
    """Hidden files stay hidden: a test that shows them does not apply."""


class KernelManager:
    use_pending_kernels = False

    @property
    def default_kernel_name(self):
        return call("GET", "api/kernelspecs")["default"]


class RunningServer:
    """What tests read from `ServerApp`."""

    def __init__(self):
        self.base_url = urllib.parse.urlparse(URL).path + "/"
        self.root_dir = str(ROOT)
        self.connection_url = URL + "/"
        self.token = TOKEN
        self.contents_manager = ContentsManager()
        self.kernel_manager = KernelManager()


def call(method, path):
    request = urllib.request.Request(f"{URL}/{path}", method=method, headers=HEADERS)
    with urllib.request.urlopen(request, timeout=60) as response:
        text = response.read()
        return json.loads(text) if text else None


def empty(folder):
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def not_applicable():
    listed = pathlib.Path(__file__).with_name("not_applicable.txt").read_text()
    for line in listed.splitlines():
        if line and not line.startswith("#"):
            pattern, _, reason = line.partition(" ")
            assert reason.strip(), f"not_applicable.txt: no reason for {pattern}"
            yield pattern, reason.strip()


def without_repetitions(items):
    """Tests run once for each of several configurations of the server's process. There is one here."""
    seen = set()
    for item in items:
        parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
        parameters.pop("jp_server_config", None)
        parameters.pop("jp_argv", None)
        key = (item.nodeid.split("[")[0], repr(sorted(parameters.items())))
        if key not in seen:
            seen.add(key)
            yield item


def pytest_collection_modifyitems(items):
    items[:] = without_repetitions(items)
    listed = list(not_applicable())
    unused = {pattern for pattern, _ in listed}
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        for pattern, reason in listed:
            if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")):
                unused.discard(pattern)
                item.add_marker(pytest.mark.skip(reason=reason))
    # A line that no test needs is wrong.
    selected = {item.nodeid.removeprefix("tests/").split("::")[0] for item in items}
    for pattern in unused:
        assert pattern.split("::")[0] not in selected, f"not_applicable.txt: no test is called {pattern}"


@pytest.fixture
def jp_base_url():
    return urllib.parse.urlparse(URL).path + "/"


@pytest.fixture
def jp_http_port():
    return urllib.parse.urlparse(URL).port


@pytest.fixture
def jp_root_dir():
    empty(ROOT)
    return ROOT


@pytest.fixture
def jp_data_dir():
    DATA.mkdir(exist_ok=True)
    empty(DATA)
    return DATA


@pytest.fixture
def jp_serverapp(jp_root_dir):
    return RunningServer()


@pytest.fixture
def jp_auth_header():
    return dict(HEADERS)


@pytest.fixture
def jp_fetch(jp_asyncio_loop):
    def fetch(*parts, headers=None, params=None, request_timeout=60, **more):
        path = url_escape(url_path_join(*parts), plus=False)
        address = f"{URL}/{path.lstrip('/')}?{urllib.parse.urlencode(params or {})}"
        client = tornado.httpclient.AsyncHTTPClient(force_instance=True)
        return client.fetch(
            address, headers={**HEADERS, **(headers or {})}, request_timeout=request_timeout, **more
        )

    return fetch


@pytest.fixture
def jp_ws_fetch(jp_asyncio_loop):
    def fetch(*parts, headers=None, params=None, **_):
        path = url_escape(url_path_join(*parts), plus=False)
        address = f"{URL.replace('http', 'ws', 1)}/{path.lstrip('/')}?{urllib.parse.urlencode(params or {})}"
        request = tornado.httpclient.HTTPRequest(
            address, headers={**HEADERS, **(headers or {})}, connect_timeout=120
        )
        return tornado.websocket.websocket_connect(request)

    return fetch


@pytest.fixture(autouse=True)
def jp_server_cleanup():
    yield
    for session in call("GET", "api/sessions"):
        call("DELETE", f"api/sessions/{session['id']}")
    for kernel in call("GET", "api/kernels"):
        call("DELETE", f"api/kernels/{kernel['id']}")
    for terminal in call("GET", "api/terminals"):
        call("DELETE", f"api/terminals/{terminal['name']}")


@pytest.fixture(autouse=True)
def jp_mockextension_cleanup():
    yield


if sys.version_info < (3, 10):
    pytest.exit("jupyter_server's tests need Python 3.10 or newer")
