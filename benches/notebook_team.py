"""Measures the notebook with many accounts: memory for each user, and how long an edit takes until it is acknowledged.

    python benches/notebook_team.py PASTER [--library LIBRARY] [--users 100] [--worksheets 200] [--kernels 10] [--secs 30] [--pause 2]
    python benches/notebook_team.py PASTER --neighbour [--python PYTHON] [--kernel python3] [--as-user nobody] [--secs 10]

Starts the program with a new folder and `users = "accounts"`, makes the accounts on the command line, and opens the worksheets of
all users over WebSockets. In each, somebody types a line every PAUSE seconds. Then it starts KERNELS kernels that print a line each
tenth of a second, and measures the edits again. Memory is the proportional memory of the server's processes, kernels left out.

The second form measures how long the edits of one user and the round trips of `1+1` to their kernel take while a kernel of another
user forks endlessly, allocates 8 GB, prints endlessly, or writes until its disk is full. Kernels run in sandboxes with limits. The
system does not limit the processes of root, so as root, give a user to run the server as; the notebooks are then in a file system
of their own, of 512 MB, which can really be full. Needs `websockets`.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

import websockets

CELL = {"cell_type": "code", "id": "c0", "metadata": {}, "outputs": [], "execution_count": None, "source": ""}
PRINTS = {**CELL, "id": "c1", "source": "import time\nwhile True: print(time.time(), flush=True); time.sleep(.1)"}


def memory(pid):
    """Proportional memory of a process and its children in MB; kernels are left out."""
    total, todo = 0, [str(pid)]
    while todo:
        folder = pathlib.Path("/proc", todo.pop())
        try:
            words = folder.joinpath("cmdline").read_bytes()
            if b"paster_kernel" in words or b"ipykernel" in words or words.startswith(b"bwrap"):
                continue
            for line in folder.joinpath("smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
            for task in folder.joinpath("task").iterdir():
                todo += task.joinpath("children").read_text().split()
        except OSError:
            pass
    return total / 1024


BOMBS = {
    "nothing": "",
    "a fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "8 GB of memory": """
while True:
    blocks = []
    try:
        while len(blocks) < 128: blocks.append(b'x' * (64 << 20))
    except MemoryError: pass
""",
    "endless output": "while True: print('x' * 1000)",
    "a full disk": """
import os
block = os.urandom(1 << 20)
while True:
    number = 0
    try:
        while True:
            number += 1
            with open(f'full{number}', 'wb') as file:
                for _ in range(64): file.write(block)
    except OSError: pass
    for name in os.listdir('.'):
        if name.startswith('full'): os.remove(name)
""",
}
NEIGHBOUR = """users = "accounts"
kernel_sandbox = "bubblewrap"
python = {python}
[app.main.settings.limits]
kernel_memory_bytes = 2_000_000_000
kernel_processes = 64
kernel_file_bytes = 100_000_000
"""


class Server:
    def __init__(self, options, folder, settings):
        self.options, self.folder = options, pathlib.Path(folder)
        library = f"library = {json.dumps(options.library)}" if options.library else ""
        use = 'use = "plugin"' if options.library else 'use = "notebook"'
        self.folder.joinpath("server.toml").write_text(
            f"""[server.main]
