//! Editing a notebook in its page: search, commands, keys, undo, the clipboard, dragging, pictures, headings, the queue.

import assert from "node:assert/strict";
import type { BrowserContext, Page } from "playwright-core";
import { violations } from "./axe";
import { cell, notebook } from "./fake";
import { code, page } from "./pages";
import { eventually, waitFor } from "./wait";

const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const shown = (book: Page) => book.locator(".cell").evaluateAll((cells) => cells.map((one) => one.querySelector(".static, .cm-content, .markdown")?.textContent?.trim() ?? ""));

async function press(book: Page, ...keys: string[]): Promise<void> {
  for (const key of keys) await book.keyboard.press(key);
}

/** Opens the notebook and waits until it takes keys. */
async function ready(fake: { open(context: BrowserContext): Promise<Page> }, context: BrowserContext): Promise<Page> {
  const book = await fake.open(context);
  await book.waitForSelector(".cell.selected:focus");
  return book;
}

page("find and replace over all cells, with the keyboard alone, and undone at once", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "total = 1\nprint(total)" }), cell("b", { cell_type: "markdown", source: "The *total* is Total." }), cell("c", { source: "totals" })]);
  const book = await ready(fake, context);
  await press(book, "Control+f");
  await book.keyboard.type("total");
  const count = book.locator(".find-count");
  await book.locator(".find-count", { hasText: "1 of 5" }).waitFor();
  const highlighted = () => book.evaluate(() => [...(CSS.highlights.get("find") ?? [])].map((range) => (range as Range).toString()));
  await eventually.equal(highlighted, ["total", "total", "total", "Total", "total"]);
  await press(book, "Enter", "Enter", "Enter", "Shift+Enter");
  await eventually.equal(() => count.innerText(), "3 of 5");
  await eventually.equal(() => book.locator(".cell.selected").getAttribute("data-id"), "b");
  await book.getByRole("button", { name: "Whole words" }).click();
  await book.getByRole("button", { name: "Match case" }).click();
  await book.locator(".find-count", { hasText: "of 3" }).waitFor();
  await book.getByRole("textbox", { name: "Replace with" }).fill("sum");
  await book.getByRole("button", { name: "Replace all" }).click();
  await book.locator(".find-count", { hasText: "Replaced 3 in 2 cells" }).waitFor();
  await waitFor("the server has the texts", () => fake.document.cells[0]?.source === "sum = 1\nprint(sum)" && fake.document.cells[1]?.source === "The *sum* is Total.");
  await press(book, "Escape");
  await eventually.equal(() => book.locator(".find").isVisible(), false);
  await press(book, "Escape", "z");
  await waitFor("one undo turns all of it back", () => fake.document.cells[0]?.source === "total = 1\nprint(total)" && fake.document.cells[1]?.source === "The *total* is Total.");
});

page("a regular expression that is wrong is told; one match is replaced by its groups", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "f(1)\nf(2)" })]);
  const book = await ready(fake, context);
  await press(book, "Control+f");
  await book.getByRole("button", { name: "Regular expression" }).click();
  await book.getByRole("textbox", { name: "Find", exact: true }).fill("f(");
  await book.locator(".find-count", { hasText: "Not a regular expression" }).waitFor();
  await book.getByRole("textbox", { name: "Find", exact: true }).fill("f\\((\\d)\\)");
  await book.getByRole("textbox", { name: "Replace with" }).fill("g($1$1)");
  await press(book, "Enter");
  await waitFor("the first match is replaced", () => fake.document.cells[0]?.source === "g(11)\nf(2)");
  await book.locator(".find-count", { hasText: "1 of 1" }).waitFor();
  // Closing goes into the editor, with the match selected.
  await press(book, "Escape");
  await book.locator(".cell.editing").waitFor();
  await book.keyboard.type("x");
  await waitFor("the match was selected", () => fake.document.cells[0]?.source === "g(11)\nx");
});

