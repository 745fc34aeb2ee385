//! The cells of a notebook in the page: their views, their order and the selection.

import { CellView, type CellHost } from "../cells/cell";
import { h } from "../dom";
import type { Cell } from "../protocol";
import type { Notebook } from "../state/notebook";
import { hiddenCells, isCollapsed, levelOf, sectionLength } from "../state/outline";

/** So many cells are shown at once when a notebook is opened. The others follow while the page is idle, those in view first. */
const AT_ONCE = 40;
/** In a notebook with more cells than this, those out of view stay empty until they come near it, and get empty again far from it. */
const MANY = 400;
const NEAR = "1000px";
const FAR = "6000px";
/** The longest time that the page fills cells without a pause, in milliseconds. */
const SLICE = 8;
/** How many editors stay after their cell lost the focus. */
const EDITORS_KEPT = 12;

export class CellList {
  readonly element = h("div", { class: "cells" });
  readonly #views = new Map<string, CellView>();
  #editors: string[] = [];
  #selected: string | null = null;
  /** The other end of a selection of several cells. */
  #anchor: string | null = null;
  #editing = false;
  /** The cells that are shown as selected. */
  #marked: ReadonlySet<string> = new Set();
  #due = false;
  /** Cells without their content. */
  #empty: CellView[] = [];
  #filling = false;
  readonly #near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) this.#views.get((target as HTMLElement).dataset["id"] ?? "")?.fillIn();
    }
  }, { rootMargin: NEAR });
  readonly #far = new IntersectionObserver((entries) => {
    if (this.notebook.cells.length <= MANY) return;
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) this.#views.get((target as HTMLElement).dataset["id"] ?? "")?.emptyOut();
    }
  }, { rootMargin: FAR });

  private readonly notebook: Notebook;
  private readonly host: CellHost;
  private readonly shown: (cell: Cell) => void;

  /** `shown` is called with the selected cell, also when the cell has changed. */
  constructor(notebook: Notebook, host: CellHost, shown: (cell: Cell) => void) {
    this.notebook = notebook;
    this.host = host;
    this.shown = shown;
  }

  view(id: string): CellView | undefined {
    return this.#views.get(id);
  }

  views(): Iterable<CellView> {
    return this.#views.values();
  }

  get selected(): string | null {
    return this.#selected;
  }

  /** The text that is selected in the editor of the selected cell. */
  selectedText(): string {
    const editor = this.#selected === null ? null : this.#views.get(this.#selected)?.view;
    return editor?.state.sliceDoc(editor.state.selection.main.from, editor.state.selection.main.to) ?? "";
  }

  /** The index of the selected cell; without one, of the last. */
  place(): number {
    return this.#selected === null ? this.notebook.cells.length - 1 : this.notebook.index(this.#selected);
  }

  /** The selected cells, top to bottom. */
  selection(): string[] {
    if (this.#selected === null) return [];
    const { notebook } = this;
    const at = notebook.index(this.#selected);
    const from = this.#anchor === null ? at : notebook.index(this.#anchor);
    if (from < 0) return [this.#selected];
    return notebook.cells.slice(Math.min(at, from), Math.max(at, from) + 1).map((cell) => cell.id);
  }

  /** Selects a cell as a whole, and moves the focus there. */
  select(id: string, extend = false): void {
    if (extend) this.mark(id, false, true);
    else this.markOnly(id);
    const element = this.#views.get(id)?.element;
    element?.focus({ preventScroll: true });
    element?.scrollIntoView({ block: "nearest" });
  }

  /** Selects the focused cell; `edit`: its editor has the focus. */
  mark(id: string, edit: boolean, extend: boolean): void {
    if ((!extend && id !== this.#selected) || this.#anchor === null) this.#anchor = id;
    this.#selected = id;
    this.#editing = edit;
    this.#showSelection();
  }

  /** Selects one cell as a whole, even if it is the end of a longer selection. */
  markOnly(id: string): void {
    this.#anchor = id;
    this.mark(id, false, false);
  }

  /** Selects the selected cell as a whole, without its editor. */
  selectAgain(): void {
    if (this.#selected !== null) this.select(this.#selected);
  }

  /** A cell has an editor. The oldest ones are removed. */
  editorMade(id: string): void {
    this.#editors = [...this.#editors.filter((one) => one !== id), id];
    while (this.#editors.length > EDITORS_KEPT) this.#views.get(this.#editors.shift() ?? "")?.rest();
  }

  /** Shows all cells again. */
  showAll(): void {
    const { cells } = this.notebook;
    for (const cell of cells) this.#views.get(cell.id)?.replace(cell);
    this.showOrder();
    const first = cells[0];
    if (this.#selected === null && first !== undefined) {
      this.select(first.id);
      if (cells.length === 1 && first.source === "" && first.cell_type === "code") this.#views.get(first.id)?.edit();
    }
  }

  /** Shows which cells there are, and in which order. */
  showOrder(): void {
    const { cells } = this.notebook;
    const ids = new Set(cells.map((cell) => cell.id));
    const lostFocus = this.#removeOthers(ids);
    const made: CellView[] = [];
    cells.forEach((cell, i) => {
      let view = this.#views.get(cell.id);
      if (view === undefined) {
        view = new CellView(cell, this.host);
        this.#views.set(cell.id, view);
        made.push(view);
      }
      view.number(i, cells.length);
    });
    this.#arrange();
    this.#fill(made);
    if (this.#selected !== null && !ids.has(this.#selected)) this.#selected = this.#anchor = null;
    if (lostFocus && this.#selected === null) {
      const last = cells.at(-1);
      if (last !== undefined) this.select(last.id);
    }
    this.#showSelection();
    this.refresh();
  }

  /** Puts the cells into the page in their order. One that is in its place stays there, with its focus and its frames. */
  #arrange(): void {
    let present = this.element.firstElementChild;
    for (const { id } of this.notebook.cells) {
      const element = this.#views.get(id)?.element;
      if (element === undefined) continue;
      if (element === present) present = present.nextElementSibling;
      else this.element.insertBefore(element, present);
    }
  }

  /** Gives all cells their content: for printing, and for links to a place in one of them. */
  fillAll(): void {
    this.#empty = [];
    for (const view of this.#views.values()) view.fillIn();
  }

  /** Gives new cells their content, the first ones at once. */
  #fill(made: readonly CellView[]): void {
    for (const view of made.slice(0, AT_ONCE)) view.fillIn();
    const rest = made.slice(AT_ONCE);
    this.#empty.push(...rest);
    const many = this.notebook.cells.length > MANY;
    for (const view of made) {
      this.#near.observe(view.element);
      this.#far.observe(view.element);
    }
    if (many) this.#empty = [];
    if (this.#filling || this.#empty.length === 0) return;
    this.#filling = true;
    const step = (): void => {
      const until = performance.now() + SLICE;
      while (this.#empty.length > 0 && performance.now() < until) this.#empty.shift()?.fillIn();
      if (this.#empty.length > 0) return void setTimeout(step);
      this.#filling = false;
    };
    setTimeout(step);
  }

  /** Removes the views of deleted cells. Returns whether one of them had the focus. */
  #removeOthers(ids: Set<string>): boolean {
    let lostFocus = false;
    for (const [id, view] of this.#views) {
      if (ids.has(id)) continue;
      lostFocus ||= view.element.contains(document.activeElement);
      this.#near.unobserve(view.element);
      this.#far.unobserve(view.element);
      view.destroy();
      this.#views.delete(id);
    }
    return lostFocus;
  }

  /** Shows what depends on several cells: doubts about results, and hidden sections. At most once a frame. */
  refresh(): void {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      const { cells } = this.notebook;
      const doubts = this.notebook.order.doubts(cells);
      const hidden = hiddenCells(cells);
      cells.forEach((cell, i) => {
        const view = this.#views.get(cell.id);
        if (view === undefined) return;
        view.showDoubt(doubts.get(cell.id) ?? null);
        view.element.hidden = hidden.has(cell.id);
        view.showFold(levelOf(cell) === null ? null : { collapsed: isCollapsed(cell), cells: sectionLength(cells, i) });
      });
      const by = this.#selected === null ? undefined : hidden.get(this.#selected);
      if (by !== undefined && this.#views.get(this.#selected ?? "")?.element.contains(document.activeElement) !== false) this.select(by);
    });
  }

  /** The next cell that is shown, in a direction. */
  neighbor(index: number, by: 1 | -1): Cell | undefined {
    const hidden = hiddenCells(this.notebook.cells);
    let at = index + by;
    while (this.notebook.cells[at] !== undefined && hidden.has(this.notebook.cells[at]?.id ?? "")) at += by;
    return this.notebook.cells[at];
  }

  #showSelection(): void {
    const selection = new Set(this.selection());
    const shown = new Set(this.#selected === null ? selection : [...selection, this.#selected]);
    for (const id of this.#marked) if (!shown.has(id)) this.#views.get(id)?.selected(false, false, false);
    for (const id of shown) this.#views.get(id)?.selected(id === this.#selected, selection.size > 1 && selection.has(id), this.#editing);
    this.#marked = shown;
    const cell = this.#selected === null ? undefined : this.notebook.cell(this.#selected);
    if (cell !== undefined) this.shown(cell);
  }
}
