//! Two people with accounts in one notebook, with the real program: sign-up, sharing, typing in one cell, rights.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launch } from "./browser";
import { Server } from "./server";
import { PATIENCE_MS, eventually, waitFor } from "./wait";

const PASSWORD = "correct horse";

let browser: Browser;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start("", 'users = "accounts"\nkernel_sandbox = "none"')]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function signUp(address: string, name: string): Promise<BrowserContext> {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(address);
  await page.getByLabel("Login name").fill(name);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Create the account" }).click();
  await page.getByRole("heading", { name }).waitFor();
  await page.close();
  return context;
}

async function typing(page: Page, text: string): Promise<void> {
  for (const letter of text) await page.keyboard.press(letter === "\n" ? "Enter" : letter);
}

test("two people: one invites the other, shares a notebook, and both type in one cell", async () => {
  const link = /\/signup\?code=[0-9a-f]{64}/.exec(server.log)?.[0];
  assert.ok(link, server.log);
  const ann = await signUp(new URL(link.slice(1), server.url).href, "ann");
  const admin = await ann.newPage();
  await admin.goto(`${server.url}admin`);
  await admin.getByRole("button", { name: "Make a link" }).click();
  const invitation = await admin.locator(".good code").innerText();
  const bob = await signUp(new URL(new URL(invitation).search, `${server.url}signup`).href, "bob");
  await server.write("ann/n.ipynb", [{ cell_type: "code", source: "middle" }]);

  const theirs = await bob.newPage();
  const missing = await theirs.goto(`${server.url}notebooks/ann/n.ipynb`);
  assert.equal(missing?.status(), 404);
  await admin.goto(`${server.url}share/ann/n.ipynb`);
  await admin.getByLabel("Name", { exact: true }).fill("bob");
  await admin.getByLabel("They may").selectOption("edit");
  await admin.getByRole("button", { name: "Share", exact: true }).click();
  await admin.locator("td", { hasText: "bob" }).waitFor();

  const own = await ann.newPage();
  for (const page of [own, theirs]) {
    await page.goto(`${server.url}notebooks/ann/n.ipynb`);
    await page.locator(".cell").first().waitFor();
  }
  await own.locator(".people .person", { hasText: "bob" }).waitFor();
  await own.locator(".cell .static").click();
  await own.keyboard.press("Control+Home");
  await theirs.locator(".cell .static").click();
  await theirs.keyboard.press("Control+End");
  await own.locator(".other-caret", { hasText: "bob" }).waitFor();
  // Both type at the same time, one at the start and one at the end.
  const [first, last] = ["import math\nx = 1\n", "\nprint(x)\ny = 2"];
  await Promise.all([typing(own, first), typing(theirs, last)]);
  const whole = `${first}middle${last}`;
  const text = (page: Page): Promise<string> =>
    page.locator(".cell .cm-content").evaluate((content) =>
      [...content.querySelectorAll(".cm-line")]
        .map((line) => {
          const copy = line.cloneNode(true) as Element;
          for (const caret of copy.querySelectorAll(".other-caret")) caret.remove();
          return copy.textContent;
        })
        .join("\n"),
    );
  let seen = "";
  for (const page of [own, theirs]) {
    await waitFor(() => `both pages show both texts: ${JSON.stringify(seen)}`, async () => (seen = await text(page)) === whole);
    await page.locator(".save-state", { hasText: "Saved" }).waitFor();
    await eventually.equal(() => page.locator(".clash").isVisible(), false);
  }
  await waitFor("the file has both", async () => {
    const { source } = (await server.file("ann/n.ipynb")).cells[0] ?? { source: "" };
    return (Array.isArray(source) ? source.join("") : source) === whole;
  });
  // Undo takes back one's own typing only.
  await own.keyboard.press("Control+z");
  await waitFor("the other's text stays", async () => {
    const shown = await text(theirs);
    return shown.endsWith(`middle${last}`) && shown.length < whole.length;
  });

  // A right that becomes smaller, and one that ends.
  await admin.goto(`${server.url}share/ann/n.ipynb`);
  await admin.getByLabel("Name", { exact: true }).fill("bob");
  await admin.getByLabel("They may").selectOption("view");
  await admin.getByRole("button", { name: "Share", exact: true }).click();
  await admin.locator("td", { hasText: /^view$/ }).waitFor();
  await theirs.reload();
  await theirs.locator(".save-state", { hasText: "You may view it" }).waitFor();
  await theirs.keyboard.press("b");
  await theirs.locator(".toast", { hasText: "You may only view this notebook." }).waitFor();
  await eventually.equal(() => theirs.locator(".cell").count(), 1);
  await admin.getByRole("row", { name: /bob/ }).getByRole("button", { name: "Remove" }).click();
  await theirs.locator(".notice", { hasText: /no longer|does not exist/ }).waitFor();
  await Promise.all([ann.close(), bob.close()]);
});
