//! A notebook of 2,000 cells: what is in the page, and what is not.

import assert from "node:assert/strict";
import { cell, notebook } from "./fake";
import { code, page } from "./pages";
import { eventually, waitFor } from "./wait";

page("only cells near the view have content, however far one scrolls; what is shown is right, and its height stays", async ({ fake, context }) => {
  fake.document = notebook(Array.from({ length: 2000 }, (_, n) =>
    n % 10 === 0 ? cell(`c${n}`, { cell_type: "markdown", source: `# Part ${n}` }) : cell(`c${n}`, { source: `value = ${n}\nprint(value)`, outputs: [{ output_type: "stream", name: "stdout", text: `printed ${n}\n` }] })));
  const book = await fake.open(context);
  await book.setViewportSize({ width: 1000, height: 800 });
  await code(book, 1).getByText("printed 1").waitFor();
  const filled = () => book.locator(".cell > .body").count();
  await eventually.equal(() => book.locator(".cell").count(), 2000);
  assert.ok((await filled()) <= 120, `${await filled()} cells have content`);
  const scroll = async (to: number) => {
    await book.evaluate((top) => scrollTo(0, top), to);
    await book.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  };
  let most = 0;
  for (let top = 0; top < 60_000; top += 1500) {
    await scroll(top);
    most = Math.max(most, await filled());
  }
  assert.ok(most <= 250, `${most} cells had content at once`);
  const seen = await book.evaluate(() => document.elementFromPoint(500, 400)?.closest(".cell")?.textContent ?? "");
  assert.match(seen, /printed \d+|Part \d+/, "what is in the view has content");
  const height = await book.evaluate(() => document.documentElement.scrollHeight);
  await scroll(0);
  await code(book, 1).getByText("printed 1").waitFor();
  await eventually.equal(() => code(book, 10).getByRole("button", { name: "Hide the section" }).count(), 1, "a heading has its arrow again");
  // The remembered heights keep the scroll bar where it is.
  const after = await book.evaluate(() => document.documentElement.scrollHeight);
  assert.ok(Math.abs(after - height) < height * 0.02, `${height} and then ${after} pixels`);
  // A cell in use keeps its content.
  await code(book, 1).locator(".static").click();
  await book.keyboard.type("kept = 1\n");
  await scroll(60_000);
  await waitFor("the first cells are empty", async () => (await code(book, 3).locator(".body").count()) === 0);
  await eventually.match(() => code(book, 1).textContent(), /kept = 1/);
  // Searching finds what has no content now.
  await book.keyboard.press("Control+f");
  await book.locator(".find input").first().fill("value = 1999");
  await code(book, 1999).locator(".body").waitFor();
});
