//! Kernels print numbered lines while the server is reloaded and its workers are killed: no page and no file misses a line or has
//! one twice.
//!
//! PASTER_TEST_RELOADS and PASTER_TEST_KILLS are how often (default: 4 and 2), PASTER_TEST_KERNELS and PASTER_TEST_READERS how many
//! kernels print and how many pages read (default: 3 and 2).

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, waitFor } from "./wait";

const count = (name: string, usual: number): number => Number(process.env[name] ?? usual);
const RELOADS = count("PASTER_TEST_RELOADS", 4);
const KILLS = count("PASTER_TEST_KILLS", 2);
const KERNELS = count("PASTER_TEST_KERNELS", 3);
const READERS = count("PASTER_TEST_READERS", 2);
/** Prints until the file `stop` is there, and then how many lines it printed. */
const PRINTS = "import os, time\nn = 0\nwhile not os.path.exists('stop'):\n    print('line', n, flush=True)\n    n += 1\n    time.sleep(0.02)\nprint('end', n)";

let browser: Browser;
let context: BrowserContext;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
  context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE_MS);
  await (await context.newPage()).goto(`${server.url}?token=${TOKEN}`);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** The events of the server with this name. */
const events = (name: string): Record<string, unknown>[] =>
  server.log.split("\n").flatMap((line) => {
    if (!line.startsWith("{")) return [];
    const event = JSON.parse(line) as Record<string, unknown>;
    return event["event"] === name ? [event] : [];
  });

/** Does `what`, and waits for another event of this name. */
async function until(name: string, what: () => void): Promise<void> {
  const before = events(name).length;
  what();
  await waitFor(() => `another event \`${name}\`: ${server.log.slice(-2000)}`, () => events(name).length > before);
}

/** The newest worker. An older one may still be ending. */
async function worker(): Promise<number> {
  const main = String(events("starting")[0]?.["pid"]);
  const children = (await readFile(`/proc/${main}/task/${main}/children`, "utf8")).trim().split(" ");
  for (const child of children.reverse()) {
    const command = await readFile(`/proc/${child}/cmdline`, "utf8").catch(() => "");
    if (command.includes("__worker")) return Number(child);
  }
  return assert.fail("there is no worker");
}

/** Fails if `text` is not every line once, in order, and its end. */
function check(where: string, text: string): number {
  const lines = text.trim().split("\n").map((line) => line.trim());
  const end = lines.findIndex((line, n) => line !== `line ${String(n)}`);
  assert.equal(lines[end], `end ${String(end)}`, `${where}: after ${String(end)} lines: ${lines.slice(Math.max(0, end - 2), end + 3).join(" | ")}`);
  assert.equal(lines.length, end + 1, where);
  return end;
}

test("no line of a kernel is lost or there twice, whatever is reloaded or killed", async (t) => {
  const names = Array.from({ length: KERNELS }, (_, n) => `print${String(n)}.ipynb`);
  const pages: Page[] = [];
  for (const [n, name] of names.entries()) {
    await server.write(name, [{ cell_type: "code", source: PRINTS }]);
    const page = await context.newPage();
    await page.goto(`${server.url}notebooks/${name}`);
    await page.locator(".cell.code").waitFor();
    await page.getByRole("button", { name: "Run all" }).click();
    await page.locator(".output", { hasText: "line 3" }).waitFor();
    if (n < READERS) pages.push(page);
    else await page.close();
  }
  for (let n = 0, killed = 0; n < RELOADS; n += 1) {
    await until("reloaded", () => server.reload());
    if (Math.floor(((n + 1) * KILLS) / RELOADS) > killed) {
      killed += 1;
      const victim = await worker();
      await until("worker_ready", () => process.kill(victim, "SIGKILL"));
    }
  }
  await writeFile(join(server.data, "stop"), "");
  let lines = 0;
  for (const name of names) {
    const whole = async (): Promise<string> => {
      const outputs = ((await server.file(name)).cells[0]?.outputs ?? []) as { text?: string | string[] }[];
      return outputs.map(({ text = "" }) => (Array.isArray(text) ? text.join("") : text)).join("");
    };
    let text = "";
    await waitFor(() => `the end is in ${name}: ${text.slice(-200)}`, async () => (text = await whole()).includes("end "));
    lines += check(name, text);
  }
  for (const [n, page] of pages.entries()) {
    await page.locator(".output", { hasText: /end \d+/ }).waitFor();
    const rest = page.getByRole("button", { name: "Show all" });
    if (await rest.isVisible()) await rest.click();
    await rest.waitFor({ state: "hidden" });
    check(`page ${String(n)}`, (await page.locator(".output .out-text pre:visible").allTextContents()).join(""));
  }
  t.diagnostic(`${String(RELOADS)} reloads, ${String(KILLS)} kills, ${String(lines)} lines of ${String(KERNELS)} kernels, ${String(READERS)} pages`);
});
