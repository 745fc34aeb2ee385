//! Widgets with the real program and ipywidgets in a real kernel.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, eventually, waitFor } from "./wait";

/** How long a kernel may take to start on a busy machine. */
const SLOW = 2 * PATIENCE_MS;

let browser: Browser;
let server: Server;
let context: BrowserContext;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
  context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(`${server.url}?token=${TOKEN}`);
  await page.close();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const frame = (page: Page, n: number) => page.locator(".cell").nth(n).frameLocator("iframe");

async function open(name: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${server.url}notebooks/${name}`);
  await page.locator(".cell").first().waitFor();
  return page;
}

test("interact: a slider runs the function, its output is captured; a second page and a later one show the same", async () => {
  await server.write("interact.ipynb", [{ cell_type: "code", source: "from ipywidgets import interact, IntSlider\n@interact(n=IntSlider(2, 0, 10))\ndef square(n):\n    print('square', n * n)" }, { cell_type: "code", source: "seen = square.widget.children[0].value\nprint('the kernel has', seen)" }]);
  const page = await open("interact.ipynb");
  try {
    await page.keyboard.press("Control+Enter");
    await frame(page, 0).getByText("square 4", { exact: true }).waitFor({ timeout: SLOW });
    const handle = frame(page, 0).locator(".noUi-handle");
    await handle.focus();
    await page.keyboard.press("ArrowRight");
    await frame(page, 0).getByText("square 9", { exact: true }).waitFor();
    // A page that comes late.
    const late = await open("interact.ipynb");
    await frame(late, 0).getByText("square 9", { exact: true }).waitFor();
    await eventually.equal(() => frame(late, 0).locator(".widget-readout").innerText(), "3");
    await frame(late, 0).locator(".noUi-handle").focus();
    await late.keyboard.press("ArrowRight");
    await frame(page, 0).getByText("square 16", { exact: true }).waitFor();
    await frame(page, 0).locator(".widget-readout", { hasText: "4" }).waitFor();
    await late.close();
    await page.locator(".cell").nth(1).locator(".run-button").click();
    await page.locator(".cell").nth(1).locator(".output", { hasText: "the kernel has 4" }).waitFor();
    // Nothing of it is in the file but the view.
    await waitFor("the file is written", async () => JSON.stringify(await server.file("interact.ipynb")).includes("widget-view+json"));
    assert.doesNotMatch(JSON.stringify(await server.file("interact.ipynb")), /square 16/);
    // A reload of the plugin: the kernel tells the new one the state of its widgets.
    server.reload();
    await waitFor("the plugin is loaded again", () => server.log.includes('"event":"reloaded"'));
    const after = await open("interact.ipynb");
    await frame(after, 0).locator(".widget-readout", { hasText: "4" }).waitFor();
    await after.close();
    // Restarting ends the widgets.
    await page.bringToFront();
    await page.getByRole("button", { name: "Restart the kernel" }).click();
    await page.getByRole("button", { name: "Restart", exact: true }).click();
    await page.getByText("The kernel no longer has this widget").waitFor({ timeout: SLOW });
    await page.reload();
    await page.getByText("The kernel no longer has this widget").waitFor();
  } catch (error) {
    console.log(`# ${server.log.slice(-3000).replaceAll("\n", "\n# ")}`);
    throw error;
  } finally {
    await page.close();
  }
});

test("a deleted cell that runs is brought back with what it printed meanwhile; a waiting cell is taken out of the queue", async () => {
  await server.write("running.ipynb", [{ cell_type: "code", source: "import time, pathlib\nprint('begun')\nwhile not pathlib.Path('go').exists(): time.sleep(.02)\nprint('after the deletion')\nwhile not pathlib.Path('end').exists(): time.sleep(.02)\nprint('done')" }, { cell_type: "code", source: "print('second')" }, { cell_type: "code", source: "print('third')" }]);
  const page = await open("running.ipynb");
  try {
    const cell = (n: number) => page.locator(".cell").nth(n);
    await page.getByRole("button", { name: "Run all" }).click();
    await cell(0).locator(".output", { hasText: "begun" }).waitFor({ timeout: SLOW });
    await page.getByRole("button", { name: "Running cell 1, 2 waiting" }).click();
    await page.getByRole("menuitem", { name: "Remove cell 2" }).click();
    await page.getByRole("button", { name: "Running cell 1, 1 waiting" }).waitFor();
    await cell(0).locator(".gutter").click();
    await page.keyboard.press("d");
    await page.keyboard.press("d");
    await page.locator(".cell", { hasText: "begun" }).waitFor({ state: "detached" });
    await writeFile(`${server.data}/go`, "");
    await page.keyboard.press("z");
    await cell(0).locator(".output", { hasText: "after the deletion" }).waitFor();
    await page.locator(".cell.running").waitFor();
    await writeFile(`${server.data}/end`, "");
    await cell(0).locator(".output", { hasText: "done" }).waitFor();
    await cell(2).locator(".output", { hasText: "third" }).waitFor();
    await eventually.equal(() => cell(1).locator(".output").count(), 0);
  } finally {
    await page.close();
  }
});

test("interact of the built-in kernel, without ipywidgets", async () => {
  const cell = { id: "cell0", metadata: {}, outputs: [], execution_count: null, cell_type: "code", source: "@interact(n=(0, 10), color=['red', 'green'], loud=False)\ndef show(n, color, loud):\n    print(color, n * n, '!' if loud else '.')" };
  const metadata = { kernelspec: { name: "paster-python", display_name: "Python 3 (built in)", language: "python" } };
  await writeFile(`${server.data}/built-in.ipynb`, JSON.stringify({ cells: [cell], metadata, nbformat: 4, nbformat_minor: 5 }));
  const page = await open("built-in.ipynb");
  try {
    await page.keyboard.press("Control+Enter");
    await frame(page, 0).getByText("red 25 .", { exact: true }).waitFor({ timeout: SLOW });
    await frame(page, 0).locator(".noUi-handle").focus();
    await page.keyboard.press("ArrowRight");
    await frame(page, 0).getByText("red 36 .", { exact: true }).waitFor();
    await frame(page, 0).locator("select").selectOption("green");
    await frame(page, 0).getByText("green 36 .", { exact: true }).waitFor();
    await frame(page, 0).getByRole("checkbox").check();
    await frame(page, 0).getByText("green 36 !", { exact: true }).waitFor();
    await eventually.equal(() => frame(page, 0).locator(".widget-readout").innerText(), "6");
    // The next generation learns the state from the kernel.
    server.reload();
    await waitFor("the plugin is loaded again", () => (server.log.match(/"event":"reloaded"/g) ?? []).length >= 2);
    const late = await open("built-in.ipynb");
    await frame(late, 0).locator(".widget-readout", { hasText: "6" }).waitFor();
    await late.close();
  } finally {
    await page.close();
  }
});
