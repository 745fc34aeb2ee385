import assert from "node:assert/strict";
import { mock, test } from "node:test";
import type { Change, Operation, Request, ServerFrame } from "../src/protocol";
import { Notebook } from "../src/state/notebook";
import { merged, shownIn } from "../src/state/merge";
import { Session } from "../src/state/session";
import type { Kept } from "../src/state/edits";
import { Connection } from "../src/transport/connection";
import type { Socket } from "../src/transport/early";
import { encodePath, place } from "../src/transport/base";
import { combination, Keys } from "../src/ui/shortcuts";
import { cell, notebook } from "./fake";

/** An operation without what it says about the change of a text. */
function withoutChanges(op: Operation): Operation {
  if (op.type !== "set_source") return op;
  const { type, cell_id, source, base_revision } = op;
  return { type, cell_id, source, base_revision };
}

/** A session over a socket whose other end the test holds. */
function world(kept: Kept[] = []) {
  const sockets: (Socket & { sent: Request[]; resume: unknown; closed: boolean })[] = [];
  const reports: string[] = [];
  let stored: Kept[] = kept;
  let next = 0;
  const session = new Session("a.ipynb", {
    connection: (listener) =>
      new Connection(
        (resume) => {
          const sent: Request[] = [];
          const socket = { onmessage: null, onclose: null, sent, resume, closed: false, send: (text: string) => void sent.push(JSON.parse(text) as Request), close() { this.closed = true; } };
          sockets.push(socket);
          return socket;
        },
        listener,
        async () => "",
        { first: 10, longest: 10 },
      ),
    take: () => stored,
    store: (drafts) => void (stored = drafts),
    report: (message) => void reports.push(message),
    newId: () => `new${next++}`,
  });
  const last = () => {
    const socket = sockets.at(-1);
    assert.ok(socket);
    return socket;
  };
  return {
    session,
    sockets,
    reports,
    stored: () => stored,
    last,
    say: (frame: ServerFrame) => last().onmessage?.(JSON.stringify(frame)),
    change: (event: number, change: Change, request: number | null = null) => last().onmessage?.(JSON.stringify({ type: "changed", event, request, change })),
    ops: () => last().sent.map(({ op }) => withoutChanges(op)),
    find: <T extends Operation["type"]>(type: T) => last().sent.find(({ op }) => op.type === type),
    cut: () => last().onclose?.(),
  };
}

/** Lets promises and due timers run. */
async function turn(ms = 0): Promise<void> {
  for (let i = 0; i < 5; i++) await Promise.resolve();
  mock.timers.tick(ms);
  for (let i = 0; i < 5; i++) await Promise.resolve();
}

/** Lets promises run. */
async function turnless(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

function opened(w: ReturnType<typeof world>, source = "one"): void {
  w.session.start();
  w.say({ type: "opened", level: "manage", instance: "i", event: 5, document: notebook([cell("c", { source, revision: 3 })]) });
}

async function timed(run: () => Promise<void>): Promise<void> {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    await run();
  } finally {
    mock.timers.reset();
  }
}

test("typing is sent once, after a pause, with the revision it is based on", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.edit("c", "one t");
    w.session.edit("c", "one two");
    await turn(100);
    assert.equal(w.ops().length, 0);
    await turn(300);
    assert.deepEqual(w.ops(), [{ type: "set_source", cell_id: "c", source: "one two", base_revision: 3 }]);
    assert.equal(w.session.unsent, true);
    w.change(6, { type: "source_changed", cell_id: "c", source: "one two", revision: 4, changes: null }, 1);
    w.say({ type: "reply", id: 1, reply: { type: "edited", revision: 4 } });
    await turn();
    assert.equal(w.session.unsent, false);
    w.session.edit("c", "one two three");
    await turn(300);
    assert.deepEqual(w.ops()[1], { type: "set_source", cell_id: "c", source: "one two three", base_revision: 4 });
  }));

