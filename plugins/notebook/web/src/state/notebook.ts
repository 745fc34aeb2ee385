//! The document as this page knows it. Uses no socket and no element.

import type { Cell, Change, Document, InputRequest, JsonObject, Kernel, Level, Output } from "../protocol";

import { RunOrder } from "./order";

/** A change, for the views. */
export type Event =
  | { type: "all" }
  | { type: "order" }
  | { type: "source"; id: string }
  | { type: "kind"; id: string }
  | { type: "metadata"; id: string }
  | { type: "outputs"; id: string }
  | { type: "output"; id: string; index: number }
  | { type: "text"; id: string; index: number; text: string }
  | { type: "state"; id: string }
  | { type: "kernel" }
  | { type: "input" }
  | { type: "save" }
  | { type: "conflict" }
  | { type: "path" }
  | { type: "link" }
  | { type: "people" }
  | { type: "comments" }
  | { type: "draft"; id: string };

/** The levels, the lowest first. */
const LEVELS: readonly Level[] = ["app", "view", "comment", "run", "edit", "manage"];

/** The state of the file on disk. */
export interface Saving {
  unsaved: boolean;
  lastModified: string;
  failure: string | null;
}

/** The document. `apply` may get a change that this page already made in advance: applying it twice does nothing. */
export class Notebook {
  cells: Cell[] = [];
  metadata: JsonObject = {};
  path: string;
  kernel: Kernel = { id: null, name: null, display_name: null, language: null, state: "none", message: null, debugger: false };
  /** The kernel ended unexpectedly. */
  lostKernel = false;
  input: InputRequest | null = null;
  saving: Saving = { unsaved: false, lastModified: "", failure: null };
  conflict: string | null = null;
  writable = true;
  /** The permissions of this page's user. */
  level: Level = "manage";
  /** The number of the last change that came, and of the last one that belongs in the file. */
  event = 0;
  #touched = 0;
  /** When a cell started to run, and how long its last run took, in milliseconds; only of runs that this page saw. */
  readonly started = new Map<string, number>();
  readonly elapsed = new Map<string, number>();
  readonly order = new RunOrder();
  /** When the last run of a cell ended; only of runs that this page saw. */
  readonly ended = new Map<string, Date>();
  /** Cells whose current outputs were made while this page was open. */
  readonly fresh = new Set<string>();
  #listeners = new Set<(event: Event) => void>();

  private readonly now: () => number;

  constructor(path: string, now: () => number = () => performance.now()) {
    this.now = now;
    this.path = path;
  }

  /** Whether the user may do what needs this level. */
  may(needed: Level): boolean {
    return LEVELS.indexOf(this.level) >= LEVELS.indexOf(needed);
  }

  /** Calls `listener` after each change, until the returned function is called. */
  listen(listener: (event: Event) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: Event): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  cell(id: string): Cell | undefined {
    return this.cells.find((cell) => cell.id === id);
  }

  index(id: string): number {
    return this.cells.findIndex((cell) => cell.id === id);
  }

  /** Cells that are queued, top to bottom. */
  queued(): Cell[] {
    return this.cells.filter((cell) => cell.state === "queued");
  }

  running(): Cell | undefined {
    return this.cells.find((cell) => cell.state === "running");
  }

  /** Loads a whole document. */
  load(document: Document): void {
    this.path = document.path;
    this.cells = document.cells;
    this.metadata = document.metadata;
    // Opened again after a lost connection: the kernel may have ended meanwhile.
    this.lostKernel = this.kernel.id !== null && document.kernel.id === null && this.kernel.state !== "dead";
    this.#kernelIs(document.kernel);
    this.input = document.input;
    this.writable = document.writable;
    this.saving = { unsaved: document.unsaved, lastModified: document.last_modified, failure: null };
    this.conflict = document.conflict ? "The file was changed by another program." : null;
    this.#touched = document.unsaved ? this.event : 0;
    this.started.clear();
    this.fresh.clear();
    for (const cell of this.cells) if (cell.state === "running") this.#start(cell);
    this.emit({ type: "all" });
  }

