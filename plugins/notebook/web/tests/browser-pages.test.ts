import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";
import { cell, notebook, ORIGIN, PREFIX } from "./fake";
import { code, page, type World } from "./pages";
import { waitFor } from "./wait";

const EVIL_HTML = "<img src=x onerror=\"parent.document.title='owned'\"><script>document.title='owned'; top.owned = 1; parent.owned = 1; fetch('http://notebook.test/owned')</script><b>bold</b>";
const EVIL_MARKDOWN = [
  "<img src=x onerror=\"document.title='owned'\">",
  "<script>document.title='owned'</script>",
  "<a href=\"javascript:document.title='owned'\">link</a> [link](javascript:document.title='owned')",
  "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
  "<svg><script>document.title='owned'</script><animate onbegin=\"document.title='owned'\"/></svg>",
  "<math><mtext><table><mglyph><style><img src=x onerror=\"document.title='owned'\"></style></mglyph></table></mtext></math>",
  "<form action=/owned><input name=documentElement><button>x</button></form>",
  "<style>body{display:none}</style><div id=cells style=\"position:fixed\">over</div>",
  "<span class=math data-tex=\"\\href{javascript:document.title='owned'}{x}\"></span> $\\href{javascript:document.title='owned'}{x}$ $\\htmlData{onclick=owned}{y}$",
  "![x](http://tracker.invalid/pixel.png)",
].join("\n\n");

let axe: string | undefined;

