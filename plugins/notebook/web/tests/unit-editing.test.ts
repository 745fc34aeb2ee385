//! Editing without a page: undo, the clipboard, search, pictures, settings, headings, doubts, comms.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Comm, CommMessage } from "../src/protocol";
import { fromNotebook, outputText, toNotebook, toText } from "../src/state/clipboard";
import { applyTo, Comms } from "../src/state/comms";
import { History, type Step } from "../src/state/history";
import { RunOrder } from "../src/state/order";
import { headings, hiddenCells, outline, sectionLength } from "../src/state/outline";
import { attach } from "../src/state/pictures";
import { expression, find, type Query, replaced } from "../src/state/search";
import { DEFAULTS, parse } from "../src/state/settings";
import { usersOf } from "../src/ui/commands";
import { Keys } from "../src/ui/shortcuts";
import { cell } from "./fake";

test("history: actions are turned back whole and in reverse, and made again", () => {
  const history = new History();
  const made: Step[][] = [];
  const go = (act: (make: (step: Step) => void) => boolean): boolean => {
    const steps: Step[] = [];
    const any = act((step) => {
      history.record(step);
      steps.push(step);
    });
    made.push(steps);
    return any;
  };
  history.together(() => {
    history.record({ type: "source", id: "a", from: "1", to: "2" });
    history.together(() => history.record({ type: "move", id: "b", from: 0, to: 3 }));
  });
  history.together(() => undefined);
  assert.equal(go((make) => history.undo(make)), true);
  assert.equal(go((make) => history.undo(make)), false, "what an undo does is no action");
  assert.equal(go((make) => history.redo(make)), true);
  assert.deepEqual(made, [
    [{ type: "move", id: "b", from: 3, to: 0 }, { type: "source", id: "a", from: "2", to: "1" }],
    [],
    [{ type: "source", id: "a", from: "1", to: "2" }, { type: "move", id: "b", from: 0, to: 3 }],
  ]);
  history.undo(() => undefined);
  history.record({ type: "kind", id: "a", from: "code", to: "raw" });
  assert.deepEqual([history.canUndo, history.canRedo], [true, false], "a new action ends what could be made again");
});

test("clipboard: cells as a notebook and back; texts of other programs are no cells", () => {
  const cells = [
    cell("a", { source: "1", outputs: [{ output_type: "stream", name: "stdout", text: "x" }], execution_count: 3, metadata: { tags: ["t"] } }),
    cell("b", { cell_type: "markdown", source: "![](attachment:p.png)", attachments: { "p.png": { "image/png": "AA" } } }),
  ];
  const copies = fromNotebook(toNotebook(cells));
  assert.deepEqual(copies?.map(({ cell_type, source }) => [cell_type, source]), [["code", "1"], ["markdown", "![](attachment:p.png)"]]);
  assert.deepEqual([copies?.[0]?.outputs, copies?.[0]?.execution_count, copies?.[0]?.metadata, copies?.[1]?.attachments], [cells[0]?.outputs, 3, { tags: ["t"] }, cells[1]?.attachments]);
  assert.equal(toText(cells), "1\n\n![](attachment:p.png)");
  // JupyterLab's clipboard, with lists of lines.
  assert.equal(fromNotebook(JSON.stringify([{ cell_type: "code", source: ["a\n", "b"], metadata: {}, outputs: [{ output_type: "stream", name: "stdout", text: ["1\n", "2"] }, { output_type: "odd" }] }]))?.[0]?.source, "a\nb");
  for (const other of ["", "print(1)", "[1, 2]", '{"a": 1}', "[]", '"text"', "null"]) assert.equal(fromNotebook(other), null, other);
});

test("clipboard: outputs as text, without colors", () => {
  const text = outputText([
    { output_type: "stream", name: "stdout", text: "\u001b[31mred\u001b[0m\n" },
    { output_type: "display_data", data: { "image/png": "AA", "text/plain": ["<Figure", ">"] }, metadata: {} },
    { output_type: "display_data", data: { "image/png": "AA" }, metadata: {} },
    { output_type: "error", ename: "E", evalue: "no", traceback: [] },
  ]);
  assert.equal(text, "red\n<Figure>\nE: no");
});

