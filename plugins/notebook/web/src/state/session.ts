//! One open document: the connection, the document and the drafts together, and everything that a user can do to them.

import type { ChangeSet } from "@codemirror/state";
import type { Cell, CellType, Change, Cursor, Document, JsonObject, Keep, Level } from "../protocol";
import { type Connection, type Link, type Listener, Refused } from "../transport/connection";
import { Comms } from "./comms";
import { type CellCopy, copyOf, extras } from "./copy";
import { Edits, type Kept } from "./edits";
import { History, make, type Step } from "./history";
import { KernelActions } from "./kernel";
import { Notebook } from "./notebook";
import { People } from "./people";
import { Requests } from "./requests";

/** The services that the session needs. */
export interface SessionDeps {
  connection(listener: Listener): Connection;
  /** The unsent text of an earlier visit. */
  take(): Kept[];
  store(drafts: Kept[]): void;
  /** Informs the user about a failure. */
  report(message: string): void;
  newId(): string;
}

interface Insertion {
  index: number;
  cell: Cell;
  done: Promise<unknown>;
}

export class Session implements Listener {
  readonly notebook: Notebook;
  readonly edits: Edits;
  readonly connection: Connection;
  readonly people: People;
  readonly comms: Comms;
  /** The actions on the kernel. */
  readonly kernel: KernelActions;
  /** The events of its debugger. */
  onDebug: (event: string, body: JsonObject) => void = () => {};
  connectionState: { state: Link; message: string; status: number | null } = { state: "connecting", message: "", status: null };
  loaded = false;
  /** The number of the document's newest event when the connection was made. */
  #last = 0;
  #catchingUp: (() => void)[] = [];
  readonly #requests: Requests;
  #inserting = new Map<string, Insertion>();
  readonly #history = new History();
  #storing: ReturnType<typeof setTimeout> | null = null;

  private readonly around: SessionDeps;

