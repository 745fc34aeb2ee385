//! The look of the pages and the positions of their parts.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { cell, notebook, ORIGIN } from "./fake";
import { code, page } from "./pages";
import { eventually, waitFor } from "./wait";

/** What pandas writes for a table. */
const TABLE = '<div><style scoped>.dataframe tbody tr th { vertical-align: top; }</style><table border="1" class="dataframe"><thead><tr style="text-align: right;"><th></th><th>x</th></tr></thead><tbody><tr><th>0</th><td>1</td></tr><tr><th>1</th><td>2</td></tr></tbody></table></div>';

for (const colorScheme of ["light", "dark"] as const) {
  page(`a table has no grid and is as dark or light as the page, ${colorScheme}`, async ({ fake, context }) => {
    fake.document = notebook([cell("c", { source: "df", outputs: [{ output_type: "display_data", data: { "text/html": TABLE }, metadata: {} }] })]);
    const book = await fake.open(context);
    const data = book.frameLocator("iframe").locator("td").first();
    await data.waitFor();
    const styles = await data.evaluate((element) => {
      const [own, table] = [getComputedStyle(element), getComputedStyle(element.closest("table") ?? element)];
      return { widths: [own.borderTopWidth, own.borderLeftWidth, table.borderTopWidth], color: own.color };
    });
    assert.deepEqual(styles.widths, ["0px", "0px", "0px"]);
    assert.equal(styles.color, await book.evaluate(() => getComputedStyle(document.body).color));
  }, { colorScheme });
}

page("the result of a cell is marked, what it printed is not", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "x", outputs: [
    { output_type: "stream", name: "stdout", text: "printed\n" },
    { output_type: "execute_result", execution_count: 1, data: { "text/plain": "result" }, metadata: {} },
  ] })]);
  const book = await fake.open(context);
  const mark = (text: string) => book.locator(".output", { hasText: text }).evaluate((element) => getComputedStyle(element).borderLeftWidth);
  await eventually.equal(() => mark("printed"), "0px");
  await eventually.equal(() => mark("result"), "3px");
  const left = (text: string) => book.locator(".output pre", { hasText: text }).evaluate((element) => element.getBoundingClientRect().left);
  await eventually.equal(() => left("printed"), await left("result"));
});

page("brackets are marked only in the cell with the focus", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "f(1)" }), cell("b", { source: "g(2)" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".static").click();
  await book.keyboard.press("Control+End");
  const mark = code(book, 0).locator(".cm-matchingBracket").first();
  const color = () => mark.evaluate((element) => getComputedStyle(element).backgroundColor);
  await mark.waitFor();
  assert.notEqual(await color(), "rgba(0, 0, 0, 0)");
  await book.keyboard.press("Escape");
  await book.keyboard.press("ArrowDown");
  await book.locator(".cell.selected", { hasText: "g(2)" }).waitFor();
  if ((await mark.count()) > 0) await eventually.equal(color, "rgba(0, 0, 0, 0)");
});