async function violations(page: Page): Promise<string[]> {
  // Injected by the driver, bypassing the page's policy.
  axe ??= await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    type Axe = { run(options: unknown): Promise<{ violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] }> };
    const { violations } = await (window as unknown as { axe: Axe }).axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], iframes: false });
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary ?? ""}`));
  });
  return found;
}

page("the list: sorts, searches, shows what runs, links below the prefix", async ({ fake, context }) => {
  fake.entries = [
    { name: "b.ipynb", last_modified: "2026-02-01T00:00:00Z" },
    { name: "a.ipynb", last_modified: "2026-01-01T00:00:00Z" },
    { name: "folder", type: "directory" },
    { name: "data.csv", type: "file" },
  ];
  fake.sessions = [{ id: "s1", path: "a.ipynb", kernel: { id: "k", name: "python3", execution_state: "busy" } }];
  const list = await fake.open(context, "");
  const names = () => list.locator("td.name").allInnerTexts();
  await list.waitForSelector("td.name");
  assert.deepEqual(await names(), ["folder", "b", "data.csv", "a"]);
  await list.getByRole("button", { name: "Name" }).click();
  assert.deepEqual(await names(), ["folder", "a", "b", "data.csv"]);
  assert.equal(await list.locator("tr[data-path='a.ipynb'] .chip").innerText(), "Busy");
  assert.equal(await list.getByRole("link", { name: "a", exact: true }).getAttribute("href"), `${ORIGIN}${PREFIX}notebooks/a.ipynb`);
  await list.getByRole("searchbox").fill("B");
  assert.deepEqual(await names(), ["b"]);
  await list.getByRole("searchbox").fill("nothing like it");
  assert.match(await list.locator(".empty").innerText(), /No names contain/);
});

page("the list: rename, duplicate and delete ask the server, delete only after a question", async ({ fake, context }) => {
  fake.entries = [{ name: "a.ipynb" }, { name: "b.ipynb" }];
  const list = await fake.open(context, "");
  const act = async (name: string) => {
    await list.getByRole("button", { name: "Actions for a.ipynb" }).click();
    await list.getByRole("menuitem", { name }).click();
  };
  await act("Rename");
  await list.getByRole("textbox", { name: "Name" }).fill("b");
  await list.getByRole("button", { name: "Rename", exact: true }).click();
  assert.match(await list.locator(".error-text").innerText(), /name is already taken/);
  await list.getByRole("textbox", { name: "Name" }).fill("c/d");
  await list.keyboard.press("Enter");
  assert.match(await list.locator(".error-text").innerText(), /slash/);
  await list.getByRole("textbox", { name: "Name" }).fill("new #1");
  await list.keyboard.press("Enter");
  await list.locator("dialog").waitFor({ state: "detached" });
  await act("Duplicate");
  await act("Delete");
  await list.getByRole("button", { name: "Cancel" }).click();
  await act("Delete");
  const deleted = list.waitForResponse((response) => response.request().method() === "DELETE");
  await list.getByRole("button", { name: "Delete", exact: true }).click();
  await list.locator("dialog").waitFor({ state: "detached" });
  await deleted;
  const asked = fake.calls.filter(({ method }) => method !== "GET").map(({ method, path, body }) => [method, path, body]);
  assert.deepEqual(asked, [
    ["PATCH", "api/contents/a.ipynb", { path: "new #1.ipynb" }],
    ["POST", "api/contents", { copy_from: "a.ipynb" }],
    ["DELETE", "api/contents/a.ipynb", null],
  ]);
});

page("the list: a file is uploaded as a notebook or as bytes", async ({ fake, context }) => {
  const list = await fake.open(context, "");
  await list.waitForSelector(".empty:visible");
  await list.setInputFiles("input[type=file]", [
    { name: "n.ipynb", mimeType: "application/json", buffer: Buffer.from('{"cells": []}') },
    { name: "d.bin", mimeType: "application/octet-stream", buffer: Buffer.from([0, 255, 1]) },
  ]);
  await waitFor("both files are uploaded", () => fake.calls.filter(({ method }) => method === "PUT").length === 2);
  assert.deepEqual(fake.calls.filter(({ method }) => method === "PUT").map(({ path, body }) => [path, body]), [
    ["api/contents/n.ipynb", { type: "notebook", format: "json", content: { cells: [] } }],
    ["api/contents/d.bin", { type: "file", format: "base64", content: "AP8B" }],
  ]);
});

page("hostile names and outputs do nothing", async ({ fake, context }) => {
  const evil = "<img src=x onerror=document.title='owned'>.ipynb";
  fake.entries = [{ name: evil }, { name: "javascript:alert(1).ipynb" }];
  const list = await fake.open(context, "");
  await list.waitForSelector("td.name");
  assert.equal(await list.locator("td img").count(), 0);
  assert.equal(await list.title(), "Notebooks");
  await list.close();

  fake.document = notebook([
    cell("m", { cell_type: "markdown", source: EVIL_MARKDOWN }),
    cell("r", { cell_type: "raw", source: EVIL_HTML }),
    cell("c", {
      source: EVIL_HTML,
      outputs: [
        { output_type: "stream", name: "stdout", text: EVIL_HTML },
        { output_type: "error", ename: EVIL_HTML, evalue: "", traceback: [EVIL_HTML] },
        { output_type: "display_data", data: { "text/html": EVIL_HTML }, metadata: {} },
        { output_type: "display_data", data: { "text/markdown": EVIL_MARKDOWN }, metadata: {} },
        { output_type: "display_data", data: { "text/latex": "$\\href{javascript:document.title='owned'}{x}$" }, metadata: {} },
        { output_type: "display_data", data: { "image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg' onload='top.owned=1'><script>top.owned=1</script></svg>" }, metadata: {} },
        { output_type: "display_data", data: { "application/javascript": "top.owned = 1" }, metadata: {} },
        { output_type: "display_data", data: { "image/png": "\"><script>document.title='owned'</script>" }, metadata: {} },
      ],
    }),
  ], { path: evil, kernel: { id: "k", name: EVIL_HTML, display_name: EVIL_HTML, language: "python", state: "dead", message: EVIL_HTML } });
  const book = await fake.open(context, `notebooks/${encodeURIComponent(evil)}`);
  await book.waitForSelector(".cell");
  await book.locator("iframe").first().scrollIntoViewIfNeeded();
  await book.frameLocator("iframe").first().locator("b").waitFor();
  const state = await book.evaluate(() => ({
    title: document.title,
    owned: (window as { owned?: unknown }).owned,
    scripts: document.querySelectorAll(".cell script, .cell style, .cell form, .cell [onerror], .cell [style*=position]").length,
    links: [...document.querySelectorAll(".markdown a[href]")].map((a) => a.getAttribute("href")).filter((href) => !/^https?:/.test(href ?? "")),
    sandbox: [...document.querySelectorAll("iframe")].map((frame) => frame.getAttribute("sandbox")),
    cells: document.querySelectorAll("#cells").length,
    remote: [...document.querySelectorAll("img")].map((image) => image.src).filter((src) => !src.startsWith("data:")),
  }));
  assert.doesNotMatch(state.title, /^owned/);
  assert.equal(state.owned, undefined);
  assert.equal(state.scripts, 0);
  assert.deepEqual(state.links, []);
  assert.deepEqual(new Set(state.sandbox), new Set(["allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads"]));
  assert.equal(state.cells, 1);
  assert.deepEqual(state.remote, [`${ORIGIN}${PREFIX}files/x`, `${ORIGIN}${PREFIX}files/x`]);
  assert.ok(!fake.calls.some(({ path }) => path.includes("owned")));
}, { complaints: /Failed to load resource|Blocked script execution|ERR_INVALID_URL|violates the following Content Security Policy/ });

page("a fresh HTML output runs its scripts in the sandbox only, without network or the page", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "x" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell");
  fake.change({ type: "cell_state_changed", cell_id: "c", state: "running", execution_count: 1 });
  const html = `<p id=p>no script</p><script>
    const said = [];
    try { parent.document.title = 'owned'; said.push('reached the page'); } catch { said.push('page closed'); }
    try { localStorage.x = 1; said.push('storage'); } catch { said.push('no storage'); }
    fetch('${ORIGIN}${PREFIX}api/sessions').then(() => 'network', () => 'no network').then((n) => { said.push(n); document.getElementById('p').textContent = said.join(', '); });
  </script>`;
  fake.change({ type: "output_added", cell_id: "c", output: { output_type: "display_data", data: { "text/html": html }, metadata: {} } });
  const text = book.frameLocator("iframe").locator("#p", { hasText: "page closed" });
  await text.waitFor();
  assert.equal(await text.innerText(), "page closed, no storage, no network");
  assert.equal(await book.title(), "● a");
  // The frame reports its height, which is limited.
  await book.waitForFunction(() => (document.querySelector("iframe")?.getBoundingClientRect().height ?? 0) > 20);
}, { complaints: /Content Security Policy/ });

const PIXEL = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

/** A notebook in a folder with one HTML output, and a remote host whose requests are recorded. */
async function rich({ fake, context }: World, html: string, fresh = false): Promise<{ book: Page; requests: { url: string; headers: Record<string, string> }[] }> {
  const requests: { url: string; headers: Record<string, string> }[] = [];
  await context.route("https://elsewhere.test/**", async (route) => {
    requests.push({ url: route.request().url(), headers: await route.request().allHeaders() });
    return route.fulfill(route.request().url().endsWith(".png") ? { contentType: "image/png", body: PIXEL } : { contentType: "text/html", body: "<p>from elsewhere</p>" });
  });
  await context.addCookies([{ name: "login", value: "secret", url: ORIGIN, sameSite: "Lax" }]);
  const output = { output_type: "display_data", data: { "text/html": html }, metadata: {} } as const;
  fake.document = notebook([cell("c", { source: "x", outputs: fresh ? [] : [output] })], { path: "dir/a.ipynb" });
  const book = await fake.open(context, "notebooks/dir/a.ipynb");
  await book.waitForSelector(".cell");
  if (fresh) {
    fake.change({ type: "cell_state_changed", cell_id: "c", state: "running", execution_count: 1 });
    fake.change({ type: "output_added", cell_id: "c", output });
  }
  return { book, requests };
}

page("a link in an output opens a tab of its own, and the output stays", async (world) => {
  world.fake.files["dir/data.csv"] = { type: "text/plain", body: "a,b" };
  const html = '<p id=top>text</p><a id=plain href="https://elsewhere.test/page">1</a> <a id=self target=_self href="https://elsewhere.test/page">2</a> <a id=parent target=_top href="https://elsewhere.test/page">3</a> <a id=file href="data.csv">4</a> <a id=anchor href="#top">5</a>';
  const { book, requests } = await rich(world, html, true);
  const frame = book.frameLocator("iframe");
  await frame.locator("#plain").waitFor();
  for (const [id, address] of [["plain", "https://elsewhere.test/page"], ["self", "https://elsewhere.test/page"], ["parent", "https://elsewhere.test/page"], ["file", `${ORIGIN}${PREFIX}files/dir/data.csv`]] as const) {
    const [tab] = await Promise.all([world.context.waitForEvent("page"), frame.locator(`#${id}`).click()]);
    await tab.waitForLoadState();
    assert.equal(tab.url(), address);
    assert.equal(await tab.evaluate(() => window.opener as unknown), null);
    await tab.close();
  }
  await frame.locator("#anchor").click();
  assert.equal(await frame.locator("#top").innerText(), "text");
  assert.equal(world.context.pages().length, 1);
  assert.ok(book.url().endsWith("/notebooks/dir/a.ipynb"));
  for (const { headers } of requests) assert.equal(headers["referer"], undefined);
});

