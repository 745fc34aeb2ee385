//! A notebook in its page: editing, keys, connections, conflicts, running, accessibility.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { violations } from "./axe";
import { cell, notebook, ORIGIN, PREFIX } from "./fake";
import { code, page } from "./pages";
import { eventually, waitFor } from "./wait";

page("typing is sent; a cut is survived; what was typed offline arrives", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "a = 1" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".cm-content, .static").first().click();
  await book.keyboard.press("End");
  await book.keyboard.type("0");
  await book.locator(".save-state[data-kind=busy]").waitFor();
  await waitFor("the text is sent", () => fake.asked("set_source").length > 0);
  assert.deepEqual(fake.asked("set_source"), [{ type: "set_source", cell_id: "c", source: "a = 10", base_revision: 1, changes: [5, [0, "0"]] }]);
  fake.change({ type: "saved", up_to: fake.event, last_modified: new Date().toISOString() });
  await book.locator(".save-state", { hasText: "Saved" }).waitFor();

  fake.down = true;
  fake.cut();
  await book.locator(".notice", { hasText: "does not respond" }).waitFor();
  await book.keyboard.type("0");
  await book.locator(".save-state", { hasText: "changes kept in this page" }).waitFor();
  fake.down = false;
  await tryNow(book);
  await waitFor("what was typed offline is sent", () => fake.asked("set_source").length > 1);
  assert.equal(fake.document.cells[0]?.source, "a = 100");
  assert.equal(fake.connections.at(-1)?.searchParams.get("instance"), "one");
  await book.locator(".notice").waitFor({ state: "detached" });
  // The page may ask why there is no connection when the server is already back.
}, { complaints: /ERR_|WebSocket|426/ });

/** Presses the button of the notice, unless the connection came back by itself just before. */
async function tryNow(book: Page): Promise<void> {
  await book.evaluate(() => document.querySelector<HTMLElement>(".notice button[aria-label='Try now']")?.click());
}

page("a notebook that cannot be opened: the reason is told and stays; once it can be, it opens by itself", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "a = 1" })]);
  fake.refusal = { code: 404, message: "`a.ipynb` is in a folder that cannot be read" };
  const book = await fake.open(context);
  const notice = book.locator(".notice", { hasText: "in a folder that cannot be read" });
  await notice.waitFor();
  const first = await notice.elementHandle();
  await waitFor("it is tried again", () => fake.connections.length > 2);
  assert.equal(await first?.evaluate((element) => element.isConnected), true, "the notice does not blink");
  await eventually.equal(() => book.locator(".save-state").innerText(), "Not opened");
  await eventually.equal(() => book.locator(".loading").innerText(), "The notebook could not be opened.");
  // A cell inserted now would be added to whatever the file contains later.
  await eventually.equal(() => book.getByRole("button", { name: "Code", exact: true }).count(), 0);
  await book.getByRole("button", { name: "Insert a cell below" }).click();
  await eventually.equal(() => book.locator(".cell").count(), 0);
  await eventually.equal(() => book.locator(".notice", { hasText: "does not respond" }).count(), 0);
  fake.refusal = null;
  await book.locator(".cell", { hasText: "a = 1" }).waitFor();
  await notice.waitFor({ state: "detached" });
});

page("a proxy without WebSockets is not reported as a server that does not respond", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "a = 1" })]);
  fake.noSockets = true;
  const book = await fake.open(context);
  const notice = book.locator(".notice", { hasText: "WebSocket" });
  await notice.waitFor();
  const first = await notice.elementHandle();
  const tries = fake.connections.length;
  await waitFor("it is tried again", () => fake.connections.length > tries + 1);
  assert.equal(await first?.evaluate((element) => element.isConnected), true, "the notice does not blink");
  await eventually.equal(() => book.locator(".save-state").innerText(), "Not opened");
  fake.noSockets = false;
  await tryNow(book);
  await book.locator(".cell", { hasText: "a = 1" }).waitFor();
}, { complaints: /WebSocket|Upgrade Required|426/ });

