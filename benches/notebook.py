"""Measures servers of notebooks with the same kernel, in turn, over their common interface.

    python benches/notebook.py --paster target/release/paster --jupyter VENV/bin/python [--rounds 5]
    python benches/notebook.py [--starts 10] NAME=URL,TOKEN,PID ...

The first form starts paster, Jupyter Server, and Jupyter Server with TCP_NODELAY set, each with the ipykernel of that Python. First
it runs round trips on paster and on the last one in alternating blocks, so that other load on the machine affects both. For each
server: the round trip of `1+1` on the kernel's WebSocket, the time from the start of a kernel to its first result, a restart of
an idle and of a busy kernel, 50,000 printed lines, 100 MB of output, the memory of the server's processes (PID and its children,
without kernels, before and after the output), and, with Chromium and Node.js, the time until the first cell of a notebook of 500 and
of 2,000 cells is visible. Needs `websockets`. Each figure is the median of the rounds; those of the browser are of one round.
With `--starts`, only that many starts of a kernel are measured, 5 seconds apart, so that a server can start one in advance.
"""

import argparse
import asyncio
import contextlib
import json
import pathlib
import shutil
import statistics
import sys
import time
import urllib.request
import uuid

import notebook_servers
import websockets

PAGES = pathlib.Path(__file__).parent.parent / "plugins/notebook/web/tests/bench-pages.mjs"
ROUND_TRIPS = 200
BLOCKS = 12
LINES = "for n in range(50_000): print(n)"
OUTPUT = "block = 'x' * 99 + '\\n'\nfor _ in range(1000): print(block * 1000, end='')"


class Server:
    def __init__(self, name, url, token, pid):
        self.name, self.url, self.token, self.pid = name, url, token, str(pid)

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
                if b"ipykernel" in words or b"ipykernel_launcher" in words:
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


async def first_result(server):
    kernel = server.call("POST", "api/kernels", {"name": "python3"})["id"]
    socket = await server.connect(kernel)
    await run(socket, "1+1")
    return kernel, socket


async def measure_starts(server, count):
    times = []
    for _ in range(count):
        await asyncio.sleep(5)
        begin = time.perf_counter()
        kernel, socket = await first_result(server)
        times.append(time.perf_counter() - begin)
        await socket.close()
        server.call("DELETE", f"api/kernels/{kernel}")
    return {"start to first result, s": statistics.median(times), "longest, s": max(times)}


async def measure(server, rounds):
    figures = {}

    async def timed(name, work):
        begin = time.perf_counter()
        result = await work
        figures.setdefault(name, []).append(time.perf_counter() - begin)
        return result

    for _ in range(rounds):
        kernel, socket = await timed("start to first result, s", first_result(server))
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
        # After a restart, Jupyter Server sometimes does not notice that the kernel is busy.
        for _ in range(300):
            if server.call("GET", f"api/kernels/{kernel}")["execution_state"] == "busy":
                break
            await asyncio.sleep(0.01)
        await timed("restart, busy, s", restart())
        sleeping.cancel()
        await socket.close()
        server.call("DELETE", f"api/kernels/{kernel}")
    return {name: statistics.median(values) for name, values in figures.items()}


async def alternate(servers):
    """The median round trip of each server in ms, in alternating blocks."""
    sockets, kernels, times = {}, {}, {server.name: [] for server in servers}
    for server in servers:
        kernels[server.name] = server.call("POST", "api/kernels", {"name": "python3"})["id"]
        sockets[server.name] = await server.connect(kernels[server.name])
        for _ in range(ROUND_TRIPS):
            await run(sockets[server.name], "1+1")
    for block in range(BLOCKS):
        for server in servers if block % 2 else reversed(servers):
            for _ in range(ROUND_TRIPS):
                begin = time.perf_counter()
                await run(sockets[server.name], "1+1")
                times[server.name].append((time.perf_counter() - begin) * 1000)
    for server in servers:
        await sockets[server.name].close()
        await asyncio.to_thread(server.call, "DELETE", f"api/kernels/{kernels[server.name]}")
    return {name: statistics.median(all_times) for name, all_times in times.items()}


def paired_round_trips(kinds):
    """The round trips of servers that run at the same time."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name, _, start in kinds:
            url, token, pid, _ = stack.enter_context(start())
            servers.append(Server(name, url, token, pid))
        return asyncio.run(alternate(servers))


def measure_all(options):
    """Starts each server in turn and measures it."""
    node, chromium = shutil.which("node"), shutil.which("chromium")
    kinds = [
        ("paster", "notebook", lambda: notebook_servers.paster(options.paster, options.jupyter)),
        ("Jupyter Server", "lab", lambda: notebook_servers.jupyter(options.jupyter, False)),
        ("Jupyter Server with TCP_NODELAY", "", lambda: notebook_servers.jupyter(options.jupyter, True)),
    ]
    paired = paired_round_trips([kinds[0], kinds[-1]])
    for name, page, start in kinds:
        with start() as (url, token, pid, data):
            figures = {"round trip of 1+1, paired, ms": paired[name]} if name in paired else {}
            figures.update(asyncio.run(measure(Server(name, url, token, pid), options.rounds)))
            if node and chromium and page:
                notebook_servers.write_notebooks(data)
                figures.update(notebook_servers.first_cells(node, PAGES, url, page))
        yield name, figures


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--paster")
    parser.add_argument("--jupyter")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int)
    parser.add_argument("servers", nargs="*")
    options = parser.parse_args()
    if options.paster and options.jupyter:
        results = list(measure_all(options))
    elif options.servers:
        results = []
        for argument in options.servers:
            name, rest = argument.split("=", 1)
            server = Server(name, *rest.rsplit(",", 2))
            work = measure_starts(server, options.starts) if options.starts else measure(server, options.rounds)
            results.append((name, asyncio.run(work)))
    else:
        sys.exit(__doc__)
    print("| |", " | ".join(name for name, _ in results), "|")
    print("|---" * (len(results) + 1) + "|")
    for name in results[0][1]:
        print(f"| {name} |", " | ".join(f"{figures[name]:.3g}" if name in figures else "" for _, figures in results), "|")


if __name__ == "__main__":
    main()