for (const fresh of [true, false]) {
  page(`an output shows pictures beside the notebook and those from elsewhere, without login there (${fresh ? "fresh" : "from the file"})`, async (world) => {
    const { fake } = world;
    fake.files["dir/plot 1.png"] = { type: "image/png", body: PIXEL };
    fake.files["secret.json"] = { type: "application/json", body: "{}" };
    const html = '<img id=beside src="plot%201.png"><img id=far src="https://elsewhere.test/a.png"><img id=scheme src="//elsewhere.test/b.png"><img id=http src="http://elsewhere.test/c.png" alt="plain"><img id=gone src="gone.png"><img id=secret src="../secret.json">';
    const { book, requests } = await rich(world, html, fresh);
    const frame = book.frameLocator("iframe");
    const width = (id: string) => frame.locator(id).evaluate((image: HTMLImageElement) => image.naturalWidth);
    for (const id of ["#beside", "#far", "#scheme"]) await waitFor(`${id} is shown`, async () => (await width(id)) === 1);
    assert.equal(await frame.getByRole("link", { name: "plain" }).getAttribute("href"), "http://elsewhere.test/c.png");
    await waitFor("the reasons are told", async () => (await frame.locator("#gone").getAttribute("alt")) === "gone.png: there is no such file" && /type of file cannot be shown/.test((await frame.locator("#secret").getAttribute("alt")) ?? ""));
    for (const { headers } of requests) assert.deepEqual([headers["referer"], headers["cookie"]], [undefined, undefined]);
  }, { complaints: /404/ });
}

