//! The pages with the real program and a real kernel.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Download, Locator, Page } from "playwright-core";
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

/** One case. On failure, shows the server's log. */
function on(name: string, run: (page: Page) => Promise<void>): void {
  test(name, async () => {
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error.stack)));
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    try {
      await run(page);
      assert.deepEqual(complaints, []);
    } catch (error) {
      console.log(`# ${complaints.join("\n# ")}\n# ${server.log.slice(-3000).replaceAll("\n", "\n# ")}`);
      throw error;
    } finally {
      await page.close();
    }
  });
}

async function open(page: Page, name: string): Promise<void> {
  await page.goto(`${server.url}notebooks/${encodeURIComponent(name)}`);
  await page.locator(".cell").first().waitFor();
}

const cell = (page: Page, n: number): Locator => page.locator(".cell").nth(n);

/** Replaces the text of a cell and runs it. */
async function run(page: Page, n: number, source: string): Promise<void> {
  await write(page, n, source);
  await page.keyboard.press("Control+Enter");
}

async function write(page: Page, n: number, source: string): Promise<void> {
  await cell(page, n).locator(".static, .cm-content").first().click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText(source);
}

/** The download that `act` starts, in this tab or in a new one. */
async function downloaded(page: Page, act: () => Promise<void>): Promise<Download> {
  let found: Download | undefined;
  const listen = (one: Page) => one.once("download", (download) => (found = download));
  listen(page);
  context.once("page", listen);
  await act();
  await waitFor("a download begins", () => found !== undefined);
  assert.ok(found !== undefined);
  return found;
}

const source = (text: string | string[] | undefined): string => (Array.isArray(text) ? text.join("") : (text ?? ""));

/** Waits until the file contains the expected cells. */
async function onDisk(name: string, found: (cells: Awaited<ReturnType<Server["file"]>>["cells"]) => boolean): Promise<void> {
  let cells: Awaited<ReturnType<Server["file"]>>["cells"] = [];
  await waitFor(() => `${name} holds ${JSON.stringify(cells)}`, async () => {
    cells = existsSync(join(server.data, name)) ? (await server.file(name)).cells : [];
    return found(cells);
  });
}

on("a stranger gets the login form, and the token opens the list", async () => {
  const stranger = await browser.newContext();
  const page = await stranger.newPage();
  await page.goto(server.url);
  await page.getByLabel("Token").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByLabel("Token").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "New notebook" }).waitFor();
  await stranger.close();
});