for (const width of [1280, 360]) {
  page(`the tools of a cell stand beside its code, ${width} px`, async ({ fake, context }) => {
    fake.document = notebook([
      cell("m", { cell_type: "markdown", source: `# ${"A long title ".repeat(20)}` }),
      cell("a", { source: `x = "${"long ".repeat(60)}"` }),
      cell("b", { source: "y", outputs: [{ output_type: "stream", name: "stdout", text: `${"wide ".repeat(200)}\n` }] }),
      cell("r", { cell_type: "raw", source: "raw ".repeat(100) }),
    ]);
    const book = await fake.open(context);
    await book.setViewportSize({ width, height: 800 });
    for (let n = 0; n < 4; n += 1) {
      const one = code(book, n);
      await one.hover();
      const tools = one.getByRole("button", { name: "Actions for this cell" });
      await waitFor("the tools are shown", () => tools.evaluate((element) => getComputedStyle(element.parentElement ?? element).opacity === "1"));
      const [button, ...texts] = await one.evaluate((element) => {
        const rect = (found: Element) => found.getBoundingClientRect().toJSON() as DOMRect;
        const range = document.createRange();
        return [rect(element.querySelector(".tools button") ?? element), ...[...element.querySelectorAll(".static, .markdown h1, .outputs pre")].flatMap((text) => (range.selectNodeContents(text), [...range.getClientRects()].map((box) => box.toJSON() as DOMRect)))];
      });
      assert.ok(button !== undefined && texts.length > 0);
      for (const text of texts) assert.ok(text.right <= button.left || text.left >= button.right || text.bottom <= button.top || text.top >= button.bottom, `${n}: ${JSON.stringify([button, text])}`);
    }
    assert.ok(await book.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page does not scroll sideways");
  });
}

page("the menu of a cell acts on that cell alone", async ({ fake, context }) => {
  const printed = [{ output_type: "stream", name: "stdout", text: "x\n" }] as const;
  fake.document = notebook([cell("a", { source: "one", outputs: [...printed] }), cell("b", { source: "two", outputs: [...printed] }), cell("m", { cell_type: "markdown", source: "three" })]);
  const book = await fake.open(context);
  const act = async (n: number, name: string) => {
    await code(book, n).hover();
    await code(book, n).getByRole("button", { name: "Actions for this cell" }).click();
    await book.getByRole("menuitem", { name }).click();
  };
  await book.waitForSelector(".cell.selected:focus");
  await book.keyboard.press("Control+a");
  await act(1, "Clear the output");
  await waitFor("one output is cleared", () => fake.asked("clear_outputs").length === 1);
  assert.deepEqual(fake.asked("clear_outputs"), [{ type: "clear_outputs", cell_ids: ["b"] }]);
  await act(0, "Move down");
  await eventually.equal(() => book.locator(".cell").evaluateAll((cells) => cells.map((one) => (one as HTMLElement).dataset["id"])), ["b", "a", "m"]);
  await code(book, 2).hover();
  await code(book, 2).getByRole("button", { name: "Actions for this cell" }).click();
  await eventually.equal(() => book.getByRole("menuitem", { name: "output" }).count(), 0, "Markdown has no output");
  await book.keyboard.press("Escape");
  await act(2, "Delete");
  assert.deepEqual(fake.asked("delete_cell"), [{ type: "delete_cell", cell_id: "m" }]);
});

page("a long output scrolls in a box, stays at its end while it grows, and opens", async ({ fake, context }) => {
  const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `line ${from + i}\n`).join("");
  fake.document = notebook([
    cell("c", { source: "x", state: "running" }),
    cell("short", { source: "y", outputs: [{ output_type: "stream", name: "stdout", text: lines(0, 99) }] }),
    cell("told", { source: "z", metadata: { scrolled: false }, outputs: [{ output_type: "stream", name: "stdout", text: lines(0, 300) }] }),
  ]);
  const book = await fake.open(context);
  const outputs = code(book, 0).locator(".outputs");
  const state = () => outputs.evaluate((element) => ({ boxed: element.clientHeight < 500 && element.scrollHeight > element.clientHeight, atEnd: element.scrollTop + element.clientHeight >= element.scrollHeight - 1 }));
  await outputs.waitFor({ state: "attached" });
  fake.change({ type: "output_added", cell_id: "c", output: { output_type: "stream", name: "stdout", text: lines(0, 10) } });
  for (let from = 10; from < 490; from += 10) fake.change({ type: "text_appended", cell_id: "c", index: 0, text: lines(from, from + 10) });
  await outputs.getByText("line 489").waitFor();
  await waitFor("the box stays at its end", async () => JSON.stringify(await state()) === JSON.stringify({ boxed: true, atEnd: true }));
  await eventually.equal(() => book.locator(".outputs.scrolled").count(), 1, "neither the short one nor the one that the file opens");
  // A box that the user scrolled back stays there.
  await outputs.evaluate((element) => element.scrollTo(0, 100));
  await outputs.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  fake.change({ type: "text_appended", cell_id: "c", index: 0, text: lines(490, 495) });
  await outputs.getByText("line 494").waitFor();
  await eventually.equal(() => outputs.evaluate((element) => element.scrollTop), 100);
  await code(book, 0).getByRole("button", { name: "Show the whole output" }).click();
  await eventually.equal(async () => (await state()).boxed, false);
  assert.equal(fake.asked("set_cell_metadata").length, 0, "opening is not saved");
  await code(book, 0).getByRole("button", { name: "Scroll the output in a box" }).click();
  await eventually.equal(async () => (await state()).boxed, true);
  await code(book, 0).locator(".gutter").click();
  await book.keyboard.press("Shift+O");
  await waitFor("the choice is saved", () => fake.asked("set_cell_metadata").length === 1);
  assert.deepEqual(fake.asked("set_cell_metadata"), [{ type: "set_cell_metadata", cell_id: "c", metadata: { scrolled: false } }]);
});

/** A narrow page has the shortcuts in its menu only. */
async function openShortcuts(book: Page): Promise<void> {
  const direct = book.getByRole("button", { name: "Keyboard shortcuts" });
  if (await direct.isVisible()) return direct.click();
  await book.getByRole("button", { name: "More", exact: true }).click();
  await book.getByRole("menuitem", { name: "Keyboard shortcuts" }).click();
}

