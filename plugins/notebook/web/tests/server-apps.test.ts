//! Notebooks as apps and published notebooks with controls, with the real program and a browser: what readers see, and what the
//! controls do. PASTER_APP_PICTURES=FOLDER writes pictures of the pages there.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { violations } from "./axe";
import { launch } from "./browser";
import { Server } from "./server";
import { PATIENCE_MS, eventually } from "./wait";

/** How long a kernel may take to start on a busy machine. */
const SLOW = 2 * PATIENCE_MS;
const PASSWORD = "correct horse";
const PICTURES = process.env["PASTER_APP_PICTURES"];
const bwrap = spawnSync("bwrap", ["--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"]);
const skip = bwrap.status === 0 ? false : "bubblewrap does not work here";

const INTRO = "# Squares\n\n<!-- not for readers -->\nMove the slider: the *square* of $n$ follows.";
const INTERACT = "@interact(n=(1, 3))\ndef secret_function(n):\n    print('square', n * n)";

let browser: Browser;
let server: Server;
let ann: BrowserContext;
let bob: BrowserContext;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start("", 'users = "accounts"\nkernel_sandbox = "none"\ndefault_kernel = "paster-python"')]);
  const link = /\/signup\?code=[0-9a-f]{64}/.exec(server.log)?.[0] ?? "";
  ann = await signUp(new URL(link.slice(1), server.url).href, "ann");
  const admin = await ann.newPage();
  await admin.goto(`${server.url}admin`);
  await admin.getByRole("button", { name: "Make a link" }).click();
  const invitation = await admin.locator(".good code").innerText();
  await admin.close();
  bob = await signUp(new URL(new URL(invitation).search, `${server.url}signup`).href, "bob");
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

const frame = (page: Page) => page.frameLocator(".cell.code iframe").first();
const note = (page: Page) => page.locator(".app-controls");

/** A notebook of ann that has run, so that its controls have a state. */
async function made(name: string): Promise<Page> {
  await server.write(`ann/${name}`, [{ cell_type: "markdown", source: INTRO }, { cell_type: "code", source: INTERACT }]);
  const page = await ann.newPage();
  await page.goto(`${server.url}notebooks/ann/${name}`);
  await page.locator(".cell.code").waitFor();
  await page.getByRole("button", { name: "Run all" }).click();
  await frame(page).getByText("square 4", { exact: true }).waitFor({ timeout: SLOW });
  await page.locator(".save-state", { hasText: "Saved" }).waitFor();
  return page;
}

/** Waits until the page has the controls of a session, and not their saved state. */
async function live(page: Page): Promise<void> {
  await page.locator(".app-controls[data-state=live]").waitFor({ state: "attached", timeout: SLOW });
  await frame(page).getByText("square 4", { exact: true }).waitFor({ timeout: SLOW });
}

async function moved(page: Page, expected: string): Promise<void> {
  await frame(page).locator(".noUi-handle").focus();
  await page.keyboard.press("ArrowRight");
  await frame(page).getByText(expected, { exact: true }).waitFor({ timeout: SLOW });
}

async function back(page: Page, expected: string): Promise<void> {
  await frame(page).locator(".noUi-handle").focus();
  await page.keyboard.press("ArrowLeft");
  await frame(page).getByText(expected, { exact: true }).waitFor({ timeout: SLOW });
}

/** Pictures of a page in both themes and on a phone. */
async function pictures(page: Page, name: string): Promise<void> {
  if (PICTURES === undefined) return;
  await mkdir(PICTURES, { recursive: true });
  for (const [look, colorScheme, width] of [["light", "light", 720], ["dark", "dark", 720], ["phone", "light", 360]] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 340 });
    await eventually.equal(() => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth), true);
    await page.screenshot({ fullPage: true, path: join(PICTURES, `${name}-${look}.png`) });
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1000, height: 640 });
}

