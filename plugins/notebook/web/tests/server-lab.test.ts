//! JupyterLab's own pages, from the installed package, with the real program and a real kernel.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS } from "./wait";

const jupyter = process.env["PASTER_TEST_JUPYTER"];

test("JupyterLab opens a notebook and runs a cell", { skip: jupyter === undefined ? "PASTER_TEST_JUPYTER is not set" : false }, async () => {
  process.env["PASTER_TEST_PYTHON"] = join(jupyter ?? "", "venv/bin/python");
  const [browser, server] = await Promise.all([launch(), Server.start("/my@lab", 'front_end = "lab"')]);
  try {
    await server.write("n.ipynb", [{ cell_type: "code", source: "print('sum', 40 + 2)" }]);
    const page = await browser.newPage({ viewport: { width: 1200, height: 800 } });
    page.setDefaultTimeout(2 * PATIENCE_MS);
    const violations: string[] = [];
    page.on("console", (message) => {
      if (message.text().includes("Content Security Policy")) violations.push(message.text());
    });
    await page.goto(`${server.url}lab/tree/n.ipynb?token=${TOKEN}`);
    await page.locator(".jp-Notebook .jp-Cell").first().waitFor();
    assert.ok(!page.url().includes(TOKEN), "the token leaves the address");
    // The notebook names no kernel, so JupyterLab asks for one.
    await page.getByRole("dialog").getByRole("button", { name: "Select" }).click();
    // The indicator above the notebook says so before the kernel is connected.
    await page.locator("#jp-main-statusbar", { hasText: "| Idle" }).waitFor();
    await page.locator(".jp-Cell .cm-content").first().click();
    await page.keyboard.press("Shift+Enter");
    await page.locator(".jp-OutputArea-output", { hasText: "sum 42" }).waitFor();
    await page.keyboard.press("Control+s");
    await page.locator(".jp-DirListing-item", { hasText: "n.ipynb" }).waitFor();
    const shot = process.env["PASTER_TEST_SCREENSHOTS"];
    if (shot !== undefined) await writeFile(join(shot, "lab.png"), await page.screenshot());
    assert.deepEqual(violations, []);
  } finally {
    await browser.close();
    await server.stop();
  }
});
