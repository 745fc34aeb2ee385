//! Find and replace over all cells of a notebook.

import { button, h } from "../dom";
import { expression, find, type Match, MOST, type Query, replaced } from "../state/search";
import type { Session } from "../state/session";
import type { CellList } from "./cells";
import { announce } from "./dialog";

/** The names of the highlights in the style sheet. */
const [ALL, CURRENT] = ["find", "find-current"];

export class FindPanel {
  readonly element = h("div", { class: "find", role: "search", "aria-label": "Find and replace", hidden: true });
  readonly #text = h("input", { type: "text", "aria-label": "Find", placeholder: "Find", autocomplete: "off", spellcheck: "false" });
  readonly #replacement = h("input", { type: "text", "aria-label": "Replace with", placeholder: "Replace with", autocomplete: "off", spellcheck: "false" });
  readonly #count = h("span", { class: "find-count", role: "status" });
  readonly #options = { caseSensitive: toggle("Match case", "Aa"), wholeWord: toggle("Whole words", "ab"), regexp: toggle("Regular expression", ".*") };
  readonly #change: HTMLElement;
  #matches: Match[] = [];
  /** Which match is shown. */
  #at = -1;
  #wanted: RegExp | null = null;
  #due = false;
  /** The last action, shown until the next search. */
  #told = "";
  private readonly session: Session;
  private readonly cells: CellList;

