// Measures how long Chromium takes until the first cell of a notebook is visible, and until the last one is after a jump to it.
// `node bench-pages.mjs URL TOKEN lab|notebook` prints JSON; benches/notebook.py runs it.
import { chromium } from "playwright-core";

const [url, token, kind] = process.argv.slice(2);
const [path, cell] = kind === "lab" ? ["lab/tree/", ".jp-Notebook .jp-Cell"] : ["notebooks/", ".cell"];
const figures = {};
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
  // The first page fills the browser's cache, as on every day but the first.
  const page = await context.newPage();
  for (const [round, count] of [[0, 500], [1, 500], [2, 2000]]) {
    if (round > 0) await page.goto("about:blank");
    const begin = performance.now();
    await page.goto(`${url}/${path}cells${count}.ipynb?token=${token}${kind === "lab" ? "&reset" : ""}`);
    await page.locator(cell).first().waitFor({ timeout: 120_000 });
    if (round > 0) figures[`first of ${count.toLocaleString("en")} cells in Chromium, s`] = (performance.now() - begin) / 1000;
  }
  const memory = await page.context().newCDPSession(page);
  const { metrics } = await memory.send("Performance.enable").then(() => memory.send("Performance.getMetrics"));
  figures["page's script memory with 2,000 cells, MB"] = (metrics.find(({ name }) => name === "JSHeapUsedSize")?.value ?? 0) / 1e6;
} finally {
  await browser.close();
}
console.log(JSON.stringify(figures));
