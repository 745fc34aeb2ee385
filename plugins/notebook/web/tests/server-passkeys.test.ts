//! Passkeys with the real program and Chromium's virtual authenticator.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, CDPSession, Page } from "playwright-core";
import { launch } from "./browser";
import { Server } from "./server";
import { PATIENCE_MS, eventually } from "./wait";

let browser: Browser;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start("", 'users = "accounts"\nkernel_sandbox = "none"')]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A device that answers by itself. Returns its id. */
async function device(session: CDPSession, verified = true): Promise<string> {
  const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: verified, automaticPresenceSimulation: true } as const;
  return (await session.send("WebAuthn.addVirtualAuthenticator", { options })).authenticatorId;
}

async function add(page: Page, name: string): Promise<void> {
  await page.locator("#add-passkey").getByLabel("Name").fill(name);
  await page.getByRole("button", { name: "Add a passkey" }).click();
}

async function logOut(page: Page, url: string): Promise<void> {
  await page.context().clearCookies();
  await page.goto(`${url}login`);
}

test("a passkey is added, logs in, and is deleted", async () => {
  // Passkeys belong to a name, not to an address.
  const url = server.url.replace("127.0.0.1", "localhost");
  const link = /\/signup\?code=[0-9a-f]{64}/.exec(server.log)?.[0];
  assert.ok(link, server.log);
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(new URL(link.slice(1), url).href);
  await page.getByLabel("Login name").fill("ann");
  await page.getByLabel("Password").fill("correct horse");
  await page.getByRole("button", { name: "Create the account" }).click();
  await page.getByRole("heading", { name: "ann" }).waitFor();
  const session = await context.newCDPSession(page);
  await session.send("WebAuthn.enable");
  const phone = await device(session);

  await page.goto(`${url}account`);
  await add(page, "Phone");
  await page.getByRole("cell", { name: "Phone" }).waitFor();
  // The same device has one already.
  await add(page, "Again");
  await page.locator("#passkey-problem:not([hidden])").waitFor();

  await logOut(page, url);
  await page.goto(`${url}login?next=${encodeURIComponent(new URL("inbox", url).pathname)}`);
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  await page.waitForURL(`${url}inbox`);

  // A second one, on another device.
  await session.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId: phone });
  const key = await device(session);
  await page.goto(`${url}account`);
  await add(page, "Key");
  await page.getByRole("cell", { name: "Key", exact: true }).waitFor();
  await eventually.equal(() => page.getByRole("cell", { name: "Phone" }).count(), 1);
  await logOut(page, url);
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  await page.getByRole("heading", { name: "ann" }).waitFor();

  // The account no longer knows it, and the device still does.
  await page.goto(`${url}account`);
  await page.getByRole("row", { name: /^Key/ }).getByRole("button", { name: "Delete" }).click();
  await page.getByRole("cell", { name: "Key", exact: true }).waitFor({ state: "detached" });
  await logOut(page, url);
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  await page.locator("#passkey-problem", { hasText: "not registered" }).waitFor();
  assert.match(page.url(), /\/login/);

  // A device that has not checked its user is of no use.
  await session.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId: key });
  await device(session, false);
  await page.getByLabel("Login name").fill("ann");
  await page.getByLabel("Password").fill("correct horse");
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await page.goto(`${url}account`);
  await add(page, "Unchecked");
  await page.locator("#passkey-problem:not([hidden])").waitFor();
  await eventually.equal(() => page.getByRole("cell", { name: "Unchecked" }).count(), 0);
  await context.close();
});