on("create, run sys.version, rename, see it in the list, duplicate, delete", async (page) => {
  await page.goto(server.url);
  await page.getByRole("button", { name: "New notebook" }).click();
  await page.locator(".cell").first().waitFor();
  await run(page, 0, "import sys; sys.version");
  await cell(page, 0).locator(".output", { hasText: /'3\.\d+/ }).waitFor({ timeout: SLOW });
  await eventually.match(() => cell(page, 0).locator(".count").innerText(), /^\[1\]$/);
  await page.locator(".kernel", { hasText: "Idle" }).waitFor();
  await page.locator("h1 button").click();
  await page.getByRole("textbox", { name: "Name" }).fill("First steps");
  await page.keyboard.press("Enter");
  await page.locator("h1", { hasText: "First steps" }).waitFor();
  assert.match(page.url(), /notebooks\/First%20steps\.ipynb$/);
  // The name is new, but the kernel and its variables are not.
  await page.getByRole("button", { name: "Code", exact: true }).click();
  await run(page, 1, "sys.platform");
  await cell(page, 1).locator(".output", { hasText: "linux" }).waitFor();
  await onDisk("First steps.ipynb", (cells) => cells.length === 2 && (cells[1]?.outputs?.length ?? 0) === 1);

  await page.getByRole("link", { name: "All notebooks" }).click();
  const row = page.locator("tr", { hasText: "First steps" });
  await row.locator(".chip").waitFor();
  await row.getByRole("button").click();
  await page.getByRole("menuitem", { name: "Duplicate" }).click();
  await page.locator("tr", { hasText: "First steps-Copy1" }).waitFor();
  await page.locator("tr", { hasText: "First steps-Copy1" }).getByRole("button").click();
  await page.getByRole("menuitem", { name: "Move to the trash" }).click();
  await page.locator("tr", { hasText: "First steps-Copy1" }).waitFor({ state: "detached" });
  assert.deepEqual((await readdir(server.data)).filter((name) => name.includes("Copy")), []);
});

on("plots, tables, formulas, colours and tracebacks", async (page) => {
  await server.write("rich.ipynb", [{ cell_type: "code", source: "" }, { cell_type: "code", source: "" }, { cell_type: "code", source: "" }, { cell_type: "code", source: "" }]);
  await open(page, "rich.ipynb");
  await run(page, 0, "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9]);\nplt.show()");
  const image = cell(page, 0).locator("img.out-image");
  await image.waitFor({ timeout: SLOW });
  assert.ok(await image.evaluate((one: HTMLImageElement) => one.decode().then(() => one.naturalWidth > 100)));
  await run(page, 1, "class T:\n    def _repr_html_(self): return '<table><tr><td id=t>42</td></tr></table><script>document.getElementById(\"t\").textContent += \"!\"</script>'\nT()");
  await eventually.equal(() => cell(page, 1).frameLocator("iframe").locator("#t", { hasText: "!" }).innerText(), "42!");
  await run(page, 2, "class L:\n    def _repr_latex_(self): return r'$\\frac{1}{2}$'\nprint('\\x1b[32mgreen\\x1b[0m')\nL()");
  await cell(page, 2).locator(".katex").waitFor();
  await eventually.equal(() => cell(page, 2).locator(".ansi-fg-2").innerText(), "green");
  await run(page, 3, "def f():\n    return 1 / 0\nf()");
  await cell(page, 3).locator(".output.error", { hasText: "ZeroDivisionError" }).waitFor();
  await eventually.match(() => cell(page, 3).locator(".output.error").innerText(), /return 1 \/ 0/);
});

on("pictures and links of an output are those beside the notebook", async (page) => {
  await mkdir(join(server.data, "media"));
  await writeFile(join(server.data, "media", "dot.gif"), Buffer.from("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "base64"));
  await writeFile(join(server.data, "media", "notes.txt"), "the notes");
  await writeFile(join(server.data, "media", "data.csv"), "a,b\n");
  await writeFile(join(server.data, "media", "report.html"), "<p>the report</p>");
  await server.write("media/m.ipynb", [{ cell_type: "code", source: "" }]);
  await page.goto(`${server.url}notebooks/media/m.ipynb`);
  await cell(page, 0).waitFor();
  await run(page, 0, "from IPython.display import HTML, IFrame, Image, display\ndisplay(Image(url='dot.gif'), HTML('<a href=notes.txt>notes</a> <a href=data.csv>data</a>'), IFrame('report.html', 300, 100))");
  const output = (n: number) => cell(page, 0).locator(".output").nth(n).frameLocator("iframe");
  await output(2).frameLocator("iframe").getByText("the report").waitFor({ timeout: SLOW });
  await waitFor("the picture is shown", () => output(0).locator("img").evaluate((image: HTMLImageElement) => image.naturalWidth === 1));
  const [tab] = await Promise.all([context.waitForEvent("page"), output(1).getByRole("link", { name: "notes" }).click()]);
  await tab.waitForLoadState();
  assert.equal(tab.url(), `${server.url}files/media/notes.txt`);
  await eventually.equal(() => tab.locator("body").innerText(), "the notes");
  await tab.close();
  // Chromium downloads what it cannot show. The tab that it opens for that closes by itself, maybe before it is seen.
  const download = await downloaded(page, () => output(1).getByRole("link", { name: "data" }).click());
  assert.equal(download.suggestedFilename(), "data.csv");
  assert.equal(await readFile(await download.path(), "utf8"), "a,b\n");
});

on("completion and inspection", async (page) => {
  await server.write("help.ipynb", [{ cell_type: "code", source: "" }]);
  await open(page, "help.ipynb");
  await run(page, 0, "def a_function(x):\n    'Doubles x.'\n    return 2 * x\na_value = 1\n'ready'");
  await cell(page, 0).locator(".output", { hasText: "ready" }).waitFor({ timeout: SLOW });
  await write(page, 0, "a_");
  await page.keyboard.press("Tab");
  await page.locator(".cm-tooltip-autocomplete li", { hasText: "a_function" }).waitFor({ timeout: SLOW });
  await page.keyboard.type("fu");
  await page.locator(".cm-tooltip-autocomplete li", { hasText: "a_value" }).waitFor({ state: "detached" });
  await page.keyboard.press("Tab");
  await cell(page, 0).locator(".cm-content", { hasText: /^a_function$/ }).waitFor();
  await page.keyboard.press("Shift+Tab");
  await page.locator(".inspection", { hasText: "Doubles x." }).waitFor();
});

on("interrupt, restart, run all, and the queue stops at an error", async (page) => {
  await server.write("loop.ipynb", [{ cell_type: "code", source: "x = 1\nwhile True: pass" }, { cell_type: "code", source: "'x' in globals()" }, { cell_type: "code", source: "print('last')" }]);
  await open(page, "loop.ipynb");
  await page.getByRole("button", { name: "Run all" }).click();
  await page.locator(".cell.running").waitFor({ timeout: SLOW });
  await page.locator(".kernel", { hasText: "Busy" }).waitFor({ timeout: SLOW });
  await eventually.equal(() => page.locator(".cell.queued").count(), 2);
  await page.locator(".queue", { hasText: "2 waiting" }).waitFor();
  await page.getByRole("button", { name: "Interrupt the kernel" }).first().click();
  await cell(page, 0).locator(".output.error", { hasText: "KeyboardInterrupt" }).waitFor();
  await eventually.equal(() => cell(page, 2).locator(".output").count(), 0);
  await write(page, 0, "print('quick')");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Restart the kernel" }).click();
  await page.getByRole("button", { name: "Restart", exact: true }).click();
  await page.locator(".kernel", { hasText: "Idle" }).waitFor({ timeout: SLOW });
  await page.getByRole("button", { name: "Run all" }).click();
  await cell(page, 2).locator(".output", { hasText: "last" }).waitFor({ timeout: SLOW });
  await eventually.equal(() => cell(page, 1).locator(".output").innerText(), "False");
});

on("what is typed is in the file by itself", async (page) => {
  await server.write("save.ipynb", [{ cell_type: "markdown", source: "old" }]);
  await open(page, "save.ipynb");
  await cell(page, 0).locator(".markdown").dblclick();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText("# New\n\n$e^{i\\pi}$");
  await onDisk("save.ipynb", (cells) => source(cells[0]?.source) === "# New\n\n$e^{i\\pi}$");
  await page.locator(".save-state", { hasText: "Saved" }).waitFor();
  await page.keyboard.press("Shift+Enter");
  await cell(page, 0).locator(".markdown .katex").waitFor();
});

on("a reload of the page in the middle of output loses nothing", async (page) => {
  await server.write("stream.ipynb", [{ cell_type: "code", source: "" }]);
  await open(page, "stream.ipynb");
  await run(page, 0, "import time\nfor i in range(60):\n    print('line', i)\n    time.sleep(0.05)");
  await cell(page, 0).locator(".output", { hasText: "line 5" }).waitFor({ timeout: SLOW });
  await page.reload();
  await cell(page, 0).locator(".output", { hasText: "line 59" }).waitFor();
  const lines = (await cell(page, 0).locator(".out-text").innerText()).match(/\d+/g);
  assert.deepEqual(lines?.map(Number), Array.from({ length: 60 }, (_, i) => i));
});

on("a hot reload in the middle of output loses nothing and keeps the kernel", async (page) => {
  await server.write("hot.ipynb", [{ cell_type: "code", source: "" }, { cell_type: "code", source: "" }]);
  await open(page, "hot.ipynb");
  await run(page, 0, "import time\nfor i in range(60):\n    print('line', i)\n    time.sleep(0.05)");
  await cell(page, 0).locator(".output", { hasText: "line 5" }).waitFor({ timeout: SLOW });
  server.reload();
  await cell(page, 0).locator(".output", { hasText: "line 59" }).waitFor();
  const lines = (await cell(page, 0).locator(".out-text").innerText()).match(/\d+/g);
  assert.deepEqual(lines?.map(Number), Array.from({ length: 60 }, (_, i) => i));
  await run(page, 1, "i");
  await cell(page, 1).locator(".output", { hasText: "59" }).waitFor();
});

on("two pages of one notebook see each other", async (page) => {
  await server.write("two.ipynb", [{ cell_type: "code", source: "start" }]);
  await open(page, "two.ipynb");
  const other = await context.newPage();
  await open(other, "two.ipynb");
  await write(page, 0, "print('hello')");
  await cell(other, 0).locator(".static, .cm-content", { hasText: "print('hello')" }).waitFor();
  await page.keyboard.press("Control+Enter");
  await cell(other, 0).locator(".output", { hasText: "hello" }).waitFor({ timeout: SLOW });
  await other.close();
});

on("a file that is not a notebook: its page tells the reason, and opens once the file is one", async (page) => {
  await writeFile(join(server.data, "broken.ipynb"), '{"cells": [');
  await page.goto(`${server.url}notebooks/broken.ipynb`);
  const notice = page.getByRole("region", { name: "The file is broken" });
  await notice.waitFor();
  await notice.getByText(/broken\.ipynb.*(?:JSON|notebook)/).first().waitFor();
  assert.doesNotMatch(await notice.innerText(), /does not respond/);
  await server.write("broken.ipynb", [{ cell_type: "code", source: "mended" }]);
  await cell(page, 0).locator(".static", { hasText: "mended" }).or(cell(page, 0).locator(".cm-content", { hasText: "mended" })).waitFor();
});

on("undo of a deletion brings the cell back where it stood, with its outputs", async (page) => {
  await server.write("undo.ipynb", [{ cell_type: "code", source: "print('kept')", outputs: [{ output_type: "stream", name: "stdout", text: "kept\n" }] }, { cell_type: "code", source: "2" }]);
  await open(page, "undo.ipynb");
  await page.keyboard.press("d");
  await page.keyboard.press("d");
  await onDisk("undo.ipynb", (cells) => cells.length === 1);
  await page.keyboard.press("z");
  await onDisk("undo.ipynb", (cells) => cells.length === 2 && source(cells[0]?.source) === "print('kept')" && JSON.stringify(cells[0]?.outputs).includes("kept"));
  await cell(page, 0).locator(".output", { hasText: "kept" }).waitFor();
});

on("a file that another program changes while there are edits here asks; without edits it is read again", async (page) => {
  await server.write("disk.ipynb", [{ cell_type: "code", source: "one" }]);
  await open(page, "disk.ipynb");
  await server.write("disk.ipynb", [{ cell_type: "code", source: "from git" }]);
  await cell(page, 0).locator(".static", { hasText: "from git" }).waitFor();
});

on("input() is asked in the page", async (page) => {
  await server.write("ask.ipynb", [{ cell_type: "code", source: "" }]);
  await open(page, "ask.ipynb");
  await run(page, 0, "name = input('Name? ')\nprint('Hello', name)");
  const field = page.getByRole("textbox", { name: "Name?" });
  await field.waitFor({ timeout: SLOW });
  await field.fill("Ada");
  await page.keyboard.press("Enter");
  await cell(page, 0).locator(".output", { hasText: "Hello Ada" }).waitFor();
  // The question and its answer stay in the output, as in a terminal.
  await cell(page, 0).locator(".output", { hasText: "Name? Ada" }).waitFor();
});

on("set_next_input and %load write into the page", async (page) => {
  await server.write("next.ipynb", [{ cell_type: "code", source: "" }]);
  await writeFile(join(server.data, "loaded.py"), "loaded = 1\n");
  await open(page, "next.ipynb");
  await run(page, 0, "get_ipython().set_next_input('the_next = 2')");
  await page.locator(".cell", { hasText: "the_next = 2" }).nth(1).waitFor({ timeout: SLOW });
  await run(page, 0, "%load loaded.py");
  await cell(page, 0).locator(".cm-content, .static").filter({ hasText: "loaded = 1" }).waitFor();
});

on("names with odd characters and folders", async (page) => {
  await mkdir(join(server.data, "a folder #1"));
  const name = "<b>50% & \"quotes\" 'é' #?.ipynb";
  await writeFile(join(server.data, "a folder #1", name), JSON.stringify({ cells: [], metadata: {}, nbformat: 4, nbformat_minor: 5 }));
  await page.goto(server.url);
  await page.getByRole("link", { name: "a folder #1" }).click();
  await page.getByRole("link", { name: name.replace(".ipynb", "") }).click();
  await page.locator("h1", { hasText: name.replace(".ipynb", "") }).waitFor();
  await page.getByRole("button", { name: "Code", exact: true }).click();
  await page.keyboard.insertText("1 + 1");
  await waitFor("the text is in the file", async () => (await readFile(join(server.data, "a folder #1", name), "utf8")).includes("1 + 1"));
});

on("upload, download", async (page) => {
  await page.goto(server.url);
  await page.getByRole("button", { name: "New notebook" }).waitFor();
  await page.setInputFiles("input[type=file]", { name: "data.csv", mimeType: "text/csv", buffer: Buffer.from("a,b\n1,2\n") });
  const row = page.locator("tr", { hasText: "data.csv" });
  await row.waitFor();
  assert.equal(await readFile(join(server.data, "data.csv"), "utf8"), "a,b\n1,2\n");
  await row.getByRole("button").click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: "Download" }).click()]);
  assert.equal(download.suggestedFilename(), "data.csv");
});

