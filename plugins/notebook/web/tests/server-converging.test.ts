//! Two and five browsers type in one notebook at the same time, while their connections are cut: all end with the same text.
//!
//! PASTER_TEST_RUNS is the number of random runs (default: 2, one with two browsers and one with five), and PASTER_TEST_SEED where
//! they begin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launch } from "./browser";
import { Line } from "./line";
import { random } from "./random";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, waitFor } from "./wait";

const RUNS = Number(process.env["PASTER_TEST_RUNS"] ?? 2);
const SEED = Number(process.env["PASTER_TEST_SEED"] ?? 1);
/** How many words a person types. */
const WORDS = 12;
const CELLS = 3;

let browser: Browser;
let server: Server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

class Person {
  readonly words: string[] = [];
  readonly name: string;
  readonly line: Line;
  readonly context: BrowserContext;
  readonly page: Page;

  private constructor(name: string, line: Line, context: BrowserContext, page: Page) {
    [this.name, this.line, this.context, this.page] = [name, line, context, page];
  }

  static async join(name: string, notebook: string): Promise<Person> {
    const line = await Line.open(new URL(server.url));
    const context = await browser.newContext({ viewport: { width: 900, height: 700 } });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    await page.goto(`${line.url}?token=${TOKEN}`);
    await page.goto(`${line.url}notebooks/${notebook}`);
    await page.locator(".cell").nth(CELLS - 1).waitFor();
    return new Person(name, line, context, page);
  }

  /** Types words at random places, and sometimes loses the connection in the middle of one. */
  async type(pick: (limit: number) => number): Promise<void> {
    const press = (key: string): Promise<void> => this.page.keyboard.press(key);
    for (let n = 0; n < WORDS; n += 1) {
      const word = `${this.name}${String(n)}${this.name}`;
      await this.page.locator(".cell").nth(pick(CELLS)).locator(".cm-content, .static").click();
      await press(["Home", "End", "Control+Home", "Control+End"][pick(4)] ?? "End");
      const cut = pick(6) === 0 ? pick(word.length) : -1;
      for (const [at, letter] of [...` ${word} `].entries()) {
        if (at === cut) this.line.cut();
        await press(letter);
      }
      if (pick(3) === 0) await press("Enter");
      this.words.push(word);
    }
  }

  /** The texts of the cells as the page shows them, without white space. */
  async texts(): Promise<string[]> {
    return this.page.locator(".cell").evaluateAll((cells) =>
      cells.map((cell) => {
        const shown = cell.querySelector(".cm-content, .static")?.cloneNode(true) as Element;
        for (const caret of shown.querySelectorAll(".other-caret")) caret.remove();
        return (shown.textContent ?? "").replace(/\s|\u200b|\ufeff/g, "");
      }),
    );
  }

  async leave(): Promise<void> {
    await this.context.close();
    this.line.close();
  }
}

async function fileTexts(name: string): Promise<string[]> {
  const { cells } = await server.file(name);
  return cells.map(({ source }) => (Array.isArray(source) ? source.join("") : source).replace(/\s/g, ""));
}

async function run(seed: number, size: number): Promise<number> {
  const notebook = `run${String(seed)}.ipynb`;
  const first = Array.from({ length: CELLS }, (_, n) => ({ cell_type: "code", source: `first${String(n)}\nlast${String(n)}` }));
  await server.write(notebook, first);
  const people = await Promise.all([..."abcdefgh"].slice(0, size).map((name) => Person.join(name, notebook)));
  await Promise.all(people.map((person, n) => person.type(random(8 * seed + n))));
  let seen: string[][] = [];
  await waitFor(
    () => `seed ${String(seed)}: all pages and the file have the same texts: ${JSON.stringify(seen, null, 1)}`,
    async () => {
      seen = await Promise.all([...people.map((person) => person.texts()), fileTexts(notebook)]);
      return seen.every((texts) => texts.join("\n") === seen[0]?.join("\n"));
    },
  );
  // Two people who type at the same place can get into each other's words, but no letter is missing or there twice.
  const sorted = (texts: string[]): string => [...texts.join("")].sort().join("");
  const typed = people.flatMap(({ words }) => words);
  assert.equal(sorted(seen[0] ?? []), sorted([...first.map(({ source }) => source.replace("\n", "")), ...typed]), `seed ${String(seed)}: ${(seen[0] ?? []).join("\n")}`);
  const cuts = people.reduce((sum, { line }) => sum + line.cuts, 0);
  await Promise.all(people.map((person) => person.leave()));
  return cuts;
}

test("browsers that type in one notebook end with the same text, whatever is cut", async (context) => {
  let cuts = 0;
  for (let n = 0; n < RUNS; n += 1) cuts += await run(SEED + n, (SEED + n) % 2 === 1 ? 2 : 5);
  assert.ok(cuts > 0);
  context.diagnostic(`${String(RUNS)} runs, ${String(cuts)} cuts`);
});
