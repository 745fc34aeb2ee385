//! The debugger of a real ipykernel, in the page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { violations } from "./axe";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, eventually, waitFor } from "./wait";

const SLOW = 2 * PATIENCE_MS;
const without = process.env["PASTER_TEST_PYTHON"] === undefined ? "PASTER_TEST_PYTHON names no Python with ipykernel" : false;

let browser: Browser;
let server: Server;
let context: BrowserContext;
before(async () => {
  if (without !== false) return;
  [browser, server] = await Promise.all([launch(), Server.start()]);
  context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(`${server.url}?token=${TOKEN}`);
  await page.close();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const SOURCE = "def area(width, height):\n    box = {'w': width, 'h': height}\n    result = width * height\n    return result\n\nfor n in range(2):\n    last = area(n + 2, 5)\nprint('area', last)";
const cell = (page: Page, n: number) => page.locator(".cell").nth(n);
const panel = (page: Page) => page.locator(".debugger");

/** Clicks left of a line, in the editor or in the text. */
async function click(page: Page, n: number, line: number): Promise<void> {
  const text = cell(page, n).locator(`.line[data-line="${line}"]`);
  if ((await text.count()) > 0) return text.click({ position: { x: 9, y: 8 } });
  await cell(page, n).locator(".cm-breakpoints .cm-gutterElement").nth(line).click();
}

test("a program stops at a breakpoint, shows its variables, goes on step by step, and a reload keeps all of it", { skip: without }, async () => {
  await server.write("debug.ipynb", [{ cell_type: "code", source: "x = 1" }, { cell_type: "code", source: SOURCE }]);
  const page = await context.newPage();
  try {
    await page.goto(`${server.url}notebooks/debug.ipynb`);
    await cell(page, 0).locator(".run-button").click();
    await cell(page, 0).locator(".count", { hasText: "[1]" }).waitFor({ timeout: SLOW });
    await page.getByRole("button", { name: "More" }).click();
    await page.getByRole("menuitem", { name: "Show or hide the debugger" }).click();
    await panel(page).getByRole("button", { name: "Turn on" }).click();
    await panel(page).getByRole("button", { name: "Turn off" }).waitFor({ timeout: SLOW });
    await click(page, 1, 3);
    await panel(page).getByText("Cell 2, line 3").waitFor();
    await cell(page, 1).locator(".run-button").click();
    await panel(page).getByText("Stopped in area, line 3").waitFor({ timeout: SLOW });
    await eventually.equal(async () => (await cell(page, 1).locator(".stopped-line").innerText()).trim(), "result = width * height");
    await eventually.equal(async () => (await panel(page).locator(".frames li").allInnerTexts()).map((text) => text.split("\n")[0]), ["area", "<module>"]);
    const variable = (name: string) => panel(page).locator(".variable", { has: page.locator(".variable-name", { hasText: new RegExp(`^${name}$`) }) });
    await eventually.match(() => variable("width").last().innerText(), /width\s*2/);
    await variable("box").last().locator("summary").first().click();
    await variable("'h'").last().waitFor();
    assert.deepEqual(await violations(page), []);
    // Another frame has other variables.
    await panel(page).locator(".frames button", { hasText: "<module>" }).click();
    await panel(page).getByText("Stopped in <module>, line 7").waitFor();
    await panel(page).locator(".frames button", { hasText: "area" }).click();
    await page.keyboard.press("F10");
    await panel(page).getByText("Stopped in area, line 4").waitFor();
    await panel(page).getByRole("button", { name: "Step out" }).click();
    await panel(page).getByText("Stopped in <module>").waitFor();
    // A reload in the middle of it.
    await page.reload();
    await panel(page).getByText("Stopped in <module>").waitFor({ timeout: SLOW });
    await panel(page).getByText("Cell 2, line 3").waitFor();
    await cell(page, 1).locator(".stopped-line").waitFor();
    await panel(page).getByRole("button", { name: "Continue" }).click();
    await panel(page).getByText("Stopped in area, line 3").waitFor();
    await eventually.match(() => variable("width").last().innerText(), /width\s*3/, "the second round");
    await panel(page).getByRole("button", { name: "Remove the breakpoint in cell 2, line 3" }).click();
    await panel(page).getByRole("button", { name: "Continue" }).click();
    await cell(page, 1).locator(".output", { hasText: "area 15" }).waitFor();
    await waitFor("nothing is marked as stopped", async () => (await page.locator(".stopped-line").count()) === 0);
    // Lines inserted above move the breakpoint with its text.
    await click(page, 1, 8);
    await cell(page, 1).locator(".static").click({ position: { x: 300, y: 20 } });
    await page.keyboard.press("Control+Home");
    await page.keyboard.type("# one more line\n");
    await panel(page).getByText("Cell 2, line 9").waitFor();
    await page.keyboard.press("Control+Enter");
    await panel(page).getByText("Stopped in <module>, line 9").waitFor();
    await page.keyboard.press("F9");
    await waitFor("the cell has finished", async () => (await cell(page, 1).locator(".count").innerText()).startsWith("[3]"));
    await panel(page).getByRole("button", { name: "Turn off" }).click();
    await panel(page).getByRole("button", { name: "Turn on" }).waitFor();
    await cell(page, 1).locator(".run-button").click();
    await waitFor("it runs without a stop", async () => (await cell(page, 1).locator(".count").innerText()).startsWith("[4]"));
  } catch (error) {
    console.log(`# ${await panel(page).innerText().catch(() => "no panel")}\n# ${server.log.slice(-2000)}`.replaceAll("\n", "\n# "));
    throw error;
  } finally {
    await page.close();
  }
});