page("unsent text is there again after the page was closed and opened", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "a = 1" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".cm-content, .static").first().click();
  fake.down = true;
  fake.cut();
  await book.locator(".notice").waitFor();
  await book.keyboard.press("End");
  await book.keyboard.type("23");
  fake.answer = () => "silence";
  book.on("dialog", (dialog) => void dialog.accept());
  await book.locator(".save-state", { hasText: "changes kept in this page" }).waitFor();
  fake.down = false;
  await book.reload();
  await book.locator(".cell", { hasText: "a = 123" }).waitFor();
  fake.answer = () => null;
  fake.cut();
  await waitFor("the unsent text arrives", () => fake.document.cells[0]?.source === "a = 123");
}, { complaints: /ERR_|WebSocket|426/ });

page("two people replace the same text: the second one sees both and chooses", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "start" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".static").click();
  const one = fake.document.cells[0];
  assert.ok(one);
  one.source = "from another page";
  one.revision = 5;
  await book.keyboard.press("Control+a");
  await book.keyboard.type("mine");
  const clash = book.locator(".clash");
  await clash.waitFor();
  await eventually.match(() => clash.innerText(), /from another page/);
  await clash.getByRole("button", { name: "Keep mine" }).click();
  await clash.waitFor({ state: "hidden" });
  await waitFor("the chosen text arrives", () => fake.document.cells[0]?.source === "mine");
});

page("texts typed in different places are merged, and the cursor stays", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "start" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".static").click();
  const one = fake.document.cells[0];
  assert.ok(one);
  await book.keyboard.press("End");
  one.source = "a new\nstart";
  one.revision = 5;
  fake.change({ type: "source_changed", cell_id: "c", source: one.source, revision: 5, changes: null });
  await book.locator(".cm-line", { hasText: "a new" }).waitFor();
  await book.keyboard.type(" mine");
  await waitFor("both texts arrive", () => fake.document.cells[0]?.source === "a new\nstart mine");
  await book.keyboard.press("Control+z");
  await waitFor("undo takes back what was typed here", () => fake.document.cells[0]?.source === "a new\nstart");
  await eventually.equal(() => book.locator(".clash").isVisible(), false);
});

page("a file that changed on disk: nothing is written before the choice", async ({ fake, context }) => {
  fake.document = notebook([cell("c")]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell");
  fake.change({ type: "conflict", message: "git changed the file." });
  const notice = book.locator(".notice", { hasText: "git changed the file" });
  await notice.waitFor();
  await eventually.match(() => book.locator(".save-state").innerText(), /Not saved/);
  await notice.getByRole("button", { name: "Keep this version" }).click();
  await notice.waitFor({ state: "detached" });
  assert.deepEqual(fake.asked("resolve_conflict"), [{ type: "resolve_conflict", keep: "mine" }]);
});

page("keyboard alone: write, run, select, insert, move, delete, undo, change type, copy, merge", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one" }), cell("b", { source: "two" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell.selected:focus");
  const press = async (...keys: string[]) => {
    for (const key of keys) await book.keyboard.press(key);
  };
  const shown = () => book.locator(".cell").evaluateAll((cells) => cells.map((one) => one.querySelector(".static, .cm-content, .markdown")?.textContent?.trim() ?? ""));
  await press("Enter", "End");
  await book.keyboard.type("!");
  await press("Escape");
  await press("j", "a");
  await eventually.equal(shown, ["one!", "", "two"]);
  await press("Enter");
  await book.keyboard.type("mid");
  await press("Escape", "Alt+ArrowUp");
  await eventually.equal(shown, ["mid", "one!", "two"]);
  await press("d", "d");
  await eventually.equal(shown, ["one!", "two"]);
  await press("z");
  await eventually.equal(shown, ["mid", "one!", "two"]);
  await press("c", "v");
  await eventually.equal(shown, ["mid", "mid", "one!", "two"]);
  await press("Shift+ArrowDown", "Shift+M");
  await eventually.equal(shown, ["mid", "mid\none!", "two"]);
  await press("m");
  await book.locator(".cell.markdown-cell .markdown", { hasText: "one!" }).waitFor();
  await press("Shift+Enter");
  await book.locator(".cell.code.selected", { hasText: "two" }).waitFor();
  await press("Shift+Enter");
  // Moving past the last cell creates a new one, ready for editing.
  await book.locator(".cell.editing").waitFor();
  await waitFor("the cell is run", () => fake.asked("run").length > 0);
  assert.deepEqual(fake.asked("run"), [{ type: "run", cell_ids: ["b"] }]);
  // The editor does not trap the focus: Escape, then Tab moves on.
  await press("Escape", "Tab");
  await eventually.equal(() => book.evaluate(() => document.activeElement?.closest(".cm-editor") !== null), false);
  await press("Escape", "h");
  await book.locator("dialog", { hasText: "Keyboard shortcuts" }).waitFor();
  await press("Escape");
  await book.locator("dialog").waitFor({ state: "detached" });
});

