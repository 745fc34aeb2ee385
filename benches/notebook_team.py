"""Measures the notebook with many accounts: memory for each user, and how long an edit takes until it is acknowledged.

    python benches/notebook_team.py PASTER [--library LIBRARY] [--users 100] [--worksheets 200] [--kernels 10] [--secs 30] [--pause 2]

Starts the program with a new folder and `users = "accounts"`, makes the accounts on the command line, and opens the worksheets of
all users over WebSockets. In each, somebody types a line every PAUSE seconds. Then it starts KERNELS kernels that print a line each
tenth of a second, and measures the edits again. Memory is the proportional memory of the server's processes, kernels left out.
Needs `websockets`.
"""

import argparse
import asyncio
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

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


class Server:
    def __init__(self, options, folder):
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
users = "accounts"
kernel_sandbox = "none"
limits = {{ kernels = {options.kernels + 1} }}
"""
        )
        command = [options.paster, "serve", "server.toml", "--json"]
        log = self.folder.joinpath("log").open("w")
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        self.url = None
        for line in self.process.stdout:
            event = json.loads(line)
            if event.get("event") == "listening":
                self.url = event["url"].rstrip("/")
            if event.get("event") == "ready":
                return
        sys.exit(f"the server did not start: {self.folder.joinpath('log').read_text()}")

    def run(self, *words):
        command = [self.options.paster, "run", "main", "--", *words, "--json"]
        return json.loads(subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout)


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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(options, folder)
        try:
            asyncio.run(measure(server, options))
        finally:
            server.process.terminate()
            server.process.wait(60)


main()
