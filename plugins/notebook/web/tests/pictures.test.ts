//! Takes the pictures of the documentation, with the real program and a real kernel. Not a test: PASTER_PICTURES=1 runs it, and
//! writes docs/notebook.png and docs/notebook/*.png.

import assert from "node:assert/strict";
import { mkdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, waitFor } from "./wait";

const on = process.env["PASTER_PICTURES"] !== undefined;
/** The bundle is in `plugins/notebook/web/tests/.built`. */
const DOCS = resolve(fileURLToPath(new URL(".", import.meta.url)), "../../../../../docs");
/** The largest picture, in bytes. */
const LIMIT = 150_000;
const SLOW = 2 * PATIENCE_MS;

let browser: Browser;
let server: Server;
before(async () => {
  if (on) [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const WORKED = [
  { cell_type: "markdown", source: "# Damped oscillation\n\nA mass on a spring with friction obeys $\\ddot x + 2\\gamma\\dot x + \\omega_0^2 x = 0$. For weak friction the solution is\n\n$$x(t) = A\\, e^{-\\gamma t} \\cos\\!\\left(\\sqrt{\\omega_0^2 - \\gamma^2}\\; t\\right)$$", metadata: { slideshow: { slide_type: "slide" } } },
  { cell_type: "code", source: "import numpy as np\nimport matplotlib.pyplot as plt\n\ndef position(t, gamma, omega=2.0):\n    \"\"\"The position at the time t.\"\"\"\n    return np.exp(-gamma * t) * np.cos(np.sqrt(omega**2 - gamma**2) * t)" },
  { cell_type: "markdown", source: "## The motion", metadata: { slideshow: { slide_type: "slide" } } },
  { cell_type: "code", source: "t = np.linspace(0, 12, 400)\nplt.figure(figsize=(7, 2.4))\nfor gamma in (0.1, 0.3, 0.8):\n    plt.plot(t, position(t, gamma), label=f\"γ = {gamma}\")\nplt.legend()\nplt.show()", metadata: { slideshow: { slide_type: "fragment" } } },
  { cell_type: "markdown", source: "## Half-lives", metadata: { slideshow: { slide_type: "slide" } } },
  { cell_type: "code", source: "from IPython.display import HTML\nrows = \"\".join(f\"<tr><td>{g}</td><td>{np.log(2) / g:.2f}</td></tr>\" for g in (0.1, 0.3, 0.8))\nHTML(f\"<table><tr><th>γ</th><th>half-life</th></tr>{rows}</table>\")" },
];
const DEBUGGED = [
  { cell_type: "code", source: "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / len(values)\n\nsamples = {\"a\": [3, 4, 8], \"b\": [1, 1]}\nprint({name: mean(values) for name, values in samples.items()})" },
];

const OUTPUTS = [
  { cell_type: "code", source: "from ipywidgets import interact\n\n@interact(n=(1, 20), loud=False)\ndef powers(n=8, loud=False):\n    print(*(2**k for k in range(n)), \"!\" if loud else \"\")" },
  { cell_type: "code", source: "for number in range(400):\n    print(\"line\", number)" },
  { cell_type: "code", source: "def ratio(a, b):\n    return a / b\n\nratio(1, 0)" },
];

/** A page of the notebook, with its own window. */
async function window_(size: { width: number; height: number }, colorScheme: "light" | "dark" = "light"): Promise<{ context: BrowserContext; page: Page }> {
  const context = await browser.newContext({ viewport: size, colorScheme, reducedMotion: "reduce" });
  context.setDefaultTimeout(SLOW);
  const page = await context.newPage();
  await page.goto(`${server.url}?token=${TOKEN}`);
  return { context, page };
}

async function take(page: Page, name: string): Promise<void> {
  const path = join(DOCS, name);
  await page.screenshot({ path, animations: "disabled", caret: "hide" });
  const { size } = await stat(path);
  assert.ok(size < LIMIT, `${name} has ${size} bytes`);
}

/** Runs all cells of a notebook. */
async function open(page: Page, name: string, run = true): Promise<void> {
  await page.goto(`${server.url}notebooks/${name}`);
  await page.locator(".cell").first().waitFor();
  if (!run) return;
  await page.getByRole("button", { name: "Run all" }).click();
  await waitFor("all cells have run", async () => (await page.locator(".cell.code .count").allInnerTexts()).every((count) => /\[\d+\]/.test(count)) && (await page.locator(".running, .queued").count()) === 0);
  await page.locator(".save-state", { hasText: /^Saved$/ }).waitFor();
}

const more = async (page: Page, name: string): Promise<void> => {
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name }).click();
};

test("pictures of the notebook", { skip: on ? false : "PASTER_PICTURES is not set" }, async () => {
  await mkdir(join(DOCS, "notebook"), { recursive: true });
  await server.write("oscillation.ipynb", WORKED);
  await server.write("mean.ipynb", DEBUGGED);
  await server.write("outputs.ipynb", OUTPUTS);
  const size = { width: 1100, height: 860 };
  const { context, page } = await window_(size);

  await open(page, "oscillation.ipynb");
  await page.locator(".outputs img").waitFor();
  await page.keyboard.press("Control+Home");
  await take(page, "notebook.png");

  await page.keyboard.press("Control+f");
  await page.locator(".find input").first().fill("gamma");
  await page.locator(".find-count", { hasText: /of|\d/ }).waitFor();
  await take(page, "notebook/find.png");
  await page.keyboard.press("Escape");

  await page.setViewportSize({ width: 1000, height: 420 });
  await page.keyboard.press("Control+End");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Control+End");
  await page.keyboard.press("Enter");
  await page.keyboard.type("np.l");
  await page.keyboard.press("Tab");
  await page.locator(".cm-tooltip-autocomplete li").first().waitFor();
  await take(page, "notebook/completion.png");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+z");

  await page.setViewportSize({ width: 1280, height: 700 });
  await page.getByRole("button", { name: "Table of contents" }).click();
  await take(page, "notebook/contents.png");
  await page.getByRole("button", { name: "Close the table of contents" }).click();
  await page.setViewportSize(size);

  await more(page, "Export …");
  await page.getByRole("dialog").getByText("LaTeX").waitFor();
  await take(page, "notebook/export.png");
  await page.keyboard.press("Escape");
  await more(page, "Settings …");
  await page.getByRole("dialog").waitFor();
  await take(page, "notebook/settings.png");
  await page.keyboard.press("Escape");

  await more(page, "Present the slides");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await take(page, "notebook/slides.png");
  await page.keyboard.press("Escape");

  const [terminal] = await Promise.all([context.waitForEvent("page"), more(page, "Open a terminal")]);
  await terminal.setViewportSize({ width: 900, height: 480 });
  await terminal.locator(".xterm-rows", { hasText: "$" }).or(terminal.locator(".xterm-rows", { hasText: "#" })).waitFor();
  await terminal.keyboard.type("PS1='$ '\n");
  await terminal.keyboard.press("Control+l");
  await terminal.keyboard.type("ls\npython3 -c 'print(6 * 7)'\n");
  await terminal.locator(".xterm-rows", { hasText: "42" }).waitFor();
  await take(terminal, "notebook/terminal.png");

  await page.setViewportSize({ width: 1000, height: 1180 });
  await open(page, "outputs.ipynb");
  await take(page, "notebook/outputs.png");

  await page.setViewportSize({ width: 1280, height: 560 });
  await open(page, "mean.ipynb");
  await more(page, "Show or hide the debugger");
  await page.getByRole("button", { name: "Turn on" }).click();
  await page.getByRole("button", { name: "Turn off" }).waitFor();
  await page.locator('.line[data-line="4"]').click({ position: { x: 9, y: 8 } });
  await page.locator(".run-button").first().click();
  await page.locator(".debugger").getByText("Stopped in mean, line 4").waitFor();
  await page.locator(".variable-name", { hasText: "values" }).waitFor();
  await take(page, "notebook/debugger.png");
  await page.getByRole("button", { name: "Turn off" }).click();
  await page.getByRole("button", { name: "Turn on" }).waitFor();

  await page.setViewportSize({ width: 1000, height: 420 });
  await page.goto(`${server.url}running`);
  await page.locator("li[data-key]").first().waitFor();
  await take(page, "notebook/running.png");
  await context.close();

  const dark = await window_(size, "dark");
  await open(dark.page, "oscillation.ipynb");
  await take(dark.page, "notebook/dark.png");
  await dark.context.close();

  const narrow = await window_({ width: 360, height: 720 });
  await open(narrow.page, "oscillation.ipynb", false);
  await narrow.page.locator(".katex").first().waitFor();
  await take(narrow.page, "notebook/narrow.png");
  await narrow.context.close();
});