page("IFrame shows a page from elsewhere and one beside the notebook, in the sandbox", async (world) => {
  const { fake } = world;
  fake.files["dir/report.html"] = { type: "text/html", body: "<p id=r>no</p><script>let said = ''; try { top.document.title = 'owned'; } catch { said += 'closed '; } try { document.cookie; } catch { said += 'no cookie'; } document.getElementById('r').textContent = said;</script>" };
  fake.files["dir/data.bin"] = { type: "application/octet-stream", body: "x" };
  const { book } = await rich(world, '<iframe src="https://elsewhere.test/page"></iframe><iframe src="report.html"></iframe><iframe src="data.bin"></iframe><iframe src="http://localhost:8050/"></iframe>', true);
  const frame = book.frameLocator("iframe");
  await frame.frameLocator("iframe").nth(0).getByText("from elsewhere").waitFor();
  await frame.frameLocator("iframe").nth(1).locator("#r", { hasText: /^closed no cookie$/ }).waitFor();
  await frame.getByRole("link", { name: /data\.bin/ }).waitFor();
  assert.equal(await frame.getByRole("link", { name: "localhost" }).getAttribute("href"), "http://localhost:8050/");
});

page("an output is given pictures that its scripts add, within the limits", async (world) => {
  const { fake } = world;
  fake.files["dir/a.png"] = { type: "image/png", body: PIXEL };
  fake.files["dir/large.png"] = { type: "image/png", body: Buffer.alloc((16 << 20) + 1) };
  const { book } = await rich(world, "<div id=d></div><script>document.getElementById('d').innerHTML = '<img id=a src=a.png><img id=large src=large.png>';</script>", true);
  const frame = book.frameLocator("iframe");
  await waitFor("the picture is shown", () => frame.locator("#a").evaluate((image: HTMLImageElement) => image.naturalWidth === 1));
  await waitFor("the limit is told", async () => (await frame.locator("#large").getAttribute("alt")) === "large.png: too large to be shown here");
}, { complaints: /Content Security Policy/ });

page("Markdown shows pictures from elsewhere, over https only", async (world) => {
  const { context, fake } = world;
  const { book, requests } = await rich(world, "");
  await book.close();
  fake.document = notebook([cell("m", { cell_type: "markdown", source: "![far](https://elsewhere.test/a.png) ![scheme](//elsewhere.test/b.png) ![plain](http://elsewhere.test/c.png)" })]);
  const again = await fake.open(context);
  await waitFor("both pictures are shown", async () => (await again.locator(".markdown img").evaluateAll((images) => images.map((image) => (image as HTMLImageElement).naturalWidth))).join() === "1,1");
  assert.equal(await again.getByRole("link", { name: /plain/ }).getAttribute("href"), "http://elsewhere.test/c.png");
  assert.equal(requests.length, 2);
  for (const { headers } of requests) assert.deepEqual([headers["referer"], headers["cookie"]], [undefined, undefined]);
}, { complaints: /Content Security Policy/ });

page("typing is sent; a cut is survived; what was typed offline arrives", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "a = 1" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".cm-content, .static").first().click();
  await book.keyboard.press("End");
  await book.keyboard.type("0");
  await book.locator(".save-state[data-kind=busy]").waitFor();
  await waitFor("the text is sent", () => fake.asked("set_source").length > 0);
  assert.deepEqual(fake.asked("set_source"), [{ type: "set_source", cell_id: "c", source: "a = 10", base_revision: 1 }]);
  fake.change({ type: "saved", up_to: fake.event, last_modified: new Date().toISOString() });
  await book.locator(".save-state", { hasText: "Saved" }).waitFor();

  fake.down = true;
  fake.cut();
  await book.locator(".notice", { hasText: "does not answer" }).waitFor();
  await book.keyboard.type("0");
  await book.locator(".save-state", { hasText: "changes kept here" }).waitFor();
  fake.down = false;
  await tryNow(book);
  await waitFor("what was typed offline is sent", () => fake.asked("set_source").length > 1);
  assert.equal(fake.document.cells[0]?.source, "a = 100");
  assert.equal(fake.connections.at(-1)?.searchParams.get("instance"), "one");
  await book.locator(".notice").waitFor({ state: "detached" });
  // The page may ask why there is no connection when the server is already back.
}, { complaints: /ERR_|WebSocket|426/ });

/** Presses the button of the notice, unless the connection came back by itself just before. */
async function tryNow(book: Page): Promise<void> {
  await book.evaluate(() => document.querySelector<HTMLElement>(".notice button[aria-label='Try now']")?.click());
}

page("a notebook that cannot be opened: the reason is told and stays; once it can be, it opens by itself", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "a = 1" })]);
  fake.refusal = { code: 400, message: "`a.ipynb` is not a notebook: it is not JSON" };
  const book = await fake.open(context);
  const notice = book.locator(".notice", { hasText: "is not a notebook: it is not JSON" });
  await notice.waitFor();
  const first = await notice.elementHandle();
  await waitFor("it is tried again", () => fake.connections.length > 2);
  assert.equal(await first?.evaluate((element) => element.isConnected), true, "the notice does not blink");
  assert.equal(await book.locator(".save-state").innerText(), "Not opened");
  assert.equal(await book.locator(".loading").innerText(), "The notebook could not be opened.");
  // A cell inserted now would be added to whatever the file contains later.
  assert.equal(await book.getByRole("button", { name: "Code", exact: true }).count(), 0);
  await book.getByRole("button", { name: "Insert a cell below" }).click();
  assert.equal(await book.locator(".cell").count(), 0);
  assert.equal(await book.locator(".notice", { hasText: "does not answer" }).count(), 0);
  fake.refusal = null;
  await book.locator(".cell", { hasText: "a = 1" }).waitFor();
  await notice.waitFor({ state: "detached" });
});

