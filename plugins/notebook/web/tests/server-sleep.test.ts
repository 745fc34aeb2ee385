//! A laptop that sleeps, with the real program: its connection is silent, and nothing tells either side that it is broken.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { launch } from "./browser";
import { Line } from "./line";
import { Server, TOKEN } from "./server";
import { eventually, PATIENCE_MS, waitFor } from "./wait";

let browser: Browser;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const LINES = 40;
const PRINTING = `import time\nfor i in range(${LINES}):\n    print('line', i, flush=True)\n    time.sleep(0.05)`;

/** A page whose clock the test can move, and its connections. */
async function open(line: Line, name: string): Promise<{ page: Page; sockets: () => number }> {
  const context = await browser.newContext();
  context.setDefaultTimeout(2 * PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(`${line.url}?token=${TOKEN}`);
  await page.clock.install();
  let sockets = 0;
  page.on("websocket", () => (sockets += 1));
  await page.goto(`${line.url}notebooks/${name}`);
  await page.locator(".cell").nth(1).waitFor();
  return { page, sockets: () => sockets };
}

const output = (page: Page): Promise<string> => page.locator(".cell").first().locator(".outputs").innerText();
const printed = async (page: Page): Promise<number[]> => ((await output(page)).match(/\d+/g) ?? []).map(Number);
const ALL = Array.from({ length: LINES }, (_, n) => n);

async function fileText(name: string): Promise<string> {
  return JSON.stringify(await server.file(name));
}

/** Sleeps after the first lines, types, and wakes up; `act` is what makes the page look. */
async function sleep(name: string, forgotten: boolean, act: (page: Page) => Promise<void>): Promise<void> {
  await server.write(name, [{ cell_type: "code", source: PRINTING }, { cell_type: "code", source: "first = 1" }]);
  const line = await Line.open(new URL(server.url));
  try {
    const { page, sockets } = await open(line, name);
    await page.locator(".cell").first().locator(".static").click();
    await page.keyboard.press("Control+Enter");
    await eventually.match(() => output(page), /line 3\b/);
    line.silence();
    await waitFor("the file has the rest", async () => (await fileText(name)).includes(`line ${LINES - 1}\\n`));
    assert.doesNotMatch(await output(page), new RegExp(`line ${LINES - 1}\\b`), "the page does not have it yet");
    if (forgotten) line.forget();
    // The page does not know yet that nobody hears it.
    await page.locator(".cell").nth(1).locator(".static").click();
    await page.keyboard.press("Control+End");
    await page.keyboard.type("\nasleep = 2");
    await page.locator(".save-state", { hasText: "Saving" }).waitFor();
    assert.equal(sockets(), 1);
    line.wake();
    await act(page);
    await eventually.equal(() => printed(page), ALL, "each line is shown once");
    await page.keyboard.type(" # awake");
    await page.locator(".save-state", { hasText: "Saved" }).waitFor();
    await waitFor("the file has what was typed", async () => {
      const { source } = (await server.file(name)).cells[1] ?? { source: "" };
      return (Array.isArray(source) ? source.join("") : source) === "first = 1\nasleep = 2 # awake";
    });
    await eventually.equal(() => page.locator(".notice, .clash:visible, .toast").count(), 0);
    assert.equal(sockets(), 2, "one new connection");
    await page.context().close();
    const { page: later } = await open(line, name);
    await eventually.equal(() => printed(later), ALL);
    await eventually.match(() => later.locator(".cell").nth(1).innerText(), /asleep = 2 # awake/);
    await later.context().close();
  } finally {
    line.close();
  }
}

/** The clock jumps, as when the lid of a laptop is opened. Then the page waits for an answer of the server. */
async function wakeUp(page: Page): Promise<void> {
  await page.clock.fastForward("08:00:00");
  await page.clock.fastForward("00:05");
}

test("a laptop that slept: the server kept the old connection", () => sleep("kept.ipynb", false, wakeUp));
test("a laptop that slept: the server dropped the old connection", () => sleep("dropped.ipynb", true, wakeUp));

test("a laptop in another network: the browser says that it is online", () =>
  sleep("online.ipynb", false, async (page) => {
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await page.clock.fastForward("00:05");
  }));

test("a tab that is shown again", () =>
  sleep("shown.ipynb", true, async (page) => {
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.clock.fastForward("00:05");
  }));

test("a connection that becomes silent while the page is open", () =>
  sleep("silent.ipynb", false, async (page) => {
    // Nothing came for the time after which the page asks, and then no answer.
    await page.clock.runFor("00:16");
    await page.clock.runFor("00:11");
  }));

test("no false alarm: a page that slept while its connection stayed keeps it", async () => {
  await server.write("short.ipynb", [{ cell_type: "code", source: "1" }, { cell_type: "code", source: "2" }]);
  const line = await Line.open(new URL(server.url));
  try {
    const { page, sockets } = await open(line, "short.ipynb");
    for (const pause of ["00:20", "08:00:00", "00:30"]) {
      await page.clock.fastForward(pause);
      await page.locator(".cell").first().locator(".static, .cm-content").click();
      await page.keyboard.press("Control+End");
      await page.keyboard.type(" + 1");
      await page.locator(".save-state", { hasText: "Saved" }).waitFor();
    }
    // The longest time for an answer is over.
    await page.clock.runFor("00:11");
    assert.equal(sockets(), 1);
    await page.context().close();
  } finally {
    line.close();
  }
});