test("an app shows texts, outputs and controls, but no code; its controls work if the owner allows them", { skip }, async () => {
  const own = await made("n.ipynb");
  const share = await ann.newPage();
  await share.goto(`${server.url}share/ann/n.ipynb`);
  await share.getByLabel("Name", { exact: true }).fill("bob");
  await share.getByLabel("They may").selectOption("app");
  await share.getByRole("button", { name: "Share", exact: true }).click();
  await share.locator("td", { hasText: "open as an app" }).waitFor();
  await pictures(share, "share");

  // The address of the notebook leads to the app.
  const theirs = await bob.newPage();
  const errors: string[] = [];
  theirs.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await theirs.goto(`${server.url}notebooks/ann/n.ipynb`);
  await theirs.getByRole("heading", { name: "Squares" }).waitFor();
  assert.match(theirs.url(), /\/app\/ann\/n\.ipynb$/);
  await theirs.locator(".katex", { hasText: "n" }).first().waitFor();
  // The kernel of the owner still has the controls: their state is shown.
  await frame(theirs).getByText("square 4", { exact: true }).waitFor();
  await note(theirs).getByText("The controls show their saved state, because the owner has not allowed their use.", { exact: true }).waitFor();
  assert.doesNotMatch(await theirs.content(), /secret_function|not for readers/);
  assert.equal(await theirs.getByRole("link", { name: "Open the notebook" }).count(), 0);
  await pictures(theirs, "app-saved");

  await share.getByRole("button", { name: "Allow the controls" }).click();
  await share.getByText("They can use its controls.").waitFor();
  await theirs.reload();
  await live(theirs);
  await moved(theirs, "square 9");
  await pictures(theirs, "app");
  assert.deepEqual(await violations(theirs), []);
  assert.doesNotMatch(await theirs.content(), /secret_function|not for readers/);
  // The owner's notebook has its own value.
  await frame(own).getByText("square 4", { exact: true }).waitFor();
  assert.deepEqual(errors, []);

  // The owner opens the app from the notebook.
  await own.getByRole("button", { name: "More", exact: true }).click();
  const [app] = await Promise.all([ann.waitForEvent("page"), own.getByRole("menuitem", { name: "Open as app" }).click()]);
  await live(app);
  await moved(app, "square 9");
  await app.getByRole("link", { name: "Open the notebook" }).waitFor();

  // The permission ends.
  await share.getByRole("button", { name: "Do not allow the controls" }).click();
  await note(theirs).getByText("the owner has not allowed their use").waitFor();
  await note(theirs).getByRole("button", { name: "Start again" }).click();
  await note(theirs).getByText("the owner has not allowed their use").waitFor();
  for (const page of [own, share, theirs, app]) await page.close();
});

test("a published page has controls for readers without an account if the publisher allows them", { skip }, async () => {
  const own = await made("public.ipynb");
  const share = await ann.newPage();
  await share.goto(`${server.url}share/ann/public.ipynb`);
  await share.getByRole("button", { name: "Publish", exact: true }).click();
  const address = (await share.locator("a[href*='/pub/']").first().getAttribute("href")) ?? "";
  await own.close();

  const anyone = await browser.newContext();
  anyone.setDefaultTimeout(PATIENCE_MS);
  const page = await anyone.newPage();
  await page.goto(new URL(address, server.url).href);
  await note(page).getByText("The controls show their saved state, because the publisher has not allowed their use.", { exact: true }).waitFor();
  await frame(page).getByText("square 4", { exact: true }).waitFor();
  // A published page shows its code.
  await page.getByText("secret_function").first().waitFor();
  await pictures(page, "published-off");

  await share.getByLabel("Allow interactive controls").check();
  await share.getByRole("button", { name: "Change", exact: true }).click();
  await share.locator("input[name=interactive]:checked").waitFor();
  await pictures(share, "publish");
  await page.reload();
  await frame(page).getByText("square 4", { exact: true }).waitFor();
  await note(page).getByText("The controls show their saved state.").waitFor();
  await pictures(page, "published-offer");
  await note(page).getByRole("button", { name: "Use the controls" }).click();
  await live(page);
  await moved(page, "square 9");
  await back(page, "square 4");
  await pictures(page, "published");
  assert.deepEqual(await violations(page), []);
  await anyone.close();
  await share.close();
});
