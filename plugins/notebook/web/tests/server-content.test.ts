//! Outputs come from the second origin, with the real program and a browser, in the notebook and on a published page.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { launch } from "./browser";
import { Server } from "./server";
import { PATIENCE_MS } from "./wait";

let browser: Browser;
let server: Server;
before(async () => {
  const port = await new Promise<number>((found) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => found(port));
    });
  });
  [browser, server] = await Promise.all([launch(), Server.start("", `users = "accounts"\nkernel_sandbox = "none"\ncontent_origin = "http://*.usercontent.localhost:${port}"`, "", port)]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Runs in an output: what it can reach of the page, and its own host. */
const HTML = `<p id="p">?</p><script>
let parentSeen = "open";
try { void parent.document.title; } catch { parentSeen = "closed"; }
let cookie = "open";
try { void document.cookie; } catch { cookie = "closed"; }
document.getElementById("p").textContent = [location.hostname.replace(/^[0-9a-f]{16}\\./, "LABEL."), self.origin, parentSeen, cookie].join(" ");
</script>`;

async function check(page: Page): Promise<void> {
  const frame = page.frameLocator(".out-html iframe").first();
  await frame.locator("#p", { hasText: /^LABEL\.usercontent\.localhost null closed closed$/ }).waitFor();
}

test("scripts of an output run in the second origin", async () => {
  const link = /\/signup\?code=[0-9a-f]{64}/.exec(server.log)?.[0];
  assert.ok(link, server.log);
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(new URL(link.slice(1), server.url).href);
  await page.getByLabel("Login name").fill("ann");
  await page.getByLabel("Password").fill("correct horse");
  await page.getByRole("button", { name: "Create the account" }).click();
  await page.getByRole("heading", { name: "ann" }).waitFor();
  await server.write("ann/n.ipynb", [{ cell_type: "code", source: "1", outputs: [{ output_type: "display_data", metadata: {}, data: { "text/html": HTML } }] }]);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  await page.goto(`${server.url}notebooks/ann/n.ipynb`);
  await page.getByRole("button", { name: "Run them" }).click();
  await check(page);
  assert.deepEqual(complaints, []);

  await page.goto(`${server.url}share/ann/n.ipynb`);
  await page.getByRole("button", { name: "Publish" }).click();
  const published = await page.locator("a[href*='/pub/']").first().getAttribute("href");
  assert.ok(published !== null);
  const reader = await browser.newContext();
  const theirs = await reader.newPage();
  await theirs.goto(new URL(published, server.url).href);
  await theirs.getByRole("button", { name: "Run them" }).click();
  await check(theirs);
  // At the second origin there is nothing else, for a browser that is logged in too.
  const { port } = new URL(server.url);
  const elsewhere = await page.goto(`http://x.usercontent.localhost:${port}/tree/ann`);
  assert.equal(elsewhere?.status(), 404);
  assert.equal((await page.goto(`${server.url}static/frame.html`))?.status(), 404);
  await Promise.all([context.close(), reader.close()]);
});
