//! The pages of files and terminals.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCsv } from "../src/state/csv";
import { ORIGIN, PREFIX } from "./fake";
import { page } from "./pages";
import { eventually, waitFor } from "./wait";

test("csv: quotes, line ends, separators, and a limit", () => {
  assert.deepEqual(parseCsv('a,"b ""x"", y"\r\n1,"two\nlines"\n', 10), [["a", 'b "x", y'], ["1", "two\nlines"]]);
  assert.deepEqual(parseCsv("a;b\n1,5;2", 10), [["a", "b"], ["1,5", "2"]]);
  assert.deepEqual(parseCsv("a\tb,c\n\n", 10), [["a", "b,c"], [""]]);
  assert.deepEqual(parseCsv("1\n2\n3\n", 2), [["1"], ["2"]]);
  assert.deepEqual(parseCsv("", 2), []);
});

page("a text file is edited and saved; another program's change asks", async ({ fake, context }) => {
  fake.texts["dir/tool.py"] = { content: "def f():\r\n    pass\r\n", last_modified: "2026-01-01T00:00:00Z" };
  const text = await fake.open(context, "edit/dir/tool.py");
  await text.locator(".tok-keyword", { hasText: "def" }).waitFor();
  await text.keyboard.press("Control+End");
  await text.keyboard.type("f()");
  await text.keyboard.press("Control+s");
  await text.locator(".save-state", { hasText: "Saved" }).waitFor();
  assert.equal(fake.texts["dir/tool.py"].content, "def f():\r\n    pass\r\nf()", "line ends stay");
  fake.texts["dir/tool.py"] = { content: "theirs", last_modified: "2026-03-01T00:00:00Z" };
  await text.keyboard.type("# mine");
  const dialog = text.getByRole("dialog", { name: "The file was changed by another program" });
  await dialog.getByRole("button", { name: "The file on disk" }).click();
  await text.locator(".cm-content", { hasText: /^theirs$/ }).waitFor();
  await text.locator(".cm-content").click();
  await text.keyboard.press("Control+End");
  await text.keyboard.type(" and mine");
  await waitFor("it is saved by itself", () => fake.texts["dir/tool.py"]?.content === "theirs and mine");
  await eventually.equal(() => text.getByRole("link", { name: "Files" }).getAttribute("href"), `${ORIGIN}${PREFIX}tree/dir`);
});

page("a table and a picture are shown; what is neither can be downloaded", async ({ fake, context }) => {
  fake.texts["a.csv"] = { content: "name,value\n\"x, y\",1.5\n<b>,-2\n", last_modified: "2026-01-01T00:00:00Z" };
  fake.files["dot.png"] = { type: "image/png", body: Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64") };
  const table = await fake.open(context, "edit/a.csv");
  await table.getByRole("cell", { name: "x, y" }).waitFor();
  await eventually.equal(() => table.locator("td.number").allInnerTexts(), ["1.5", "-2"]);
  await table.getByRole("button", { name: "Edit as text" }).click();
  await table.locator(".cm-line", { hasText: "<b>,-2" }).waitFor();
  const picture = await fake.open(context, "edit/dot.png");
  await waitFor("the picture is seen", () => picture.locator("img").evaluate((image: HTMLImageElement) => image.naturalWidth === 1));
  await eventually.equal(() => picture.getByRole("link", { name: "Download" }).getAttribute("href"), `${ORIGIN}${PREFIX}files/dot.png?download=1`);
});

page("a terminal: its output, keys, size, a lost connection, its end", async ({ fake, context }) => {
  const heard: unknown[][] = [];
  let connections = 0;
  let say: (...message: unknown[]) => void = () => undefined;
  let cut: () => void = () => undefined;
  await context.routeWebSocket(/\/terminals\/websocket\/1$/, (socket) => {
    connections += 1;
    say = (...message) => socket.send(JSON.stringify(message));
    cut = () => void socket.close({ code: 3001 });
    socket.onMessage((text) => heard.push(JSON.parse(String(text)) as unknown[]));
    say("setup", {});
    say("stdout", "\u001b[1mready\u001b[0m $ ");
  });
  const terminal = await fake.open(context, "terminals/1");
  const screen = terminal.locator(".xterm-accessibility-tree, .xterm-rows").first();
  await screen.getByText("ready $").first().waitFor();
  await waitFor("the size is told", () => heard.some(([kind, rows, cols]) => kind === "set_size" && Number(rows) > 10 && Number(cols) > 40));
  await terminal.keyboard.type("ls");
  await terminal.keyboard.press("Enter");
  await waitFor("the keys arrive", () => heard.filter(([kind]) => kind === "stdin").map(([, text]) => text).join("") === "ls\r");
  cut();
  await waitFor("it connects again", () => connections === 2);
  await screen.getByText("ready $").first().waitFor();
  say("disconnect", 1);
  await terminal.locator(".save-state", { hasText: "The program has ended" }).waitFor();
});
