//! Slides: the types of cells, and the presentation.

import assert from "node:assert/strict";
import { violations } from "./axe";
import { cell, notebook } from "./fake";
import { code, page } from "./pages";
import { eventually, waitFor } from "./wait";

const slide = (slide_type: string) => ({ slideshow: { slide_type } });

page("the type of a slide is chosen above each cell, and the rest of the metadata stays", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { cell_type: "markdown", source: "# One", metadata: { tags: ["x"], slideshow: { slide_type: "slide", other: 1 } } }), cell("b", { source: "1" })]);
  const book = await fake.open(context);
  await code(book, 0).waitFor();
  await eventually.equal(() => book.getByRole("combobox", { name: "Slide type" }).count(), 0);
  const show = async () => {
    await book.getByRole("button", { name: "More" }).click();
    await book.getByRole("menuitem", { name: "Show or hide the types of slides" }).click();
  };
  await show();
  const choice = (n: number) => code(book, n).getByRole("combobox", { name: "Slide type" });
  await eventually.equal(() => choice(0).inputValue(), "slide");
  await choice(1).selectOption("Fragment");
  await choice(0).selectOption("Continues");
  await waitFor("both are sent", () => fake.asked("set_cell_metadata").length === 2);
  assert.deepEqual(fake.asked("set_cell_metadata"), [
    { type: "set_cell_metadata", cell_id: "b", metadata: { slideshow: { slide_type: "fragment" } } },
    { type: "set_cell_metadata", cell_id: "a", metadata: { tags: ["x"], slideshow: { other: 1 } } },
  ]);
  assert.deepEqual(await violations(book), []);
  await show();
  await eventually.equal(() => choice(0).count(), 0);
});

page("a presentation shows one slide, its fragments one after the other, and cells that run", async ({ fake, context }) => {
  fake.document = notebook([
    cell("a", { cell_type: "markdown", source: "# One", metadata: slide("slide") }),
    cell("f", { cell_type: "markdown", source: "later", metadata: slide("fragment") }),
    cell("g", { cell_type: "markdown", source: "with it" }),
    cell("s", { cell_type: "markdown", source: "skipped", metadata: slide("skip") }),
    cell("n", { cell_type: "markdown", source: "to say", metadata: slide("notes") }),
    cell("b", { source: "print(2)", metadata: slide("subslide") }),
  ]);
  const book = await fake.open(context);
  await code(book, 0).waitFor();
  await book.getByRole("button", { name: "More" }).click();
  await book.getByRole("menuitem", { name: "Present the slides" }).click();
  const bar = book.getByRole("navigation", { name: "Slides" });
  const seen = () => book.locator(".cell").evaluateAll((cells) => cells.filter((one) => getComputedStyle(one).display !== "none" && getComputedStyle(one).visibility === "visible").map((one) => (one as HTMLElement).dataset["id"]));
  await bar.getByText("1 / 2").waitFor();
  await eventually.equal(seen, ["a"]);
  await book.keyboard.press("ArrowRight");
  await eventually.equal(seen, ["a", "f", "g"]);
  await book.keyboard.press("n");
  await eventually.equal(seen, ["a", "f", "g", "n"]);
  await book.keyboard.press("n");
  await book.keyboard.press("PageDown");
  await bar.getByText("2 / 2").waitFor();
  await eventually.equal(seen, ["b"]);
  await code(book, 5).locator(".run-button").click();
  await waitFor("the cell is run", () => fake.asked("run").length === 1);
  // In an editor, keys are for the text.
  await code(book, 5).locator(".static").click();
  await book.keyboard.press("ArrowLeft");
  await eventually.equal(seen, ["b"]);
  await book.keyboard.press("Escape");
  await book.keyboard.press("Home");
  await bar.getByText("1 / 2").waitFor();
  await eventually.equal(seen, ["a"]);
  await bar.getByRole("button", { name: "Next slide" }).click();
  await eventually.equal(seen, ["a", "f", "g"]);
  await book.keyboard.press("Escape");
  await book.locator("header.top").waitFor();
  await eventually.equal(async () => (await seen()).length, 6);
});

page("without marked slides, headings begin them", async ({ fake, context }) => {
  fake.document = notebook([cell("a", { cell_type: "markdown", source: "# One" }), cell("b", { source: "1" }), cell("c", { cell_type: "markdown", source: "## Two" }), cell("d", { cell_type: "markdown", source: "### Part" })]);
  const book = await fake.open(context);
  await code(book, 0).waitFor();
  await book.keyboard.press("Control+Shift+P");
  await book.keyboard.type("Present");
  await book.keyboard.press("Enter");
  await book.getByRole("navigation", { name: "Slides" }).getByText("1 / 2").waitFor();
});
