//! From the login to a saved result with the keyboard alone, by what a screen reader says. No mouse, and nothing gives an
//! element the focus but the keys and the page itself.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { launch } from "./browser";
import { Server } from "./server";
import { ScreenReader } from "./speech";
import { eventually, PATIENCE_MS, waitFor } from "./wait";

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

class User {
  readonly page: Page;
  #reader: ScreenReader;

  private constructor(page: Page, reader: ScreenReader) {
    this.page = page;
    this.#reader = reader;
  }

  static async arrive(address: string): Promise<User> {
    const context = await browser.newContext();
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    await page.goto(address);
    return new User(page, await ScreenReader.of(page));
  }

  async press(...keys: string[]): Promise<void> {
    for (const key of keys) await this.page.keyboard.press(key);
  }

  async type(text: string): Promise<void> {
    await this.page.keyboard.type(text);
  }

  /** The screen reader says this about the element with the focus. */
  async hears(wanted: string | RegExp): Promise<void> {
    let said = "";
    await waitFor(() => `the focus is on ${String(wanted)}; it is on ${said}`, async () => matches((said = await this.#reader.focus()), wanted));
  }

  /** The screen reader announces this, wherever the focus is. */
  async isTold(wanted: string | RegExp): Promise<void> {
    let said: string[] = [];
    await waitFor(() => `${String(wanted)} is announced; there is ${JSON.stringify(said)}`, async () => (said = await this.#reader.announced()).some((one) => matches(one, wanted)));
  }

  /** What the screen reader reads in an element. */
  read(role: string, name: string): Promise<string> {
    return this.#reader.read(role, name);
  }

  /** Presses a key until the focus is on an element. Everything on the way has a name. */
  async goTo(wanted: string, key = "Tab"): Promise<void> {
    const way: string[] = [];
    for (let n = 0; n < 60; n += 1) {
      await this.press(key);
      const said = await this.#reader.focus();
      if (said === wanted) return;
      assert.doesNotMatch(said, /""/, `an element without a name after ${way.join(", ")}`);
      way.push(said);
    }
    assert.fail(`${wanted} is not reached by ${key}: ${way.join(", ")}`);
  }

  /** Runs a command of the notebook that has no key of its own. */
  async command(name: string): Promise<void> {
    await this.press("Control+Shift+P");
    await this.hears(/^combobox "Search the commands", option/);
    await this.type(name);
    await this.hears(new RegExp(`^combobox "Search the commands", option "${name}`));
    await this.press("Enter");
  }
}

function matches(said: string, wanted: string | RegExp): boolean {
  return typeof wanted === "string" ? said === wanted : wanted.test(said);
}

async function signUp(name: string): Promise<void> {
  const link = /\/signup\?code=[0-9a-f]{64}/.exec(server.log)?.[0];
  assert.ok(link, server.log);
  const user = await User.arrive(new URL(link.slice(1), server.url).href);
  await user.hears('textbox "Login name"');
  await user.type(name);
  await user.press("Tab");
  await user.hears('textbox "Password"');
  await user.type(PASSWORD);
  await user.press("Tab");
  await user.hears('button "Create the account"');
  await user.press("Enter");
  await user.page.getByRole("heading", { name }).waitFor();
  await user.page.context().close();
}

test("from the login to a saved and exported result, with the keyboard and a screen reader", async () => {
  await signUp("ann");
  const user = await User.arrive(server.url);
  const { page } = user;

  // A wrong password, and then the right one.
  await user.hears('textbox "Login name"');
  await user.type("ann");
  await user.press("Tab");
  await user.hears('textbox "Password"');
  await user.type("wrong");
  await user.press("Enter");
  await user.isTold(/wrong/i);
  await user.hears('textbox "Login name"');
  await user.type("ann");
  await user.press("Tab");
  await user.type(PASSWORD);
  await user.press("Tab");
  await user.hears('button "Log in"');
  await user.press("Enter");

  // The list.
  await page.getByRole("heading", { name: "ann" }).waitFor();
  await user.goTo('button "New notebook"');
  await user.press("Enter");

  // The first cell of the new notebook has the focus.
  await user.hears('textbox "Code cell source. Escape leaves the editor."');
  await user.type("print('the answer')\n6 * 7");
  await user.press("Shift+Enter");
  await user.isTold("Cell 1 has finished: the answer 42");
  await user.hears('textbox "Code cell source. Escape leaves the editor."');
  await eventually.match(() => user.read("group", "Code cell 1 of 2"), /6 \* 7 the answer 42/);

  // An error.
  await user.type("1 / 0");
  await user.press("Control+Enter");
  await user.hears('group "Code cell 2 of 2"');
  await user.isTold("Cell 2 ended with an error: ZeroDivisionError: division by zero");
  await user.press("d", "d");
  await user.hears('group "Code cell 1 of 1"');
  await user.isTold(/^Cell deleted\./);

  // Its name.
  await user.command("Rename");
  await user.hears('textbox "Name"');
  await user.press("Control+a");
  await user.type("a/b");
  await user.press("Enter");
  await user.isTold("A name cannot contain a slash.");
  await user.press("Control+a");
  await user.type("first.ipynb");
  await user.press("Enter");
  await user.hears('group "Code cell 1 of 1"');
  await user.isTold("Renamed to first.ipynb");
  await user.press("Control+s");
  await user.isTold("Saved");
  const { cells } = await server.file("ann/first.ipynb");
  assert.match(JSON.stringify(cells), /the answer.*"42".*6 \* 7/);

  // The export.
  await user.command("Export");
  await user.hears('button "Close"');
  await user.goTo('link "Markdown"', "Shift+Tab");
  const [download] = await Promise.all([page.waitForEvent("download"), user.press("Enter")]);
  assert.match(await readFile(await download.path(), "utf8"), /6 \* 7[^]*the answer[^]*42/);
  await user.isTold(/Markdown.*first\.(?:md|zip)/);
  await user.hears('link "Markdown"');
  await user.press("Escape");
  await user.hears('group "Code cell 1 of 1"');

  // The toolbar and the menu.
  await user.goTo('button "More"', "Shift+Tab");
  await user.press("Enter");
  await user.hears(/^menuitem "Search the commands/);
  await user.press("End");
  await user.hears('menuitem "Log out"');
  await user.press("Enter");
  await page.getByRole("heading", { name: "Logged out" }).waitFor();
  await user.goTo('link "Log in"');
  await user.press("Enter");
  await user.hears('textbox "Login name"');
  await page.context().close();
});