test("what a user may not do is not tried, and they are told why", async () => {
  const w = world();
  const open = (level: "view" | "run"): void => w.say({ type: "opened", level, instance: "i", event: 5, document: notebook([cell("c", {})]) });
  w.session.start();
  open("view");
  assert.equal(w.session.insert(0, "code", "x"), "");
  w.session.remove(["c"]);
  w.session.move("c", 0);
  await w.session.kernel.run(["c"]);
  await w.session.setType("c", "markdown");
  assert.deepEqual(w.ops(), []);
  assert.equal(w.session.notebook.cells.length, 1);
  assert.ok(w.reports.every((text) => text === "You may only view this notebook.") && w.reports.length === 4, w.reports.join());
  open("run");
  void w.session.kernel.run(["c"]);
  await turnless();
  assert.deepEqual(w.ops(), [{ type: "run", cell_ids: ["c"] }]);
  w.session.remove(["c"]);
  assert.equal(w.reports.at(-1), "You may run this notebook, but not change it.");
});

test("what is typed while an edit is under way follows when that one is confirmed", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.edit("c", "a");
    await turn(300);
    w.session.edit("c", "ab");
    await turn(300);
    assert.equal(w.ops().length, 1);
    w.say({ type: "reply", id: 1, reply: { type: "edited", revision: 4 } });
    await turn();
    assert.deepEqual(w.ops()[1], { type: "set_source", cell_id: "c", source: "ab", base_revision: 4 });
  }));

test("an edit whose answer was lost with the connection is sent again and counted once", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.edit("c", "typed");
    await turn(300);
    w.cut();
    assert.equal(w.session.connectionState.state, "offline");
    w.session.edit("c", "typed more");
    await turn(20);
    assert.deepEqual(w.last().resume, { instance: "i", after: 5 });
    w.say({ type: "resumed", instance: "i", event: 5, last: 6 });
    // The server had applied the first one: the missed change shows it, and belongs to no request of this connection.
    w.change(6, { type: "source_changed", cell_id: "c", source: "typed", revision: 4, changes: null }, null);
    await turn(300);
    const edits = w.ops().filter((op) => op.type === "set_source");
    assert.deepEqual(edits.at(-1), { type: "set_source", cell_id: "c", source: "typed more", base_revision: 4 });
    assert.equal(w.session.edits.drafts.get("c")?.theirs, null);
    assert.equal(w.session.notebook.cell("c")?.source, "typed more");
  }));

test("somebody else's text is shown, or put to the user where he typed too", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.change(6, { type: "source_changed", cell_id: "c", source: "theirs", revision: 4, changes: null });
    assert.equal(w.session.notebook.cell("c")?.source, "theirs");
    w.session.edit("c", "mine");
    w.change(7, { type: "source_changed", cell_id: "c", source: "another", revision: 5, changes: null });
    assert.equal(w.session.notebook.cell("c")?.source, "mine");
    assert.equal(w.session.edits.drafts.get("c")?.theirs, "another");
    await turn(300);
    assert.equal(w.ops().length, 0, "nothing is sent before the decision");
    w.session.edits.decide("c", "mine");
    await turn();
    assert.deepEqual(w.ops(), [{ type: "set_source", cell_id: "c", source: "mine", base_revision: 5 }]);
  }));

test("texts typed in different places of a cell are merged, and what was typed is sent again", () =>
  timed(async () => {
    const w = world();
    opened(w, "a = 1\nb = 2\n");
    w.session.edit("c", "a = 1\nb = 2\nc = 3\n");
    await turn(300);
    w.change(6, { type: "source_changed", cell_id: "c", source: "a = 100\nb = 2\n", revision: 4, changes: null });
    assert.equal(w.session.notebook.cell("c")?.source, "a = 100\nb = 2\nc = 3\n");
    w.say({ type: "reply", id: 1, reply: { type: "stale", source: "a = 100\nb = 2\n", revision: 4 } });
    await turn();
    assert.deepEqual(w.ops()[1], { type: "set_source", cell_id: "c", source: "a = 100\nb = 2\nc = 3\n", base_revision: 4 });
    w.say({ type: "reply", id: 2, reply: { type: "edited", revision: 5 } });
    await turn();
    assert.equal(w.session.unsent, false);
  }));

test("a stale answer asks the user; taking the other text ends the draft", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.edit("c", "mine");
    await turn(300);
    w.say({ type: "reply", id: 1, reply: { type: "stale", source: "theirs", revision: 9 } });
    await turn();
    assert.equal(w.session.edits.drafts.get("c")?.theirs, "theirs");
    w.session.edits.decide("c", "theirs");
    assert.equal(w.session.notebook.cell("c")?.source, "theirs");
    assert.equal(w.session.unsent, false);
  }));

