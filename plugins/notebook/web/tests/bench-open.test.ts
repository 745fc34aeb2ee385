//! How fast a notebook of 2,000 cells opens, how it scrolls, and what memory that takes. Not a test: PASTER_BENCH=ROUNDS runs it.
//!
//! PASTER_BENCH_DIST=FOLDER also measures another build of the page (a `dist` folder), in turn with this one. The server, the file and
//! the browser are the same.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";

const ROUNDS = Number(process.env["PASTER_BENCH"] ?? 0);
const CELLS = 2000;
const TYPES: Record<string, string> = { js: "text/javascript", css: "text/css", html: "text/html", svg: "image/svg+xml", woff2: "font/woff2" };

let browser: Browser;
let server: Server;
before(async () => {
  if (ROUNDS > 0) [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** What one opening took: times in milliseconds, memory in megabytes. */
interface Figures {
  first: number;
  all: number;
  longest: number;
  elements: number;
  heap: number;
  frame50: number;
  frame99: number;
  slow: number;
  elementsAfter: number;
  heapAfter: number;
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Cells as people write them: text with a formula, code, printed lines, a table. */
function cells(): Parameters<Server["write"]>[1] {
  return Array.from({ length: CELLS }, (_, n) =>
    n % 4 === 0
      ? { cell_type: "markdown", source: `## Part ${n}\n\nSome *words* about $x_{${n}}^2$ and a [link](https://example.org/).\n\n- one\n- two` }
      : { cell_type: "code", source: `import math\n\n\ndef f${n}(x, y=${n}):\n    """Adds."""\n    return [math.sqrt(x) + y for _ in range(10)]\n\n\nprint(f${n}(2))`, outputs: n % 4 === 1 ? [{ output_type: "stream", name: "stdout", text: Array.from({ length: 8 }, (_, line) => `line ${line} of cell ${n}\n`).join("") }] : [] });
}

async function measure(dist: string | null): Promise<Figures> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  try {
    if (dist !== null) {
      const built = async (name: string) => ({ body: await readFile(join(dist, name)), contentType: TYPES[name.split(".").at(-1) ?? ""] ?? "text/plain" });
      await context.route("**/static/**", async (route) => route.fulfill(await built(new URL(route.request().url()).pathname.replace(/^.*?\/static\//, ""))));
    }
    const page = await context.newPage();
    await page.goto(`${server.url}?token=${TOKEN}`);
    await page.addInitScript(() => {
      const seen = { first: 0, all: 0, longest: 0 };
      (window as unknown as { seen: typeof seen }).seen = seen;
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) seen.longest = Math.max(seen.longest, entry.duration);
      }).observe({ type: "longtask", buffered: true });
      const look = (): void => {
        // What this frame shows was laid out in the one before.
        if (seen.first === 0 && document.querySelector(".cell .static") !== null) requestAnimationFrame(() => (seen.first ||= performance.now()));
        if (seen.all === 0 && document.querySelectorAll(".cell").length === 2000) requestAnimationFrame(() => (seen.all ||= performance.now()));
        if (seen.first === 0 || seen.all === 0) requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    const devtools = await context.newCDPSession(page);
    await devtools.send("Performance.enable");
    const state = async (): Promise<{ heap: number; elements: number }> => {
      await devtools.send("HeapProfiler.collectGarbage");
      const { metrics } = await devtools.send("Performance.getMetrics");
      return { heap: (metrics.find(({ name }) => name === "JSHeapUsedSize")?.value ?? 0) / 1e6, elements: await page.evaluate(() => document.querySelectorAll("*").length) };
    };
    await page.goto(`${server.url}notebooks/long.ipynb`);
    await page.waitForFunction(() => ((window as unknown as { seen: { all: number } }).seen.all ?? 0) > 0);
    const seen = await page.evaluate(() => (window as unknown as { seen: { first: number; all: number; longest: number } }).seen);
    await page.waitForTimeout(1000);
    const opened = await state();
    // As fast as a wheel turns: 300 pixels in each frame.
    const frames = await page.evaluate(async () => {
      const took: number[] = [];
      let before = performance.now();
      for (let rest = 200; rest > 0; rest -= 1) {
        scrollBy(0, 300);
        const now = await new Promise<number>((done) => requestAnimationFrame(() => done(performance.now())));
        took.push(now - before);
        before = now;
      }
      // And to the end in larger steps.
      while (scrollY + innerHeight < document.documentElement.scrollHeight - 2) {
        scrollBy(0, 3000);
        await new Promise((done) => requestAnimationFrame(done));
      }
      return took.sort((a, b) => a - b);
    });
    await page.waitForTimeout(500);
    const after = await state();
    const at = (share: number): number => frames[Math.min(frames.length - 1, Math.floor(frames.length * share))] ?? 0;
    return { ...seen, ...opened, frame50: at(0.5), frame99: at(0.99), slow: frames.filter((took) => took > 50).length, elementsAfter: after.elements, heapAfter: after.heap };
  } finally {
    await context.close();
  }
}

test("opening 2,000 cells", { skip: ROUNDS > 0 ? false : "PASTER_BENCH is not set" }, async () => {
  await server.write("long.ipynb", cells());
  const builds: [string, string | null][] = [["this", null]];
  const other = process.env["PASTER_BENCH_DIST"];
  if (other !== undefined) builds.unshift(["other", other]);
  const all = new Map<string, Figures[]>(builds.map(([name]) => [name, []]));
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [name, dist] of builds) {
      const figures = await measure(dist);
      // The first round fills the caches.
      if (round > 0) all.get(name)?.push(figures);
    }
  }
  for (const [name, figures] of all) {
    const of = (key: keyof Figures): string => median(figures.map((one) => one[key])).toFixed(key === "heap" || key === "heapAfter" ? 1 : 0);
    console.log(`# ${name}: first cells ${of("first")} ms, all in the page ${of("all")} ms, longest task ${of("longest")} ms; ${of("elements")} elements, ${of("heap")} MB of heap;`);
    console.log(`#   scrolling: frames ${of("frame50")} ms (median), ${of("frame99")} ms (99 %), ${of("slow")} over 50 ms; at the end ${of("elementsAfter")} elements, ${of("heapAfter")} MB`);
  }
});