page("the palette finds a command by its words", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one" }), cell("b", { source: "two" })]);
  const book = await ready(fake, context);
  await press(book, "Control+Shift+P");
  await book.keyboard.type("clear all");
  const options = book.locator("dialog").getByRole("option");
  await eventually.equal(() => options.evaluateAll((found) => found.map((one) => one.textContent)), ["Clear all outputs"]);
  await press(book, "Enter");
  await waitFor("it is done", () => fake.asked("clear_outputs").length === 1);
  await press(book, "p");
  await book.keyboard.type("no such command");
  await eventually.equal(() => options.count(), 0);
  await press(book, "Enter", "Escape");
  await book.locator("dialog").waitFor({ state: "detached" });
});

page("settings: theme, size, line numbers and own keys, kept and seen by another tab", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one\ntwo" }), cell("b")]);
  const book = await ready(fake, context);
  const other = await ready(fake, context);
  await press(other, "Control+Shift+P");
  await other.keyboard.type("settings");
  await press(other, "Enter");
  await other.getByLabel("Theme", { exact: true }).selectOption("dark");
  await other.getByRole("spinbutton").fill("20");
  await press(other, "Tab");
  await other.getByLabel("Show line numbers", { exact: true }).check();
  await other.getByText("Keys", { exact: true }).click();
  const row = other.locator(".key-row[data-action=delete]");
  await row.getByRole("button", { name: "Change the keys" }).click();
  await press(other, "x", "x");
  await row.locator(".own", { hasText: "X then X" }).waitFor();
  // `Y` belonged to another command, which gives it up.
  await other.locator(".key-row[data-action=below]").getByRole("button", { name: "Change the keys" }).click();
  await press(other, "y");
  await other.locator(".key-row[data-action=code] .own", { hasText: "none" }).waitFor();
  await eventually.equal(() => other.locator(".key-row[data-action=below] .own").innerText(), "Y");
  await other.getByRole("button", { name: "Close", exact: true }).click();
  const look = () => book.evaluate(() => ({ page: getComputedStyle(document.body).backgroundColor, size: getComputedStyle(document.querySelector(".static") ?? document.body).fontSize, numbered: document.querySelector(".static.numbered") !== null }));
  await waitFor("the other tab follows", async () => JSON.stringify(await look()) === JSON.stringify({ page: "rgb(21, 24, 27)", size: "20px", numbered: true }));
  await book.bringToFront();
  await press(book, "y");
  await waitFor("the new key inserts a cell", () => fake.asked("insert_cell").length === 1);
  await press(book, "d", "d", "x", "x");
  await waitFor("the new keys delete, and the old ones do not", () => fake.asked("delete_cell").length === 1);
});

page("merge, split, move, type and deletion are undone and made again", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one" }), cell("b", { source: "two" }), cell("c", { source: "three" })]);
  const book = await ready(fake, context);
  const server = () => fake.document.cells.map(({ id, source, cell_type }) => `${id}:${source}:${cell_type}`);
  const before = server();
  await press(book, "Shift+ArrowDown", "Shift+M");
  await eventually.equal(() => shown(book), ["one\ntwo", "three"]);
  await press(book, "z");
  await eventually.equal(() => shown(book), ["one", "two", "three"]);
  await waitFor("the server has all cells again, with their ids", () => JSON.stringify(server()) === JSON.stringify(before));
  await press(book, "Shift+Z");
  await eventually.equal(() => shown(book), ["one\ntwo", "three"]);
  await press(book, "z");
  await press(book, "Control+Home", "m");
  await book.locator(".cell.markdown-cell").waitFor();
  await press(book, "z");
  await book.locator(".cell.markdown-cell").waitFor({ state: "detached" });
  await press(book, "Alt+ArrowDown", "Alt+ArrowDown");
  await eventually.equal(() => shown(book), ["two", "three", "one"]);
  await press(book, "z", "z");
  await eventually.equal(() => shown(book), ["one", "two", "three"]);
  // Split at two cursors.
  await press(book, "Control+Home", "Enter", "Control+Home", "ArrowRight");
  await book.keyboard.down("Alt");
  await book.locator(".cm-content").first().click({ position: { x: 28, y: 16 } });
  await book.keyboard.up("Alt");
  await press(book, "Home", "ArrowRight", "Control+Shift+Minus");
  await eventually.equal(() => shown(book), ["o", "ne", "two", "three"]);
  await press(book, "Escape", "z");
  await eventually.equal(() => shown(book), ["one", "two", "three"]);
  await waitFor("the server too", () => JSON.stringify(server()) === JSON.stringify(before));
});

