//! Outputs and Markdown that may be hostile: the sandbox, links and pictures.

import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import { cell, notebook, ORIGIN, PREFIX } from "./fake";
import { page, type World } from "./pages";
import { eventually, waitFor } from "./wait";

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

page("hostile names and outputs do nothing", async ({ fake, context }) => {
  const evil = "<img src=x onerror=document.title='owned'>.ipynb";
  fake.entries = [{ name: evil }, { name: "javascript:alert(1).ipynb" }];
  const list = await fake.open(context, "");
  await list.waitForSelector("td.name");
  await eventually.equal(() => list.locator("td img").count(), 0);
  await eventually.equal(() => list.title(), "Notebooks");
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
  ], { path: evil, kernel: { id: "k", name: EVIL_HTML, display_name: EVIL_HTML, language: "python", state: "dead", message: EVIL_HTML, debugger: false } });
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
  // The comments of the notebook are asked for by its name.
  assert.ok(!fake.calls.some(({ path }) => path !== `api/comments/${evil}` && path.includes("owned")));
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
  await eventually.equal(() => text.innerText(), "page closed, no storage, no network");
  await eventually.equal(() => book.title(), "● a");
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
    await eventually.equal(() => tab.evaluate(() => window.opener as unknown), null);
    await tab.close();
  }
  await frame.locator("#anchor").click();
  await eventually.equal(() => frame.locator("#top").innerText(), "text");
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
    await eventually.equal(() => frame.getByRole("link", { name: "plain" }).getAttribute("href"), "http://elsewhere.test/c.png");
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
  await eventually.equal(() => frame.getByRole("link", { name: "localhost" }).getAttribute("href"), "http://localhost:8050/");
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
  await eventually.equal(() => again.getByRole("link", { name: /plain/ }).getAttribute("href"), "http://elsewhere.test/c.png");
  assert.equal(requests.length, 2);
  for (const { headers } of requests) assert.deepEqual([headers["referer"], headers["cookie"]], [undefined, undefined]);
}, { complaints: /Content Security Policy/ });
