//! The page of one notebook: header, toolbar, notices and cells, and the actions of keys and buttons.

import { CellView, type CellHost } from "../cells/cell";
import type { EditorHost } from "../editor/editor";
import { highlight } from "../editor/languages";
import type { Context } from "../outputs/markdown";
import type { Macros } from "../outputs/math";
import { renderOutput } from "../outputs/output";
import type { Cell, CellType, JsonObject } from "../protocol";
import { DraftStore } from "../state/kept";
import { merged, shownIn } from "../state/merge";
import type { Event } from "../state/notebook";
import { copyOf, type CellCopy, Session } from "../state/session";
import { base, encodePath, fileName, folderOf, join, url } from "../transport/base";
import { Connection } from "../transport/connection";
import { diagnose, documentSocket } from "../transport/document";
import * as rest from "../transport/rest";
import { followAnchor } from "./anchors";
import { logout } from "./logout";
import { announce, ask, askText, menu, nameProblem, toast } from "./dialog";
import { button, fill, h, icon } from "../dom";
import { KERNEL_WORDS, kernelPicker, Notices, saveWords } from "./status";
import { type Action, ALWAYS, combination, COMMAND, EDIT, help, Keys } from "./shortcuts";
import { type ToolbarActions, toolbar } from "./tools";

const CLIPBOARD = "paster:clipboard";
const LINE_NUMBERS = "paster:line-numbers";
/** How many editors stay after their cell lost the focus. */
const EDITORS_KEPT = 12;

export class NotebookPage implements CellHost {
  readonly #session: Session;
  readonly #views = new Map<string, CellView>();
  readonly #cells = h("div", { class: "cells" });
  readonly #end = h("div", { class: "add-row", hidden: true });
  readonly #loading = h("p", { class: "placeholder loading" }, "Opening the notebook …");
  readonly #title = button("Rename", () => void this.#rename(), { class: "title" });
  readonly #home = h("a", { class: "home", title: "All notebooks" }, icon("notebook"), h("span", { class: "visually-hidden" }, "All notebooks"));
  readonly #save = h("span", { class: "save-state", role: "status" });
  readonly #queue = h("span", { class: "queue" });
  readonly #kernel = button("Kernel", () => void this.#pickKernel(), { class: "kernel" });
  readonly #kind = h("select", { "aria-label": "Cell type" }, h("option", { value: "code" }, "Code"), h("option", { value: "markdown" }, "Markdown"), h("option", { value: "raw" }, "Raw"));
  readonly #notices = new Notices();
  readonly #macros: Macros = {};
  readonly #keys = { always: new Keys(ALWAYS), edit: new Keys(EDIT), command: new Keys(COMMAND) };
  #editors: string[] = [];
  #selected: string | null = null;
  #anchor: string | null = null;
  #editing = false;
  #numbered = stored(LINE_NUMBERS) === "1";
  #clipboard: CellCopy[] = [];

  constructor(path: string) {
    const draftStore = new DraftStore(new URL(encodePath(path), base()).pathname);
    this.#session = new Session(path, {
      connection: (listener) => new Connection((resume) => documentSocket(this.#session.notebook.path, resume), listener, (tries) => diagnose(this.#session.notebook.path, tries)),
      take: () => draftStore.take(),
      store: (drafts) => draftStore.store(drafts),
      report: (message) => toast(message),
      newId: () => crypto.getRandomValues(new Uint32Array(2)).reduce((id, part) => id + part.toString(16).padStart(8, "0"), ""),
    });
    this.#session.notebook.listen((event) => this.#show(event));
  }

