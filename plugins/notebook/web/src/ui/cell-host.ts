//! What the cells of a notebook need from the page around them.

import type { CellHost } from "../cells/cell";
import type { EditorHost } from "../editor/editor";
import { highlight } from "../editor/languages";
import { bokehLibrary } from "../outputs/bokeh";
import type { Context } from "../outputs/markdown";
import type { Macros } from "../outputs/math";
import { renderOutput } from "../outputs/output";
import type { Cell, JsonObject } from "../protocol";
import { isCollapsed } from "../state/outline";
import { loadText } from "../state/kept";
import type { Session } from "../state/session";
import { encodePath, folderOf, url } from "../transport/base";
import type { Debugging } from "../editor/debugging";
import type { Debugger } from "../state/debugger";
import type { Actions } from "./actions";
import type { CellList } from "./cells";
import type { CommentPanel } from "./comments";
import { menu } from "./dialog";
import type { CellOperations } from "./structure";
import type { Transfer } from "./transfer";

/** Where this browser keeps whether the types of slides are shown. */
export const SLIDE_TYPES_SHOWN = "paster:slide-types";

/** The parts of the page that cells use. Most are made after the cells. */
export interface CellSurroundings {
  readonly session: Session;
  readonly cells: CellList;
  readonly operations: CellOperations;
  readonly transfer: Transfer;
  readonly actions: Actions;
  readonly comments: CommentPanel;
  readonly debugger: Debugger;
  /** The user has chosen between two texts of a cell. */
  decided(id: string): void;
  /** A cell has a new editor. */
  editorMade(id: string): void;
}

/** The state of widgets that a file keeps in its metadata. */
function savedWidgets(metadata: JsonObject): JsonObject | null {
  const kept = (metadata["widgets"] as JsonObject | undefined)?.["application/vnd.jupyter.widget-state+json"];
  return typeof kept === "object" && kept !== null ? (kept as JsonObject) : null;
}

export class NotebookCellHost implements CellHost {
  readonly #macros: Macros = {};
  private readonly page: CellSurroundings;

  constructor(page: CellSurroundings) {
    this.page = page;
  }

  context(cell: Cell): Context {
    const folder = folderOf(this.page.session.notebook.path);
    return {
      file: (path) => {
        // Links in a text are already encoded. The browser resolves `..` below the root of the files.
        const root = url("files/");
        const target = new URL(path, new URL(folder === "" ? "" : `${encodePath(folder)}/`, root));
        return target.href.startsWith(root.href) ? target.href : root.href;
      },
      attachments: cell.attachments,
      widgets: { comms: this.page.session.comms, saved: () => savedWidgets(this.page.session.notebook.metadata) },
      macros: this.#macros,
      bokeh: () => bokehLibrary(this.page.session.notebook.cells),
      highlight: (code, language) => highlight(code, language),
    };
  }

  language(): string {
    const info = this.page.session.notebook.metadata["language_info"];
    const said = typeof info === "object" && info !== null ? (info as JsonObject)["name"] : null;
    return this.page.session.notebook.kernel.language ?? (typeof said === "string" ? said : "python");
  }

  writable(): boolean {
    return this.page.session.notebook.writable && this.page.session.notebook.may("edit");
  }

  fresh(id: string): boolean {
    return this.page.session.notebook.fresh.has(id);
  }

  started(id: string): number | undefined {
    return this.page.session.notebook.started.get(id);
  }

  elapsed(id: string): number | undefined {
    return this.page.session.notebook.elapsed.get(id);
  }

  ended(id: string): Date | undefined {
    return this.page.session.notebook.ended.get(id);
  }

  cancel(id: string): void {
    void this.page.session.kernel.cancel([id]);
  }

  fold(id: string): void {
    const cell = this.page.session.notebook.cell(id);
    if (cell !== undefined) this.page.operations.collapse([id], !isCollapsed(cell));
  }

