//! Changes of the cells as a whole: insert, move, delete, copy, paste, merge, split, change the type.

import type { CellType } from "../protocol";
import { type CellCopy, copyOf } from "../state/copy";
import { loadText, storeText } from "../state/kept";
import { merged, shownIn } from "../state/merge";
import type { Session } from "../state/session";
import type { CellList } from "./cells";
import { announce, toast } from "./dialog";

const CLIPBOARD = "paster:clipboard";

export class CellOperations {
  #clipboard: CellCopy[] = [];
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

  remove(ids: string[]): void {
    if (ids.length === 0) return;
    const { notebook } = this.session;
    const at = Math.min(...ids.map((id) => notebook.index(id)));
    this.session.remove(ids);
    if (notebook.cells.length === 0) this.session.insert(0, "code");
    const next = notebook.cells[Math.min(at, notebook.cells.length - 1)];
    if (next !== undefined) this.cells.select(next.id);
    toast(ids.length === 1 ? "Cell deleted." : `${ids.length} cells deleted.`, { label: "Undo", run: () => this.undoDelete() });
  }

  undoDelete(): void {
    if (!this.session.loaded) return;
    const id = this.session.undoDelete();
    if (id !== null) this.cells.select(id);
    else toast("There is no deletion to undo.");
  }

  copy(ids: string[]): void {
    this.#clipboard = ids.map((id) => this.session.notebook.cell(id)).filter((cell) => cell !== undefined).map(copyOf);
    const text = JSON.stringify(this.#clipboard);
    if (text.length < 2_000_000) storeText(CLIPBOARD, text);
    announce(ids.length === 1 ? "Cell copied" : `${ids.length} cells copied`);
  }

  paste(index: number): void {
    let copies = this.#clipboard;
    if (copies.length === 0) {
      try {
        copies = JSON.parse(loadText(CLIPBOARD) ?? "[]") as CellCopy[];
      } catch {
        copies = [];
      }
    }
    if (copies.length === 0) toast("Nothing has been copied yet.");
    let last: string | null = null;
    copies.forEach((copy, i) => (last = this.session.insert(index + i, copy.cell_type, copy.source, structuredClone(copy))));
    if (last !== null) this.cells.select(last);
  }

  /** Merges cells, or one with the cell below. */
  merge(ids: string[]): void {
    const { notebook } = this.session;
    const from = ids.length > 1 ? ids : ids.concat(notebook.cells[notebook.index(ids[0] ?? "") + 1]?.id ?? []);
    const [first, ...rest] = from;
    if (first === undefined || rest.length === 0) return;
    const { source, attachments } = merged(from.map((id) => notebook.cell(id)).filter((cell) => cell !== undefined));
    this.session.setAttachments(first, attachments);
    this.session.edit(first, source);
    this.cells.view(first)?.showSource();
    this.session.remove(rest);
    this.cells.select(first);
  }

  /** Splits the selected cell at the cursor. */
  split(): void {
    const id = this.cells.selected;
    const view = id === null ? undefined : this.cells.view(id);
    const cell = id === null ? undefined : this.session.notebook.cell(id);
    if (id === null || cell === undefined || view?.view == null) return;
    const at = view.view.state.selection.main.head;
    const [before, after] = [cell.source.slice(0, at).replace(/\n$/, ""), cell.source.slice(at).replace(/^\n/, "")];
    this.session.edit(id, before);
    view.showSource();
    this.insert(this.session.notebook.index(id) + 1, cell.cell_type, true, after, { attachments: shownIn(after, cell.attachments) });
  }

  /** Changes the type of the selected cells. */
  setType(kind: CellType): void {
    for (const id of this.cells.selection()) void this.session.setType(id, kind);
    this.cells.selectAgain();
  }

  /** Makes the selected cell a Markdown heading. */
  heading(level: number): void {
    const id = this.cells.selected;
    const cell = id === null ? undefined : this.session.notebook.cell(id);
    if (id === null || cell === undefined) return;
    this.session.edit(id, `${"#".repeat(level)} ${cell.source.replace(/^#+\s*/, "")}`);
    this.cells.view(id)?.showSource();
    void this.session.setType(id, "markdown");
  }
}
