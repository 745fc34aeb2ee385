//! A slow connection that loses packets, with the real program: typing does not wait for it, and nothing is lost or doubled.
//!
//! To lose real packets too, run it in a network of its own:
//! `ip netns add slow; ip -n slow link set lo up; ip netns exec slow nft 'add table inet t; add chain inet t c { type filter hook
//! input priority 0; }; add rule inet t c meta l4proto tcp numgen random mod 100 < 5 drop'; ip netns exec slow node tests/run.mjs
//! server-slow`.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { launch } from "./browser";
import { Line } from "./line";
import { random } from "./random";
import { Server, TOKEN } from "./server";
import { eventually, PATIENCE_MS, waitFor } from "./wait";

/** For each direction: a request and its response take at least twice as long. */
const DELAY_MS = 250;
/** One part of the data in so many is late by one to two seconds, like a packet that TCP sends again. */
const STALLS = 12;
/** Before these letters, the connection is lost. */
const CUTS: readonly number[] = [9, 31, 50];
/** Without brackets, which the editor closes by itself. */
const TEXT = "values = 1, 2, 3\ntotal = 0\nfor number in values:\ntotal += number * number\ntotal";

let browser: Browser;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const source = (page: Page, n: number): Promise<string> =>
  page.locator(".cell").nth(n).evaluate((cell) => {
    const lines = [...cell.querySelectorAll(".cm-line")];
    return lines.length > 0 ? lines.map((line) => line.textContent).join("\n") : (cell.querySelector(".static")?.textContent ?? "");
  });

test("500 ms and lost packets: each key is shown at once, and the result and the text are there once", async (context) => {
  await server.write("slow.ipynb", [{ cell_type: "code", source: "" }, { cell_type: "code", source: "" }]);
  const pick = random(Number(process.env["PASTER_TEST_SEED"] ?? 1));
  const line = await Line.open(new URL(server.url), { delayMs: DELAY_MS, stallMs: () => (pick(STALLS) === 0 ? 1000 + pick(1000) : 0) });
  const own = await browser.newContext();
  try {
    // The pages, scripts and fonts of the notebook are many round trips.
    own.setDefaultTimeout(4 * PATIENCE_MS);
    own.setDefaultNavigationTimeout(4 * PATIENCE_MS);
    const page = await own.newPage();
    const began = performance.now();
    await page.goto(`${line.url}?token=${TOKEN}`);
    await page.goto(`${line.url}notebooks/slow.ipynb`);
    await page.locator(".cell").nth(1).waitFor();
    const opened = performance.now() - began;

    // The time from a key to its letter in the page.
    await page.evaluate(() => {
      const times: number[] = [];
      Object.assign(window, { times });
      let pressed = 0;
      addEventListener("keydown", () => (pressed = performance.now()), true);
      new MutationObserver(() => {
        if (pressed > 0) times.push(performance.now() - pressed);
        pressed = 0;
      }).observe(document.querySelector(".cells") ?? document.body, { subtree: true, childList: true, characterData: true });
    });
    await page.locator(".cell").first().locator(".static, .cm-content").first().click();
    let typed = "";
    for (const [at, letter] of [...TEXT].entries()) {
      if (CUTS.includes(at)) line.cut();
      await page.keyboard.press(letter === "\n" ? "Enter" : letter);
      typed += letter;
      // The editor indents the loop by itself.
      assert.equal((await source(page, 0)).replace(/\n +/g, "\n").trimEnd(), typed.trimEnd(), "the key is shown before the next one");
    }
    const times = await page.evaluate(() => (window as unknown as { times: number[] }).times);
    const longest = Math.max(...times);
    const whole = await source(page, 0);
    await page.locator(".cell").nth(1).locator(".static").click();
    await page.keyboard.type("1+1");
    await page.keyboard.press("Control+Enter");
    await page.locator(".cell").nth(1).locator(".output", { hasText: /^\s*2\s*$/ }).waitFor();
    await page.locator(".save-state", { hasText: /^Saved$/ }).waitFor();
    await waitFor("the file has the text", async () => {
      const { cells } = await server.file("slow.ipynb");
      return cells.map((cell) => (Array.isArray(cell.source) ? cell.source.join("") : cell.source)).join("|") === `${whole}|1+1`;
    });
    await page.reload();
    await page.locator(".cell").nth(1).waitFor();
    await eventually.equal(() => page.locator(".cell").count(), 2);
    await eventually.equal(() => Promise.all([source(page, 0), source(page, 1)]), [whole, "1+1"]);
    await eventually.equal(() => page.locator(".cell").nth(1).locator(".output").count(), 1);
    await eventually.equal(() => page.locator(".clash:visible").count(), 0);
    assert.ok(line.stalls > 0);
    context.diagnostic(`opened in ${Math.round(opened)} ms; ${times.length} keys, the slowest shown after ${longest.toFixed(1)} ms; ${line.stalls} stalls, ${line.cuts} cuts`);
  } finally {
    await own.close();
    line.close();
  }
});