page("key pairs hold on a Cyrillic layout", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one" }), cell("b", { source: "two" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell.selected:focus");
  const press = (key: string, code: string) => book.evaluate((init) => document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { ...init, bubbles: true, cancelable: true })), { key, code });
  await press("в", "KeyD");
  await press("в", "KeyD");
  await book.locator(".cell", { hasText: "one" }).waitFor({ state: "detached" });
  await press("ш", "KeyI");
  await press("ш", "KeyI");
  await waitFor("the kernel is interrupted", () => fake.asked("interrupt").length === 1);
});

page("split, and the text of both halves", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one\ntwo" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".static").click();
  await book.keyboard.press("Control+Home");
  await book.keyboard.press("ArrowDown");
  await book.keyboard.press("Control+Shift+Minus");
  await waitFor("both halves arrive", () => fake.document.cells.length === 2 && fake.document.cells[0]?.source === "one");
  assert.deepEqual(fake.document.cells.map((c) => c.source), ["one", "two"]);
});

page("merging keeps the pictures of every cell, and splitting gives each half its own", async ({ fake, context }) => {
  const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  const OTHER = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
  const markdown = (id: string, source: string, attachments: Record<string, unknown>) => cell(id, { cell_type: "markdown", source, attachments });
  fake.document = notebook([
    markdown("a", "![one](attachment:image.png)", { "image.png": { "image/png": PICTURE } }),
    markdown("b", "![two](attachment:image.png)\n![three](attachment:plot.gif)", { "image.png": { "image/gif": OTHER }, "plot.gif": { "image/gif": OTHER } }),
  ]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell.selected:focus");
  await book.keyboard.press("Shift+M");
  await waitFor("the merged cell arrives", () => fake.document.cells.length === 1 && (fake.document.cells[0]?.source.length ?? 0) > 60);
  assert.equal(fake.document.cells[0]?.source, "![one](attachment:image.png)\n\n![two](attachment:image-1.png)\n![three](attachment:plot.gif)");
  assert.deepEqual(fake.document.cells[0]?.attachments, { "image.png": { "image/png": PICTURE }, "image-1.png": { "image/gif": OTHER }, "plot.gif": { "image/gif": OTHER } });
  const sources = () => book.locator(".markdown img").evaluateAll((images) => images.map((image) => (image as HTMLImageElement).src));
  await eventually.equal(sources, [`data:image/png;base64,${PICTURE}`, `data:image/gif;base64,${OTHER}`, `data:image/gif;base64,${OTHER}`]);
  await book.keyboard.press("Enter");
  await book.keyboard.press("Control+End");
  await book.keyboard.press("Home");
  await book.keyboard.press("Control+Shift+Minus");
  await waitFor("both halves arrive", () => fake.document.cells.length === 2 && !(fake.document.cells[0]?.source ?? "").includes("plot.gif"));
  assert.deepEqual(fake.document.cells[1]?.attachments, { "plot.gif": { "image/gif": OTHER } });
});

page("completion and inspection come from the kernel", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "" })]);
  fake.answer = (op) => {
    if (op.type === "complete") return { type: "completions", matches: op.code.endsWith("only") ? [{ text: "only_one", kind: null }] : [{ text: "print", kind: "function" }, { text: "property", kind: "class" }], start: 0, end: op.cursor };
    if (op.type === "inspect") return { type: "inspection", data: { "text/plain": `\u001b[31mSignature:\u001b[0m detail ${op.detail}` } };
    return null;
  };
  const book = await fake.open(context);
  await book.locator(".cm-content").click();
  await book.keyboard.type("pr");
  await book.keyboard.press("Tab");
  await book.locator(".cm-tooltip-autocomplete li").first().waitFor();
  await eventually.equal(() => book.locator(".cm-completionLabel").allInnerTexts(), ["print", "property"]);
  await book.keyboard.press("Enter");
  await book.locator(".cm-content", { hasText: "print" }).waitFor();
  await book.keyboard.press("Shift+Tab");
  await book.locator(".inspection", { hasText: "Signature: detail 0" }).waitFor();
  await book.keyboard.press("Shift+Tab");
  await book.locator(".inspection", { hasText: "detail 1" }).waitFor();
  await book.keyboard.press("Escape");
  await book.locator(".inspection").waitFor({ state: "detached" });
  await eventually.equal(() => book.locator(".cm-editor.cm-focused").count(), 1, "the first Escape closes the help only");
  await book.keyboard.press("Control+a");
  await book.keyboard.type("only");
  await book.keyboard.press("Tab");
  await book.locator(".cm-content", { hasText: "only_one" }).waitFor();
});