page("a proxy without WebSockets is not told as a server that does not answer", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "a = 1" })]);
  fake.noSockets = true;
  const book = await fake.open(context);
  const notice = book.locator(".notice", { hasText: "WebSocket" });
  await notice.waitFor();
  const first = await notice.elementHandle();
  const tries = fake.connections.length;
  await waitFor("it is tried again", () => fake.connections.length > tries + 1);
  assert.equal(await first?.evaluate((element) => element.isConnected), true, "the notice does not blink");
  assert.equal(await book.locator(".save-state").innerText(), "Not opened");
  fake.noSockets = false;
  await tryNow(book);
  await book.locator(".cell", { hasText: "a = 1" }).waitFor();
}, { complaints: /WebSocket|Upgrade Required|426/ });

page("unsent text is there again after the page was closed and opened", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "a = 1" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".cm-content, .static").first().click();
  fake.down = true;
  fake.cut();
  await book.locator(".notice").waitFor();
  await book.keyboard.press("End");
  await book.keyboard.type("23");
  fake.answer = () => "silence";
  book.on("dialog", (dialog) => void dialog.accept());
  await book.locator(".save-state", { hasText: "changes kept here" }).waitFor();
  fake.down = false;
  await book.reload();
  await book.locator(".cell", { hasText: "a = 123" }).waitFor();
  fake.answer = () => null;
  fake.cut();
  await waitFor("the unsent text arrives", () => fake.document.cells[0]?.source === "a = 123");
}, { complaints: /ERR_|WebSocket|426/ });

page("two texts for one cell: the user sees both and chooses", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "start" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".static").click();
  const one = fake.document.cells[0];
  assert.ok(one);
  one.source = "from another page";
  one.revision = 5;
  await book.keyboard.press("End");
  await book.keyboard.type(" mine");
  const clash = book.locator(".clash");
  await clash.waitFor();
  assert.match(await clash.innerText(), /from another page/);
  await clash.getByRole("button", { name: "Keep mine" }).click();
  await clash.waitFor({ state: "hidden" });
  await waitFor("the chosen text arrives", () => fake.document.cells[0]?.source === "start mine");
});

page("a file that changed on disk: nothing is written before the choice", async ({ fake, context }) => {
  fake.document = notebook([cell("c")]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell");
  fake.change({ type: "conflict", message: "git changed the file." });
  const notice = book.locator(".notice", { hasText: "git changed the file" });
  await notice.waitFor();
  assert.match(await book.locator(".save-state").innerText(), /Not saved/);
  await notice.getByRole("button", { name: "Keep this version" }).click();
  await notice.waitFor({ state: "detached" });
  assert.deepEqual(fake.asked("resolve_conflict"), [{ type: "resolve_conflict", keep: "mine" }]);
});

page("keyboard alone: write, run, select, insert, move, delete, undo, change type, copy, merge", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one" }), cell("b", { source: "two" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell.selected:focus");
  const press = async (...keys: string[]) => {
    for (const key of keys) await book.keyboard.press(key);
  };
  const shown = () => book.locator(".cell").evaluateAll((cells) => cells.map((one) => one.querySelector(".static, .cm-content, .markdown")?.textContent?.trim() ?? ""));
  await press("Enter", "End");
  await book.keyboard.type("!");
  await press("Escape");
  await press("j", "a");
  assert.deepEqual(await shown(), ["one!", "", "two"]);
  await press("Enter");
  await book.keyboard.type("mid");
  await press("Escape", "Alt+ArrowUp");
  assert.deepEqual(await shown(), ["mid", "one!", "two"]);
  await press("d", "d");
  assert.deepEqual(await shown(), ["one!", "two"]);
  await press("z");
  assert.deepEqual(await shown(), ["mid", "one!", "two"]);
  await press("c", "v");
  assert.deepEqual(await shown(), ["mid", "mid", "one!", "two"]);
  await press("Shift+ArrowDown", "Shift+M");
  assert.deepEqual(await shown(), ["mid", "mid\none!", "two"]);
  await press("m");
  await book.locator(".cell.markdown-cell .markdown", { hasText: "one!" }).waitFor();
  await press("Shift+Enter");
  await book.locator(".cell.code.selected", { hasText: "two" }).waitFor();
  await press("Shift+Enter");
  // Moving past the last cell creates a new one, ready for editing.
  await book.locator(".cell.editing").waitFor();
  await waitFor("the cell is run", () => fake.asked("run").length > 0);
  assert.deepEqual(fake.asked("run"), [{ type: "run", cell_ids: ["b"] }]);
  // The editor does not trap the focus: Escape, then Tab moves on.
  await press("Escape", "Tab");
  assert.equal(await book.evaluate(() => document.activeElement?.closest(".cm-editor") !== null), false);
  await press("Escape", "h");
  await book.locator("dialog", { hasText: "Keyboard shortcuts" }).waitFor();
  await press("Escape");
  await book.locator("dialog").waitFor({ state: "detached" });
});