test("a button logs out, and the server then asks for the token again", async () => {
  const own = await browser.newContext();
  own.setDefaultTimeout(PATIENCE_MS);
  try {
    await server.write("leave.ipynb", [{ cell_type: "code", source: "x" }]);
    const page = await own.newPage();
    for (const address of ["notebooks/leave.ipynb", ""]) {
      await page.goto(`${server.url}?token=${TOKEN}`);
      await page.goto(server.url + address);
      if (address !== "") {
        await cell(page, 0).waitFor();
        await page.getByRole("button", { name: "More", exact: true }).click();
      }
      await page.getByRole(address === "" ? "button" : "menuitem", { name: "Log out" }).click();
      await page.getByRole("heading", { name: "Logged out" }).waitFor();
      await page.goto(server.url + address);
      await page.getByLabel("Token").waitFor();
      assert.match(page.url(), /\/login\?/);
    }
  } finally {
    await own.close();
  }
});

test("below a mount prefix all addresses hold", async () => {
  const mounted = await Server.start("/lab");
  try {
    await mounted.write("m.ipynb", [{ cell_type: "code", source: "21 * 2" }]);
    const page = await browser.newPage();
    await page.goto(`${mounted.url}?token=${TOKEN}`);
    await page.getByRole("link", { name: "m", exact: true }).click();
    await page.locator(".cell.selected").waitFor();
    await page.keyboard.press("Control+Enter");
    await page.locator(".output", { hasText: "42" }).waitFor({ timeout: SLOW });
    await page.close();
  } finally {
    await mounted.stop();
  }
});
