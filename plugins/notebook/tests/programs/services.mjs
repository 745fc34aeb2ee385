// `@jupyterlab/services`, the client of JupyterLab and of VS Code, against the notebook at PASTER_URL with PASTER_TOKEN.
// Each check prints `ok NAME`. The first failure ends the program.

import assert from "node:assert/strict";
import { WebSocket } from "ws";
import { PageConfig } from "@jupyterlab/coreutils";
import {
  ConfigSectionManager,
  ContentsManager,
  EventManager,
  KernelManager,
  KernelSpecManager,
  NbConvertManager,
  ServerConnection,
  ServiceManager,
  SessionManager,
  TerminalManager,
} from "@jupyterlab/services";

const baseUrl = `${process.env.PASTER_URL.replace(/\/$/, "")}/`;
// What JupyterLab's page says.
PageConfig.setOption("terminalsAvailable", "true");
const serverSettings = ServerConnection.makeSettings({
  baseUrl,
  wsUrl: baseUrl.replace(/^http/, "ws"),
  token: process.env.PASTER_TOKEN,
  appendToken: true,
  WebSocket,
  fetch,
  Request,
  Headers,
});

/** Waits until a signal has a value that is wanted. */
function until(signal, wanted) {
  return new Promise(resolve => {
    const slot = (_sender, value) => {
      if (wanted(value)) {
        signal.disconnect(slot);
        resolve(value);
      }
    };
    signal.connect(slot);
  });
}

