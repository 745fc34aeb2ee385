//! Cells that are copied, pasted and dragged, between notebooks too; and pictures that are dropped on Markdown cells.

import { CELLS_TYPE, fromNotebook, toNotebook, toText } from "../state/clipboard";
import { attach, PICTURE_BYTES, pictureFiles, readPicture } from "../state/pictures";
import type { Session } from "../state/session";
import { bytes, h } from "../dom";
import type { CellList } from "./cells";
import { toast } from "./dialog";
import type { CellOperations } from "./structure";

export class Transfer {
  /** Shows where cells will be dropped. */
  readonly #mark = h("div", { class: "drop-mark", hidden: true });
  /** The cells that are dragged from this page. */
  #dragged: string[] | null = null;
  private readonly session: Session;
  private readonly cells: CellList;
  private readonly operations: CellOperations;

  constructor(session: Session, cells: CellList, operations: CellOperations) {
    this.session = session;
    this.cells = cells;
    this.operations = operations;
  }

  /** Listens to the page's clipboard and drag events. */
  listen(): void {
    document.addEventListener("copy", (event) => this.#copy(event, false));
    document.addEventListener("cut", (event) => this.#copy(event, true));
    document.addEventListener("paste", (event) => this.#paste(event));
    const list = this.cells.element;
    list.addEventListener("dragstart", (event) => this.#start(event));
    list.addEventListener("dragend", () => this.#end());
    list.addEventListener("dragover", (event) => this.#over(event));
    list.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node) || !list.contains(event.relatedTarget)) this.#mark.hidden = true;
    });
    list.addEventListener("drop", (event) => this.#drop(event));
  }

  /** Attaches pictures to a cell. Returns the Markdown that shows them. */
  async attach(id: string, files: readonly File[]): Promise<string> {
    let shown = "";
    for (const file of files) {
      if (file.size > PICTURE_BYTES) {
        toast(`The image is too large: ${bytes(file.size)}. The limit is ${bytes(PICTURE_BYTES)}.`);
        continue;
      }
      const picture = await readPicture(file);
      const cell = this.session.notebook.cell(id);
      if (cell === undefined) break;
      const { attachments, markdown } = attach(cell.attachments, picture);
      this.session.setAttachments(id, attachments);
      shown += shown === "" ? markdown : `\n${markdown}`;
    }
    return shown;
  }

  /** The user copies while cells are selected as a whole. Selected text goes first. */
  #copy(event: ClipboardEvent, cut: boolean): void {
    if (event.defaultPrevented || !this.#concernsCells(event) || document.getSelection()?.isCollapsed === false) return;
    const ids = this.cells.selection();
    if (ids.length === 0) return;
    event.preventDefault();
    this.operations.keep(ids);
    this.operations.fillClipboard(event, ids);
    if (cut) this.operations.remove(ids);
  }

  #paste(event: ClipboardEvent): void {
    const data = event.clipboardData;
    if (event.defaultPrevented || data === null || !this.#concernsCells(event)) return;
    event.preventDefault();
    const id = this.cells.selected;
    const pictures = pictureFiles(data.files);
    if (pictures.length > 0 && id !== null && this.session.notebook.cell(id)?.cell_type === "markdown") void this.#append(id, pictures);
    else this.operations.pasteFrom(data, this.cells.place() + 1);
  }

  #concernsCells({ target }: ClipboardEvent): boolean {
    return !(target instanceof Element) || target === document.body || (target.closest(".cell") !== null && target.closest("input, textarea, select, .cm-editor") === null);
  }

  /** Adds pictures at the end of a Markdown cell. */
  async #append(id: string, files: readonly File[]): Promise<void> {
    const markdown = await this.attach(id, files);
    const cell = this.session.notebook.cell(id);
    if (markdown === "" || cell === undefined) return;
    this.session.replaceSource(id, cell.source.trim() === "" ? markdown : `${cell.source.trimEnd()}\n\n${markdown}`);
  }

  #start(event: DragEvent): void {
    const handle = event.target instanceof Element ? event.target.closest(".gutter") : null;
    const id = handle?.closest<HTMLElement>(".cell")?.dataset["id"];
    if (id === undefined || event.dataTransfer === null) return;
    const selection = this.cells.selection();
    this.#dragged = selection.includes(id) ? selection : [id];
    const cells = this.#dragged.map((one) => this.session.notebook.cell(one)).filter((cell) => cell !== undefined);
    event.dataTransfer.setData(CELLS_TYPE, toNotebook(cells));
    event.dataTransfer.setData("text/plain", toText(cells));
    event.dataTransfer.effectAllowed = "copyMove";
    for (const one of this.#dragged) this.cells.view(one)?.element.classList.add("dragged");
  }

  #end(): void {
    for (const one of this.#dragged ?? []) this.cells.view(one)?.element.classList.remove("dragged");
    this.#dragged = null;
    this.#mark.hidden = true;
  }

  #over(event: DragEvent): void {
    const types = event.dataTransfer?.types ?? [];
    if (event.dataTransfer === null || !this.session.notebook.may("edit")) return;
    if (types.includes(CELLS_TYPE)) {
      event.preventDefault();
      event.dataTransfer.dropEffect = this.#dragged === null || event.ctrlKey ? "copy" : "move";
      this.#showPlace(this.#place(event.clientY));
    } else if (types.includes("Files") && this.#markdownAt(event) !== null) {
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    }
  }

  #drop(event: DragEvent): void {
    const data = event.dataTransfer;
    if (data === null || event.defaultPrevented) return;
    if (data.types.includes(CELLS_TYPE)) {
      event.preventDefault();
      const place = this.#place(event.clientY);
      const own = this.#dragged;
      this.#end();
      if (own !== null && !event.ctrlKey) this.operations.moveTo(own, place);
      else this.operations.insertAll(place, fromNotebook(data.getData(CELLS_TYPE)) ?? []);
      return;
    }
    const id = this.#markdownAt(event);
    const pictures = pictureFiles(data.files);
    if (id === null || pictures.length === 0) return;
    event.preventDefault();
    void this.#append(id, pictures);
  }

  #markdownAt({ target }: DragEvent): string | null {
    const id = target instanceof Element ? target.closest<HTMLElement>(".cell.markdown-cell")?.dataset["id"] : undefined;
    return id ?? null;
  }

  /** The index before which something dropped at this height goes. */
  #place(y: number): number {
    const { cells } = this.session.notebook;
    for (const [i, cell] of cells.entries()) {
      const box = this.cells.view(cell.id)?.element.getBoundingClientRect();
      if (box !== undefined && y < box.top + box.height / 2) return i;
    }
    return cells.length;
  }

  #showPlace(index: number): void {
    const { cells } = this.session.notebook;
    const [above, below] = [cells[index - 1], cells[index]].map((cell) => (cell === undefined ? undefined : this.cells.view(cell.id)?.element.getBoundingClientRect()));
    const y = below?.top ?? above?.bottom;
    if (y === undefined) return;
    if (!this.#mark.isConnected) document.body.append(this.#mark);
    const { left, width } = this.cells.element.getBoundingClientRect();
    this.#mark.hidden = false;
    this.#mark.style.cssText = `left: ${left}px; width: ${width}px; top: ${y - 1}px`;
  }
}
