//! Scheduled runs with the real program: the menu, the page, a run with parameters, and its result, which is read-only.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { violations } from "./axe";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, eventually, waitFor } from "./wait";

let browser: Browser;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

test("a notebook is scheduled, runs with other parameters, and shows what came of it", async () => {
  await server.write("n.ipynb", [
    { cell_type: "code", source: "days = 1", metadata: { tags: ["parameters"] } },
    { cell_type: "code", source: "print('days:', days)" },
  ]);
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(`${server.url}notebooks/n.ipynb?token=${TOKEN}`);
  await page.locator(".cell").first().waitFor();
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: "Schedule …" }).click();
  await page.getByLabel("Cron expression").fill("soon");
  await page.getByRole("button", { name: "Add" }).click();
  await page.locator(".bad", { hasText: "not a cron expression" }).waitFor();
  await page.getByLabel("Cron expression").fill("0 3 * * 1-5");
  await page.getByLabel("Parameters").fill('{"days": 7}');
  await page.getByRole("button", { name: "Add" }).click();
  await page.getByRole("heading", { name: "0 3 * * 1-5" }).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Run now" }).click();
  await waitFor("the run succeeds", async () => {
    await page.reload();
    return (await page.getByRole("cell", { name: "succeeded" }).count()) === 1;
  });
  await page.getByRole("link", { name: "Result" }).click();
  await page.locator(".cell", { hasText: "# Parameters" }).waitFor();
  await page.locator(".cell .outputs", { hasText: "days: 7" }).waitFor();
  await eventually.equal(() => page.locator(".cm-content").count(), 0, "nothing can be edited");
  assert.deepEqual(await violations(page), []);
  await page.getByRole("link", { name: "All runs" }).click();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("Paused.").waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { name: "0 3 * * 1-5" }).waitFor({ state: "detached" });
  await context.close();
});