  constructor(session: Session, cells: CellList) {
    this.session = session;
    this.cells = cells;
    for (const option of Object.values(this.#options)) option.addEventListener("click", () => this.#search(true));
    this.#change = h("span", { class: "find-row" }, this.#replacement, button("Replace", () => this.#replace(), { class: "button" }), button("Replace all", () => this.#replaceAll(), { class: "button" }));
    this.element.append(
      h("span", { class: "find-row" }, this.#text, ...Object.values(this.#options), this.#count,
        button("Previous match", () => this.#step(-1), { icon: "up", keys: "Shift+Enter" }), button("Next match", () => this.#step(1), { icon: "down", keys: "Enter" }), button("Close the search", () => this.close(), { icon: "close", keys: "Esc" })),
      this.#change,
    );
    this.#text.addEventListener("input", () => this.#search(true));
    this.element.addEventListener("keydown", (event) => this.#key(event));
    session.notebook.listen(({ type }) => {
      if (type === "source" || type === "order" || type === "all" || type === "kind" || type === "save") this.refresh();
    });
  }

  /** Opens the panel with the selected text. */
  open(): void {
    const selected = this.cells.selectedText();
    if (selected !== "" && !selected.includes("\n")) this.#text.value = this.#options.regexp.ariaPressed === "true" ? selected.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&") : selected;
    this.#change.hidden = !this.session.notebook.may("edit");
    this.element.hidden = false;
    this.#text.focus();
    this.#text.select();
    this.#search(true);
  }

  close(): void {
    this.element.hidden = true;
    const match = this.#matches[this.#at];
    this.#matches = [];
    this.#paint();
    if (match !== undefined && this.session.notebook.cell(match.id)?.cell_type === "code") this.cells.view(match.id)?.edit(match);
    else this.cells.selectAgain();
  }

  /** The cells changed: searches again, at most once a frame. */
  refresh(): void {
    if (this.element.hidden || this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      if (!this.element.hidden) this.#search(false);
    });
  }

  #query(): Query {
    const on = (option: HTMLElement): boolean => option.ariaPressed === "true";
    const { caseSensitive, wholeWord, regexp } = this.#options;
    return { text: this.#text.value, caseSensitive: on(caseSensitive), wholeWord: on(wholeWord), regexp: on(regexp) };
  }

  /** Finds all matches. `go`: goes to the first one at or below the selected cell. */
  #search(go: boolean): void {
    if (go) this.#told = "";
    const before = this.#matches[this.#at];
    this.#text.setCustomValidity("");
    try {
      this.#wanted = expression(this.#query());
    } catch (error) {
      this.#wanted = null;
      this.#text.setCustomValidity(error instanceof Error ? error.message : String(error));
    }
    const { notebook } = this.session;
    this.#matches = this.#wanted === null ? [] : find(notebook.cells, this.#wanted);
    const place = before === undefined ? this.cells.place() : notebook.index(before.id);
    const next = this.#matches.findIndex(({ id, from }) => notebook.index(id) > place || (notebook.index(id) === place && (before === undefined || from >= before.from)));
    this.#at = next >= 0 || this.#matches.length === 0 ? next : 0;
    this.#paint();
    if (go) this.#show();
  }

  #step(by: 1 | -1): void {
    if (this.#matches.length === 0) return;
    this.#told = "";
    this.#at = (this.#at + by + this.#matches.length) % this.#matches.length;
    this.#paint();
    this.#show();
  }

  #replace(): void {
    const match = this.#matches[this.#at];
    const cell = match === undefined ? undefined : this.session.notebook.cell(match.id);
    if (match === undefined || cell === undefined || this.#wanted === null) return;
    this.session.replaceSource(cell.id, replaced(cell.source, this.#wanted, this.#replacement.value, this.#query().regexp, match.from));
    this.#search(false);
    // The inserted text may match again.
    const after = this.#matches.findIndex(({ id, from }) => id === match.id && from >= match.from + this.#replacement.value.length);
    if (after >= 0) this.#at = after;
    this.#paint();
    this.#show();
  }

  #replaceAll(): void {
    const wanted = this.#wanted;
    const count = this.#matches.length;
    if (wanted === null || count === 0) return;
    const ids = new Set(this.#matches.map(({ id }) => id));
    this.session.together(() => {
      for (const id of ids) {
        const source = this.session.notebook.cell(id)?.source ?? "";
        this.session.replaceSource(id, replaced(source, wanted, this.#replacement.value, this.#query().regexp));
      }
    });
    this.#told = `Replaced ${count === MOST ? "all" : count} in ${ids.size} ${ids.size === 1 ? "cell" : "cells"}`;
    this.#search(false);
    announce(this.#told);
  }

  #key(event: KeyboardEvent): void {
    event.stopPropagation();
    if (event.isComposing) return;
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && event.target === this.#text) this.#step(event.shiftKey ? -1 : 1);
    else if (event.key === "Enter" && event.target === this.#replacement) this.#replace();
    else if (event.key.toLowerCase() === "f" && (event.ctrlKey || event.metaKey)) this.#text.select();
    else return;
    event.preventDefault();
  }

  /** Scrolls to the current match. The focus stays here. */
  #show(): void {
    const match = this.#matches[this.#at];
    if (match === undefined) return;
    this.cells.mark(match.id, false, false);
    const view = this.cells.view(match.id);
    view?.revealSource();
    view?.element.scrollIntoView({ block: "nearest" });
    this.#paint();
    // A cell outside the window has no layout until it is in it.
    requestAnimationFrame(() => {
      const box = view?.rangeOf(match.from, match.to)?.getBoundingClientRect();
      if (box === undefined || box.height === 0) return;
      const head = document.querySelector(".top")?.getBoundingClientRect().bottom ?? 0;
      if (box.top < head + 8 || box.bottom > innerHeight - 8) scrollBy({ top: box.top - (innerHeight + head) / 2 });
    });
  }

  /** Highlights the matches, without changing an element. */
  #paint(): void {
    const total = this.#matches.length;
    this.#count.textContent = this.#told !== "" ? this.#told : this.#text.value === "" ? "" : this.#text.validationMessage !== "" ? "Not a regular expression" : total === 0 ? "No match" : `${this.#at + 1} of ${total === MOST ? `${MOST} or more` : total}`;
    if (!("highlights" in CSS)) return;
    const ranges = (matches: Match[]): Range[] => matches.map(({ id, from, to }) => this.cells.view(id)?.rangeOf(from, to)).filter((range) => range != null);
    CSS.highlights.set(ALL, new Highlight(...ranges(this.#matches.slice(0, 2000))));
    CSS.highlights.set(CURRENT, new Highlight(...ranges(this.#matches.slice(this.#at, this.#at + 1))));
  }
}

function toggle(label: string, text: string): HTMLButtonElement {
  const made = button(label, () => (made.ariaPressed = String(made.ariaPressed !== "true")), { text: "", class: "toggle" });
  made.setAttribute("aria-label", label);
  made.dataset["text"] = text;
  made.ariaPressed = "false";
  return made;
}
