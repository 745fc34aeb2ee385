//! Two servers with one database, with the real program: two pages in one notebook, each on its own server.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { launch } from "./browser";
import { Postgres } from "./postgres";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, waitFor } from "./wait";

let browser: Browser;
let postgres: Postgres | null = null;
let objects: string;
let servers: Server[] = [];

before(async () => {
  objects = mkdtempSync(join(tmpdir(), "paster-objects-"));
  [browser, postgres] = await Promise.all([launch(), Postgres.start()]);
  if (postgres === null) return;
  // One is mounted.
  for (const prefix of ["", "/nb"]) servers.push(await start(postgres.url, prefix));
});
after(async () => {
  await browser?.close();
  for (const server of servers) await server.stop();
  await postgres?.stop();
  rmSync(objects, { recursive: true, force: true });
});

async function start(database: string, prefix: string): Promise<Server> {
  const port = await freePort();
  const address = `http://127.0.0.1:${port}${prefix}/`;
  return Server.start(prefix, `database = ${JSON.stringify(database)}\nobjects = "file://${objects}"\naddress = "${address}"`, "", port);
}

async function freePort(): Promise<number> {
  const listener = createServer();
  await new Promise<void>((ready) => listener.listen(0, "127.0.0.1", ready));
  const { port } = listener.address() as AddressInfo;
  await new Promise((closed) => listener.close(closed));
  return port;
}

async function open(server: Server): Promise<Page> {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(`${server.url}notebooks/n.ipynb?token=${TOKEN}`);
  await page.locator(".cell").first().waitFor();
  return page;
}

const text = (page: Page): Promise<string> => page.locator(".cell").first().innerText();

/** Types at the end of the first cell. */
async function type(page: Page, added: string): Promise<void> {
  await page.locator(".cell").first().locator(".static, .cm-content").first().click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type(added);
}

test("two pages on two servers edit and run one notebook, and one of the servers stops", async (context) => {
  const [first, second] = servers;
  if (first === undefined || second === undefined) return context.skip("PostgreSQL is not installed");
  const content = { cells: [{ cell_type: "code", id: "c", metadata: {}, source: "6", outputs: [], execution_count: null }], metadata: {}, nbformat: 4, nbformat_minor: 5 };
  const headers = { authorization: `token ${TOKEN}` };
  const body = JSON.stringify({ type: "notebook", content });
  const made = await fetch(`${first.url}api/contents/n.ipynb`, { method: "PUT", headers, body });
  assert.equal(made.status, 201, await made.text());
  const [own, other] = [await open(first), await open(second)];
  await type(own, " * 7");
  await waitFor("the other page shows it", async () => (await text(other)).includes("6 * 7"));
  await type(other, " + 1");
  await waitFor("the first page shows both", async () => (await text(own)).includes("6 * 7 + 1"));
  await other.keyboard.press("Shift+Enter");
  for (const page of [own, other]) await page.locator(".output", { hasText: "43" }).first().waitFor();
  const lists = await fetch(`${second.url}api/kernels`, { headers });
  assert.equal(((await lists.json()) as unknown[]).length, 1, "the second server lists the kernel of the first");
  // A reload of the first server keeps kernel and pages.
  first.reload();
  await waitFor("the new generation serves", () => /"generation":2/.test(first.log));
  await type(other, " + 10");
  await waitFor("the first page shows it after the reload", async () => (await text(own)).includes("6 * 7 + 1 + 10"));
  await other.locator(".save-state", { hasText: "Saved" }).waitFor();
  // The second server takes over.
  await own.close();
  servers = [second];
  await first.stop();
  await type(other, " + 100");
  await waitFor("the second server saves it", async () => {
    const file = await second.file("n.ipynb").catch(() => null);
    return JSON.stringify(file ?? "").includes("6 * 7 + 1 + 10 + 100");
  });
});
