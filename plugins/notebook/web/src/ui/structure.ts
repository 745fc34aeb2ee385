//! Changes of the cells as a whole: insert, move, delete, copy, paste, merge, split, change the type.

import type { CellType } from "../protocol";
import { CELLS_TYPE, fromNotebook, outputText, toNotebook, toText } from "../state/clipboard";
import { type CellCopy, copyOf } from "../state/copy";
import { loadText, storeText } from "../state/kept";
import { merged, shownIn } from "../state/merge";
import { hiddenCells, isCollapsed, levelOf } from "../state/outline";
import type { Session } from "../state/session";
import type { CellList } from "./cells";
import { announce, toast } from "./dialog";

const CLIPBOARD = "paster:clipboard";
/** A browser keeps some 5 MB for all pages of an origin. */
const CLIPBOARD_CHARS = 2_000_000;

export class CellOperations {
  /** The copied cells, if they are too long for the other tabs. */
  #clipboard: string | null = null;
  private readonly session: Session;
  private readonly cells: CellList;

  constructor(session: Session, cells: CellList) {
    this.session = session;
    this.cells = cells;
  }

  /** Inserts a cell and goes there; `edit`: into its editor. */
  insert(index: number, kind: CellType, edit: boolean, source = "", copy: Partial<CellCopy> = {}): void {
    const id = this.session.insert(index, kind, source, copy);
    if (edit) {
      this.cells.view(id)?.edit();
      this.cells.view(id)?.element.scrollIntoView({ block: "nearest" });
    } else this.cells.select(id);
  }

  move(id: string, by: number): void {
    this.session.move(id, this.session.notebook.index(id) + by);
    this.cells.view(id)?.element.focus();
  }

  /** Moves cells so that they follow one another, before the cell that is at `index` now. */
  moveTo(ids: readonly string[], index: number): void {
    const { notebook } = this.session;
    const moving = new Set(ids);
    const before = notebook.cells.slice(index).find((cell) => !moving.has(cell.id))?.id;
    this.session.together(() => {
      for (const id of ids) {
        const to = before === undefined ? notebook.cells.length : notebook.index(before);
        // Taking the cell out moves what follows it up.
        this.session.move(id, notebook.index(id) < to ? to - 1 : to);
      }
    });
    const first = ids[0];
    if (first !== undefined) this.cells.select(first);
    const last = ids.at(-1);
    if (last !== undefined && last !== first) this.cells.select(last, true);
  }

  remove(ids: string[]): void {
    if (ids.length === 0) return;
    const { notebook } = this.session;
    const at = Math.min(...ids.map((id) => notebook.index(id)));
    this.session.together(() => {
      this.session.remove(ids);
      if (notebook.cells.length === 0) this.session.insert(0, "code");
    });
    const next = notebook.cells[Math.min(at, notebook.cells.length - 1)];
    if (next !== undefined) this.cells.select(next.id);
    toast(ids.length === 1 ? "Cell deleted." : `${ids.length} cells deleted.`, { label: "Undo", run: () => this.undo() });
  }

  /** Turns the last change of cells back. */
  undo(): void {
    this.#turned(this.session.undo(), "There is no change of cells to undo. In an editor, Ctrl+Z undoes typing.");
  }

  redo(): void {
    this.#turned(this.session.redo(), "There is no change of cells to redo.");
  }