use = "http"
listen = ["127.0.0.1:0"]
app = "main"
[app.main]
{use}
{library}
[app.main.settings]
data_dir = "data"
state_dir = "state"
{settings}
"""
        )
        self.user, self.environment = [], dict(os.environ)
        if options.as_user:
            self.user = ["setpriv", f"--reuid={options.as_user}", "--clear-groups"]
            self.environment["HOME"] = self.environment["TMPDIR"] = str(folder)
        command = [*self.user, options.paster, "serve", "server.toml", "--json"]
        log = self.folder.joinpath("log").open("w")
        self.process = subprocess.Popen(
            command, cwd=folder, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        self.url = None
        for line in self.process.stdout:
            event = json.loads(line)
            if event.get("event") == "listening":
                self.url = event["url"].rstrip("/")
            if event.get("event") == "ready":
                return
        sys.exit(f"the server did not start: {self.folder.joinpath('log').read_text()}")

    def run(self, *words):
        command = [*self.user, self.options.paster, "run", "main", "--", *words, "--json"]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout)

    def call(self, token, method, path, body=None):
        request = urllib.request.Request(
            f"{self.url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
            return json.loads(text) if text else None


class Page:
    """One open worksheet."""

    def __init__(self, server, name, token, number):
        path = f"api/documents/{name}/w{number}.ipynb"
        self.address = f"{server.url.replace('http', 'ws', 1)}/{path}"
        self.token, self.times, self.request, self.waiting = token, [], 0, {}

    async def open(self):
        headers = {"Authorization": f"token {self.token}"}
        self.socket = await websockets.connect(self.address, additional_headers=headers, max_size=None)
        frame = json.loads(await self.socket.recv())
        if frame["type"] != "opened":
            sys.exit(f"a worksheet did not open: {frame}")
        self.revision = frame["document"]["cells"][0]["revision"]
        self.reader = asyncio.create_task(self.read())

    async def read(self):
        async for text in self.socket:
            frame = json.loads(text)
            if frame["type"] in ("reply", "failed"):
                self.waiting.pop(frame["id"]).set_result(frame)

    async def ask(self, operation):
        self.request += 1
        answer = self.waiting[self.request] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": self.request, "op": operation}))
        frame = await answer
        if frame["type"] == "failed":
            sys.exit(f"a request failed: {frame}")
        return frame["reply"]

    async def type(self, until, pause):
        await asyncio.sleep(random.random() * pause)
        lines = []
        while time.monotonic() < until:
            lines.append(f"x{len(lines)} = {random.random()}")
            began = time.monotonic()
            edit = {"type": "set_source", "cell_id": "c0", "source": "\n".join(lines), "base_revision": self.revision}
            reply = await self.ask(edit)
            self.times.append(time.monotonic() - began)
            self.revision = reply["revision"]
            await asyncio.sleep(pause * (0.5 + random.random()))


async def round_trips(server, token, kernel, until):
    """Runs `1+1` in a kernel again and again. Returns the times in milliseconds."""
    times = []
    address = f"{server.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
    async with websockets.connect(
        address, additional_headers={"Authorization": f"token {token}"}, max_size=None
    ) as socket:
        while time.monotonic() < until:
            began, message = time.monotonic(), uuid.uuid4().hex
            header = {"msg_id": message, "msg_type": "execute_request", "session": "bench", "username": "", "date": "", "version": "5.4"}
            content = {"code": "1+1", "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
            request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": []}
            await socket.send(json.dumps(request))
            idle = replied = False
            while not (idle and replied):
                answer = json.loads(await socket.recv())
                if answer.get("parent_header", {}).get("msg_id") != message:
                    continue
                replied |= answer["header"]["msg_type"] == "execute_reply"
                idle |= answer["header"]["msg_type"] == "status" and answer["content"]["execution_state"] == "idle"
            times.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(0.02)
    return times


def shown(times):
    times = sorted(times)
    at = lambda part: times[min(len(times) - 1, int(len(times) * part))]
    return f"{len(times)}: {statistics.median(times):.1f}, {at(0.99):.1f}, {times[-1]:.1f}"


async def neighbour(server, options):
    tokens = {}
    for name in ("ann", "bob"):
        server.run("users", "add", name)
        tokens[name] = server.run("tokens", "add", name, "bench", "--level", "manage")["token"]
    spec = {"kernelspec": {"name": options.kernel, "display_name": options.kernel, "language": "python"}}

    async def page(name, source):
        notebook = {"cells": [CELL, {**CELL, "id": "c1", "source": source}], "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
        server.call(tokens[name], "PUT", f"api/contents/{name}/w0.ipynb", {"type": "notebook", "content": notebook})
        opened = Page(server, name, tokens[name], 0)
        await opened.open()
        return opened

    bob = await page("bob", "1+1")
    await bob.ask({"type": "run", "cell_ids": ["c1"]})
    kernel = server.call(tokens["bob"], "GET", "api/sessions")[0]["kernel"]["id"]
    print("while ann's kernel has | bob's edits, and round trips, of 1+1: number: median, p99, longest in ms")
    for name, source in BOMBS.items():
        ann = await page("ann", source)
        if source:
            await ann.ask({"type": "run", "cell_ids": ["c1"]})
        await asyncio.sleep(3)
        bob.times, until = [], time.monotonic() + options.secs
        typing = bob.type(until, 0.03)
        _, times = await asyncio.gather(typing, round_trips(server, tokens["bob"], kernel, until))
        alive = [one["kernel"]["execution_state"] for one in server.call(tokens["ann"], "GET", "api/sessions")]
        print(f"{name} | {shown([took * 1000 for took in bob.times])} | {shown(times)} | ann's kernel: {alive}", flush=True)
        ann.reader.cancel()
        await ann.socket.close()
        for session in server.call(tokens["ann"], "GET", "api/sessions"):
            server.call(tokens["ann"], "DELETE", f"api/sessions/{session['id']}")
        server.call(tokens["ann"], "DELETE", "api/contents/ann/w0.ipynb")
    bob.reader.cancel()
    await bob.socket.close()


async def edits(pages, options):
    for page in pages:
        page.times = []
    until = time.monotonic() + options.secs
    await asyncio.gather(*(page.type(until, options.pause) for page in pages))
    times = sorted(took * 1000 for page in pages for took in page.times)
    at = lambda part: times[min(len(times) - 1, int(len(times) * part))]
    print(f"  {len(times)} edits: median {statistics.median(times):.1f} ms, p99 {at(0.99):.1f} ms, longest {times[-1]:.1f} ms")


async def measure(server, options):
    pid = server.process.pid
    empty = memory(pid)
    print(f"no accounts: {empty:.1f} MB")
    tokens = {}
    for number in range(options.users):
        name = f"u{number}"
        server.run("users", "add", name)
        tokens[name] = server.run("tokens", "add", name, "bench")["token"]
    pages = []
    for number in range(options.worksheets):
        name = f"u{number % options.users}"
        notebook = {"cells": [CELL, PRINTS], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        server.folder.joinpath("data", name, f"w{number}.ipynb").write_text(json.dumps(notebook))
        pages.append(Page(server, name, tokens[name], number))
    for page in pages:
        await page.open()
    opened = memory(pid)
    each = (opened - empty) / options.users
    print(f"{options.users} users, {len(pages)} worksheets open: {opened:.1f} MB, {each:.2f} MB for each user")
    await edits(pages, options)
    after = memory(pid)
    print(f"after the edits: {after:.1f} MB, {(after - empty) / options.users:.2f} MB for each user")
    if options.kernels:
        for page in pages[: options.kernels]:
            await page.ask({"type": "run", "cell_ids": ["c1"]})
        print(f"{options.kernels} kernels print ten lines a second each:")
        await edits(pages, options)
        after = memory(pid)
        print(f"then: {after:.1f} MB, {(after - empty) / options.users:.2f} MB for each user")
    for page in pages:
        page.reader.cancel()
        await page.socket.close()


def main():
    parser = argparse.ArgumentParser(description=re.split(r"\n\n", __doc__)[0])
    parser.add_argument("paster")
    parser.add_argument("--library")
    for name, default in [("users", 100), ("worksheets", 200), ("kernels", 10), ("secs", 30)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--pause", type=float, default=2)
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--python", default="python3")
    parser.add_argument("--kernel", default="paster-python")
    parser.add_argument("--as-user")
    options = parser.parse_args()
    settings, work = f'users = "accounts"\nkernel_sandbox = "none"\nlimits = {{ kernels = {options.kernels + 1} }}', measure
    if options.neighbour:
        settings, work = NEIGHBOUR.format(python=json.dumps(options.python)), neighbour
    with tempfile.TemporaryDirectory() as folder:
        mounted = options.neighbour and options.as_user
        if mounted:
            data = pathlib.Path(folder, "data")
            data.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "none", data], check=True)
            for path in (folder, data):
                shutil.chown(path, options.as_user)
        try:
            server = Server(options, folder, settings)
            try:
                asyncio.run(work(server, options))
            finally:
                server.process.terminate()
                server.process.wait(60)
        finally:
            if mounted:
                subprocess.run(["umount", data], check=True)


main()
