//! The table of contents beside a notebook.

import { button, fill, h } from "../dom";
import { type Heading, outline } from "../state/outline";
import { loadText, storeText } from "../state/kept";
import type { Notebook } from "../state/notebook";

const SHOWN = "paster:contents";

export class ContentsPanel {
  readonly element: HTMLElement;
  readonly #list = h("ol", { class: "contents-list" });
  #shown: string | null = null;
  #due = false;
  private readonly notebook: Notebook;
  private readonly go: (heading: Heading) => void;

  constructor(notebook: Notebook, go: (heading: Heading) => void) {
    this.notebook = notebook;
    this.go = go;
    this.element = h("nav", { class: "side contents", "aria-label": "Table of contents", hidden: loadText(SHOWN) !== "1" },
      h("div", { class: "side-head" }, h("h2", {}, "Contents"), button("Close the table of contents", () => this.toggle(), { icon: "close", class: "icon-button small" })),
      this.#list);
    notebook.listen(({ type }) => {
      if (type === "source" || type === "order" || type === "all" || type === "kind" || type === "save") this.#refresh();
    });
  }

  toggle(): void {
    this.element.hidden = !this.element.hidden;
    storeText(SHOWN, this.element.hidden ? "0" : "1");
    this.#refresh();
  }

  #refresh(): void {
    if (this.#due || this.element.hidden) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#show();
    });
  }

  #show(): void {
    const found = outline(this.notebook.cells);
    const key = JSON.stringify(found);
    if (key === this.#shown) return;
    this.#shown = key;
    const top = Math.min(...found.map(({ level }) => level));
    if (found.length === 0) return fill(this.#list, h("li", { class: "faint" }, "Headings of Markdown cells are listed here."));
    fill(this.#list, ...found.map((heading) => {
      const { id, place, level, text } = heading;
      const link = h("a", { href: `#${encodeURIComponent(text.replaceAll(" ", "-"))}`, "data-cell": id, "data-place": place }, text);
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.go(heading);
      });
      return h("li", { class: `level-${level - top}` }, link);
    }));
  }
}