  #turned(id: string | null, none: string): void {
    if (id === null) toast(none);
    else if (id !== "") this.cells.select(id);
  }

  /** Keeps cells for `paste`, also in this browser's other notebooks. */
  keep(ids: readonly string[]): void {
    const notebook = toNotebook(this.#cells(ids));
    this.#clipboard = notebook.length < CLIPBOARD_CHARS ? null : notebook;
    if (this.#clipboard === null) storeText(CLIPBOARD, notebook);
    announce(ids.length === 1 ? "Cell copied" : `${ids.length} cells copied`);
  }

  /** Copies cells: for `paste`, and to the clipboard of the system. */
  copy(ids: readonly string[]): void {
    if (ids.length === 0) return;
    this.keep(ids);
    this.#toSystem((event) => this.fillClipboard(event, ids));
  }

  /** Copies the texts of outputs to the clipboard of the system. */
  copyOutput(ids: readonly string[]): void {
    const text = outputText(this.#cells(ids).flatMap(({ outputs }) => outputs));
    if (text === "") return toast("The output has no text to copy.");
    this.#toSystem((event) => {
      event.clipboardData?.setData("text/plain", text);
      event.preventDefault();
      event.stopPropagation();
    });
    announce("Output copied");
  }

  /** Lets `fill` fill the clipboard of the system. */
  #toSystem(fill: (event: ClipboardEvent) => void): void {
    document.addEventListener("copy", fill, { capture: true, once: true });
    // Without a permission, only this reaches the clipboard. It is deprecated, and all browsers have it.
    document.execCommand("copy");
    document.removeEventListener("copy", fill, { capture: true });
  }

  /** Fills the clipboard for a copy or cut event. */
  fillClipboard(event: ClipboardEvent, ids: readonly string[]): void {
    const cells = this.#cells(ids);
    event.clipboardData?.setData(CELLS_TYPE, toNotebook(cells));
    event.clipboardData?.setData("text/plain", toText(cells));
    event.preventDefault();
    event.stopPropagation();
  }

  /** Pastes what was copied in this browser. */
  paste(index: number): void {
    const copies = fromNotebook(this.#clipboard ?? loadText(CLIPBOARD) ?? "");
    if (copies === null) toast("Nothing has been copied yet.");
    else this.insertAll(index, copies);
  }

  /** Pastes from the clipboard of the system: cells, a notebook as text, or any text as a code cell. */
  pasteFrom(data: DataTransfer, index: number): void {
    const text = data.getData("text/plain");
    const copies = fromNotebook(data.getData(CELLS_TYPE)) ?? fromNotebook(text);
    if (copies !== null) this.insertAll(index, copies);
    else if (text.trim() !== "") this.insert(index, "code", false, text.replaceAll("\r\n", "\n"));
  }

  /** Inserts cells one below the other. */
  insertAll(index: number, copies: readonly CellCopy[]): void {
    let last = "";
    this.session.together(() => {
      copies.forEach((copy, i) => (last = this.session.insert(index + i, copy.cell_type, copy.source, structuredClone(copy))));
    });
    if (last !== "") this.cells.select(last);
  }

  duplicate(ids: readonly string[]): void {
    const cells = this.#cells(ids);
    const below = Math.max(...ids.map((id) => this.session.notebook.index(id))) + 1;
    this.insertAll(below, cells.map(copyOf));
  }

  /** Merges cells, or one with the cell below. */
  merge(ids: string[]): void {
    const { notebook } = this.session;
    const from = ids.length > 1 ? ids : ids.concat(notebook.cells[notebook.index(ids[0] ?? "") + 1]?.id ?? []);
    const [first, ...rest] = from;
    if (first === undefined || rest.length === 0) return;
    const { source, attachments } = merged(this.#cells(from));
    this.session.together(() => {
      this.session.setAttachments(first, attachments);
      this.session.replaceSource(first, source);
      this.session.remove(rest);
    });
    this.cells.select(first);
  }

  /** Splits the selected cell at the cursors. */
  split(): void {
    const id = this.cells.selected;
    const view = id === null ? undefined : this.cells.view(id);
    const cell = id === null ? undefined : this.session.notebook.cell(id);
    if (id === null || cell === undefined || view?.view == null) return;
    const { cell_type, source, attachments } = cell;
    const places = [...new Set(view.view.state.selection.ranges.map(({ head }) => head))].sort((a, b) => a - b);
    const parts = [0, ...places].map((from, i) => source.slice(from, places[i] ?? source.length));
    const texts = parts.map((part, i) => (i > 0 ? part.replace(/^\n/, "") : part).replace(i < parts.length - 1 ? /\n$/ : /$^/, ""));
    let last = id;
    this.session.together(() => {
      this.session.replaceSource(id, texts[0] ?? "");
      const at = this.session.notebook.index(id) + 1;
      texts.slice(1).forEach((text, i) => (last = this.session.insert(at + i, cell_type, text, { attachments: shownIn(text, attachments) })));
    });
    this.cells.view(last)?.edit("start");
    this.cells.view(last)?.element.scrollIntoView({ block: "nearest" });
  }

  /** Changes the type of the selected cells. */
  setType(kind: CellType): void {
    this.session.together(() => {
      for (const id of this.cells.selection()) void this.session.setType(id, kind);
    });
    this.cells.selectAgain();
  }

  /** Hides or shows the sections of headings. */
  collapse(ids: readonly string[], on: boolean): void {
    this.session.together(() => {
      for (const cell of this.#cells(ids)) {
        if (levelOf(cell) === null || isCollapsed(cell) === on) continue;
        const { heading_collapsed: _, ...metadata } = cell.metadata;
        void this.session.setMetadata(cell.id, on ? { ...metadata, heading_collapsed: true } : metadata);
      }
    });
  }

  /** Shows a cell that a heading hides. */
  reveal(id: string): void {
    for (let by = hiddenCells(this.session.notebook.cells).get(id); by !== undefined; by = hiddenCells(this.session.notebook.cells).get(id)) {
      this.collapse([by], false);
      if (isCollapsed(this.session.notebook.cell(by) ?? { metadata: {} })) return;
    }
  }

  /** Makes the selected cell a Markdown heading. */
  heading(level: number): void {
    const id = this.cells.selected;
    const cell = id === null ? undefined : this.session.notebook.cell(id);
    if (id === null || cell === undefined) return;
    this.session.together(() => {
      this.session.replaceSource(id, `${"#".repeat(level)} ${cell.source.replace(/^#+\s*/, "")}`);
      void this.session.setType(id, "markdown");
    });
  }

  #cells(ids: readonly string[]) {
    return ids.map((id) => this.session.notebook.cell(id)).filter((cell) => cell !== undefined);
  }
}