  /** Applies one change other than `source_changed`, which `Edits` compares with what was typed here. */
  apply(change: Exclude<Change, { type: "source_changed" | "comm_sent" | "debug_event" }>): void {
    switch (change.type) {
      case "cell_inserted": {
        const at = this.index(change.cell.id);
        if (at >= 0) {
          // This page inserted it in advance. The server's copy knows more (outputs), but the text may be newer here.
          const mine = this.cells[at];
          if (mine !== undefined) change.cell.source = mine.source;
          this.cells.splice(at, 1);
          this.cells.splice(change.index, 0, change.cell);
          if (at !== change.index) this.emit({ type: "order" });
          this.emit({ type: "outputs", id: change.cell.id });
          // A cell that was deleted while it ran still runs.
          if (mine !== undefined && change.cell.state !== mine.state) {
            if (change.cell.state === "running") this.#start(change.cell);
            this.emit({ type: "state", id: change.cell.id });
          }
        } else {
          this.cells.splice(change.index, 0, change.cell);
          this.emit({ type: "order" });
        }
        break;
      }
      case "cell_deleted": {
        const at = this.index(change.cell_id);
        if (at < 0) return;
        this.cells.splice(at, 1);
        this.emit({ type: "order" });
        break;
      }
      case "cell_moved": {
        const at = this.index(change.cell_id);
        const cell = this.cells[at];
        if (cell === undefined || at === change.index) return;
        this.cells.splice(at, 1);
        this.cells.splice(change.index, 0, cell);
        this.emit({ type: "order" });
        break;
      }
      case "cell_replaced": {
        const at = this.index(change.cell.id);
        const mine = this.cells[at];
        if (mine === undefined) return;
        change.cell.source = mine.source;
        this.cells[at] = change.cell;
        this.emit({ type: "kind", id: change.cell.id });
        break;
      }
      case "cell_metadata_changed":
        this.#with(change.cell_id, (cell) => {
          cell.metadata = change.metadata;
          this.emit({ type: "metadata", id: cell.id });
        });
        break;
      case "cell_attachments_changed":
        this.#with(change.cell_id, (cell) => {
          cell.attachments = change.attachments;
          this.emit({ type: "source", id: cell.id });
        });
        break;
      case "metadata_changed":
        this.metadata = change.metadata;
        break;
      case "outputs_cleared":
        this.#with(change.cell_id, (cell) => {
          cell.outputs = [];
          this.fresh.add(cell.id);
          this.emit({ type: "outputs", id: cell.id });
        });
        break;
      case "output_added":
        this.#with(change.cell_id, (cell) => {
          cell.outputs.push(change.output);
          this.emit({ type: "output", id: cell.id, index: cell.outputs.length - 1 });
        });
        break;
      case "text_appended":
        this.#with(change.cell_id, (cell) => {
          const output = cell.outputs[change.index];
          if (output?.output_type !== "stream") return;
          output.text += change.text;
          this.emit({ type: "text", id: cell.id, index: change.index, text: change.text });
        });
        break;
      case "output_replaced":
        this.#with(change.cell_id, (cell) => {
          if (change.index >= cell.outputs.length) return;
          cell.outputs[change.index] = change.output;
          this.emit({ type: "output", id: cell.id, index: change.index });
        });
        break;
      case "cell_state_changed":
        this.#with(change.cell_id, (cell) => {
          const before = cell.state;
          cell.state = change.state;
          cell.execution_count = change.execution_count;
          if (change.state === "running" && before !== "running") this.#start(cell);
          if (change.state !== "running" && before === "running") this.#finish(cell);
          this.emit({ type: "state", id: cell.id });
          if (change.state === "running") this.lostKernel = false;
        });
        break;
      case "kernel_changed":
        this.#kernelIs(change.kernel);
        this.emit({ type: "kernel" });
        break;
      case "input_requested":
        this.input = change.input;
        this.emit({ type: "input" });
        break;
      case "saved":
        this.saving = { unsaved: this.#touched > change.up_to, lastModified: change.last_modified, failure: null };
        // Saving ends a conflict, because nothing is written during one.
        if (this.conflict !== null) {
          this.conflict = null;
          this.emit({ type: "conflict" });
        }
        this.emit({ type: "save" });
        return;
      case "save_failed":
        this.saving = { ...this.saving, unsaved: true, failure: change.message };
        this.emit({ type: "save" });
        return;
      case "conflict":
        this.conflict = change.message;
        this.emit({ type: "conflict" });
        return;
      case "reloaded":
        this.load(change.document);
        return;
      case "moved":
        this.path = change.path;
        this.emit({ type: "path" });
        return;
    }
    if (change.type !== "kernel_changed" && change.type !== "input_requested") this.touch();
  }

  /** The document is newer than the file until the next `saved`. */
  touch(): void {
    this.#touched = this.event;
    if (this.saving.unsaved) return;
    this.saving = { ...this.saving, unsaved: true };
    this.emit({ type: "save" });
  }

  #kernelIs(kernel: Kernel): void {
    const before = this.kernel;
    this.kernel = kernel;
    const another = before.id !== null && before.id !== kernel.id;
    if (another || (before.state !== kernel.state && (kernel.state === "restarting" || kernel.state === "dead"))) this.order.restarted(this.cells);
  }

  #with(id: string, change: (cell: Cell) => void): void {
    const cell = this.cell(id);
    if (cell !== undefined) change(cell);
  }

  #start(cell: Cell): void {
    this.fresh.add(cell.id);
    this.order.started(cell);
    const said = recorded(cell.metadata)?.from;
    const ago = said === undefined ? 0 : Math.max(0, Date.now() - said);
    this.started.set(cell.id, this.now() - (cell.outputs.length > 0 ? ago : 0));
    this.elapsed.delete(cell.id);
  }

  #finish(cell: Cell): void {
    const from = this.started.get(cell.id);
    if (from !== undefined) this.elapsed.set(cell.id, this.now() - from);
    this.ended.set(cell.id, new Date());
    this.started.delete(cell.id);
  }
}

/** The duration of a cell's last run according to its metadata, where Jupyter's front ends record it, in milliseconds. */
export function recordedElapsed(cell: Cell): number | null {
  const times = recorded(cell.metadata);
  if (times?.from === undefined || times.to === undefined || times.to < times.from) return null;
  return times.to - times.from;
}

function recorded(metadata: JsonObject): { from: number | undefined; to: number | undefined } | null {
  const execution = metadata["execution"];
  if (typeof execution !== "object" || execution === null) return null;
  const fields = execution as JsonObject;
  const time = (...names: string[]): number | undefined => {
    for (const name of names) {
      const value = Date.parse(String(fields[name] ?? ""));
      if (!Number.isNaN(value)) return value;
    }
    return undefined;
  };
  return { from: time("iopub.execute_input", "iopub.status.busy"), to: time("shell.execute_reply", "iopub.status.idle") };
}

/** Whether outputs contain anything that a view would show. */
export function hasOutputs(cell: { outputs: Output[] }): boolean {
  return cell.outputs.length > 0;
}
