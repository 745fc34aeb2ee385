//! 100,000 lines of output from one cell, with the real program: the page stays usable, and small.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, CDPSession, Page } from "playwright-core";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { eventually, PATIENCE_MS, waitFor } from "./wait";

const FEW = 20_000;
const MANY = 100_000;
/** A page with many lines may have so many elements and texts more than one with few. */
const NODES = 500;
const LINE_BYTES = "line 99999 of the output\n".length;

let browser: Browser;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** The DOM nodes of the page, and the bytes of its heap after a garbage collection. */
async function size(page: Page): Promise<{ nodes: number; heap: number }> {
  const session: CDPSession = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.enable");
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  const nodes = await page.evaluate(() => {
    const walker = document.createTreeWalker(document, NodeFilter.SHOW_ALL);
    let count = 0;
    while (walker.nextNode() !== null) count += 1;
    return count;
  });
  await session.detach();
  return { nodes, heap: usedSize };
}

/** Prints lines in a new notebook, and types in another cell meanwhile. */
async function print(count: number): Promise<{ page: Page; nodes: number; heap: number; keys: number[]; took: number }> {
  const name = `lines${count}.ipynb`;
  await server.write(name, [{ cell_type: "code", source: `for i in range(${count}):\n    print('line', i, 'of the output')` }, { cell_type: "code", source: "" }]);
  const context = await browser.newContext();
  context.setDefaultTimeout(2 * PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(`${server.url}?token=${TOKEN}`);
  await page.goto(`${server.url}notebooks/${name}`);
  const [printing, other] = [page.locator(".cell").first(), page.locator(".cell").nth(1)];
  await printing.locator(".static").click();
  await page.keyboard.press("Control+Enter");
  await printing.locator(".output", { hasText: "line 0 " }).waitFor();
  const began = performance.now();
  // Each key is pressed when the one before is drawn.
  await other.locator(".static").click();
  const keys: number[] = [];
  let typed = 0;
  do {
    await page.evaluate(() => {
      const state = window as unknown as { drawn: Promise<number> };
      state.drawn = new Promise((drawn) => {
        addEventListener("keydown", () => {
          const pressed = performance.now();
          requestAnimationFrame(() => setTimeout(() => drawn(performance.now() - pressed)));
        }, { capture: true, once: true });
      });
    });
    await page.keyboard.press("x");
    typed += 1;
    keys.push(await page.evaluate(() => (window as unknown as { drawn: Promise<number> }).drawn));
    await eventually.equal(async () => (await other.locator(".cm-content").innerText()).trim().length, typed);
  } while (await page.locator(".cell.running").count() > 0);
  const took = performance.now() - began;
  await printing.locator(".out-text", { hasText: `line ${count - 1} of the output` }).waitFor();
  return { page, ...(await size(page)), keys, took };
}

test("100,000 lines: the page responds, shows the start and the end, has the whole, and does not grow with their number", async (context) => {
  const few = await print(FEW);
  await few.page.context().close();
  const { page, ...many } = await print(MANY);
  for (const [count, { keys, took, nodes, heap }] of [[FEW, few], [MANY, many]] as const) {
    const sorted = [...keys].sort((a, b) => a - b);
    context.diagnostic(`${count} lines in ${Math.round(took)} ms: ${keys.length} keys meanwhile, drawn after ${sorted[sorted.length >> 1]?.toFixed(0)} ms (median), ${sorted.at(-1)?.toFixed(0)} ms (slowest); ${nodes} nodes, heap ${(heap / 1e6).toFixed(1)} MB`);
    assert.ok((sorted.at(-1) ?? 0) < PATIENCE_MS);
  }
  assert.ok(many.nodes < few.nodes + NODES, `${few.nodes} and ${many.nodes} nodes`);
  // Only the text itself is longer, which the page has once.
  assert.ok(many.heap - few.heap < 1.6 * LINE_BYTES * (MANY - FEW), `${few.heap} and ${many.heap} bytes`);

  // The start, the end, and how many are hidden.
  await eventually.match(() => page.locator(".cell").first().locator(".gap").textContent(), /^100,00[01] lines\. The middle is hidden\./);
  const shown = await page.locator(".cell").first().locator(".out-text").innerText();
  assert.match(shown, /^line 0 of the output\nline 1 of the output\n/);
  const tail = shown.slice(shown.indexOf("The middle is hidden.")).match(/line \d+ of the output/g) ?? [];
  assert.ok(tail.length >= 50, `${tail.length} lines at the end`);
  assert.deepEqual(tail, Array.from({ length: tail.length }, (_, n) => `line ${MANY - tail.length + n} of the output`));

  // The whole, in a new tab.
  const whole = Array.from({ length: MANY }, (_, n) => `line ${n} of the output\n`).join("");
  const [tab] = await Promise.all([page.context().waitForEvent("page"), page.getByRole("button", { name: "Open as text" }).click()]);
  await tab.waitForLoadState();
  assert.ok((await tab.evaluate(() => document.body.textContent)) === whole, "the tab has all lines");
  await tab.close();
  // A reload shows the same, and the file has all of it.
  await page.locator(".save-state", { hasText: /^Saved$/ }).waitFor();
  await page.reload();
  await page.locator(".cell").first().locator(".out-text", { hasText: `line ${MANY - 1} of the output` }).waitFor();
  const { nodes } = await size(page);
  assert.ok(nodes < many.nodes + NODES, `${nodes} nodes after a reload`);
  const [output] = (await server.file(`lines${MANY}.ipynb`)).cells[0]?.outputs ?? [];
  const { text } = output as { text: string | string[] };
  await waitFor("the file has all lines", () => (Array.isArray(text) ? text.join("") : text) === whole);
  await page.context().close();
});