page("the dialog of shortcuts and the long menu show whether there is more", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "x" })]);
  const book = await fake.open(context);
  const overflow = (selector: string) => book.locator(selector).evaluate((element) => ({ more: element.scrollHeight > element.clientHeight, shadow: getComputedStyle(element).backgroundImage.includes("gradient"), inside: element.getBoundingClientRect().bottom <= innerHeight }));
  for (const [width, height, more] of [[1280, 1160, false], [1280, 500, true], [360, 640, true]] as const) {
    await book.setViewportSize({ width, height });
    await openShortcuts(book);
    await eventually.equal(() => overflow(".shortcuts"), { more, shadow: true, inside: true }, `${width}x${height}`);
    await eventually.equal(() => book.locator("dialog").evaluate((element) => element.scrollHeight > element.clientHeight), false, "one box scrolls, not two");
    await book.getByRole("button", { name: "Close" }).click();
    await book.getByRole("button", { name: "More", exact: true }).click();
    await eventually.equal(() => overflow(".menu"), { more, shadow: true, inside: true }, `${width}x${height}`);
    await book.keyboard.press("Escape");
  }
});

page("the menu opens where its button is, however far the page is scrolled", async ({ fake, context }) => {
  fake.document = notebook(Array.from({ length: 40 }, (_, n) => cell(`c${n}`, { source: `x = ${n}` })));
  const book = await fake.open(context);
  await book.setViewportSize({ width: 360, height: 640 });
  // The estimated heights of cells out of view would move the page.
  await book.addStyleTag({ content: ".cell { content-visibility: visible !important }" });
  await code(book, 20).locator(".static").scrollIntoViewIfNeeded();
  await waitFor("the page has scrolled", () => book.evaluate(() => scrollY > 300));
  const scrolled = await book.evaluate(() => scrollY);
  const place = await book.getByRole("button", { name: "More", exact: true }).boundingBox();
  assert.ok(place !== null);
  // (A locator's click scrolls by itself.)
  await book.mouse.click(place.x + 5, place.y + 5);
  for (const key of ["Home", "End"]) {
    await book.keyboard.press(key);
    const [top, bottom] = await book.locator(".menu").evaluate((element) => [element.getBoundingClientRect().top, innerHeight - element.getBoundingClientRect().bottom]);
    assert.ok(top !== undefined && top >= 0 && bottom !== undefined && bottom >= 0, `${key}: ${top} ${bottom}`);
    await eventually.equal(() => book.evaluate(() => scrollY), scrolled, `${key}: the page stays`);
  }
  await book.keyboard.press("Escape");
  await eventually.equal(() => book.evaluate(() => scrollY), scrolled, "the page stays when the menu closes");
});

page("each heading of the shortcuts stands above its list", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "x" })]);
  const book = await fake.open(context);
  for (const width of [1200, 1280, 900, 360]) {
    await book.setViewportSize({ width, height: 900 });
    await openShortcuts(book);
    const lefts = await book.locator(".shortcuts section").evaluateAll((sections) => sections.map((one) => [one.querySelector("h3"), one.querySelector("dl div")].map((part) => part?.getBoundingClientRect().left)));
    for (const [heading, row] of lefts) assert.equal(heading, row, `${width}`);
    await book.getByRole("button", { name: "Close" }).click();
  }
});

page("logging out sends what was typed and asks with the XSRF value", async ({ fake, context }) => {
  await context.addCookies([{ name: "_xsrf", value: "a.b", url: ORIGIN }]);
  fake.document = notebook([cell("a", { source: "x" })]);
  const book = await fake.open(context);
  const leave = async () => {
    await book.getByRole("button", { name: "More", exact: true }).click();
    await book.getByRole("menuitem", { name: "Log out" }).click();
  };
  fake.noLogout = true;
  await book.locator(".cell").first().waitFor();
  await leave();
  await book.locator(".toast", { hasText: "You are still logged in: the `_xsrf` value does not match" }).waitFor();
  fake.noLogout = false;
  await code(book, 0).locator(".static").click();
  await book.keyboard.press("End");
  await book.keyboard.type("y");
  await leave();
  await book.getByRole("heading", { name: "Logged out" }).waitFor();
  assert.equal(fake.document.cells[0]?.source, "xy");
  assert.equal(fake.xsrf, "a.b");
  fake.xsrf = null;
  const list = await fake.open(context, "");
  await list.getByRole("button", { name: "Log out" }).click();
  await list.getByRole("heading", { name: "Logged out" }).waitFor();
  assert.equal(fake.xsrf, "a.b");
}, { complaints: /403/ });