  constructor(path: string, around: SessionDeps) {
    this.around = around;
    this.notebook = new Notebook(path);
    this.#requests = new Requests(() => this.connection, around.report);
    this.edits = new Edits({
      send: async (id, source, revision, how) => {
        const insertion = this.#inserting.get(id);
        if (insertion !== undefined) {
          await insertion.done;
          revision = this.notebook.cell(id)?.revision ?? revision;
        }
        return this.#requests.ask({ type: "set_source", cell_id: id, source, base_revision: revision, changes: how.toJSON() as unknown }, true);
      },
      show: (id, source, revision) => {
        const cell = this.notebook.cell(id);
        if (cell === undefined) return;
        cell.revision = revision;
        if (cell.source === source) return;
        cell.source = source;
        this.notebook.emit({ type: "source", id });
      },
      changed: () => {
        this.#store();
        this.notebook.emit({ type: "save" });
        for (const id of this.edits.drafts.keys()) this.notebook.emit({ type: "draft", id });
      },
      failed: (_id, error) => {
        if (error instanceof Refused) this.around.report(`Your last change is not saved: ${error.message}`);
      },
    });
    this.connection = around.connection(this);
    this.comms = new Comms({
      load: async () => {
        // Asked while the first cells are shown: it waits until the connection is ready.
        const reply = await this.#requests.ask({ type: "open_comms" }, true).catch(() => null);
        return reply?.type === "comms" ? reply.comms : null;
      },
      send: async (message) => {
        if (this.#may("run")) await this.#requests.look({ type: "send_comm", message });
      },
    });
    this.kernel = new KernelActions({
      notebook: this.notebook,
      requests: this.#requests,
      may: () => this.#may("run"),
      settle: async (ids) => {
        if (ids === null) return this.edits.settleAll();
        await Promise.all(ids.map((id) => this.edits.settle(id)));
        await Promise.all(ids.map((id) => this.#inserting.get(id)?.done));
      },
      caughtUp: () => new Promise((resolve) => this.#catchingUp.push(resolve)),
    });
    this.people = new People((cursor) => void this.#requests.look({ type: "set_cursor", cursor }), () => this.notebook.emit({ type: "people" }));
  }

  start(): void {
    this.connection.start();
  }

  /** Stores what is unsent, when the user leaves the page. */
  leave(): void {
    if (this.#storing !== null) clearTimeout(this.#storing);
    this.around.store(this.edits.kept());
  }

  /** Whether something typed or done here has not reached the server. */
  get unsent(): boolean {
    return this.edits.dirty || this.#inserting.size > 0;
  }

  // Events of the connection.

  opened(document: Document, _instance: string, event: number, level: Level): void {
    this.notebook.level = level;
    this.people.clear();
    this.comms.reset();
    this.notebook.event = event;
    this.#last = event;
    if (!this.loaded) {
      this.loaded = true;
      for (const kept of this.around.take()) this.edits.restore(kept);
    }
    this.#take(() => this.notebook.load(document), document);
  }

  resumed(last: number): void {
    this.people.clear();
    this.#last = last;
  }

  changed(change: Change, request: number | null, event: number): void {
    this.notebook.event = event;
    this.#changed(change, request);
    this.#caughtUp();
  }

  #changed(change: Change, request: number | null): void {
    if (change.type === "source_changed") {
      const own = request !== null && this.#requests.own.has(request);
      const cell = this.notebook.cell(change.cell_id);
      if (cell === undefined) return;
      this.notebook.touch();
      if (this.edits.changed(cell.id, change.source, change.revision, own, change.changes)) {
        cell.revision = change.revision;
        if (cell.source !== change.source) {
          cell.source = change.source;
          this.notebook.emit({ type: "source", id: cell.id });
        }
      } else if (!this.edits.drafts.has(cell.id)) {
        cell.revision = change.revision;
      }
      return;
    }
    if (change.type === "comm_sent") {
      this.comms.apply(change.message);
      return;
    }
    if (change.type === "debug_event") {
      this.onDebug(change.event, change.body);
      return;
    }
    if (change.type === "reloaded") {
      this.#take(() => this.notebook.apply(change), change.document);
      return;
    }
    if (change.type === "cell_deleted") {
      // This page deleted it in advance, and may have brought it back since.
      if (request !== null && this.#requests.own.has(request)) return this.notebook.touch();
      const draft = this.edits.drafts.get(change.cell_id);
      const cell = this.notebook.cell(change.cell_id);
      const at = this.notebook.index(change.cell_id);
      this.notebook.apply(change);
      if (draft !== undefined) {
        this.edits.forget(change.cell_id);
        if (cell !== undefined && draft.text !== "") {
          this.insert(at, cell.cell_type, draft.text);
          this.around.report("Someone else deleted a cell while you were typing in it. Your text is in a new cell.");
        }
      }
      return;
    }
    this.notebook.apply(change);
  }

  present(client: number, name: string, cursor: Cursor | null): void {
    this.people.present(client, { name, cursor });
  }

  absent(client: number): void {
    this.people.absent(client);
  }

  commented(): void {
    this.notebook.emit({ type: "comments" });
  }

  link(state: Link, message: string, status: number | null): void {
    this.connectionState = { state, message, status };
    this.notebook.emit({ type: "link" });
    this.#caughtUp();
  }

  /** Whether the user may do something that needs this level. Informs them if not. The server checks it again. */
  #may(needed: "run" | "edit"): boolean {
    if (this.notebook.may(needed)) return true;
    this.around.report(this.notebook.level === "view" ? "You may only view this notebook." : "You may run this notebook, but not change it.");
    return false;
  }

  // Actions of the user.

  /** A cell's text was edited; `how` is what the editor did. */
  edit(id: string, text: string, how?: ChangeSet): void {
    const cell = this.notebook.cell(id);
    if (cell === undefined || cell.source === text) return;
    const base = this.edits.drafts.get(id)?.base ?? cell.source;
    cell.source = text;
    this.edits.type(id, text, base, cell.revision, how);
  }

  /** Inserts a cell: here at once, then on the server. Returns its id. */
  insert(index: number, cell_type: CellType, source = "", copy: Partial<CellCopy> = {}, id = this.around.newId()): string {
    if (!this.#may("edit")) return "";
    const cell: Cell = {
      id, cell_type, source, revision: 0, metadata: copy.metadata ?? {}, attachments: copy.attachments ?? null,
      outputs: copy.outputs ?? [], execution_count: copy.execution_count ?? null, state: "idle",
    };
    this.#history.record({ type: "insert", at: index, id, copy: copyOf(cell) });
    const done = this.#requests.ask({ type: "insert_cell", index, cell_type, source, cell_id: id, ...extras(copy) }, true)
      .catch((error: unknown) => {
        this.#requests.fail(error, "The cell could not be inserted");
        this.notebook.apply({ type: "cell_deleted", cell_id: id });
      })
      .finally(() => {
        if (this.#inserting.get(id)?.done === done) this.#inserting.delete(id);
        this.notebook.emit({ type: "save" });
      });
    this.#inserting.set(id, { index, cell, done });
    this.notebook.apply({ type: "cell_inserted", index, cell });
    return id;
  }

  /** Deletes cells. */
  remove(ids: string[]): void {
    if (!this.#may("edit")) return;
    this.together(() => {
      for (const id of ids) {
        const at = this.notebook.index(id);
        const cell = this.notebook.cells[at];
        if (cell === undefined) continue;
        this.#history.record({ type: "delete", at, id, copy: copyOf(cell) });
        this.edits.forget(id);
        this.notebook.apply({ type: "cell_deleted", cell_id: id });
        void this.#requests.do({ type: "delete_cell", cell_id: id }, true, "The cell could not be deleted");
      }
    });
  }

  /** Makes everything that `act` does to cells one action to undo. */
  together(act: () => void): void {
    this.#history.together(act);
  }

  /** Replaces a cell's text, as an action that `undo` turns back. */
  replaceSource(id: string, text: string): void {
    const cell = this.notebook.cell(id);
    if (cell === undefined || cell.source === text || !this.#may("edit")) return;
    this.#history.record({ type: "source", id, from: cell.source, to: text });
    this.edit(id, text);
    this.notebook.emit({ type: "source", id });
  }

  /** Turns the last change of cells back. Returns the id of a cell that it concerns, or null if there is none. */
  undo(): string | null {
    return this.#may("edit") ? this.#turn((make) => this.#history.undo(make)) : null;
  }

  /** Makes the last change that was undone again. Returns as `undo`. */
  redo(): string | null {
    return this.#may("edit") ? this.#turn((make) => this.#history.redo(make)) : null;
  }

  #turn(go: (make: (step: Step) => void) => boolean): string | null {
    const touched: string[] = [];
    const any = go((step) => {
      make(this, step);
      touched.push(step.id);
    });
    return any ? (touched.filter((id) => this.notebook.index(id) >= 0).sort((a, b) => this.notebook.index(a) - this.notebook.index(b))[0] ?? "") : null;
  }

  /** Moves a cell so that it is at `index` afterwards. */
  move(id: string, index: number): void {
    if (index < 0 || index >= this.notebook.cells.length || this.notebook.index(id) === index) return;
    if (!this.#may("edit")) return;
    this.#history.record({ type: "move", id, from: this.notebook.index(id), to: index });
    this.notebook.apply({ type: "cell_moved", cell_id: id, index });
    void this.#requests.do({ type: "move_cell", cell_id: id, index }, true, "The cell could not be moved");
  }

  async setType(id: string, cell_type: CellType): Promise<void> {
    if (!this.#may("edit")) return;
    const present = this.notebook.cell(id)?.cell_type;
    if (present === undefined || present === cell_type) return;
    this.#history.record({ type: "kind", id, from: present, to: cell_type });
    await this.edits.settle(id);
    await this.#requests.do({ type: "set_cell_type", cell_id: id, cell_type }, true, "The cell type could not be changed");
  }

  async setMetadata(id: string, metadata: JsonObject): Promise<void> {
    if (!this.#may("edit")) return;
    this.#history.record({ type: "metadata", id, from: this.notebook.cell(id)?.metadata ?? {}, to: metadata });
    this.notebook.apply({ type: "cell_metadata_changed", cell_id: id, metadata });
    await this.#requests.do({ type: "set_cell_metadata", cell_id: id, metadata }, true, "The cell could not be changed");
  }

  /** Replaces a cell's attachments. */
  setAttachments(id: string, attachments: JsonObject | null): void {
    const present = this.notebook.cell(id)?.attachments ?? null;
    if (JSON.stringify(present) === JSON.stringify(attachments)) return;
    if (!this.#may("edit")) return;
    this.#history.record({ type: "attachments", id, from: present, to: attachments });
    this.notebook.apply({ type: "cell_attachments_changed", cell_id: id, attachments });
    void this.#requests.do({ type: "set_cell_attachments", cell_id: id, attachments }, true, "The cell's images could not be changed");
  }

  async save(): Promise<void> {
    if (!this.#may("edit")) return;
    await this.edits.settleAll();
    await this.#requests.do({ type: "save" }, true, "The notebook could not be saved");
  }

  async resolveConflict(keep: Keep): Promise<void> {
    if (await this.#requests.do({ type: "resolve_conflict", keep }, false, "The conflict could not be resolved")) {
      this.notebook.conflict = null;
      this.notebook.emit({ type: "conflict" });
    }
  }

  // Internal parts.

  /** Loads a snapshot. What was typed or inserted here and is not on the server yet stays on top of it. */
  #take(load: () => void, document: Document): void {
    const confirmed = new Map(document.cells.map((cell) => [cell.id, { source: cell.source, revision: cell.revision }]));
    for (const { index, cell } of this.#inserting.values()) {
      if (!confirmed.has(cell.id)) document.cells.splice(index, 0, cell);
    }
    const lost: string[] = [];
    for (const [id, draft] of [...this.edits.drafts]) {
      const at = confirmed.get(id);
      if (at === undefined && !this.#inserting.has(id)) {
        this.edits.forget(id);
        if (draft.text.trim() !== "") lost.push(draft.text);
        continue;
      }
      const cell = document.cells.find((c) => c.id === id);
      if (cell !== undefined) cell.source = draft.text;
    }
    load();
    for (const id of [...this.edits.drafts.keys()]) {
      const at = confirmed.get(id);
      this.edits.rebase(id, at?.source ?? null, at?.revision ?? 0);
    }
    for (const text of lost) this.insert(this.notebook.cells.length, "code", text);
    if (lost.length > 0) this.around.report("Unsaved text of deleted cells was added at the end of the notebook.");
  }

  /** Resumes those who wait until the document is as the server had it when the connection came back. */
  #caughtUp(): void {
    if (this.connectionState.state !== "online" || this.notebook.event < this.#last) return;
    for (const resolve of this.#catchingUp.splice(0)) resolve();
  }

  #store(): void {
    this.#storing ??= setTimeout(() => {
      this.#storing = null;
      this.around.store(this.edits.kept());
    }, 200);
  }
}
