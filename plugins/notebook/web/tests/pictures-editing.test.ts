//! Takes the pictures of two people who edit one worksheet, while the connection of one of them is cut. Not a test:
//! PASTER_PICTURES=1 runs it, and writes docs/notebook/editing-*.png.

import assert from "node:assert/strict";
import { mkdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { launch } from "./browser";
import { Line } from "./line";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, waitFor } from "./wait";

const on = process.env["PASTER_PICTURES"] !== undefined;
/** The bundle is in `plugins/notebook/web/tests/.built`. */
const DOCS = resolve(fileURLToPath(new URL(".", import.meta.url)), "../../../../../docs/notebook");
/** The largest picture, in bytes. */
const LIMIT = 60_000;
const SIZE = { width: 520, height: 340 };

let browser: Browser;
let server: Server;
before(async () => {
  if (on) [browser, server] = await Promise.all([launch(), Server.start()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function open(line: Line): Promise<Page> {
  const context = await browser.newContext({ viewport: SIZE, reducedMotion: "reduce" });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(`${line.url}?token=${TOKEN}`);
  await page.goto(`${line.url}notebooks/worksheet.ipynb`);
  await page.locator(".cell").nth(1).waitFor();
  return page;
}

/** Types at the end of a line of a cell. */
async function type(page: Page, cell: number, line: number, added: string): Promise<void> {
  await page.locator(".cell").nth(cell).locator(".cm-content, .static").click();
  await page.keyboard.press("Control+Home");
  for (let n = 0; n < line; n += 1) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("End");
  await page.keyboard.type(added);
}

const texts = async (page: Page): Promise<string[]> => {
  const cells = await page.locator(".cell .cm-content, .cell .static").allInnerTexts();
  return cells.map((cell) => cell.replace(/\u200b|\ufeff/g, "").replace(/\n+/g, "\n").trim());
};

async function shown(pages: Page[], expected: (string | undefined)[]): Promise<void> {
  let seen: string[][] = [];
  await waitFor(
    () => `all pages show ${JSON.stringify(expected)}: ${JSON.stringify(seen)}`,
    async () => {
      seen = await Promise.all(pages.map(texts));
      return seen.every((cells) => JSON.stringify(cells) === JSON.stringify(expected));
    },
  );
}

/** Both pages side by side. */
async function take(pages: Page[], number: number, caption: string): Promise<void> {
  const shots = await Promise.all(pages.map((page) => page.screenshot({ animations: "disabled", caret: "hide" })));
  const images = shots.map((shot) => `<img src="data:image/png;base64,${shot.toString("base64")}">`).join("");
  const context = await browser.newContext({ viewport: { width: 2 * SIZE.width + 36, height: SIZE.height + 60 } });
  const sheet = await context.newPage();
  await sheet.setContent(`<style>body{margin:12px;font:16px sans-serif;background:#fff}p{margin:0 0 8px}div{display:flex;gap:12px}img{outline:1px solid #999}</style><p>${String(number)}. ${caption}</p><div>${images}</div>`);
  const path = join(DOCS, `editing-${String(number)}.png`);
  await sheet.screenshot({ path });
  await context.close();
  const { size } = await stat(path);
  assert.ok(size < LIMIT, `${path} has ${String(size)} bytes`);
}

test("pictures of two people who edit one worksheet", { skip: on ? false : "PASTER_PICTURES is not set" }, async () => {
  await mkdir(DOCS, { recursive: true });
  await server.write("worksheet.ipynb", [
    { cell_type: "code", source: "width = 3\nheight = 4" },
    { cell_type: "code", source: "area = width * height\nprint(area)" },
  ]);
  const lines = await Promise.all([Line.open(new URL(server.url)), Line.open(new URL(server.url))]);
  const pages = await Promise.all(lines.map(open));
  const [ann, ben] = pages as [Page, Page];
  await take(pages, 1, "Two people open a worksheet.");

  await Promise.all([type(ann, 0, 0, "  # in metres"), type(ben, 0, 1, "  # also in metres")]);
  const both = ["width = 3  # in metres\nheight = 4  # also in metres", "area = width * height\nprint(area)"];
  await shown(pages, both);
  await take(pages, 2, "They type in one cell at the same time.");

  lines[0].down();
  await Promise.all([type(ann, 1, 1, "  # written without a connection"), type(ben, 1, 0, "  # written meanwhile")]);
  await ann.getByText("Reconnecting automatically").waitFor();
  await take(pages, 3, "The connection of the left page is cut. Both type on.");

  lines[0].up();
  const all = [both[0], "area = width * height  # written meanwhile\nprint(area)  # written without a connection"];
  await shown(pages, all);
  await ben.getByRole("button", { name: "Run all" }).click();
  for (const page of pages) await page.locator(".outputs", { hasText: "12" }).scrollIntoViewIfNeeded();
  await take(pages, 4, "The connection is back: both pages have both texts, and the result.");
  for (const line of lines) line.close();
});