test("search: words, case, expressions, and what replaces them", () => {
  const query = (text: string, part: Partial<Query> = {}): RegExp => {
    const made = expression({ text, caseSensitive: false, wholeWord: false, regexp: false, ...part });
    assert.ok(made);
    return made;
  };
  const cells = [{ id: "a", source: "Value = value_1 + value" }, { id: "b", source: "äöü VALUE\n(value)" }];
  const places = (wanted: RegExp) => find(cells, wanted).map(({ id, from, to }) => `${id}${from}-${to}`);
  assert.deepEqual(places(query("value")), ["a0-5", "a8-13", "a18-23", "b4-9", "b11-16"]);
  assert.deepEqual(places(query("value", { caseSensitive: true, wholeWord: true })), ["a18-23", "b11-16"]);
  assert.deepEqual(places(query("(value)")), ["b10-17"]);
  assert.deepEqual(places(query("^\\(", { regexp: true })), ["b10-11"]);
  assert.deepEqual(places(query("x*", { regexp: true })), [], "an empty match is none");
  assert.equal(expression({ text: "", caseSensitive: false, wholeWord: false, regexp: false }), null);
  assert.throws(() => query("(", { regexp: true }), SyntaxError);
  assert.equal(replaced("a a a", query("a"), "$1$&", false), "$1$& $1$& $1$&");
  assert.equal(replaced("a a a", query("a"), "b", false, 2), "a b a");
  assert.equal(replaced("x=1, y=2", query("(\\w)=(?<n>\\d)", { regexp: true }), "$<n>: $1 $$ $9", true), "1: x $ $9, 2: y $ $9");
});

test("pictures: one name for each, and none twice", () => {
  const first = attach(null, { name: "a b.png", type: "image/png", data: "AA" });
  assert.deepEqual(first, { attachments: { "a b.png": { "image/png": "AA" } }, markdown: "![a b](attachment:a%20b.png)" });
  assert.deepEqual(attach(first.attachments, { name: "a b.png", type: "image/png", data: "AA" }).attachments, first.attachments);
  const second = attach(first.attachments, { name: "a b.png", type: "image/png", data: "BB" });
  assert.deepEqual(Object.keys(second.attachments), ["a b.png", "a b-1.png"]);
  assert.equal(attach(null, { name: "", type: "image/jpeg", data: "AA" }).markdown, "![image](attachment:image.jpeg)");
  assert.equal(attach(null, { name: "a](x).png", type: "image/png", data: "AA" }).markdown, "![a_x_](attachment:a_x_.png)");
});

test("settings: what is missing or wrong has its default", () => {
  assert.deepEqual(parse(null), DEFAULTS);
  assert.deepEqual(parse("{broken"), DEFAULTS);
  const stored = parse('{"theme":"dark","fontSize":99,"wrap":false,"suggest":"yes","keys":{"delete":["X X"],"bad":[1]}}');
  assert.deepEqual(stored, { ...DEFAULTS, theme: "dark", wrap: false, keys: { delete: ["X X"] } });
});

test("keys of the user replace the default ones of their command only", () => {
  const keys = new Keys("command", () => 0);
  keys.use({ delete: ["Q"], up: [] });
  assert.deepEqual([keys.press("Q"), keys.press("D"), keys.press("D"), keys.press("K"), keys.press("J")], ["delete", null, null, null, "down"]);
  assert.deepEqual(usersOf("A", "below", {}).map(({ action }) => action), ["above"]);
  assert.deepEqual(usersOf("X X", "below", {}).map(({ action }) => action), ["cut"], "the first of two keys would never wait for the second");
  assert.deepEqual(usersOf("Mod+S", "below", {}).map(({ action }) => action), ["save"]);
  assert.deepEqual(usersOf("Escape", "below", {}), [], "keys of an editor do not meet those of a selected cell");
});

