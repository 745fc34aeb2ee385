//! The list of notebooks.

import assert from "node:assert/strict";
import { ORIGIN, PREFIX } from "./fake";
import { page } from "./pages";
import { eventually, waitFor } from "./wait";

page("the list: sorts, searches, shows what runs, links below the prefix", async ({ fake, context }) => {
  fake.entries = [
    { name: "b.ipynb", last_modified: "2026-02-01T00:00:00Z" },
    { name: "a.ipynb", last_modified: "2026-01-01T00:00:00Z" },
    { name: "folder", type: "directory" },
    { name: "data.csv", type: "file" },
  ];
  fake.sessions = [{ id: "s1", path: "a.ipynb", kernel: { id: "k", name: "python3", execution_state: "busy" } }];
  const list = await fake.open(context, "");
  const names = () => list.locator("td.name").allInnerTexts();
  await list.waitForSelector("td.name");
  await eventually.equal(names, ["folder", "b", "data.csv", "a"]);
  await list.getByRole("button", { name: "Name" }).click();
  await eventually.equal(names, ["folder", "a", "b", "data.csv"]);
  await eventually.equal(() => list.locator("tr[data-path='a.ipynb'] .chip").innerText(), "Busy");
  await eventually.equal(() => list.getByRole("link", { name: "a", exact: true }).getAttribute("href"), `${ORIGIN}${PREFIX}notebooks/a.ipynb`);
  await list.getByRole("searchbox").fill("B");
  await eventually.equal(names, ["b"]);
  await list.getByRole("searchbox").fill("nothing like it");
  await eventually.match(() => list.locator(".empty").innerText(), /No names contain/);
});

page("the list: rename, duplicate and the trash ask the server, and the trash can be undone", async ({ fake, context }) => {
  fake.entries = [{ name: "a.ipynb" }, { name: "b.ipynb" }];
  fake.answers["POST api/trash"] = { id: "t1", path: "a.ipynb" };
  fake.answers["POST api/trash/t1"] = { path: "a.ipynb" };
  const list = await fake.open(context, "");
  const act = async (name: string) => {
    await list.getByRole("button", { name: "Actions for a.ipynb" }).click();
    await list.getByRole("menuitem", { name }).click();
  };
  await act("Rename");
  await list.getByRole("textbox", { name: "Name" }).fill("b");
  await list.getByRole("button", { name: "Rename", exact: true }).click();
  await eventually.match(() => list.locator(".error-text").innerText(), /name is already taken/);
  await list.getByRole("textbox", { name: "Name" }).fill("c/d");
  await list.keyboard.press("Enter");
  await eventually.match(() => list.locator(".error-text").innerText(), /slash/);
  await list.getByRole("textbox", { name: "Name" }).fill("new #1");
  await list.keyboard.press("Enter");
  await list.locator("dialog").waitFor({ state: "detached" });
  await act("Duplicate");
  await act("Move to the trash");
  const restored = list.waitForResponse((response) => response.url().endsWith("api/trash/t1"));
  await list.getByRole("button", { name: "Undo" }).click();
  await restored;
  const asked = fake.calls.filter(({ method }) => method !== "GET").map(({ method, path, body }) => [method, path, body]);
  assert.deepEqual(asked, [
    ["PATCH", "api/contents/a.ipynb", { path: "new #1.ipynb" }],
    ["POST", "api/contents", { copy_from: "a.ipynb" }],
    ["POST", "api/trash", { path: "a.ipynb" }],
    ["POST", "api/trash/t1", null],
  ]);
});

page("the list: a file is uploaded as a notebook or as bytes", async ({ fake, context }) => {
  const list = await fake.open(context, "");
  await list.waitForSelector(".empty:visible");
  await list.setInputFiles("input[type=file]", [
    { name: "n.ipynb", mimeType: "application/json", buffer: Buffer.from('{"cells": []}') },
    { name: "d.bin", mimeType: "application/octet-stream", buffer: Buffer.from([0, 255, 1]) },
  ]);
  await waitFor("both files are uploaded", () => fake.calls.filter(({ method }) => method === "PUT").length === 2);
  assert.deepEqual(fake.calls.filter(({ method }) => method === "PUT").map(({ path, body }) => [path, body]), [
    ["api/contents/n.ipynb", { type: "notebook", format: "json", content: { cells: [] } }],
    ["api/contents/d.bin", { type: "file", format: "base64", content: "AP8B" }],
  ]);
});