page("completions and help are seen whole, also in a last cell of one line", async ({ fake, context }) => {
  fake.answer = (op) => {
    if (op.type === "complete") return { type: "completions", matches: ["pad", "page", "pair", "pan", "part"].map((text) => ({ text, kind: "function" })), start: 0, end: op.cursor };
    if (op.type === "inspect") return { type: "inspection", data: { "text/plain": "first line\nsecond line\nlast line" } };
    return null;
  };
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 640 }]) {
    // At the top of the page, in the middle, and below everything else.
    for (const before of [0, 3, 30]) {
      fake.document = notebook([...Array.from({ length: before }, (_, i) => cell(`b${i}`, { source: "x\ny" })), cell("last", { source: "" })]);
      const book = await fake.open(context);
      await book.setViewportSize(viewport);
      await book.locator(".cell").last().locator(".static, .cm-content").click();
      await book.keyboard.type("pa");
      await book.locator(".cm-focused .cm-content", { hasText: /^pa$/ }).waitFor();
      await book.keyboard.press("Tab");
      await book.locator(".cm-tooltip-autocomplete li").nth(4).waitFor();
      const seen = (selector: string) =>
        book.locator(selector).evaluateAll((elements) =>
          elements.map((element) => {
            const { left, right, top, bottom } = element.getBoundingClientRect();
            const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight && top >= (document.querySelector(".top")?.getBoundingClientRect().bottom ?? 0);
            return inside && [[left + 8, top + 8], [(left + right) / 2, (top + bottom) / 2], [right - 8, bottom - 8]].every(([x = 0, y = 0]) => element.contains(document.elementFromPoint(x, y)));
          }),
        );
      await waitFor("all five entries are visible", async () => (await seen(".cm-tooltip-autocomplete li")).join() === "true,true,true,true,true");
      await book.keyboard.press("Escape");
      await book.keyboard.press("Shift+Tab");
      await book.locator(".inspection", { hasText: "last line" }).waitFor();
      await waitFor("the help is visible", async () => (await seen(".inspection")).join() === "true");
      // The next page would begin with what this one has not sent.
      await waitFor("the text is sent", () => fake.document.cells.at(-1)?.source === "pa");
      await book.close();
    }
  }
});

