//! What is shown instead of a notebook whose file cannot be read: where it is broken, and its text.

import { fill, h } from "../dom";
import { fileName, url } from "../transport/base";
import { readTextFile } from "../transport/files";
import { fileUrl } from "../transport/rest";

/** How many lines are shown before and after the broken one, and how much of each. */
const AROUND = 3;
const LONGEST = 300;

export class BrokenFile {
  readonly element = h("section", { class: "broken", "aria-label": "The file is broken", hidden: true });
  #shown = "";

  /** Shows why the file at `path` is no notebook. */
  show(path: string, message: string): void {
    this.element.hidden = false;
    if (message === this.#shown) return;
    this.#shown = message;
    const line = Number(/\bline (\d+)/.exec(message)?.[1] ?? 0);
    const excerpt = h("pre", { class: "excerpt", tabindex: 0, hidden: true, "aria-label": "The text around the broken line" });
    const edit = url("edit", path);
    if (line > 0) edit.hash = `line=${line}`;
    fill(
      this.element,
      h("h2", {}, "This file is not a notebook"),
      h("p", {}, message),
      excerpt,
      h("p", {}, "Nothing in it was changed. Correct its text, and the notebook opens here."),
      h("div", { class: "row" }, h("a", { class: "button main", href: edit.href }, "Edit its text"), h("a", { class: "button", href: fileUrl(path, true), download: fileName(path) }, "Download it")),
    );
    if (line > 0) void this.#excerpt(path, line, excerpt);
  }

  hide(): void {
    this.element.hidden = true;
    this.#shown = "";
  }

  async #excerpt(path: string, line: number, excerpt: HTMLElement): Promise<void> {
    const content = await readTextFile(path).then((file) => file.content, () => null);
    if (content === null) return;
    const lines = content.split("\n");
    const from = Math.max(1, line - AROUND);
    const shown = lines.slice(from - 1, line + AROUND);
    fill(excerpt, ...shown.map((text, place) => h("span", { class: from + place === line ? "broken-line" : null }, `${String(from + place).padStart(5)}  ${text.slice(0, LONGEST)}\n`)));
    excerpt.hidden = false;
  }
}