  owner(id: string): EditorHost {
    const code = this.page.session.notebook.cell(id)?.cell_type === "code";
    return {
      changed: (text, how) => this.page.session.edit(id, text, how),
      cursor: (at) => this.page.session.people.move(at === null ? null : { cell_id: id, ...at }),
      leave: (direction) => {
        const next = this.page.cells.neighbor(this.page.session.notebook.index(id), direction);
        if (next === undefined) return false;
        if (next.cell_type === "markdown" && this.page.cells.view(next.id)?.view === null) this.page.cells.select(next.id);
        else this.page.cells.view(next.id)?.edit(direction > 0 ? "start" : "end");
        return true;
      },
      complete: code ? (text, cursor) => this.page.session.kernel.complete(text, cursor) : null,
      inspect: code ? (text, cursor, detail) => this.#inspect(id, text, cursor, detail) : null,
      attach: this.page.session.notebook.cell(id)?.cell_type === "markdown" ? (files) => this.page.transfer.attach(id, files) : null,
    };
  }

  select(id: string, edit: boolean, extend: boolean): void {
    this.page.cells.mark(id, edit, extend);
  }

  run(id: string): void {
    this.page.cells.view(id)?.rest();
    void this.page.session.kernel.run([id]);
  }

  interrupt(): void {
    void this.page.session.kernel.interrupt();
  }

  setMetadata(id: string, metadata: JsonObject): void {
    void this.page.session.setMetadata(id, metadata);
  }

  menu(id: string, anchor: HTMLElement): void {
    const { notebook } = this.page.session;
    const code = notebook.cell(id)?.cell_type === "code";
    this.page.cells.markOnly(id);
    menu(anchor, "Actions for this cell", [
      { label: "Move up", keys: "Alt+Up", run: () => this.page.operations.move(id, -1) },
      { label: "Move down", keys: "Alt+Down", run: () => this.page.operations.move(id, 1) },
      { label: "Cut", keys: "X", run: () => this.page.actions.act("cut") },
      { label: "Copy", keys: "C", run: () => this.page.actions.act("copy") },
      { label: "Paste below", keys: "V", run: () => this.page.actions.act("paste_below") },
      { label: "Insert a cell below", keys: "B", run: () => this.page.operations.insert(notebook.index(id) + 1, "code", true) },
      ...(code
        ? [
            { label: "Hide or show the output", keys: "O", run: () => this.page.actions.act("toggle_output") },
            { label: "Copy the output", run: () => this.page.actions.act("copy_output") },
            { label: "Clear the output", keys: "Shift+X", run: () => this.page.actions.act("clear_output") },
          ]
        : []),
      ...(notebook.may("comment") ? [{ label: "Comment …", run: () => this.page.comments.begin(id) }] : []),
      "line",
      { label: "Duplicate", run: () => this.page.operations.duplicate([id]) },
      { label: "Delete", keys: "D, D", danger: true, run: () => this.page.operations.remove([id]) },
    ]);
  }

  decide(id: string, keep: "mine" | "theirs"): void {
    this.page.session.edits.decide(id, keep);
    this.page.decided(id);
  }

  editorMade(id: string): void {
    this.page.cells.editorMade(id);
    this.page.editorMade(id);
  }

  async #inspect(id: string, text: string, cursor: number, detail: 0 | 1): Promise<Node | null> {
    const data = await this.page.session.kernel.inspect(text, cursor, detail);
    const cell = this.page.session.notebook.cell(id);
    if (data === null || cell === undefined || Object.keys(data).length === 0) return null;
    const plain = "text/plain" in data ? { "text/plain": data["text/plain"] } : data;
    return renderOutput({ output_type: "display_data", data: plain, metadata: {} }, false, this.context(cell)).element;
  }

  slideTypes(): boolean {
    return loadText(SLIDE_TYPES_SHOWN) === "1";
  }

  debugging(id: string): Debugging | null {
    const { on, breakpoints, stop } = this.page.debugger;
    if (!on && breakpoints.size === 0) return null;
    return { breakpoints: breakpoints.get(id) ?? [], stopped: stop?.frame?.cell === id ? stop.frame.line : null };
  }

  toggleBreakpoint(id: string, line: number): void {
    this.page.debugger.toggle(id, line);
  }

  moveBreakpoints(id: string, lines: readonly number[]): void {
    this.page.debugger.set(id, lines);
  }
}