page("streams grow in place, a long one is cut in the middle and shown whole when asked", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "x", state: "running" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell");
  fake.change({ type: "output_added", cell_id: "c", output: { output_type: "stream", name: "stdout", text: "line 0\n" } });
  for (let i = 1; i < 3000; i += 100) {
    fake.change({ type: "text_appended", cell_id: "c", index: 0, text: Array.from({ length: 100 }, (_, k) => `line ${i + k}\n`).join("") });
  }
  await book.locator(".gap", { hasText: "3,001 lines" }).or(book.locator(".gap", { hasText: "3,002 lines" })).waitFor();
  assert.ok((await book.locator(".out-text").innerText()).length < 20_000);
  await eventually.match(() => book.locator(".out-text").innerText(), /line 2999/);
  await book.getByRole("button", { name: "Show all" }).click();
  const all = (await book.locator(".out-text").innerText()).match(/line \d+/g) ?? [];
  assert.equal(new Set(all).size, all.length);
  assert.ok(all.length >= 3000, `${all.length}`);
});

page("a question of the program is answered in the page", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "input()", state: "running" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell");
  fake.change({ type: "input_requested", input: { cell_id: "c", prompt: "Name: ", password: false } });
  await book.getByLabel("Name:").fill("Ada");
  await book.keyboard.press("Enter");
  await waitFor("the answer arrives", () => fake.asked("answer_input").length > 0);
  assert.deepEqual(fake.asked("answer_input"), [{ type: "answer_input", value: "Ada" }]);
});

page("Markdown: formulas are set, images and links are where the notebook is", async ({ fake, context }) => {
  fake.document = notebook([
    cell("m", {
      cell_type: "markdown",
      source: "# Title\n\n$\\newcommand{\\half}{\\frac12}\\half$ and $$\\int_0^1 x\\,dx$$\n\n![plot](plots/a%20b.png) [file](../data.csv) [there](#Title) ![pasted](attachment:p.png) [out](https://example.org)",
      attachments: { "p.png": { "image/png": "AAAA" } },
    }),
    cell("n", { cell_type: "markdown", source: "$\\half$" }),
  ], { path: "dir/sub/a.ipynb" });
  const book = await fake.open(context, "notebooks/dir/sub/a.ipynb");
  await book.locator(".katex").first().waitFor();
  await eventually.equal(() => book.locator(".katex-error, .math-error").count(), 0);
  await eventually.equal(() => book.locator(".katex").count(), 3, "a macro holds in later cells");
  const found = await book.evaluate(() => ({ images: [...document.images].map((image) => image.src), links: [...document.querySelectorAll<HTMLAnchorElement>(".markdown a")].map((a) => [a.href, a.rel, a.target]) }));
  assert.deepEqual(found.images, [`${ORIGIN}${PREFIX}files/dir/sub/plots/a%20b.png`, "data:image/png;base64,AAAA"]);
  assert.deepEqual(found.links[0], [`${ORIGIN}${PREFIX}files/dir/data.csv`, "noopener noreferrer", "_blank"]);
  assert.deepEqual(found.links[2], ["https://example.org/", "noopener noreferrer", "_blank"]);
  await code(book, 0).locator(".markdown").dblclick();
  await book.locator(".cm-content", { hasText: "# Title" }).waitFor();
  await book.keyboard.press("Control+Enter");
  await book.locator(".markdown h1", { hasText: "Title" }).waitFor();
}, { complaints: /404|Failed to load|ERR_/ });