page("key pairs hold on a Cyrillic layout", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one" }), cell("b", { source: "two" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell.selected:focus");
  const press = (key: string, code: string) => book.evaluate((init) => document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { ...init, bubbles: true, cancelable: true })), { key, code });
  await press("в", "KeyD");
  await press("в", "KeyD");
  await book.locator(".cell", { hasText: "one" }).waitFor({ state: "detached" });
  await press("ш", "KeyI");
  await press("ш", "KeyI");
  await waitFor("the kernel is interrupted", () => fake.asked("interrupt").length === 1);
});

page("split, and the text of both halves", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "one\ntwo" })]);
  const book = await fake.open(context);
  await code(book, 0).locator(".static").click();
  await book.keyboard.press("Control+Home");
  await book.keyboard.press("ArrowDown");
  await book.keyboard.press("Control+Shift+Minus");
  await waitFor("both halves arrive", () => fake.document.cells.length === 2 && fake.document.cells[0]?.source === "one");
  assert.deepEqual(fake.document.cells.map((c) => c.source), ["one", "two"]);
});

page("merging keeps the pictures of every cell, and splitting gives each half its own", async ({ fake, context }) => {
  const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  const OTHER = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
  const markdown = (id: string, source: string, attachments: Record<string, unknown>) => cell(id, { cell_type: "markdown", source, attachments });
  fake.document = notebook([
    markdown("a", "![one](attachment:image.png)", { "image.png": { "image/png": PICTURE } }),
    markdown("b", "![two](attachment:image.png)\n![three](attachment:plot.gif)", { "image.png": { "image/gif": OTHER }, "plot.gif": { "image/gif": OTHER } }),
  ]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell.selected:focus");
  await book.keyboard.press("Shift+M");
  await waitFor("the merged cell arrives", () => fake.document.cells.length === 1 && (fake.document.cells[0]?.source.length ?? 0) > 60);
  assert.equal(fake.document.cells[0]?.source, "![one](attachment:image.png)\n\n![two](attachment:image-1.png)\n![three](attachment:plot.gif)");
  assert.deepEqual(fake.document.cells[0]?.attachments, { "image.png": { "image/png": PICTURE }, "image-1.png": { "image/gif": OTHER }, "plot.gif": { "image/gif": OTHER } });
  const sources = () => book.locator(".markdown img").evaluateAll((images) => images.map((image) => (image as HTMLImageElement).src));
  assert.deepEqual(await sources(), [`data:image/png;base64,${PICTURE}`, `data:image/gif;base64,${OTHER}`, `data:image/gif;base64,${OTHER}`]);
  await book.keyboard.press("Enter");
  await book.keyboard.press("Control+End");
  await book.keyboard.press("Home");
  await book.keyboard.press("Control+Shift+Minus");
  await waitFor("both halves arrive", () => fake.document.cells.length === 2 && !(fake.document.cells[0]?.source ?? "").includes("plot.gif"));
  assert.deepEqual(fake.document.cells[1]?.attachments, { "plot.gif": { "image/gif": OTHER } });
});

page("completion and inspection come from the kernel", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "" })]);
  fake.answer = (op) => {
    if (op.type === "complete") return { type: "completions", matches: op.code.endsWith("only") ? [{ text: "only_one", kind: null }] : [{ text: "print", kind: "function" }, { text: "property", kind: "class" }], start: 0, end: op.cursor };
    if (op.type === "inspect") return { type: "inspection", data: { "text/plain": `\u001b[31mSignature:\u001b[0m detail ${op.detail}` } };
    return null;
  };
  const book = await fake.open(context);
  await book.locator(".cm-content").click();
  await book.keyboard.type("pr");
  await book.keyboard.press("Tab");
  await book.locator(".cm-tooltip-autocomplete li").first().waitFor();
  assert.deepEqual(await book.locator(".cm-completionLabel").allInnerTexts(), ["print", "property"]);
  await book.keyboard.press("Enter");
  await book.locator(".cm-content", { hasText: "print" }).waitFor();
  await book.keyboard.press("Shift+Tab");
  await book.locator(".inspection", { hasText: "Signature: detail 0" }).waitFor();
  await book.keyboard.press("Shift+Tab");
  await book.locator(".inspection", { hasText: "detail 1" }).waitFor();
  await book.keyboard.press("Escape");
  await book.locator(".inspection").waitFor({ state: "detached" });
  assert.equal(await book.locator(".cm-editor.cm-focused").count(), 1, "the first Escape closes the help only");
  await book.keyboard.press("Control+a");
  await book.keyboard.type("only");
  await book.keyboard.press("Tab");
  await book.locator(".cm-content", { hasText: "only_one" }).waitFor();
});

