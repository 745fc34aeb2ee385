"""Programs in Python that speak to a Jupyter Server, against the notebook at PASTER_URL with PASTER_TOKEN.

Each check prints `ok NAME`. The first failure ends the program.
"""

import asyncio
import os
import pathlib
import tempfile
import urllib.parse

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

URL = os.environ["PASTER_URL"].rstrip("/")
TOKEN = os.environ["PASTER_TOKEN"]
ROOT = pathlib.Path(os.environ["PASTER_ROOT"])
KERNEL = "python3"


def notebook(*sources):
    book = new_notebook(cells=[new_code_cell(source) for source in sources])
    book.metadata["kernelspec"] = {"name": KERNEL, "display_name": KERNEL, "language": "python"}
    return book


def gateway():
    """jupyter_server's client of another Jupyter Server, as `jupyter server --gateway-url` uses it."""
    import functools

    import websocket
    from jupyter_server.gateway import managers
    from jupyter_server.gateway.gateway_client import GatewayClient
    from jupyter_server.gateway.managers import GatewayKernelManager

    # It does not send its token when it opens the WebSocket.
    managers.websocket.create_connection = functools.partial(
        websocket.create_connection, header=[f"Authorization: token {TOKEN}"]
    )
    GatewayClient.clear_instance()
    client = GatewayClient.instance()
    client.url = URL
    client.auth_token = TOKEN
    client.ws_url = "ws" + URL.removeprefix("http")
    client.init_connection_args()
    return GatewayKernelManager


def check_gateway_and_nbclient():
    from nbclient import NotebookClient

    book = notebook("x = 20\nprint('hi')", "x + 1", "raise ValueError('no')")
    client = NotebookClient(
        book, kernel_manager_class=gateway(), kernel_name=KERNEL, allow_errors=True, timeout=120
    )
    asyncio.run(client.async_execute())
    outputs = [cell.outputs for cell in book.cells]
    assert outputs[0][0].text == "hi\n", outputs
    assert outputs[1][0].data["text/plain"] == "21", outputs
    assert outputs[2][0].ename == "ValueError", outputs


def check_papermill():
    import papermill
    from papermill.clientwrap import PapermillNotebookClient

    manager = gateway()
    inner = PapermillNotebookClient.__init__

    def with_gateway(self, *arguments, **named):
        inner(self, *arguments, **{**named, "kernel_manager_class": manager})

    PapermillNotebookClient.__init__ = with_gateway
    book = notebook("n = 1", "print(n * 2)")
    book.cells[0].metadata["tags"] = ["parameters"]
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/in.ipynb", f"{folder}/out.ipynb"
        nbformat.write(book, source)
        done = papermill.execute_notebook(
            source, target, parameters={"n": 21}, kernel_name=KERNEL, progress_bar=False
        )
    assert done.cells[-1].outputs[0].text == "42\n", done.cells[-1]
    PapermillNotebookClient.__init__ = inner


def check_jupyter_kernel_client():
    from jupyter_kernel_client import JupyterKernelClient

    with JupyterKernelClient(server_url=URL, token=TOKEN) as kernel:
        reply = kernel.execute("import sys; print('from a kernel'); 6 * 7")
        assert reply["status"] == "ok", reply
        assert any("from a kernel" in output.get("text", "") for output in reply["outputs"]), reply
        kernel.execute("a = 5")
        assert kernel.execute("a + 1")["outputs"][0]["data"]["text/plain"] == "6"
        assert kernel.id in [model["id"] for model in kernel.list_kernels()]


def check_nbformat():
    """Everything that was saved is valid."""
    import json
    import urllib.request

    book = notebook("1")
    book.cells.append(new_markdown_cell("# text"))
    request = urllib.request.Request(
        f"{URL}/api/contents/{urllib.parse.quote('from python.ipynb')}",
        method="PUT",
        data=json.dumps({"type": "notebook", "content": book}).encode(),
        headers={"Authorization": f"token {TOKEN}"},
    )
    urllib.request.urlopen(request).close()
    paths = [path for path in ROOT.rglob("*.ipynb") if not path.relative_to(ROOT).parts[0].startswith(".")]
    assert paths
    for path in paths:
        nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))


for name, check in list(globals().items()):
    if name.startswith("check_"):
        check()
        print("ok", name.removeprefix("check_"), flush=True)
