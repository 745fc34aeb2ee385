//! Bokeh's figures with the real package and a real kernel, without access to the network.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { launch } from "./browser";
import { Server, TOKEN } from "./server";
import { PATIENCE_MS, eventually, waitFor } from "./wait";

const python = process.env["PASTER_TEST_PYTHON"] ?? "python3";
const missing = spawnSync(python, ["-c", "import bokeh, ipykernel"]).status === 0 ? false : `${python} has no bokeh`;

test("Bokeh draws figures from its own package; a page that comes later asks first", { skip: missing }, async () => {
  const [browser, server] = await Promise.all([launch(), Server.start()]);
  try {
    const context = await browser.newContext();
    context.setDefaultTimeout(PATIENCE_MS);
    const elsewhere: string[] = [];
    context.on("request", (request) => {
      if (!/^(?:http:\/\/127\.0\.0\.1|data:|blob:|about:)/.test(request.url())) elsewhere.push(request.url());
    });
    const page = await context.newPage();
    await page.goto(`${server.url}?token=${TOKEN}`);
    await server.write("bokeh.ipynb", [
      { cell_type: "code", source: "from bokeh.io import output_notebook, show\nfrom bokeh.plotting import figure\noutput_notebook()" },
      { cell_type: "code", source: "p = figure(title='Three points', height=300, width=400)\np.scatter([1, 2, 3], [4, 6, 5], size=12)\nshow(p)" },
    ]);
    await page.goto(`${server.url}notebooks/bokeh.ipynb`);
    await page.locator(".cell").first().waitFor();
    await page.getByRole("button", { name: "Run all" }).click();
    const figure = (n: number) => page.locator(".cell").nth(n).frameLocator("iframe");
    await figure(0).getByText("BokehJS is ready.").waitFor({ timeout: 2 * PATIENCE_MS });
    await figure(1).locator(".bk-Figure canvas").first().waitFor({ timeout: 2 * PATIENCE_MS });
    const box = await page.locator(".cell").nth(1).locator("iframe").boundingBox();
    assert.ok(box !== null && box.height >= 280, `as tall as the figure: ${box?.height}`);
    await eventually.equal(() => page.locator(".cell").nth(1).locator("iframe").count(), 1);
    await waitFor("the file is written", async () => JSON.stringify(await server.file("bokeh.ipynb")).includes("bokehjs_exec"));
    // Scripts of a file do not run by themselves.
    await page.reload();
    await page.locator(".cell").nth(1).getByRole("button", { name: "Run them" }).click();
    await figure(1).locator(".bk-Figure canvas").first().waitFor();
    assert.deepEqual(elsewhere, []);
  } catch (error) {
    console.log(`# ${server.log.slice(-3000).replaceAll("\n", "\n# ")}`);
    throw error;
  } finally {
    await browser.close();
    await server.stop();
  }
});
