//! The debugger's side of the page, with a kernel that answers from a script.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "../src/protocol";
import { Debugger } from "../src/state/debugger";
import { murmur2 } from "../src/state/murmur";
import { Notebook } from "../src/state/notebook";
import { cell, notebook } from "./fake";

const SEED = 0xc70f6907;
const path = (source: string): string => `/tmp/k/${murmur2(source, SEED)}.py`;

/** A kernel's debugger, and what it was asked. */
class Kernel {
  asked: [string, JsonObject][] = [];
  started = false;
  stopped: number[] = [];
  points: { source: string; breakpoints: { line: number }[] }[] = [];

  answer = async (command: string, args: JsonObject = {}): Promise<{ success: boolean; message: string | null; body: JsonObject }> => {
    this.asked.push([command, args]);
    const body = (): JsonObject => {
      if (command === "debugInfo") return { isStarted: this.started, hashSeed: SEED, tmpFilePrefix: "/tmp/k/", tmpFileSuffix: ".py", breakpoints: this.points, stoppedThreads: this.stopped };
      if (command === "dumpCell") return { sourcePath: path(String(args["code"])) };
      // An empty line cannot stop: the next one does.
      if (command === "setBreakpoints") return { breakpoints: (args["breakpoints"] as { line: number }[]).map(({ line }) => ({ line: line === 2 ? 3 : line })) };
      if (command === "stackTrace") return { stackFrames: [{ id: 7, name: "f", line: 3, source: { path: path("x\n\ny") } }, { id: 8, name: "<module>", line: 1, source: { path: "/usr/lib/other.py" } }] };
      if (command === "scopes") return { scopes: [{ name: "Locals", variablesReference: 9 }] };
      if (command === "variables") return { variables: [{ name: "n", value: "1", type: "int", variablesReference: 0 }] };
      return {};
    };
    return { success: true, message: null, body: body() };
  };

  commands(): string[] {
    return this.asked.splice(0).map(([command]) => command);
  }
}

async function world(): Promise<{ kernel: Kernel; book: Notebook; debug: Debugger; settle(): Promise<void> }> {
  const kernel = new Kernel();
  const book = new Notebook("a.ipynb");
  const debug = new Debugger(book, kernel.answer);
  const loaded = notebook([cell("c", { source: "x\n\ny" }), cell("d", { source: "z" })]);
  loaded.kernel.debugger = true;
  book.load(loaded);
  const settle = async (): Promise<void> => void (await new Promise((done) => setTimeout(done, 5)));
  await settle();
  return { kernel, book, debug, settle };
}

test("murmur2 is that of ipykernel", () => {
  const known: [string, number][] = [["", 3990065800], ["a", 2167009006], ["ab", 2805137849], ["abc", 3350977461], ["abcd", 804720481], ["x = 1\nprint(x)\n", 1538517086], ["é😀", 3108303181]];
  for (const [text, hash] of known) assert.equal(murmur2(text, SEED), hash, text);
});

test("breakpoints are sent when it is turned on, with their cell before it runs, and where the debugger puts them", async () => {
  const { kernel, book, debug, settle } = await world();
  assert.deepEqual(kernel.commands(), ["debugInfo"]);
  debug.toggle("c", 2);
  assert.deepEqual(kernel.commands(), [], "it is off");
  assert.equal(await debug.turn(true), null);
  assert.deepEqual(kernel.commands(), ["initialize", "attach", "dumpCell", "setBreakpoints", "configurationDone"]);
  assert.deepEqual(debug.breakpoints.get("c"), [3]);
  debug.toggle("c", 1);
  await settle();
  assert.deepEqual(kernel.asked.at(-1), ["setBreakpoints", { breakpoints: [{ line: 1 }, { line: 3 }], source: { path: path("x\n\ny") }, sourceModified: false }]);
  kernel.commands();
  // Its text has changed: the old file has none any more.
  const changed = book.cell("c");
  assert.ok(changed);
  changed.source = "x\n\nnew";
  await debug.prepare(["c", "d"]);
  assert.deepEqual(kernel.asked.map(([command, args]) => [command, (args["source"] as JsonObject | undefined)?.["path"]]), [["dumpCell", undefined], ["setBreakpoints", path("x\n\ny")], ["setBreakpoints", path("x\n\nnew")]]);
  assert.equal(await debug.turn(false), null);
  await debug.prepare(null);
  assert.equal(kernel.asked.at(-1)?.[0], "disconnect");
});

test("a stop shows its frames, the cell among them, and ends with a step, the kernel's idleness or its restart", async () => {
  const { kernel, book, debug, settle } = await world();
  await debug.turn(true);
  debug.event("stopped", { threadId: 1, reason: "breakpoint" });
  await settle();
  assert.deepEqual(debug.stop?.frames.map(({ name, cell: id, line }) => [name, id, line]), [["f", "c", 3], ["<module>", null, 1]]);
  assert.deepEqual([debug.stop?.frame?.id, debug.stop?.scopes], [7, [{ name: "Locals", reference: 9 }]]);
  assert.deepEqual(await debug.variables(9), [{ name: "n", value: "1", type: "int", reference: 0 }]);
  await debug.step("next");
  assert.equal(debug.stop, null);
  assert.deepEqual(kernel.asked.at(-1), ["next", { threadId: 1 }]);
  debug.event("stopped", { threadId: 1, reason: "step" });
  await settle();
  assert.ok(debug.stop);
  book.apply({ type: "kernel_changed", kernel: { ...book.kernel, state: "idle" } });
  assert.equal(debug.stop, null);
  // After a restart it goes on.
  kernel.commands();
  book.apply({ type: "kernel_changed", kernel: { ...book.kernel, state: "restarting" } });
  assert.equal(debug.on, false);
  book.apply({ type: "kernel_changed", kernel: { ...book.kernel, state: "idle" } });
  await settle();
  assert.ok(debug.on);
  assert.deepEqual(kernel.commands(), ["debugInfo", "initialize", "attach", "configurationDone"]);
});

test("a page that comes late finds the breakpoints and the stop", async () => {
  const { kernel, book, debug, settle } = await world();
  kernel.started = true;
  kernel.stopped = [1];
  kernel.points = [{ source: path("x\n\ny"), breakpoints: [{ line: 3 }] }, { source: "/tmp/k/1.py", breakpoints: [{ line: 1 }] }];
  const again = notebook(book.cells);
  again.kernel.debugger = true;
  book.load(again);
  await settle();
  assert.ok(debug.on);
  assert.deepEqual([...debug.breakpoints], [["c", [3]]]);
  assert.equal(debug.stop?.frame?.line, 3);
});