test("a stale answer for the same text (counts began anew) is only a new count", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.edit("c", "mine");
    await turn(300);
    w.say({ type: "reply", id: 1, reply: { type: "stale", source: "one", revision: 1 } });
    await turn();
    assert.deepEqual(w.ops()[1], { type: "set_source", cell_id: "c", source: "mine", base_revision: 1 });
  }));

test("drafts outlive the page: kept while unsent, taken up, sent, forgotten", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.edit("c", "unsent");
    w.session.leave();
    const kept = w.stored();
    assert.deepEqual(kept, [{ id: "c", base: "one", text: "unsent" }]);
    const again = world(kept);
    opened(again);
    assert.equal(again.session.notebook.cell("c")?.source, "unsent");
    await turn(300);
    assert.deepEqual(again.ops(), [{ type: "set_source", cell_id: "c", source: "unsent", base_revision: 3 }]);
    again.say({ type: "reply", id: 1, reply: { type: "edited", revision: 4 } });
    await turn(300);
    assert.deepEqual(again.stored(), []);
  }));

test("a draft meets a file that changed meanwhile: the user decides; of a cell that is gone: a new cell", () =>
  timed(async () => {
    const w = world([{ id: "c", base: "old", text: "mine" }, { id: "gone", base: "", text: "kept text" }]);
    opened(w, "changed on disk");
    assert.equal(w.session.edits.drafts.get("c")?.theirs, "changed on disk");
    assert.deepEqual(w.session.notebook.cells.map((c) => c.source), ["mine", "kept text"]);
    assert.equal(w.reports.length, 1);
    assert.ok(w.find("insert_cell"));
  }));

test("cells made offline are there at once and sent when the server is back", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.cut();
    const id = w.session.insert(1, "code", "x");
    w.session.edit(id, "xy");
    assert.equal(w.session.notebook.cells.length, 2);
    await turn(400);
    w.say({ type: "opened", level: "manage", instance: "j", event: 0, document: notebook([cell("c", { source: "one", revision: 1 })]) });
    assert.equal(w.session.notebook.cells.length, 2, "it stays over a snapshot");
    await turn();
    const insert = w.find("insert_cell");
    assert.deepEqual(insert?.op, { type: "insert_cell", index: 1, cell_type: "code", source: "x", cell_id: id });
    w.change(1, { type: "cell_inserted", index: 1, cell: cell(id, { source: "x", revision: 7 }) }, insert?.id ?? 0);
    w.say({ type: "reply", id: insert?.id ?? 0, reply: { type: "inserted", cell_id: id } });
    await turn(400);
    assert.equal(w.session.notebook.cells.length, 2);
    assert.equal(w.session.notebook.cell(id)?.source, "xy");
    assert.deepEqual(w.ops().at(-1), { type: "set_source", cell_id: id, source: "xy", base_revision: 7 });
  }));

test("a run whose answer was lost is not run twice, however late the missed changes come", () =>
  timed(async () => {
    const running: Change = { type: "cell_state_changed", cell_id: "c", state: "running", execution_count: 1 };
    const other: Change = { type: "metadata_changed", metadata: {} };
    for (const [missed, expected] of [[[], 1], [[running], 0], [[other, other], 1], [[other, running], 0]] as const) {
      const w = world();
      opened(w);
      void w.session.kernel.run(["c"]);
      await turn();
      assert.ok(w.find("run"));
      w.cut();
      await turn(20);
      w.say({ type: "resumed", instance: "i", event: 5, last: 5 + missed.length });
      for (const [at, change] of missed.entries()) {
        await turn(60_000);
        assert.equal(w.find("run"), undefined, "nothing is sent before all that was missed is here");
        w.change(6 + at, change);
      }
      await turn();
      assert.equal(w.ops().filter((op) => op.type === "run").length, expected, JSON.stringify(missed));
    }
  }));