page("several cursors: the next equal text, lines below, and a column", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "ab\nab\nab" })]);
  const book = await ready(fake, context);
  await press(book, "Enter", "Control+Home", "Shift+ArrowRight", "Control+d", "Control+d");
  await book.keyboard.type("x");
  await waitFor("all three are replaced", () => fake.document.cells[0]?.source === "xb\nxb\nxb");
  await press(book, "Escape", "Enter", "Control+Home", "Control+Alt+ArrowDown");
  await book.keyboard.type("_");
  await waitFor("two lines are typed into", () => fake.document.cells[0]?.source === "_xb\n_xb\nxb");
});

page("cells pass from one notebook to another over the clipboard, and as text to a program", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "1 + 1", outputs: [{ output_type: "stream", name: "stdout", text: "kept\n" }] }), cell("b", { cell_type: "markdown", source: "# text" })]);
  const book = await ready(fake, context);
  await press(book, "Shift+ArrowDown", "c");
  // `V` in another tab.
  const other = await ready(fake, context);
  await press(other, "v");
  await waitFor("both cells are pasted", () => fake.document.cells.length === 4);
  assert.deepEqual(fake.document.cells.map(({ source }) => source), ["1 + 1", "1 + 1", "# text", "# text"]);
  // The system's clipboard.
  await book.bringToFront();
  await press(book, "Control+Home", "Control+c");
  await other.bringToFront();
  await press(other, "Control+End", "Control+v");
  await waitFor("a cell is pasted", () => fake.document.cells.length === 5);
  const last = fake.asked("insert_cell").at(-1);
  assert.ok(last?.type === "insert_cell");
  assert.deepEqual([last.source, last.outputs], ["1 + 1", [{ output_type: "stream", name: "stdout", text: "kept\n" }]]);
  await press(other, "Enter", "Control+a", "Control+v");
  await waitFor("in an editor it is text", () => fake.document.cells.at(-1)?.source === "1 + 1");
});

page("a cell is dragged to another place", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one" }), cell("b", { source: "two" }), cell("c", { source: "three" })]);
  const book = await ready(fake, context);
  const handle = await code(book, 2).locator(".gutter").boundingBox();
  const target = await code(book, 0).boundingBox();
  assert.ok(handle !== null && target !== null);
  await book.mouse.move(handle.x + 8, handle.y + handle.height - 4);
  await book.mouse.down();
  await book.mouse.move(target.x + 40, target.y + 20, { steps: 4 });
  await book.mouse.move(target.x + 40, target.y + 3, { steps: 4 });
  await book.locator(".drop-mark").waitFor();
  await book.mouse.up();
  await waitFor("it is moved", () => fake.asked("move_cell").length === 1);
  assert.deepEqual(fake.asked("move_cell"), [{ type: "move_cell", cell_id: "c", index: 0 }]);
  await eventually.equal(() => shown(book), ["three", "one", "two"]);
  await press(book, "z");
  await eventually.equal(() => shown(book), ["one", "two", "three"]);
});

/** Pastes a picture where the focus is. */
async function pastePicture(book: Page, name: string): Promise<void> {
  await book.evaluate(([data, name]) => {
    const bytes = Uint8Array.from(atob(data ?? ""), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name ?? "", { type: "image/png" }));
    document.activeElement?.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
  }, [PICTURE, name] as const);
}