page("completions and help are seen whole, also in a last cell of one line", async ({ fake, context }) => {
  fake.answer = (op) => {
    if (op.type === "complete") return { type: "completions", matches: ["pad", "page", "pair", "pan", "part"].map((text) => ({ text, kind: "function" })), start: 0, end: op.cursor };
    if (op.type === "inspect") return { type: "inspection", data: { "text/plain": "first line\nsecond line\nlast line" } };
    return null;
  };
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 640 }]) {
    // At the top of the page, in the middle, and below everything else.
    for (const before of [0, 3, 30]) {
      fake.document = notebook([...Array.from({ length: before }, (_, i) => cell(`b${i}`, { source: "x\ny" })), cell("last", { source: "" })]);
      const book = await fake.open(context);
      await book.setViewportSize(viewport);
      await book.locator(".cell").last().locator(".static, .cm-content").click();
      await book.keyboard.type("pa");
      await book.locator(".cm-focused .cm-content", { hasText: /^pa$/ }).waitFor();
      await book.keyboard.press("Tab");
      await book.locator(".cm-tooltip-autocomplete li").nth(4).waitFor();
      const seen = (selector: string) =>
        book.locator(selector).evaluateAll((elements) =>
          elements.map((element) => {
            const { left, right, top, bottom } = element.getBoundingClientRect();
            const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight && top >= (document.querySelector(".top")?.getBoundingClientRect().bottom ?? 0);
            return inside && [[left + 8, top + 8], [(left + right) / 2, (top + bottom) / 2], [right - 8, bottom - 8]].every(([x = 0, y = 0]) => element.contains(document.elementFromPoint(x, y)));
          }),
        );
      await waitFor("all five entries are visible", async () => (await seen(".cm-tooltip-autocomplete li")).join() === "true,true,true,true,true");
      await book.keyboard.press("Escape");
      await book.keyboard.press("Shift+Tab");
      await book.locator(".inspection", { hasText: "last line" }).waitFor();
      await waitFor("the help is visible", async () => (await seen(".inspection")).join() === "true");
      await book.close();
    }
  }
});

page("streams grow in place, a long one is cut in the middle and shown whole when asked", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "x", state: "running" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell");
  fake.change({ type: "output_added", cell_id: "c", output: { output_type: "stream", name: "stdout", text: "line 0\n" } });
  for (let i = 1; i < 3000; i += 100) {
    fake.change({ type: "text_appended", cell_id: "c", index: 0, text: Array.from({ length: 100 }, (_, k) => `line ${i + k}\n`).join("") });
  }
  await book.locator(".gap", { hasText: "3,001 lines" }).or(book.locator(".gap", { hasText: "3,002 lines" })).waitFor();
  assert.ok((await book.locator(".out-text").innerText()).length < 20_000);
  assert.match(await book.locator(".out-text").innerText(), /line 2999/);
  await book.getByRole("button", { name: "Show all" }).click();
  const all = (await book.locator(".out-text").innerText()).match(/line \d+/g) ?? [];
  assert.equal(new Set(all).size, all.length);
  assert.ok(all.length >= 3000, `${all.length}`);
});

page("a question of the program is answered in the page", async ({ fake, context }) => {
  fake.document = notebook([cell("c", { source: "input()", state: "running" })]);
  const book = await fake.open(context);
  await book.waitForSelector(".cell");
  fake.change({ type: "input_requested", input: { cell_id: "c", prompt: "Name: ", password: false } });
  await book.getByLabel("Name:").fill("Ada");
  await book.keyboard.press("Enter");
  await waitFor("the answer arrives", () => fake.asked("answer_input").length > 0);
  assert.deepEqual(fake.asked("answer_input"), [{ type: "answer_input", value: "Ada" }]);
});

page("Markdown: formulas are set, images and links are where the notebook is", async ({ fake, context }) => {
  fake.document = notebook([
    cell("m", {
      cell_type: "markdown",
      source: "# Title\n\n$\\newcommand{\\half}{\\frac12}\\half$ and $$\\int_0^1 x\\,dx$$\n\n![plot](plots/a%20b.png) [file](../data.csv) [there](#Title) ![pasted](attachment:p.png) [out](https://example.org)",
      attachments: { "p.png": { "image/png": "AAAA" } },
    }),
    cell("n", { cell_type: "markdown", source: "$\\half$" }),
  ], { path: "dir/sub/a.ipynb" });
  const book = await fake.open(context, "notebooks/dir/sub/a.ipynb");
  await book.locator(".katex").first().waitFor();
  assert.equal(await book.locator(".katex-error, .math-error").count(), 0);
  assert.equal(await book.locator(".katex").count(), 3, "a macro holds in later cells");
  const found = await book.evaluate(() => ({ images: [...document.images].map((image) => image.src), links: [...document.querySelectorAll<HTMLAnchorElement>(".markdown a")].map((a) => [a.href, a.rel, a.target]) }));
  assert.deepEqual(found.images, [`${ORIGIN}${PREFIX}files/dir/sub/plots/a%20b.png`, "data:image/png;base64,AAAA"]);
  assert.deepEqual(found.links[0], [`${ORIGIN}${PREFIX}files/dir/data.csv`, "noopener noreferrer", "_blank"]);
  assert.deepEqual(found.links[2], ["https://example.org/", "noopener noreferrer", "_blank"]);
  await code(book, 0).locator(".markdown").dblclick();
  await book.locator(".cm-content", { hasText: "# Title" }).waitFor();
  await book.keyboard.press("Control+Enter");
  await book.locator(".markdown h1", { hasText: "Title" }).waitFor();
}, { complaints: /404|Failed to load|ERR_/ });