test("a run waits for what was missed over a second cut", () =>
  timed(async () => {
    const w = world();
    opened(w);
    void w.session.kernel.run(["c"]);
    await turn();
    w.cut();
    await turn(20);
    w.say({ type: "resumed", instance: "i", event: 5, last: 7 });
    w.change(6, { type: "metadata_changed", metadata: {} });
    w.cut();
    await turn(20);
    assert.deepEqual(w.last().resume, { instance: "i", after: 6 });
    w.say({ type: "resumed", instance: "i", event: 6, last: 7 });
    await turn(60_000);
    assert.equal(w.find("run"), undefined);
    w.change(7, { type: "cell_state_changed", cell_id: "c", state: "queued", execution_count: null });
    await turn();
    assert.equal(w.find("run"), undefined);
  }));

test("a snapshot after a cut tells whether the cell was queued", () =>
  timed(async () => {
    for (const [state, expected] of [["queued", 0], ["idle", 1]] as const) {
      const w = world();
      opened(w);
      void w.session.kernel.run(["c"]);
      await turn();
      w.cut();
      await turn(20);
      w.say({ type: "opened", level: "manage", instance: "j", event: 2, document: notebook([cell("c", { source: "one", revision: 3, state })]) });
      await turn();
      assert.equal(w.ops().filter((op) => op.type === "run").length, expected, state);
    }
  }));

test("a save is shown after the events were numbered from the start again", () => {
  const w = world();
  opened(w);
  w.change(6, { type: "metadata_changed", metadata: {} });
  w.say({ type: "opened", level: "manage", instance: "j", event: 0, document: notebook([cell("c")]) });
  w.change(1, { type: "metadata_changed", metadata: { a: 1 } });
  assert.equal(w.session.notebook.saving.unsaved, true);
  w.change(2, { type: "saved", up_to: 1, last_modified: "2026-01-02T03:04:05Z" });
  assert.equal(w.session.notebook.saving.unsaved, false);
});

test("a document that cannot be opened tells the reason, and is tried again", () =>
  timed(async () => {
    const w = world();
    w.session.start();
    w.say({ type: "error", code: 400, message: "`a.ipynb` is not a notebook" });
    assert.deepEqual(w.session.connectionState, { state: "offline", message: "`a.ipynb` is not a notebook", status: 400 });
    await turn(20);
    assert.equal(w.sockets.length, 2);
    assert.equal(w.session.loaded, false);
  }));

test("a run waits for the text that was typed just before", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.edit("c", "new");
    void w.session.kernel.run(["c"]);
    await turn();
    assert.deepEqual(w.ops().map((op) => op.type), ["set_source"]);
    w.say({ type: "reply", id: 1, reply: { type: "edited", revision: 4 } });
    await turn();
    assert.deepEqual(w.ops().map((op) => op.type), ["set_source", "run"]);
  }));

test("no output is lost or doubled by a resume", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.change(6, { type: "output_added", cell_id: "c", output: { output_type: "stream", name: "stdout", text: "a" } });
    w.change(7, { type: "text_appended", cell_id: "c", index: 0, text: "b" });
    w.cut();
    await turn(20);
    assert.deepEqual(w.last().resume, { instance: "i", after: 7 });
    w.say({ type: "resumed", instance: "i", event: 7, last: 8 });
    w.change(7, { type: "text_appended", cell_id: "c", index: 0, text: "b" });
    w.change(8, { type: "text_appended", cell_id: "c", index: 0, text: "c" });
    assert.deepEqual(w.session.notebook.cell("c")?.outputs, [{ output_type: "stream", name: "stdout", text: "abc" }]);
  }));

test("a closing frame that asks to come again is followed at once", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.say({ type: "closing", again: true, message: "a reload" });
    assert.equal(w.sockets.length, 2);
  }));

test("a deletion is undone with outputs and metadata, where the cell stood", () =>
  timed(async () => {
    const w = world();
    w.session.start();
    w.say({ type: "opened", level: "manage", instance: "i", event: 5, document: notebook([cell("a"), cell("b", { source: "s", metadata: { x: 1 }, execution_count: 2, outputs: [{ output_type: "stream", name: "stdout", text: "o" }] }), cell("c")]) });
    w.session.remove(["b"]);
    assert.deepEqual(w.session.notebook.cells.map((c) => c.id), ["a", "c"]);
    const id = w.session.undo();
    assert.equal(id, "b", "a run that goes on finds the cell by its id");
    assert.deepEqual(w.session.notebook.cells.map((c) => c.id), ["a", "b", "c"]);
    assert.equal(w.session.notebook.cells[1]?.outputs.length, 1);
    await turn();
    assert.deepEqual(w.find("insert_cell")?.op, { type: "insert_cell", index: 1, cell_type: "code", source: "s", cell_id: id, metadata: { x: 1 }, outputs: [{ output_type: "stream", name: "stdout", text: "o" }], execution_count: 2 });
  }));