test("headings: of every form, but not in code", () => {
  assert.deepEqual(headings("# One #\ntext\nTwo\n===\n\n- item\n---\n```\n# no\n```\n### **Three** [x](y)\n#no\n####### no").map(({ level, text }) => [level, text]), [[1, "One"], [1, "Two"], [3, "Three x"]]);
  const cells = [cell("t", { cell_type: "markdown", source: "# T" }), cell("a"), cell("s", { cell_type: "markdown", source: "## S", metadata: { heading_collapsed: true } }), cell("b"), cell("n", { cell_type: "markdown", source: "no heading" }), cell("u", { cell_type: "markdown", source: "## U\n# not the first" }), cell("c")];
  assert.deepEqual(outline(cells).map(({ id, level, text, place }) => [id, level, text, place]), [["t", 1, "T", 0], ["s", 2, "S", 0], ["u", 2, "U", 0], ["u", 1, "not the first", 1]]);
  assert.deepEqual([...hiddenCells(cells)], [["b", "s"], ["n", "s"]]);
  assert.deepEqual([sectionLength(cells, 0), sectionLength(cells, 2), sectionLength(cells, 1)], [6, 2, 0]);
});

test("doubts: changed, overtaken by a cell above, and from before a restart", () => {
  const order = new RunOrder();
  const cells = [cell("a", { source: "1" }), cell("b", { source: "2" }), cell("c", { source: "3", execution_count: 9 })];
  const run = (at: number, count: number): void => {
    const one = cells[at];
    assert.ok(one);
    order.started(one);
    one.execution_count = count;
  };
  const doubts = (): [string, string][] => [...order.doubts(cells)];
  assert.deepEqual(doubts(), [], "nothing is known about earlier runs");
  run(0, 1);
  run(1, 2);
  assert.deepEqual(doubts(), []);
  run(0, 3);
  assert.deepEqual(doubts(), [["b", "overtaken"]]);
  if (cells[0] !== undefined) cells[0].source = "1 # more";
  assert.deepEqual(doubts(), [["a", "changed"], ["b", "overtaken"]]);
  order.restarted(cells);
  assert.deepEqual(doubts(), [["a", "earlier"], ["b", "earlier"], ["c", "earlier"]]);
  run(2, 1);
  assert.deepEqual(doubts(), [["a", "earlier"], ["b", "earlier"]]);
});

const message = (part: Partial<CommMessage>): CommMessage => ({ comm_id: "w", kind: "message", target_name: null, data: {}, metadata: {}, buffers: [], request: null, ...part });

test("comms: the state is what the messages have made of it", () => {
  const comms = new Map<string, Comm>();
  applyTo(comms, message({ kind: "open", target_name: "jupyter.widget", data: { state: { value: 1, data: {} }, buffer_paths: [["data", "x"]] }, buffers: ["AA=="] }));
  applyTo(comms, message({ data: { method: "echo_update", state: { value: 2 } } }));
  applyTo(comms, message({ data: { method: "custom", content: { value: 3 } } }));
  assert.deepEqual(comms.get("w")?.data, { state: { value: 2, data: {} }, buffer_paths: [["data", "x"]] });
  applyTo(comms, message({ data: { method: "update", state: { data: {} }, buffer_paths: [["data", "y"]] }, buffers: ["BB=="] }));
  assert.deepEqual([comms.get("w")?.data["buffer_paths"], comms.get("w")?.buffers], [[["data", "y"]], ["BB=="]]);
  applyTo(comms, message({ kind: "close" }));
  assert.equal(comms.size, 0);
});

test("comms: what comes before the server's answer is in it, and what comes after it is applied", async () => {
  let answer: (comms: Comm[] | null) => void = () => undefined;
  const comms = new Comms({ load: () => new Promise((resolve) => (answer = resolve)), send: async () => undefined });
  const heard: unknown[] = [];
  const stop = comms.listen(({ data }) => heard.push(data["state"]));
  const found = comms.get("w");
  comms.apply(message({ data: { method: "update", state: { value: 5 } } }));
  answer([{ comm_id: "w", target_name: "jupyter.widget", data: { state: { value: 5 }, buffer_paths: [] }, metadata: {}, buffers: [] }]);
  assert.deepEqual((await found)?.data["state"], { value: 5 });
  comms.apply(message({ data: { method: "update", state: { value: 6 } } }));
  assert.deepEqual((await comms.get("w"))?.data["state"], { value: 6 });
  stop();
  comms.apply(message({ kind: "close" }));
  assert.equal(await comms.get("w"), null);
  assert.deepEqual(heard, [{ value: 5 }, { value: 6 }]);
  comms.reset();
  const failed = comms.get("w");
  answer(null);
  assert.equal(await failed, null);
  const again = comms.get("w");
  answer([]);
  assert.equal(await again, null, "it is asked again after a failure");
});