const checks = {
  async kernelspecs() {
    const specs = new KernelSpecManager({ serverSettings });
    await specs.ready;
    assert.ok(specs.specs.kernelspecs[specs.specs.default]);
  },

  async user() {
    // `UserManager` needs a page.
    const permissions = encodeURIComponent(JSON.stringify({ contents: ["read"] }));
    const response = await ServerConnection.makeRequest(`${baseUrl}api/me?permissions=${permissions}`, {}, serverSettings);
    const user = await response.json();
    assert.ok(user.identity.username);
    assert.deepEqual(user.permissions.contents, ["read"]);
  },

  async contents() {
    const contents = new ContentsManager({ serverSettings });
    const folder = await contents.newUntitled({ type: "directory" });
    const book = await contents.newUntitled({ type: "notebook", path: folder.path });
    const text = await contents.save(`${folder.path}/a b.txt`, { type: "file", format: "text", content: "é" });
    assert.equal((await contents.get(text.path)).content, "é");
    const copy = await contents.copy(book.path, folder.path);
    assert.notEqual(copy.path, book.path);
    const renamed = await contents.rename(copy.path, `${folder.path}/new.ipynb`);
    const checkpoint = await contents.createCheckpoint(renamed.path);
    assert.deepEqual((await contents.listCheckpoints(renamed.path)).map(one => one.id), [checkpoint.id]);
    await contents.restoreCheckpoint(renamed.path, checkpoint.id);
    await contents.deleteCheckpoint(renamed.path, checkpoint.id);
    assert.match(await contents.getDownloadUrl(text.path), /files\/.*a%20b\.txt/);
    const part = { type: "file", format: "base64", chunk: 1, content: btoa("ab") };
    await contents.save(`${folder.path}/big.bin`, part);
    await contents.save(`${folder.path}/big.bin`, { ...part, chunk: -1, content: btoa("cd") });
    const big = await contents.get(`${folder.path}/big.bin`, { type: "file", format: "base64", content: true });
    assert.equal(atob(big.content), "abcd");
    await contents.delete(folder.path);
    await assert.rejects(contents.get(folder.path), error => error.response.status === 404);
  },

  async kernels() {
    const kernels = new KernelManager({ serverSettings });
    const kernel = await kernels.startNew({ name: "python3" });
    await kernel.info;
    const texts = [];
    const run = kernel.requestExecute({ code: "print('hi'); 6 * 7" });
    run.onIOPub = message => {
      if (message.header.msg_type === "stream") texts.push(message.content.text);
      if (message.header.msg_type === "execute_result") texts.push(message.content.data["text/plain"]);
    };
    assert.equal((await run.done).content.status, "ok");
    assert.deepEqual(texts, ["hi\n", "42"]);
    assert.ok((await kernel.requestComplete({ code: "pri", cursor_pos: 3 })).content.matches.includes("print"));
    const inspected = await kernel.requestInspect({ code: "print", cursor_pos: 5, detail_level: 0 });
    assert.ok(inspected.content.found);
    // A question on stdin.
    const asking = kernel.requestExecute({ code: "name = input('who? ')", allow_stdin: true });
    asking.onStdin = message => {
      assert.equal(message.content.prompt, "who? ");
      kernel.sendInputReply({ status: "ok", value: "me" }, message.header);
    };
    await asking.done;
    // Buffers and comms pass both ways.
    const echo = `
from comm import get_comm_manager
def target(comm, _):
    comm.on_msg(lambda m: comm.send({'n': len(m['buffers'])}, buffers=[bytes(m['buffers'][0])[::-1]]))
get_comm_manager().register_target('echo', target)`;
    await kernel.requestExecute({ code: echo }).done;
    const comm = kernel.createComm("echo");
    const answer = new Promise(resolve => (comm.onMsg = resolve));
    await comm.open({}).done;
    await comm.send({}, {}, [new Uint8Array([1, 2, 3]).buffer]).done;
    const { content, buffers } = await answer;
    assert.equal(content.data.n, 1);
    const view = buffers[0];
    const bytes = ArrayBuffer.isView(view) ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(view);
    assert.deepEqual([...bytes], [3, 2, 1]);
    // The debugger.
    const debug = await kernel.requestDebug({ type: "request", command: "debugInfo", seq: 1, arguments: {} }).done;
    assert.equal(debug.content.success, true);
    // An interrupt, and a restart that is announced.
    const sleeping = kernel.requestExecute({ code: "import time; print('go', flush=True); time.sleep(600)" });
    await new Promise(runs => (sleeping.onIOPub = message => message.header.msg_type === "stream" && runs()));
    await kernel.interrupt();
    assert.equal((await sleeping.done).content.status, "error");
    const restarting = until(kernel.statusChanged, status => /restarting/.test(status));
    await kernel.restart();
    await restarting;
    const fresh = await kernel.requestExecute({ code: "name" }).done;
    assert.equal(fresh.content.ename, "NameError");
    await kernel.reconnect();
    await kernel.shutdown();
    kernel.dispose();
  },

  async sessions() {
    const kernelManager = new KernelManager({ serverSettings });
    const sessions = new SessionManager({ serverSettings, kernelManager });
    const session = await sessions.startNew({ path: "x.ipynb", type: "notebook", name: "x", kernel: { name: "python3" } });
    await session.setPath("y.ipynb");
    await session.setName("y");
    await session.setType("console");
    await sessions.refreshRunning();
    const model = await sessions.findById(session.id);
    assert.deepEqual([model.path, model.name, model.type], ["y.ipynb", "y", "console"]);
    const before = session.kernel.id;
    await session.changeKernel({ name: "python3" });
    assert.notEqual(session.kernel.id, before);
    await session.shutdown();
  },

  async terminals() {
    const terminals = new TerminalManager({ serverSettings });
    const terminal = await terminals.startNew();
    let text = "";
    const shown = until(terminal.messageReceived, message => {
      if (message.type === "stdout") text += message.content[0];
      return text.includes("sum 42");
    });
    terminal.send({ type: "set_size", content: [30, 100, 600, 800] });
    terminal.send({ type: "stdin", content: ["echo sum $((40 + 2)); stty size\r"] });
    await shown;
    await terminal.shutdown();
  },

  async config() {
    const sections = new ConfigSectionManager({ serverSettings });
    const section = await sections.create({ name: "of_a_test" });
    await section.update({ a: { b: 1 }, c: 2 });
    await section.update({ c: null });
    const again = await sections.create({ name: "of_a_test" });
    assert.deepEqual(again.data, { a: { b: 1 } });
  },

  async nbconvert() {
    const formats = await new NbConvertManager({ serverSettings }).getExportFormats();
    assert.equal(formats.html.output_mimetype, "text/html");
  },

  async events() {
    const events = new EventManager({ serverSettings });
    const contents = new ContentsManager({ serverSettings });
    // The socket opens in the background: make files until one is reported.
    const seen = until(events.stream, event => event.action === "create" || event.action === "save");
    let done = false;
    seen.then(() => (done = true));
    while (!done) {
      await contents.save("event.txt", { type: "file", format: "text", content: "x" });
    }
    const event = await seen;
    assert.equal(event.path, "event.txt");
    assert.match(event.schema_id ?? event.__schema__, /contents_service/);
    events.dispose();
  },

  async everything() {
    const manager = new ServiceManager({ serverSettings });
    await manager.ready;
    manager.dispose();
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log("ok", name);
}
process.exit(0);
