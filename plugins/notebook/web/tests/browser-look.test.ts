//! How the pages look and where things stand.

import assert from "node:assert/strict";
import { cell, notebook, ORIGIN } from "./fake";
import { code, page } from "./pages";

page("logging out sends what was typed and asks with the XSRF value", async ({ fake, context }) => {
  await context.addCookies([{ name: "_xsrf", value: "a.b", url: ORIGIN }]);
  fake.document = notebook([cell("a", { source: "x" })]);
  const book = await fake.open(context);
  const leave = async () => {
    await book.getByRole("button", { name: "More", exact: true }).click();
    await book.getByRole("menuitem", { name: "Log out" }).click();
  };
  fake.noLogout = true;
  await book.locator(".cell").first().waitFor();
  await leave();
  await book.locator(".toast", { hasText: "You are still logged in: the `_xsrf` value does not match" }).waitFor();
  fake.noLogout = false;
  await code(book, 0).locator(".static").click();
  await book.keyboard.press("End");
  await book.keyboard.type("y");
  await leave();
  await book.getByRole("heading", { name: "Logged out" }).waitFor();
  assert.equal(fake.document.cells[0]?.source, "xy");
  assert.equal(fake.xsrf, "a.b");
  fake.xsrf = null;
  const list = await fake.open(context, "");
  await list.getByRole("button", { name: "Log out" }).click();
  await list.getByRole("heading", { name: "Logged out" }).waitFor();
  assert.equal(fake.xsrf, "a.b");
}, { complaints: /403/ });