test("a deletion of several cells is undone whole", () =>
  timed(async () => {
    const w = world();
    w.session.start();
    w.say({ type: "opened", level: "manage", instance: "i", event: 5, document: notebook([cell("a", { source: "1" }), cell("b", { source: "2" }), cell("c", { source: "3" }), cell("d", { source: "4" })]) });
    w.session.remove(["d", "a", "c"]);
    assert.deepEqual(w.session.notebook.cells.map((c) => c.source), ["2"]);
    const id = w.session.undo();
    assert.deepEqual(w.session.notebook.cells.map((c) => c.source), ["1", "2", "3", "4"]);
    assert.equal(w.session.notebook.cells[0]?.id, id);
    await turn();
    assert.equal(w.ops().filter((op) => op.type === "insert_cell").length, 3);
  }));

test("every change of cells is undone and made again: merge, split, move, type, metadata", () =>
  timed(async () => {
    const w = world();
    w.session.start();
    w.say({ type: "opened", level: "manage", instance: "i", event: 5, document: notebook([cell("a", { source: "1" }), cell("b", { source: "2" }), cell("c", { source: "3" })]) });
    const { session } = w;
    const shown = () => session.notebook.cells.map((c) => `${c.id}:${c.source}`);
    session.together(() => {
      session.replaceSource("a", "1\n2");
      session.remove(["b"]);
    });
    assert.deepEqual(shown(), ["a:1\n2", "c:3"]);
    // Typed after the merge: it stays.
    session.edit("a", "1\n2 # more");
    assert.equal(session.undo(), "a");
    assert.deepEqual(shown(), ["a:1 # more", "b:2", "c:3"]);
    assert.equal(session.redo(), "a");
    assert.deepEqual(shown(), ["a:1 # more\n2", "c:3"]);
    session.undo();
    session.move("c", 0);
    void session.setMetadata("c", { x: 1 });
    assert.deepEqual([shown()[0], session.notebook.cell("c")?.metadata], ["c:3", { x: 1 }]);
    session.undo();
    session.undo();
    assert.deepEqual([shown().map((one) => one[0]), session.notebook.cell("c")?.metadata], [["a", "b", "c"], {}]);
    assert.equal(session.undo(), null);
  }));

test("a deletion that is undone before the server has confirmed it stays undone", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.remove(["c"]);
    await turn();
    const deletion = w.find("delete_cell");
    assert.ok(deletion);
    w.session.undo();
    w.change(6, { type: "cell_deleted", cell_id: "c" }, deletion.id);
    assert.deepEqual(w.session.notebook.cells.map((c) => c.id), ["c"]);
    assert.deepEqual(w.reports, []);
  }));

test("a text typed in a cell that is deleted elsewhere is kept in a new one", () =>
  timed(async () => {
    const w = world();
    opened(w);
    w.session.edit("c", "precious");
    w.change(6, { type: "cell_deleted", cell_id: "c" });
    assert.deepEqual(w.session.notebook.cells.map((c) => c.source), ["precious"]);
    assert.equal(w.reports.length, 1);
  }));

test("changes that this page made in advance do nothing when they come back", () => {
  const book = new Notebook("a.ipynb", () => 0);
  book.load(notebook([cell("a"), cell("b"), cell("c")]));
  for (let i = 0; i < 2; i++) {
    book.apply({ type: "cell_moved", cell_id: "a", index: 2 });
    book.apply({ type: "cell_deleted", cell_id: "b" });
    book.apply({ type: "cell_inserted", index: 0, cell: cell("d") });
    assert.deepEqual(book.cells.map((c) => c.id), ["d", "c", "a"]);
  }
});