  /** Shows the page in `body` and connects. */
  open(body: HTMLElement): void {
    fill(
      this.#end,
      button("Add a code cell", () => this.#insert(this.#session.notebook.cells.length, "code", true), { icon: "add", text: "Code", class: "button" }),
      button("Add a Markdown cell", () => this.#insert(this.#session.notebook.cells.length, "markdown", true), { icon: "add", text: "Markdown", class: "button" }),
    );
    body.append(
      h("a", { class: "skip", href: `${location.pathname}#cells` }, "Skip to the cells"),
      h("header", { class: "top" }, h("div", { class: "bar" }, this.#home, h("h1", {}, this.#title), this.#save), this.#toolbar()),
      h("main", { id: "cells", tabindex: -1 }, this.#notices.element, this.#cells, this.#end),
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    this.#kind.addEventListener("change", () => this.#setType(this.#kind.value as CellType));
    document.addEventListener("keydown", (event) => this.#captured(event), true);
    document.addEventListener("keydown", (event) => this.#pressed(event));
    this.#cells.addEventListener("click", (event) => followAnchor(event));
    addEventListener("pagehide", () => this.#session.leave());
    addEventListener("beforeunload", (event) => {
      if (this.#session.unsent) event.preventDefault();
    });
    addEventListener("online", () => this.#session.connection.start());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#session.connection.start();
    });
    this.#showPath();
    fill(this.#cells, this.#loading);
    this.#session.start();
  }

  // What cells need.

  context(cell: Cell): Context {
    const folder = folderOf(this.#session.notebook.path);
    return {
      file: (path) => {
        // Links in a text are already encoded. The browser resolves `..` below the root of the files.
        const root = url("files/");
        const target = new URL(path, new URL(folder === "" ? "" : `${encodePath(folder)}/`, root));
        return target.href.startsWith(root.href) ? target.href : root.href;
      },
      attachments: cell.attachments,
      macros: this.#macros,
      highlight: (code, language) => highlight(code, language),
    };
  }

  language(): string {
    const info = this.#session.notebook.metadata["language_info"];
    const said = typeof info === "object" && info !== null ? (info as JsonObject)["name"] : null;
    return this.#session.notebook.kernel.language ?? (typeof said === "string" ? said : "python");
  }

  lineNumbers(): boolean {
    return this.#numbered;
  }

  writable(): boolean {
    return this.#session.notebook.writable;
  }

  fresh(id: string): boolean {
    return this.#session.notebook.fresh.has(id);
  }

  started(id: string): number | undefined {
    return this.#session.notebook.started.get(id);
  }

  elapsed(id: string): number | undefined {
    return this.#session.notebook.elapsed.get(id);
  }

  owner(id: string): EditorHost {
    const code = this.#session.notebook.cell(id)?.cell_type === "code";
    return {
      changed: (text) => this.#session.edit(id, text),
      leave: (direction) => {
        const next = this.#session.notebook.cells[this.#session.notebook.index(id) + direction];
        if (next === undefined) return false;
        if (next.cell_type === "markdown" && this.#views.get(next.id)?.view === null) this.#select(next.id);
        else this.#views.get(next.id)?.edit(direction > 0 ? "start" : "end");
        return true;
      },
      complete: code ? (text, cursor) => this.#session.complete(text, cursor) : null,
      inspect: code ? (text, cursor, detail) => this.#inspect(id, text, cursor, detail) : null,
    };
  }

  select(id: string, edit: boolean, extend: boolean): void {
    if ((!extend && id !== this.#selected) || this.#anchor === null) this.#anchor = id;
    this.#selected = id;
    this.#editing = edit;
    this.#showSelection();
  }

  run(id: string): void {
    this.#views.get(id)?.rest();
    void this.#session.run([id]);
  }

  interrupt(): void {
    void this.#session.interrupt();
  }

  setMetadata(id: string, metadata: JsonObject): void {
    void this.#session.setMetadata(id, metadata);
  }

  menu(id: string, anchor: HTMLElement): void {
    const { notebook } = this.#session;
    const code = notebook.cell(id)?.cell_type === "code";
    this.#anchor = id;
    this.select(id, false, false);
    menu(anchor, "Actions for this cell", [
      { label: "Move up", keys: "Alt+Up", run: () => this.#move(id, -1) },
      { label: "Move down", keys: "Alt+Down", run: () => this.#move(id, 1) },
      { label: "Insert a cell below", keys: "B", run: () => void this.#insert(notebook.index(id) + 1, "code", true) },
      ...(code
        ? [
            { label: "Hide or show the output", keys: "O", run: () => this.#act("toggle_output") },
            { label: "Clear the output", keys: "Shift+X", run: () => this.#act("clear_output") },
          ]
        : []),
      "line",
      { label: "Delete", keys: "D, D", danger: true, run: () => this.#remove([id]) },
    ]);
  }

  decide(id: string, keep: "mine" | "theirs"): void {
    this.#session.edits.decide(id, keep);
    this.#views.get(id)?.showClash(this.#session.edits.drafts.get(id)?.theirs ?? null);
  }

  editorMade(id: string): void {
    this.#editors = [...this.#editors.filter((one) => one !== id), id];
    while (this.#editors.length > EDITORS_KEPT) this.#views.get(this.#editors.shift() ?? "")?.rest();
  }

  // Rendering.

  #show(event: Event): void {
    const { notebook } = this.#session;
    switch (event.type) {
      case "all":
        this.#showAll();
        break;
      case "order":
        this.#showOrder();
        this.#showStatus();
        break;
      case "source":
        this.#views.get(event.id)?.showSource();
        break;
      case "draft":
        this.#views.get(event.id)?.showClash(this.#session.edits.drafts.get(event.id)?.theirs ?? null);
        break;
      case "kind": {
        const cell = notebook.cell(event.id);
        if (cell !== undefined) this.#views.get(event.id)?.replace(cell);
        this.#showOrder();
        break;
      }
      case "metadata":
        this.#views.get(event.id)?.showMetadata();
        break;
      case "outputs":
        this.#refresh(event.id);
        this.#views.get(event.id)?.showOutputs();
        break;
      case "output":
        this.#views.get(event.id)?.showOutput(event.index);
        break;
      case "text":
        this.#views.get(event.id)?.appendText(event.index, event.text);
        break;
      case "state": {
        this.#views.get(event.id)?.showState();
        const cell = notebook.cell(event.id);
        if (cell?.state === "idle") announce(cell.outputs.some((output) => output.output_type === "error") ? "The cell ended with an error" : "The cell has finished");
        this.#showStatus();
        break;
      }
      case "input":
        this.#showQuestion();
        break;
      case "path":
        this.#showPath();
        break;
      case "kernel":
      case "save":
      case "conflict":
      case "link":
        this.#showStatus();
        break;
    }
  }

  /** A cell's model may be another object after the server's copy came. */
  #refresh(id: string): void {
    const cell = this.#session.notebook.cell(id);
    if (cell !== undefined) this.#views.get(id)?.adopt(cell);
  }

  #showAll(): void {
    const { cells } = this.#session.notebook;
    this.#loading.remove();
    this.#end.hidden = false;
    for (const cell of cells) this.#views.get(cell.id)?.replace(cell);
    this.#showOrder();
    const first = cells[0];
    if (this.#selected === null && first !== undefined) {
      this.#select(first.id);
      if (cells.length === 1 && first.source === "" && first.cell_type === "code") this.#views.get(first.id)?.edit();
    }
    for (const cell of cells) this.#views.get(cell.id)?.showClash(this.#session.edits.drafts.get(cell.id)?.theirs ?? null);
    this.#showPath();
    this.#showStatus();
    this.#showQuestion();
  }

  #showOrder(): void {
    const { cells } = this.#session.notebook;
    const ids = new Set(cells.map((cell) => cell.id));
    let lostFocus = false;
    for (const [id, view] of this.#views) {
      if (ids.has(id)) continue;
      lostFocus ||= view.element.contains(document.activeElement);
      view.destroy();
      this.#views.delete(id);
    }
    cells.forEach((cell, i) => {
      let view = this.#views.get(cell.id);
      if (view === undefined) {
        view = new CellView(cell, this);
        this.#views.set(cell.id, view);
      }
      view.number(i, cells.length);
      const present = this.#cells.children[i];
      if (present !== view.element) this.#cells.insertBefore(view.element, present ?? null);
    });
    if (this.#selected !== null && !ids.has(this.#selected)) this.#selected = this.#anchor = null;
    if (lostFocus && this.#selected === null) {
      const last = cells.at(-1);
      if (last !== undefined) this.#select(last.id);
    }
    this.#showSelection();
  }

  #showSelection(): void {
    const among = new Set(this.#selection());
    for (const [id, view] of this.#views) view.selected(id === this.#selected, among.size > 1 && among.has(id), this.#editing);
    const cell = this.#selected === null ? undefined : this.#session.notebook.cell(this.#selected);
    if (cell !== undefined) this.#kind.value = cell.cell_type;
  }

  #showPath(): void {
    const { path } = this.#session.notebook;
    const name = fileName(path);
    this.#title.textContent = name.replace(/\.ipynb$/, "");
    this.#title.removeAttribute("aria-label");
    this.#title.title = `${path}: rename`;
    const folder = folderOf(path);
    this.#home.href = folder === "" ? base().href : url("tree", folder).href;
    const here = url("notebooks", path);
    if (location.pathname !== here.pathname) history.replaceState(null, "", here.pathname + location.hash);
    this.#showStatus();
  }

  #showStatus(): void {
    const { notebook, connectionState } = this.#session;
    const { kernel } = notebook;
    const [words, kind] = saveWords(this.#session);
    this.#loading.textContent = connectionState.state === "offline" && connectionState.message !== "" ? "The notebook could not be opened." : "Opening the notebook …";
    if (this.#save.textContent !== words) this.#save.textContent = words;
    this.#save.dataset["kind"] = kind;
    this.#save.title = notebook.saving.lastModified === "" ? "" : `Last written ${new Date(notebook.saving.lastModified).toLocaleString()}`;
    const state = connectionState.state === "online" ? kernel.state : null;
    this.#kernel.dataset["state"] = state ?? "unknown";
    this.#kernel.removeAttribute("aria-label");
    fill(this.#kernel, h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "visually-hidden" }, "Kernel: "), h("span", { class: "kernel-name" }, kernel.display_name ?? kernel.name ?? "No kernel"), h("span", { class: "kernel-state" }, state === null ? "Not connected" : KERNEL_WORDS[state]));
    this.#kernel.title = kernel.message ?? "Choose a kernel";
    const running = notebook.running();
    const queued = notebook.queued().length;
    if (running === undefined && queued === 0) fill(this.#queue);
    else {
      const at = running === undefined ? null : notebook.index(running.id) + 1;
      const words = [at === null ? null : `Running cell ${at}`, queued > 0 ? `${queued} waiting` : null].filter(Boolean).join(", ");
      fill(this.#queue, button(`${words}: go there`, () => running !== undefined && this.#select(running.id), { text: words, class: "link" }));
    }
    document.title = `${running === undefined ? "" : "● "}${fileName(notebook.path).replace(/\.ipynb$/, "")}`;
    this.#notices.show(this.#session, {
      retry: () => this.#session.connection.start(),
      pick: () => void this.#pickKernel(),
      restart: () => void this.#session.restart(false),
      resolve: (keep) => void this.#session.resolveConflict(keep),
    });
  }

  #showQuestion(): void {
    const { input, cells } = this.#session.notebook;
    const id = input?.cell_id ?? this.#session.notebook.running()?.id ?? cells[0]?.id;
    for (const [one, view] of this.#views) {
      view.showQuestion(one === id ? input : null, (value) => {
        void this.#session.answer(value);
        view.element.focus();
      });
    }
    if (input !== null) announce(`The program asks: ${input.prompt}`);
  }

  // Actions.

  #toolbar(): HTMLElement {
    const actions: ToolbarActions = {
      act: (action) => this.#act(action),
      runAll: () => void this.#runAll(),
      runAbove: () => void this.#runRange(0, this.#place()),
      runBelow: () => void this.#runRange(this.#place(), this.#session.notebook.cells.length),
      restartAndRunAll: () => void this.#restart(true),
      shutdown: () => void this.#session.shutdownKernel(),
      clearAll: () => this.#session.clearOutputs(null),
      rename: () => void this.#rename(),
      download: () => void this.#download(),
      logout: () => void this.#logout(),
    };
    return toolbar(actions, { kind: this.#kind, state: [this.#queue, this.#kernel] });
  }

  /** Keys that the editor must not receive first. */
  #captured(event: KeyboardEvent): void {
    if (!this.#listens(event)) return;
    const keys = combination(event);
    const inEditor = isEditor(event.target);
    // Enter on a button presses it.
    if (!inEditor && keys === "Enter") return;
    const action = this.#keys.always.press(keys) ?? (inEditor && keys !== "Escape" ? this.#keys.edit.press(keys) : null);
    if (action === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.#act(action);
  }

  #pressed(event: KeyboardEvent): void {
    if (event.defaultPrevented || !this.#listens(event)) return;
    const keys = combination(event);
    if (isEditor(event.target)) {
      if (keys === "Escape") {
        event.preventDefault();
        this.#act("to_command");
      }
      return;
    }
    if (event.target instanceof Element && event.target.closest("button, a, summary, [tabindex='0']:not(.cell)") !== null && /^(?:Enter| |Arrow|Shift\+Arrow)/.test(keys)) return;
    const action = this.#keys.command.press(keys);
    if (action === null) return;
    event.preventDefault();
    this.#act(action);
  }

  #listens(event: KeyboardEvent): boolean {
    return !event.isComposing && !(event.target instanceof Element && event.target.closest("dialog, input, select, textarea, .menu, .cm-panel, .cm-tooltip") !== null);
  }

  #act(action: Action): void {
    const { notebook, loaded } = this.#session;
    // A cell inserted now would be added to whatever the file contains later.
    if (!loaded && action !== "help") return;
    const place = this.#place();
    const selection = this.#selection();
    switch (action) {
      case "run_advance": {
        this.#runSelection();
        const next = notebook.cells[Math.max(...selection.map((id) => notebook.index(id)), place) + 1];
        if (next === undefined) this.#insert(notebook.cells.length, "code", true);
        else this.#select(next.id);
        break;
      }
      case "run_stay":
        this.#runSelection();
        if (this.#selected !== null) this.#select(this.#selected);
        break;
      case "run_insert":
        this.#runSelection();
        this.#insert(place + 1, "code", true);
        break;
      case "save":
        void this.#session.save().then(() => announce("Saved"));
        break;
      case "to_command":
        if (this.#selected !== null) this.#select(this.#selected);
        break;
      case "edit":
        if (this.#selected !== null) this.#views.get(this.#selected)?.edit();
        break;
      case "up":
      case "down":
      case "extend_up":
      case "extend_down": {
        const next = notebook.cells[place + (action.endsWith("up") ? -1 : 1)];
        if (next !== undefined) this.#select(next.id, action.startsWith("extend"));
        break;
      }
      case "select_all": {
        const first = notebook.cells[0];
        const last = notebook.cells.at(-1);
        if (first === undefined || last === undefined) break;
        this.#select(first.id);
        this.#select(last.id, true);
        break;
      }
      case "first":
      case "last": {
        const cell = notebook.cells.at(action === "first" ? 0 : -1);
        if (cell !== undefined) this.#select(cell.id);
        break;
      }
      case "above":
        this.#insert(Math.max(0, place), "code", false);
        break;
      case "below":
        this.#insert(place + 1, "code", false);
        break;
      case "delete":
        this.#remove(selection);
        break;
      case "undo_delete": {
        const id = this.#session.undoDelete();
        if (id !== null) this.#select(id);
        else toast("There is no deletion to undo.");
        break;
      }
      case "cut":
        this.#copy(selection);
        this.#remove(selection);
        break;
      case "copy":
        this.#copy(selection);
        break;
      case "paste_above":
      case "paste_below":
        this.#paste(action === "paste_above" ? Math.max(0, place) : place + 1);
        break;
      case "merge":
        this.#merge(selection);
        break;
      case "split":
        this.#split();
        break;
      case "code":
      case "markdown":
      case "raw":
        this.#setType(action);
        break;
      case "heading_1":
      case "heading_2":
      case "heading_3":
        this.#heading(Number(action.at(-1)));
        break;
      case "move_up":
      case "move_down":
        if (this.#selected !== null) this.#move(this.#selected, action === "move_up" ? -1 : 1);
        break;
      case "toggle_output":
        for (const id of selection) this.#views.get(id)?.toggleOutputs();
        break;
      case "toggle_scroll":
        for (const id of selection) this.#views.get(id)?.toggleScroll();
        break;
      case "toggle_source":
        for (const id of selection) this.#views.get(id)?.toggleSource();
        break;
      case "clear_output":
        this.#session.clearOutputs(selection);
        break;
      case "interrupt":
        this.interrupt();
        break;
      case "restart":
        void this.#restart(false);
        break;
      case "line_numbers":
        this.#numbered = !this.#numbered;
        store(LINE_NUMBERS, this.#numbered ? "1" : "0");
        for (const view of this.#views.values()) view.lineNumbers();
        break;
      case "help":
        void help();
        break;
    }
  }

  #place(): number {
    return this.#selected === null ? this.#session.notebook.cells.length - 1 : this.#session.notebook.index(this.#selected);
  }

  /** The selected cells, top to bottom. */
  #selection(): string[] {
    if (this.#selected === null) return [];
    const { notebook } = this.#session;
    const at = notebook.index(this.#selected);
    const from = this.#anchor === null ? at : notebook.index(this.#anchor);
    if (from < 0) return [this.#selected];
    return notebook.cells.slice(Math.min(at, from), Math.max(at, from) + 1).map((cell) => cell.id);
  }

  /** Selects a cell as a whole. */
  #select(id: string, extend = false): void {
    if (!extend) this.#anchor = id;
    this.select(id, false, extend);
    const element = this.#views.get(id)?.element;
    element?.focus({ preventScroll: true });
    element?.scrollIntoView({ block: "nearest" });
  }

  #insert(index: number, kind: CellType, edit: boolean, source = "", copy: Partial<CellCopy> = {}): string {
    const id = this.#session.insert(index, kind, source, copy);
    if (edit) {
      this.#views.get(id)?.edit();
      this.#views.get(id)?.element.scrollIntoView({ block: "nearest" });
    } else this.#select(id);
    return id;
  }

  #move(id: string, by: number): void {
    this.#session.move(id, this.#session.notebook.index(id) + by);
    this.#views.get(id)?.element.focus();
  }

  #remove(ids: string[]): void {
    if (ids.length === 0) return;
    const { notebook } = this.#session;
    const at = Math.min(...ids.map((id) => notebook.index(id)));
    this.#session.remove(ids);
    if (notebook.cells.length === 0) this.#session.insert(0, "code");
    const next = notebook.cells[Math.min(at, notebook.cells.length - 1)];
    if (next !== undefined) this.#select(next.id);
    toast(ids.length === 1 ? "Cell deleted." : `${ids.length} cells deleted.`, { label: "Undo", run: () => this.#act("undo_delete") });
  }

  #copy(ids: string[]): void {
    this.#clipboard = ids.map((id) => this.#session.notebook.cell(id)).filter((cell) => cell !== undefined).map(copyOf);
    const text = JSON.stringify(this.#clipboard);
    if (text.length < 2_000_000) store(CLIPBOARD, text);
    announce(ids.length === 1 ? "Cell copied" : `${ids.length} cells copied`);
  }

  #paste(index: number): void {
    let copies = this.#clipboard;
    if (copies.length === 0) {
      try {
        copies = JSON.parse(stored(CLIPBOARD) ?? "[]") as CellCopy[];
      } catch {
        copies = [];
      }
    }
    if (copies.length === 0) toast("Nothing has been copied yet.");
    let last: string | null = null;
    copies.forEach((copy, i) => (last = this.#session.insert(index + i, copy.cell_type, copy.source, structuredClone(copy))));
    if (last !== null) this.#select(last);
  }

  #merge(ids: string[]): void {
    const { notebook } = this.#session;
    const from = ids.length > 1 ? ids : ids.concat(notebook.cells[notebook.index(ids[0] ?? "") + 1]?.id ?? []);
    const [first, ...rest] = from;
    if (first === undefined || rest.length === 0) return;
    const { source, attachments } = merged(from.map((id) => notebook.cell(id)).filter((cell) => cell !== undefined));
    this.#session.setAttachments(first, attachments);
    this.#session.edit(first, source);
    this.#views.get(first)?.showSource();
    this.#session.remove(rest);
    this.#select(first);
  }

  #split(): void {
    const id = this.#selected;
    const view = id === null ? undefined : this.#views.get(id);
    const cell = id === null ? undefined : this.#session.notebook.cell(id);
    if (id === null || cell === undefined || view?.view == null) return;
    const at = view.view.state.selection.main.head;
    const [before, after] = [cell.source.slice(0, at).replace(/\n$/, ""), cell.source.slice(at).replace(/^\n/, "")];
    this.#session.edit(id, before);
    view.showSource();
    this.#insert(this.#session.notebook.index(id) + 1, cell.cell_type, true, after, { attachments: shownIn(after, cell.attachments) });
  }

  #setType(kind: CellType): void {
    for (const id of this.#selection()) void this.#session.setType(id, kind);
    if (this.#selected !== null) this.#select(this.#selected);
  }

  #heading(level: number): void {
    const id = this.#selected;
    const cell = id === null ? undefined : this.#session.notebook.cell(id);
    if (id === null || cell === undefined) return;
    this.#session.edit(id, `${"#".repeat(level)} ${cell.source.replace(/^#+\s*/, "")}`);
    this.#views.get(id)?.showSource();
    void this.#session.setType(id, "markdown");
  }

  #runSelection(): void {
    const { notebook } = this.#session;
    const code: string[] = [];
    for (const id of this.#selection()) {
      if (notebook.cell(id)?.cell_type === "code") code.push(id);
      else this.#views.get(id)?.closeEditor();
    }
    if (code.length > 0) void this.#session.run(code);
  }

  async #runRange(from: number, to: number): Promise<void> {
    await this.#session.run(this.#session.notebook.cells.slice(from, to).filter((cell) => cell.cell_type === "code").map((cell) => cell.id));
  }

  async #runAll(): Promise<void> {
    for (const view of this.#views.values()) if (this.#session.notebook.cell(view.id)?.cell_type === "markdown") view.closeEditor();
    await this.#session.runAll();
  }

  async #restart(runAll: boolean): Promise<void> {
    const { kernel } = this.#session.notebook;
    if (kernel.state !== "none" && kernel.state !== "dead") {
      const yes = await ask("Restart the kernel?", [h("p", {}, "All variables are lost. Cells and outputs stay.")], [
        { label: "Cancel", value: false },
        { label: runAll ? "Restart and run all" : "Restart", value: true, kind: "danger" },
      ]);
      if (yes !== true) return;
    }
    await this.#session.restart(runAll);
  }

  async #inspect(id: string, text: string, cursor: number, detail: 0 | 1): Promise<Node | null> {
    const data = await this.#session.inspect(text, cursor, detail);
    const cell = this.#session.notebook.cell(id);
    if (data === null || cell === undefined || Object.keys(data).length === 0) return null;
    const plain = "text/plain" in data ? { "text/plain": data["text/plain"] } : data;
    return renderOutput({ output_type: "display_data", data: plain, metadata: {} }, false, this.context(cell)).element;
  }

  async #pickKernel(): Promise<void> {
    const name = await kernelPicker(this.#session.notebook.kernel);
    if (name !== null) await this.#session.startKernel(name);
  }

  async #rename(): Promise<void> {
    const { path } = this.#session.notebook;
    const name = await askText("Rename the notebook", "Name", fileName(path), "Rename", nameProblem);
    if (name === null) return;
    const to = join(folderOf(path), name.endsWith(".ipynb") ? name : `${name}.ipynb`);
    if (to === path) return;
    try {
      await this.#session.edits.settleAll();
      await rest.rename(path, to);
      this.#session.notebook.path = to;
      this.#showPath();
    } catch (error) {
      toast(`It could not be renamed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #logout(): Promise<void> {
    // After the logout, the last typed text could not be sent any more.
    if (this.#session.connectionState.state === "online") await this.#session.edits.settleAll();
    await logout();
  }

  async #download(): Promise<void> {
    await this.#session.save();
    const link = h("a", { href: rest.fileUrl(this.#session.notebook.path, true), download: fileName(this.#session.notebook.path) });
    link.click();
  }
}

function isEditor(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(".cm-content") !== null;
}

function stored(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Full or disabled: the choice applies until the page is left.
  }
}
