"""Measures servers of notebooks with the same kernel, in turn, over their common interface.

    python benches/notebook.py NAME=URL,TOKEN,PID ...

For each server: the round trip of `1+1` on the kernel's WebSocket, the time from the start of a kernel to its first result, a
restart of an idle and of a busy kernel, 50,000 printed lines, 100 MB of output, and the memory of the server's processes (PID and
its children, without kernels, before and after the output). Needs `websockets`. Each figure is the median of the rounds.
"""

import asyncio
import json
import pathlib
import statistics
import sys
import time
import urllib.request
import uuid

import websockets

ROUNDS = 5
ROUND_TRIPS = 200
LINES = "for n in range(50_000): print(n)"
OUTPUT = "block = 'x' * 99 + '\\n'\nfor _ in range(1000): print(block * 1000, end='')"


class Server:
    def __init__(self, argument):
        self.name, rest = argument.split("=", 1)
        self.url, self.token, self.pid = rest.rsplit(",", 2)

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            text = response.read()
            return json.loads(text) if text else None

    def connect(self, kernel):
        address = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        return websockets.connect(
            address, additional_headers={"Authorization": f"token {self.token}"}, max_size=None
        )

    def memory(self):
        """Proportional memory of the server's processes in MB; kernels are left out."""
        total, todo = 0, [self.pid]
        while todo:
            folder = pathlib.Path("/proc", todo.pop())
            try:
                words = folder.joinpath("cmdline").read_bytes()
                if b"ipykernel" in words:
                    continue
                for line in folder.joinpath("smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
                for task in folder.joinpath("task").iterdir():
                    todo += task.joinpath("children").read_text().split()
            except FileNotFoundError:
                pass
        return total / 1024


async def run(socket, code):
    """Runs code. Returns the bytes of its printed text."""
    message = uuid.uuid4().hex
    header = {"msg_id": message, "msg_type": "execute_request", "session": "bench", "username": "", "date": "", "version": "5.4"}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": []}
    await socket.send(json.dumps(request))
    printed, idle, replied = 0, False, False
    while not (idle and replied):
        answer = json.loads(await socket.recv())
        if answer.get("parent_header", {}).get("msg_id") != message:
            continue
        kind = answer["header"]["msg_type"]
        if kind == "stream":
            printed += len(answer["content"]["text"])
        idle |= kind == "status" and answer["content"]["execution_state"] == "idle"
        replied |= kind == "execute_reply"
    return printed


async def measure(server):
    figures = {}

    async def timed(name, work):
        begin = time.perf_counter()
        result = await work
        figures.setdefault(name, []).append(time.perf_counter() - begin)
        return result

    async def first():
        kernel = server.call("POST", "api/kernels", {"name": "python3"})["id"]
        socket = await server.connect(kernel)
        await run(socket, "1+1")
        return kernel, socket

    for _ in range(ROUNDS):
        kernel, socket = await timed("start to first result, s", first())
        begin = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            await run(socket, "1+1")
        figures.setdefault("round trip of 1+1, ms", []).append((time.perf_counter() - begin) / ROUND_TRIPS * 1000)
        await timed("50,000 lines, s", run(socket, LINES))
        before = server.memory()
        printed = await timed("100 MB of output, s", run(socket, OUTPUT))
        figures.setdefault("of which arrived, MB", []).append(printed / 1e6)
        figures.setdefault("memory before, MB", []).append(before)
        figures.setdefault("memory after, MB", []).append(server.memory())
        restart = lambda: asyncio.to_thread(server.call, "POST", f"api/kernels/{kernel}/restart")
        await timed("restart, idle, s", restart())
        await socket.close()
        socket = await server.connect(kernel)
        await run(socket, "1")
        sleeping = asyncio.create_task(run(socket, "import time; time.sleep(600)"))
        while server.call("GET", f"api/kernels/{kernel}")["execution_state"] != "busy":
            await asyncio.sleep(0.01)
        await timed("restart, busy, s", restart())
        sleeping.cancel()
        await socket.close()
        server.call("DELETE", f"api/kernels/{kernel}")
    return {name: statistics.median(values) for name, values in figures.items()}


def main():
    servers = [Server(argument) for argument in sys.argv[1:]]
    if not servers:
        sys.exit(__doc__)
    results = [asyncio.run(measure(server)) for server in servers]
    print("| |", " | ".join(server.name for server in servers), "|")
    print("|---" * (len(servers) + 1) + "|")
    for name in results[0]:
        print(f"| {name} |", " | ".join(f"{result[name]:.3g}" for result in results), "|")


main()