page("a picture that is pasted into Markdown is attached and shown, in the editor and on the rendered cell", async ({ fake, context }) => {
  fake.document = notebook([cell("m", { cell_type: "markdown", source: "Before " })]);
  const book = await ready(fake, context);
  await press(book, "Enter", "End");
  await pastePicture(book, "shot 1.png");
  await waitFor("the picture is attached", () => fake.document.cells[0]?.attachments !== null);
  await waitFor("the text shows it", () => fake.document.cells[0]?.source === "Before ![shot 1](attachment:shot%201.png)");
  await press(book, "Shift+Enter");
  await press(book, "Escape", "Control+Home");
  const image = code(book, 0).locator(".markdown img");
  await waitFor("it is seen", () => image.evaluate((element: HTMLImageElement) => element.naturalWidth === 1));
  await pastePicture(book, "two.png");
  await waitFor("another one stands below", () => fake.document.cells[0]?.source.endsWith("\n\n![two](attachment:two.png)") === true);
  assert.deepEqual(Object.keys(fake.document.cells[0]?.attachments ?? {}), ["shot 1.png", "two.png"]);
});

page("the table of contents follows the headings and goes to them; sections are hidden", async ({ fake, context }) => {
  const filler = Array.from({ length: 30 }, (_, n) => cell(`f${n}`, { source: `x = ${n}` }));
  fake.document = notebook([cell("t", { cell_type: "markdown", source: "# Title" }), cell("a", { source: "1" }), cell("s", { cell_type: "markdown", source: "## Part *one*" }), ...filler, cell("u", { cell_type: "markdown", source: "## Part two" })]);
  const book = await ready(fake, context);
  await press(book, "Shift+T");
  const contents = book.getByRole("navigation", { name: "Table of contents" });
  await contents.getByRole("link", { name: "Part two" }).waitFor();
  await eventually.equal(() => contents.getByRole("link").allInnerTexts(), ["Title", "Part one", "Part two"]);
  await contents.getByRole("link", { name: "Part two" }).click();
  await book.locator(".cell.selected[data-id=u]").waitFor();
  await waitFor("it is in view", () => book.locator(".cell[data-id=u]").evaluate((element) => element.getBoundingClientRect().bottom <= innerHeight));
  await contents.getByRole("link", { name: "Part one" }).click();
  await press(book, "ArrowLeft");
  await waitFor("the section is hidden", async () => (await book.locator(".cell:visible").count()) === 4);
  assert.deepEqual(fake.asked("set_cell_metadata"), [{ type: "set_cell_metadata", cell_id: "s", metadata: { heading_collapsed: true } }]);
  await press(book, "ArrowDown");
  await eventually.equal(() => book.locator(".cell.selected").getAttribute("data-id"), "u", "hidden cells are passed over");
  await book.getByRole("button", { name: "Show the section (30 cells)" }).click();
  await waitFor("it is shown", async () => (await book.locator(".cell[data-id=f0]").isVisible()));
  await press(book, "Control+Home", "Enter", "End");
  await book.keyboard.type("!");
  await contents.getByRole("link", { name: "Title!" }).waitFor();
});

page("the queue: what waits is listed and taken out", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "long()", state: "running" }), cell("b", { source: "second", state: "queued" }), cell("c", { source: "third", state: "queued" })]);
  const book = await ready(fake, context);
  await book.getByRole("button", { name: "Running cell 1, 2 waiting" }).click();
  await book.getByRole("menuitem", { name: "Remove cell 3: third" }).click();
  await waitFor("it is asked for", () => fake.asked("cancel").length === 1);
  await code(book, 1).locator(".gutter").hover();
  await book.getByRole("button", { name: "Remove this cell from the queue" }).first().click();
  await waitFor("and from the cell", () => fake.asked("cancel").length === 2);
  assert.deepEqual(fake.asked("cancel"), [{ type: "cancel", cell_ids: ["c"] }, { type: "cancel", cell_ids: ["b"] }]);
});