test("merged: pictures of one name are told apart, in every way that a text names them", () => {
  const one = { "a b.png": { "image/png": "1" }, "same.png": { "image/png": "s" } };
  const two = { "a b.png": { "image/png": "2" }, "a b-1.png": { "image/png": "3" }, "same.png": { "image/png": "s" } };
  const text = '![x](attachment:a%20b.png) <img src="attachment:a b.png"> [r]: attachment:a%20b.png\n![](attachment:same.png) attachment:a b.pngx ![](attachment:a%20b-1.png)';
  const { source, attachments } = merged([
    { cell_type: "markdown", source: "![x](attachment:a%20b.png)", attachments: one },
    { cell_type: "markdown", source: text, attachments: two },
  ]);
  assert.deepEqual(attachments, { ...one, "a b-2.png": { "image/png": "2" }, "a b-1.png": { "image/png": "3" } });
  assert.equal(source, '![x](attachment:a%20b.png)\n\n![x](attachment:a%20b-2.png) <img src="attachment:a%20b-2.png"> [r]: attachment:a%20b-2.png\n![](attachment:same.png) attachment:a b.pngx ![](attachment:a%20b-1.png)');
  assert.deepEqual(merged([{ cell_type: "code", source: "a", attachments: null }, { cell_type: "raw", source: "b", attachments: {} }]), { source: "a\nb", attachments: null });
  assert.deepEqual(shownIn("![](attachment:a%20b.png)", two), { "a b.png": { "image/png": "2" } });
  assert.equal(shownIn("none", two), null);
});

test("addresses: pages below a prefix, names with odd characters", () => {
  const at = (path: string, prefix = "/") => place(new URL(`http://h${path}`), new URL(`http://h${prefix}`));
  assert.deepEqual(at("/"), { page: "list", folder: "" });
  assert.deepEqual(at("/tree/a%20b/c"), { page: "list", folder: "a b/c" });
  assert.deepEqual(at("/notebooks/x/%23%3F.ipynb"), { page: "notebook", path: "x/#?.ipynb" });
  assert.deepEqual(at("/lab/notebooks/a.ipynb", "/lab/"), { page: "notebook", path: "a.ipynb" });
  assert.deepEqual(at("/notebooks/%E0%A4%A"), { page: "notebook", path: "%E0%A4%A" });
  assert.equal(encodePath("a b/#?%.ipynb"), "a%20b/%23%3F%25.ipynb");
});

test("keys: sequences, shift and modifiers", () => {
  let now = 0;
  const keys = new Keys("command", () => now);
  assert.equal(keys.press("D"), null);
  assert.equal(keys.press("D"), "delete");
  assert.equal(keys.press("D"), null);
  now += 5000;
  assert.equal(keys.press("D"), null, "too late");
  assert.equal(keys.press("A"), "above");
  assert.equal(keys.press("0"), null);
  assert.equal(keys.press("Shift+Shift"), null);
  assert.equal(keys.press("0"), "restart");
  const plain = { code: "", ctrlKey: false, metaKey: false, altKey: false, shiftKey: false };
  assert.equal(combination({ ...plain, key: "a" }), "A");
  assert.equal(combination({ ...plain, key: "M", shiftKey: true }), "Shift+M");
  assert.equal(combination({ ...plain, key: "Enter", shiftKey: true }), "Shift+Enter");
  assert.equal(combination({ ...plain, key: "_", ctrlKey: true, shiftKey: true }), "Mod+Shift+-");
});

test("keys: a layout without Latin letters has the shortcuts at the same places", () => {
  const press = (key: string, code: string, held: Partial<Parameters<typeof combination>[0]> = {}) =>
    combination({ key, code, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...held });
  // Cyrillic, Greek, Hebrew, Turkish without a dot, an input method.
  assert.deepEqual([press("в", "KeyD"), press("δ", "KeyD"), press("ג", "KeyD"), press("ı", "KeyI"), press("Process", "KeyD")], ["D", "D", "D", "I", "D"]);
  assert.equal(press("ы", "KeyS", { ctrlKey: true }), "Mod+S");
  assert.equal(press("Ь", "KeyM", { shiftKey: true }), "Shift+M");
  // AZERTY: the letter decides; `0` is Shift with `à`, and `à` alone means it too.
  assert.deepEqual([press("a", "KeyQ"), press("q", "KeyA"), press("0", "Digit0", { shiftKey: true }), press("à", "Digit0")], ["A", "Q", "0", "0"]);
  // Dvorak, and keys without a character.
  assert.deepEqual([press("d", "KeyH"), press("Enter", "Enter"), press("ArrowUp", "ArrowUp", { shiftKey: true })], ["D", "Enter", "Shift+ArrowUp"]);
});