page("a notebook of 1,000 cells opens and scrolls without editors", async ({ fake, context }) => {
  fake.document = notebook(Array.from({ length: 1000 }, (_, i) => (i % 4 === 0 ? cell(`m${i}`, { cell_type: "markdown", source: `## Part ${i}\n\n$x_{${i}}$ and *text*` }) : cell(`c${i}`, { source: `import sys\nfor i in range(${i}):\n    print(i)`, execution_count: i, outputs: [{ output_type: "stream", name: "stdout", text: `result ${i}\n` }] }))));
  const begun = performance.now();
  const book = await fake.open(context);
  await book.locator(".cell").nth(999).waitFor({ state: "attached" });
  const took = performance.now() - begun;
  console.log(`# 1,000 cells in ${Math.round(took)} ms`);
  await eventually.equal(() => book.locator(".cm-editor").count(), 0);
  await book.keyboard.press("Control+End");
  await book.locator(".cell.selected", { hasText: "result 999" }).waitFor();
});

for (const colorScheme of ["light", "dark"] as const) {
  page(`no axe violation, ${colorScheme}`, async ({ fake, context }) => {
    fake.entries = [{ name: "a.ipynb" }, { name: "folder", type: "directory" }, { name: "x.txt", type: "file" }];
    fake.sessions = [{ id: "s", path: "a.ipynb", kernel: { id: "k", name: "p", execution_state: "busy" } }];
    const list = await fake.open(context, "");
    await list.waitForSelector("td.name");
    assert.deepEqual(await violations(list), []);
    await list.getByRole("button", { name: "Actions for a.ipynb" }).click();
    assert.deepEqual(await violations(list), []);
    await list.keyboard.press("Escape");
    await list.getByRole("button", { name: "New folder" }).click();
    assert.deepEqual(await violations(list), []);
    fake.document = notebook([
      cell("m", { cell_type: "markdown", source: "# Title\n\ntext $x^2$ `code` [link](https://example.org)\n\n> quote\n\n```python\nx = 'y' # z\n```" }),
      cell("c", { source: "import os # comment\ndef f(x: int = 3): return 'text'\n@decorator\nclass A: pass", execution_count: 1, outputs: [
        { output_type: "stream", name: "stdout", text: [...Array(16).keys()].map((n) => `\u001b[${n < 8 ? 30 + n : 82 + n}mcolour ${n}\u001b[0m \u001b[${n < 8 ? 40 + n : 92 + n}mback\u001b[0m`).join("\n") },
        { output_type: "stream", name: "stderr", text: "warning \u001b[31mred\u001b[0m \u001b[33myellow\u001b[0m" },
        { output_type: "display_data", data: { "image/png": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==" }, metadata: {} },
        { output_type: "display_data", data: { "text/html": "<b>x</b>" }, metadata: {} },
        { output_type: "display_data", data: { "application/json": { a: 1, b: ["x", null, true] } }, metadata: {} },
        { output_type: "error", ename: "E", evalue: "v", traceback: ["\u001b[31mE\u001b[0m: \u001b[32mv\u001b[0m \u001b[36mc\u001b[0m"] }] }),
      cell("s", { source: "scrolled", metadata: { scrolled: true }, outputs: [{ output_type: "stream", name: "stdout", text: "x\n".repeat(100) }] }),
      cell("h", { source: "hidden", metadata: { jupyter: { source_hidden: true, outputs_hidden: true } }, outputs: [{ output_type: "stream", name: "stdout", text: "x" }] }),
      cell("r", { cell_type: "raw", source: "raw" }),
      cell("q", { source: "queued", state: "queued" }),
      cell("w", { source: "running", state: "running" }),
    ]);
    const book = await fake.open(context);
    await book.waitForSelector(".cell");
    fake.change({ type: "conflict", message: "changed" });
    assert.deepEqual(await violations(book), []);
    await code(book, 1).locator(".static").click();
    await book.waitForSelector(".cm-editor");
    assert.deepEqual(await violations(book), []);
    await book.keyboard.press("Escape");
    await book.keyboard.press("h");
    await book.waitForSelector("dialog");
    assert.deepEqual(await violations(book), []);
  }, { colorScheme });
}
