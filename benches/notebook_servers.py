"""Starts the servers that notebook.py compares, each in its own folder, with the same ipykernel."""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time
import urllib.request

TOKEN = "token-of-the-benchmark"
# What a user of Jupyter Server cannot set: TCP_NODELAY on its connections. Tornado takes it back after each response.
NODELAY = """
import tornado.httpserver as server, tornado.iostream as iostream
handle, set_nodelay = server.HTTPServer.handle_stream, iostream.IOStream.set_nodelay
def without_delay(self, stream, address):
    stream.set_nodelay(True)
    return handle(self, stream, address)
server.HTTPServer.handle_stream = without_delay
iostream.IOStream.set_nodelay = lambda self, value: set_nodelay(self, True)
"""
JUPYTER = "%s\nfrom jupyter_server.serverapp import main\nmain()"


@contextlib.contextmanager
def running(command, folder, ready):
    """A server's process, once `ready(log)` has returned its address."""
    log = pathlib.Path(folder, "server.log")
    home = pathlib.Path(folder, "home")
    home.mkdir(exist_ok=True)
    env = dict(os.environ, HOME=str(home), IPYTHONDIR=str(home / "ipython"), JUPYTER_RUNTIME_DIR=str(home / "runtime"))
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        for _ in range(600):
            address = ready(log.read_text())
            if address is not None:
                break
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended:\n{log.read_text()}")
            time.sleep(0.1)
        else:
            raise SystemExit(f"{command[0]} does not start:\n{log.read_text()}")
        yield address, process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def paster(program, python):
    """paster with the notebook plugin: gives `(url, token, pid, folder of the notebooks)`."""
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "data")
        data.mkdir()
        text = f"""[server.main]
use = "http"
listen = ["127.0.0.1:0"]
app = "main"

[app.main]
use = "plugin"
library = {json.dumps(str(pathlib.Path(program).resolve().parent / "libnotebook.so"))}

[app.main.settings]
data_dir = {json.dumps(str(data))}
state_dir = {json.dumps(str(pathlib.Path(folder, "state")))}
token = "{TOKEN}"
python = {json.dumps(python)}
"""
        config = pathlib.Path(folder, "server.toml")
        config.write_text(text)

        def ready(log):
            events = [json.loads(line) for line in log.splitlines() if line.startswith("{") and line.endswith("}")]
            address = [event["url"] for event in events if event.get("event") == "listening" and "url" in event]
            return address[0].rstrip("/") if address and any(event.get("event") == "ready" for event in events) else None

        with running([str(pathlib.Path(program).resolve()), "serve", str(config), "--json"], folder, ready) as (url, pid):
            yield url, TOKEN, pid, data


@contextlib.contextmanager
def jupyter(python, nodelay):
    """Jupyter Server with JupyterLab's pages: the same."""
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "data")
        data.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        arguments = [
            "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.open_browser=False", f"--IdentityProvider.token={TOKEN}",
            f"--ServerApp.root_dir={data}", "--allow-root", "--ServerApp.jpserver_extensions={'jupyterlab': True}",
        ]

        def ready(log):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"token {TOKEN}"})
            try:
                urllib.request.urlopen(request, timeout=5).close()
            except OSError:
                return None
            return f"http://127.0.0.1:{port}"

        command = [python, "-c", JUPYTER % (NODELAY if nodelay else ""), *arguments]
        with running(command, folder, ready) as (url, pid):
            yield url, TOKEN, pid, data


def write_notebooks(data):
    """Notebooks of 500 and of 2,000 cells, code with outputs and text, to open in a browser."""
    for count in (500, 2000):
        cells = []
        for number in range(count):
            common = {"id": f"cell{number}", "metadata": {}}
            if number % 4 == 3:
                cells.append({**common, "cell_type": "markdown", "source": f"## Part {number}\n\nSome *text* with $x_{{{number}}}$."})
                continue
            source = f"def f{number}(x):\n    return x * {number}\n\nprint(f{number}(2))"
            output = {"output_type": "stream", "name": "stdout", "text": f"{number * 2}\n"}
            cells.append({**common, "cell_type": "code", "execution_count": number + 1, "source": source, "outputs": [output]})
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        pathlib.Path(data, f"cells{count}.ipynb").write_text(json.dumps(notebook))


def first_cells(node, script, url, page):
    """Seconds until the first cell of each notebook is visible in Chromium; nothing without Chromium."""
    done = subprocess.run([node, script, url, TOKEN, page], capture_output=True, text=True, timeout=300)
    if done.returncode:
        print(re.sub(r"\s+", " ", done.stderr)[:500])
        return {}
    return json.loads(done.stdout)