page("results that may be old are marked: changed since, overtaken, from before a restart", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "1" }), cell("b", { source: "2" })]);
  const book = await ready(fake, context);
  const run = (id: string, count: number): void => {
    fake.change({ type: "cell_state_changed", cell_id: id, state: "running", execution_count: count });
    fake.change({ type: "cell_state_changed", cell_id: id, state: "idle", execution_count: count });
  };
  const doubt = (n: number) => code(book, n).locator(".count").getAttribute("data-doubt");
  run("a", 1);
  run("b", 2);
  await code(book, 1).locator(".count", { hasText: "[2]" }).waitFor();
  await eventually.match(() => code(book, 1).locator(".count").getAttribute("title"), /^Ran at .*, took /);
  await eventually.equal(async () => [await doubt(0), await doubt(1)], [null, null]);
  run("a", 3);
  await code(book, 1).locator(".count[data-doubt=overtaken]").waitFor();
  await press(book, "Enter");
  await book.keyboard.type("0");
  await code(book, 0).locator(".count[data-doubt=changed]").waitFor();
  fake.change({ type: "kernel_changed", kernel: { ...fake.document.kernel, state: "restarting" } });
  await code(book, 1).locator(".count[data-doubt=earlier]").waitFor();
  run("b", 1);
  await waitFor("a new run has no doubt", async () => (await doubt(1)) === null);
});

page("suggestions and signatures come while typing, if they are wanted", async ({ fake, context }) => {
  fake.document = notebook([cell("a")]);
  fake.answer = (op) => {
    if (op.type === "complete") return { type: "completions", matches: [{ text: "print", kind: "function" }], start: 0, end: op.cursor };
    if (op.type === "inspect") return { type: "inspection", data: { "text/plain": "Signature: print(*args)" } };
    return null;
  };
  // A frame with an output has no storage.
  await context.addInitScript(() => {
    if (location.protocol === "http:" && self === top) localStorage.setItem("paster:settings", JSON.stringify({ suggest: true, signatures: true }));
  });
  const book = await fake.open(context);
  await book.locator(".cm-content").first().click();
  await book.keyboard.type("pri");
  await book.locator(".cm-tooltip-autocomplete", { hasText: "print" }).waitFor();
  await book.keyboard.type("nt(");
  await book.locator(".inspection", { hasText: "Signature: print(*args)" }).waitFor();
  await waitFor("the brackets are closed", async () => (await shown(book))[0] === "print()");
});

for (const colorScheme of ["light", "dark"] as const) {
  page(`no axe violation in the panels and dialogs, ${colorScheme}`, async ({ fake, context }) => {
    fake.answer = (op) => (op.type === "list_variables" ? { type: "variables", variables: [{ name: "x", kind: "int", size: "", value: "1" }] } : null);
    fake.texts["a.csv"] = { content: "a,b\n1,2\n", last_modified: "2026-01-01T00:00:00Z" };
    fake.texts["a.py"] = { content: "x = 1\n", last_modified: "2026-01-01T00:00:00Z" };
    fake.document = notebook([cell("t", { cell_type: "markdown", source: "# Title" }), cell("a", { source: "one", execution_count: 1 }), cell("s", { cell_type: "markdown", source: "## Hidden", metadata: { heading_collapsed: true } }), cell("b", { source: "two" })]);
    const book = await ready(fake, context);
    fake.change({ type: "kernel_changed", kernel: { ...fake.document.kernel, state: "restarting" } });
    await press(book, "Shift+T", "Shift+I");
    await book.getByRole("cell", { name: "int" }).waitFor();
    await press(book, "Control+f");
    await book.keyboard.type("o");
    await book.locator(".find-count", { hasText: "of" }).waitFor();
    assert.deepEqual(await violations(book), []);
    await press(book, "Escape", "Escape", "Control+Shift+P");
    assert.deepEqual(await violations(book), []);
    await book.keyboard.type("settings");
    await press(book, "Enter");
    await book.getByText("Keys", { exact: true }).click();
    assert.deepEqual(await violations(book), []);
    for (const path of ["edit/a.csv", "edit/a.py"]) {
      const file = await fake.open(context, path);
      await file.locator(path.endsWith("csv") ? "td" : ".cm-line").first().waitFor();
      assert.deepEqual(await violations(file), []);
    }
  }, { colorScheme });
}