page("a notebook of 1,000 cells opens and scrolls without editors", async ({ fake, context }) => {
  fake.document = notebook(Array.from({ length: 1000 }, (_, i) => (i % 4 === 0 ? cell(`m${i}`, { cell_type: "markdown", source: `## Part ${i}\n\n$x_{${i}}$ and *text*` }) : cell(`c${i}`, { source: `import sys\nfor i in range(${i}):\n    print(i)`, execution_count: i, outputs: [{ output_type: "stream", name: "stdout", text: `result ${i}\n` }] }))));
  const begun = performance.now();
  const book = await fake.open(context);
  await book.locator(".cell").nth(999).waitFor({ state: "attached" });
  const took = performance.now() - begun;
  console.log(`# 1,000 cells in ${Math.round(took)} ms`);
  assert.equal(await book.locator(".cm-editor").count(), 0);
  await book.keyboard.press("Control+End");
  await book.locator(".cell.selected", { hasText: "result 999" }).waitFor();
});

for (const colorScheme of ["light", "dark"] as const) {
  page(`no axe violation, ${colorScheme}`, async ({ fake, context }) => {
    fake.entries = [{ name: "a.ipynb" }, { name: "folder", type: "directory" }, { name: "x.txt", type: "file" }];
    fake.sessions = [{ id: "s", path: "a.ipynb", kernel: { id: "k", name: "p", execution_state: "busy" } }];
    const list = await fake.open(context, "");
    await list.waitForSelector("td.name");
    assert.deepEqual(await violations(list), []);
    await list.getByRole("button", { name: "Actions for a.ipynb" }).click();
    assert.deepEqual(await violations(list), []);
    await list.keyboard.press("Escape");
    await list.getByRole("button", { name: "New folder" }).click();
    assert.deepEqual(await violations(list), []);
    fake.document = notebook([
      cell("m", { cell_type: "markdown", source: "# Title\n\ntext $x^2$ `code` [link](https://example.org)\n\n> quote\n\n```python\nx = 'y' # z\n```" }),
      cell("c", { source: "import os # comment\ndef f(x: int = 3): return 'text'\n@decorator\nclass A: pass", execution_count: 1, outputs: [
        { output_type: "stream", name: "stdout", text: [...Array(16).keys()].map((n) => `\u001b[${n < 8 ? 30 + n : 82 + n}mcolour ${n}\u001b[0m \u001b[${n < 8 ? 40 + n : 92 + n}mback\u001b[0m`).join("\n") },
        { output_type: "stream", name: "stderr", text: "warning \u001b[31mred\u001b[0m \u001b[33myellow\u001b[0m" },
        { output_type: "display_data", data: { "image/png": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==" }, metadata: {} },
        { output_type: "display_data", data: { "text/html": "<b>x</b>" }, metadata: {} },
        { output_type: "display_data", data: { "application/json": { a: 1, b: ["x", null, true] } }, metadata: {} },
        { output_type: "error", ename: "E", evalue: "v", traceback: ["\u001b[31mE\u001b[0m: \u001b[32mv\u001b[0m \u001b[36mc\u001b[0m"] }] }),
      cell("s", { source: "scrolled", metadata: { scrolled: true }, outputs: [{ output_type: "stream", name: "stdout", text: "x\n".repeat(100) }] }),
      cell("h", { source: "hidden", metadata: { jupyter: { source_hidden: true, outputs_hidden: true } }, outputs: [{ output_type: "stream", name: "stdout", text: "x" }] }),
      cell("r", { cell_type: "raw", source: "raw" }),
      cell("q", { source: "queued", state: "queued" }),
      cell("w", { source: "running", state: "running" }),
    ]);
    const book = await fake.open(context);
    await book.waitForSelector(".cell");
    fake.change({ type: "conflict", message: "changed" });
    assert.deepEqual(await violations(book), []);
    await code(book, 1).locator(".static").click();
    await book.waitForSelector(".cm-editor");
    assert.deepEqual(await violations(book), []);
    await book.keyboard.press("Escape");
    await book.keyboard.press("h");
    await book.waitForSelector("dialog");
    assert.deepEqual(await violations(book), []);
  }, { colorScheme });
}
