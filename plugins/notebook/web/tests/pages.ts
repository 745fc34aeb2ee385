//! Test cases in a browser, with the fake server.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launch } from "./browser";
import { Fake } from "./fake";
import { PATIENCE_MS } from "./wait";

let browser: Browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** What a case works with. */
export interface World {
  fake: Fake;
  context: BrowserContext;
  /** What the browser complained about; must be empty at the end. */
  complaints: string[];
}

/** Runs one case in its own browser context. No page may complain. */
export function page(name: string, run: (world: World) => Promise<void>, options: { colorScheme?: "dark" | "light"; complaints?: RegExp } = {}): void {
  test(name, async () => {
    const context = await browser.newContext({ colorScheme: options.colorScheme ?? "light" });
    context.setDefaultTimeout(PATIENCE_MS);
    const world: World = { fake: new Fake(), context, complaints: [] };
    context.on("weberror", (error) => world.complaints.push(String(error.error().stack)));
    context.on("console", (message) => {
      if (message.type() === "error" && options.complaints?.test(message.text()) !== true) world.complaints.push(message.text());
    });
    try {
      await world.fake.install(context);
      await run(world);
      assert.deepEqual(world.complaints, []);
    } finally {
      await context.close();
    }
  });
}

/** A cell by its position. */
export const code = (page: Page, n: number) => page.locator(".cell").nth(n);
