//! Export, files that are no notebooks, and kernels for environments that have none.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { violations } from "./axe";
import { cell, notebook, ORIGIN, PREFIX } from "./fake";
import { code, page } from "./pages";
import { eventually, waitFor } from "./wait";

page("export lists every format of the server, tells what one needs, and why one failed", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "1" })]);
  fake.answers["GET api/nbconvert"] = { script: {}, notebook: {}, html: {}, slides: {}, strange: {}, pdf: { problem: "PDF files need a browser on the server" } };
  await context.route(`${ORIGIN}${PREFIX}nbconvert/**`, (route) =>
    route.request().url().includes("/script/")
      ? route.fulfill({ body: "print(1)", headers: { "content-type": "text/x-python", "content-disposition": "attachment; filename*=utf-8''a%20b.py" } })
      : route.fulfill({ status: 500, json: { message: "the disk is full" } }));
  const book = await fake.open(context);
  await code(book, 0).waitFor();
  await book.getByRole("button", { name: "More" }).click();
  await book.getByRole("menuitem", { name: "Export …" }).click();
  const dialog = book.getByRole("dialog");
  await eventually.equal(async () => (await dialog.locator(".export-row > :first-child").allInnerTexts()).map((text) => text.split("\n")[0]), ["Notebook (.ipynb)", "Web page (HTML)", "PDF", "Script", "Slides (HTML)", "strange"]);
  await dialog.getByText("PDF files need a browser on the server").waitFor();
  await eventually.equal(() => dialog.getByRole("link", { name: "PDF" }).count(), 0);
  await eventually.equal(() => dialog.getByRole("link", { name: "Open Slides (HTML) in a new tab" }).getAttribute("href"), `${ORIGIN}${PREFIX}nbconvert/slides/a.ipynb`);
  assert.deepEqual(await violations(book), []);
  const [saved] = await Promise.all([book.waitForEvent("download"), dialog.getByRole("link", { name: "Script", exact: true }).click()]);
  assert.equal(saved.suggestedFilename(), "a b.py");
  assert.equal(await readFile(await saved.path(), "utf8"), "print(1)");
  await dialog.getByRole("link", { name: "strange", exact: true }).click();
  await book.locator(".toast", { hasText: "strange: the disk is full" }).waitFor();
  // Screen readers read only the dialog while it is open.
  await eventually.equal(() => dialog.locator("[aria-live]").textContent(), "strange: the disk is full");
}, { complaints: /status of 500/ });

page("a broken file shows where it is broken, and its text at that line", async ({ fake, context }) => {
  const text = ['{', ' "cells": [', '  {"cell_type": "code",', '   "source": oops', '  }', ' ]', '}'].join("\n");
  fake.texts["a.ipynb"] = { content: text, last_modified: "2026-01-02T03:04:05Z" };
  fake.refusal = { code: 400, message: "`a.ipynb` is not a notebook: expected value at line 4 column 14" };
  const book = await fake.open(context);
  const broken = book.getByRole("region", { name: "The file is broken" });
  await broken.getByText("expected value at line 4 column 14").waitFor();
  await waitFor("the line is shown", async () => (await broken.locator(".broken-line").count()) === 1);
  await eventually.match(() => broken.locator(".broken-line").innerText(), /4 +"source": oops/);
  await eventually.equal(() => broken.getByRole("link", { name: "Download it" }).getAttribute("href"), `${ORIGIN}${PREFIX}files/a.ipynb?download=1`);
  assert.deepEqual(await violations(book), []);
  const tab = await context.newPage();
  await tab.goto((await broken.getByRole("link", { name: "Edit its text" }).getAttribute("href")) ?? "");
  await tab.locator(".cm-content").waitFor();
  await tab.keyboard.type("X");
  await waitFor("the cursor is in the broken line", async () => (await tab.locator(".cm-line", { hasText: "oops" }).innerText()).startsWith("X"));
  // When it is correct, the notebook opens by itself.
  fake.document = notebook([cell("a", { source: "now = 1" })]);
  fake.refusal = null;
  await code(book, 0).getByText("now").waitFor();
  await eventually.equal(() => broken.isVisible(), false);
});

page("ipykernel is installed into an environment from the list of kernels", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { source: "1" })]);
  const environment = { name: "venv-x", display_name: "Python 3.13 (x/.venv)", has_ipykernel: false };
  fake.answers["GET api/environments"] = { environments: [environment, { ...environment, name: "other", display_name: "Other", has_ipykernel: true }], can_install: true };
  const book = await fake.open(context);
  await code(book, 0).waitFor();
  await book.locator(".kernel").click();
  const dialog = book.getByRole("dialog");
  await dialog.getByText("This environment has no kernel. Install ipykernel here?").waitFor();
  await eventually.equal(() => dialog.getByText("Other", { exact: true }).count(), 0);
  assert.deepEqual(await violations(book), []);
  await dialog.getByRole("button", { name: /Install/ }).click();
  await dialog.getByText("no such thing").waitFor();
  fake.answers["POST api/environments/install"] = { name: "venv-x" };
  const spec = (name: string, display_name: string) => ({ name, spec: { display_name, language: "python" } });
  fake.answers["GET api/kernelspecs"] = { default: "python3", kernelspecs: { python3: spec("python3", "Python 3"), "venv-x": spec("venv-x", environment.display_name) } };
  await dialog.getByRole("button", { name: /Install/ }).click();
  await dialog.getByRole("radio", { name: /x\/\.venv/, checked: true }).waitFor();
  await dialog.getByRole("button", { name: "Start" }).click();
  await waitFor("it is started", () => fake.asked("start_kernel").length === 1);
  assert.deepEqual(fake.asked("start_kernel"), [{ type: "start_kernel", name: "venv-x" }]);
}, { complaints: /status of 404/ });
