//! The page of one notebook: puts the header, the toolbar, the notices and the cells together, and shows what changes.

import type { CellHost } from "../cells/cell";
import { button, fill, h } from "../dom";
import type { EditorHost } from "../editor/editor";
import { highlight } from "../editor/languages";
import { bokehLibrary } from "../outputs/bokeh";
import type { Context } from "../outputs/markdown";
import type { Macros } from "../outputs/math";
import { renderOutput } from "../outputs/output";
import type { Cell, CellType, JsonObject } from "../protocol";
import { DraftStore } from "../state/kept";
import type { Event } from "../state/notebook";
import { Session } from "../state/session";
import { type Heading, isCollapsed } from "../state/outline";
import { base, encodePath, folderOf, url } from "../transport/base";
import { Connection } from "../transport/connection";
import { diagnose, documentSocket } from "../transport/document";
import { Actions } from "./actions";
import { listen } from "../state/settings";
import { FindPanel } from "./find";
import { followAnchor } from "./anchors";
import { CellList } from "./cells";
import { CommentPanel } from "./comments";
import { ContentsPanel } from "./contents";
import { announce, menu, toast } from "./dialog";
import { Header } from "./header";
import { listenToKeys } from "./keyboard";
import { Notices } from "./status";
import { CellOperations } from "./structure";
import { toolbar } from "./tools";
import { Transfer } from "./transfer";
import { VariablesPanel } from "./variables";

/** The state of widgets that a file keeps in its metadata. */
function savedWidgets(metadata: JsonObject): JsonObject | null {
  const kept = (metadata["widgets"] as JsonObject | undefined)?.["application/vnd.jupyter.widget-state+json"];
  return typeof kept === "object" && kept !== null ? (kept as JsonObject) : null;
}

export class NotebookPage implements CellHost {
  readonly #session: Session;
  readonly #cells: CellList;
  readonly #operations: CellOperations;
  readonly #transfer: Transfer;
  readonly #find: FindPanel;
  readonly #contents: ContentsPanel;
  readonly #variables: VariablesPanel;
  readonly #actions: Actions;
  readonly #header: Header;
  readonly #end = h("div", { class: "add-row", hidden: true });
  readonly #loading = h("p", { class: "placeholder loading" }, "Opening the notebook …");
  readonly #kind = h("select", { "aria-label": "Cell type" }, h("option", { value: "code" }, "Code"), h("option", { value: "markdown" }, "Markdown"), h("option", { value: "raw" }, "Raw"));
  readonly #notices = new Notices();
  readonly #comments = new CommentPanel({
    path: () => this.#session.notebook.path,
    may: (level) => this.#session.notebook.may(level),
    quote: (id) => this.#session.notebook.cell(id)?.source ?? null,
    select: (id) => this.#cells.select(id),
    counted: (counts) => this.#showComments(counts),
  });
  #commentCounts: ReadonlyMap<string, number> = new Map();
  readonly #macros: Macros = {};

  constructor(path: string) {
    const draftStore = new DraftStore(new URL(encodePath(path), base()).pathname);
    this.#session = new Session(path, {
      connection: (listener) => new Connection((resume) => documentSocket(this.#session.notebook.path, resume), listener, (tries) => diagnose(this.#session.notebook.path, tries)),
      take: () => draftStore.take(),
      store: (drafts) => draftStore.store(drafts),
      report: (message) => toast(message),
      newId: () => crypto.getRandomValues(new Uint32Array(2)).reduce((id, part) => id + part.toString(16).padStart(8, "0"), ""),
    });
    this.#cells = new CellList(this.#session.notebook, this, (cell) => (this.#kind.value = cell.cell_type));
    this.#operations = new CellOperations(this.#session, this.#cells);
    this.#transfer = new Transfer(this.#session, this.#cells, this.#operations);
    this.#find = new FindPanel(this.#session, this.#cells);
    this.#variables = new VariablesPanel(this.#session);
    this.#contents = new ContentsPanel(this.#session.notebook, (heading) => this.#goTo(heading));
    this.#actions = new Actions(this.#session, this.#cells, this.#operations, { find: this.#find, contents: this.#contents, variables: this.#variables, comments: this.#comments });
    this.#header = new Header(this.#session, {
      rename: () => void this.#actions.rename(),
      pickKernel: () => void this.#actions.pickKernel(),
      select: (id) => this.#cells.select(id),
      cancel: (ids) => void this.#session.cancel(ids),
    });
    this.#session.notebook.listen((event) => this.#show(event));
  }

  /** Shows the page in `body` and connects. */
  open(body: HTMLElement): void {
    fill(
      this.#end,
      button("Add a code cell", () => this.#operations.insert(this.#session.notebook.cells.length, "code", true), { icon: "add", text: "Code", class: "button" }),
      button("Add a Markdown cell", () => this.#operations.insert(this.#session.notebook.cells.length, "markdown", true), { icon: "add", text: "Markdown", class: "button" }),
    );
    const top = h("header", { class: "top" }, this.#header.bar, toolbar((action) => this.#actions.act(action), { kind: this.#kind, state: this.#header.state }), this.#find.element);
    // Its height changes with the width of the page, and with the search.
    new ResizeObserver(() => document.documentElement.style.setProperty("--head", `${top.offsetHeight}px`)).observe(top);
    body.append(
      h("a", { class: "skip", href: `${location.pathname}#cells` }, "Skip to the cells"),
      top,
      this.#contents.element,
      this.#variables.element,
      h("main", { id: "cells", tabindex: -1 }, this.#notices.element, this.#cells.element, this.#end),
      this.#comments.element,
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    this.#kind.addEventListener("change", () => this.#operations.setType(this.#kind.value as CellType));
    listenToKeys((action) => this.#actions.act(action));
    this.#transfer.listen();
    listen(() => {
      for (const view of this.#cells.views()) view.showSettings();
      this.#find.refresh();
    });
    this.#cells.element.addEventListener("click", (event) => {
      if (event.target instanceof Element && event.target.closest("a[data-anchor]") !== null) this.#cells.fillAll();
      followAnchor(event);
    });
    addEventListener("beforeprint", () => this.#cells.fillAll());
    addEventListener("pagehide", () => this.#session.leave());
    addEventListener("beforeunload", (event) => {
      if (this.#session.unsent) event.preventDefault();
    });
    addEventListener("online", () => this.#session.connection.start());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#session.connection.start();
    });
    this.#showPath();
    fill(this.#cells.element, this.#loading);
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
      widgets: { comms: this.#session.comms, saved: () => savedWidgets(this.#session.notebook.metadata) },
      macros: this.#macros,
      bokeh: () => bokehLibrary(this.#session.notebook.cells),
      highlight: (code, language) => highlight(code, language),
    };
  }

  language(): string {
    const info = this.#session.notebook.metadata["language_info"];
    const said = typeof info === "object" && info !== null ? (info as JsonObject)["name"] : null;
    return this.#session.notebook.kernel.language ?? (typeof said === "string" ? said : "python");
  }

  writable(): boolean {
    return this.#session.notebook.writable && this.#session.notebook.may("edit");
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

  ended(id: string): Date | undefined {
    return this.#session.notebook.ended.get(id);
  }

  cancel(id: string): void {
    void this.#session.cancel([id]);
  }

  fold(id: string): void {
    const cell = this.#session.notebook.cell(id);
    if (cell !== undefined) this.#operations.collapse([id], !isCollapsed(cell));
  }

  owner(id: string): EditorHost {
    const code = this.#session.notebook.cell(id)?.cell_type === "code";
    return {
      changed: (text, how) => this.#session.edit(id, text, how),
      cursor: (at) => this.#session.people.move(at === null ? null : { cell_id: id, ...at }),
      leave: (direction) => {
        const next = this.#cells.neighbor(this.#session.notebook.index(id), direction);
        if (next === undefined) return false;
        if (next.cell_type === "markdown" && this.#cells.view(next.id)?.view === null) this.#cells.select(next.id);
        else this.#cells.view(next.id)?.edit(direction > 0 ? "start" : "end");
        return true;
      },
      complete: code ? (text, cursor) => this.#session.complete(text, cursor) : null,
      inspect: code ? (text, cursor, detail) => this.#inspect(id, text, cursor, detail) : null,
      attach: this.#session.notebook.cell(id)?.cell_type === "markdown" ? (files) => this.#transfer.attach(id, files) : null,
    };
  }

  select(id: string, edit: boolean, extend: boolean): void {
    this.#cells.mark(id, edit, extend);
  }

  run(id: string): void {
    this.#cells.view(id)?.rest();
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
    this.#cells.markOnly(id);
    menu(anchor, "Actions for this cell", [
      { label: "Move up", keys: "Alt+Up", run: () => this.#operations.move(id, -1) },
      { label: "Move down", keys: "Alt+Down", run: () => this.#operations.move(id, 1) },
      { label: "Cut", keys: "X", run: () => this.#actions.act("cut") },
      { label: "Copy", keys: "C", run: () => this.#actions.act("copy") },
      { label: "Paste below", keys: "V", run: () => this.#actions.act("paste_below") },
      { label: "Insert a cell below", keys: "B", run: () => this.#operations.insert(notebook.index(id) + 1, "code", true) },
      ...(code
        ? [
            { label: "Hide or show the output", keys: "O", run: () => this.#actions.act("toggle_output") },
            { label: "Copy the output", run: () => this.#actions.act("copy_output") },
            { label: "Clear the output", keys: "Shift+X", run: () => this.#actions.act("clear_output") },
          ]
        : []),
      ...(notebook.may("comment") ? [{ label: "Comment …", run: () => this.#comments.begin(id) }] : []),
      "line",
      { label: "Duplicate", run: () => this.#operations.duplicate([id]) },
      { label: "Delete", keys: "D, D", danger: true, run: () => this.#operations.remove([id]) },
    ]);
  }

  decide(id: string, keep: "mine" | "theirs"): void {
    this.#session.edits.decide(id, keep);
    this.#showClash(id);
  }

  editorMade(id: string): void {
    this.#cells.editorMade(id);
    this.#find.refresh();
    this.#showPeople();
  }

  // Rendering.

  #show(event: Event): void {
    const { notebook } = this.#session;
    if (event.type !== "text" && event.type !== "output" && event.type !== "people") this.#cells.refresh();
    switch (event.type) {
      case "all":
        this.#showAll();
        break;
      case "order":
        this.#cells.showOrder();
        this.#showComments(this.#commentCounts);
        this.#showStatus();
        break;
      case "source":
        this.#cells.view(event.id)?.showSource();
        break;
      case "draft":
        this.#showClash(event.id);
        break;
      case "kind": {
        const cell = notebook.cell(event.id);
        if (cell !== undefined) this.#cells.view(event.id)?.replace(cell);
        this.#cells.showOrder();
        break;
      }
      case "metadata":
        this.#cells.view(event.id)?.showMetadata();
        break;
      case "outputs":
        this.#refresh(event.id);
        this.#cells.view(event.id)?.showOutputs();
        break;
      case "output":
        this.#cells.view(event.id)?.showOutput(event.index);
        break;
      case "text":
        this.#cells.view(event.id)?.appendText(event.index, event.text);
        break;
      case "state": {
        this.#cells.view(event.id)?.showState();
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
      case "people":
        this.#header.showPeople();
        this.#showPeople();
        break;
      case "comments":
        void this.#comments.load();
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
    if (cell !== undefined) this.#cells.view(id)?.adopt(cell);
  }

  #showAll(): void {
    this.#loading.remove();
    this.#end.hidden = false;
    this.#cells.showAll();
    for (const cell of this.#session.notebook.cells) this.#showClash(cell.id);
    this.#showPath();
    this.#showQuestion();
    void this.#comments.load();
  }

  /** Shows at each cell how many comments it has. */
  #showComments(counts: ReadonlyMap<string, number>): void {
    this.#commentCounts = counts;
    for (const view of this.#cells.views()) {
      const count = counts.get(view.id);
      if (count === undefined) delete view.element.dataset["comments"];
      else view.element.dataset["comments"] = String(count);
    }
  }

  /** Shows where other people type. */
  #showPeople(): void {
    const others = [...this.#session.people.others.values()];
    for (const view of this.#cells.views()) {
      view.showPeople(others.flatMap(({ name, cursor }) => (cursor?.cell_id === view.id ? [{ name, anchor: cursor.anchor, head: cursor.head }] : [])));
    }
  }

  /** Shows another text of a cell that the user must choose between. */
  #showClash(id: string): void {
    this.#cells.view(id)?.showClash(this.#session.edits.drafts.get(id)?.theirs ?? null);
  }

  #showPath(): void {
    this.#header.showPath();
    this.#showStatus();
  }

  #showStatus(): void {
    const { connectionState } = this.#session;
    this.#loading.textContent = connectionState.state === "offline" && connectionState.message !== "" ? "The notebook could not be opened." : "Opening the notebook …";
    this.#header.showStatus();
    this.#notices.show(this.#session, {
      retry: () => this.#session.connection.start(),
      pick: () => void this.#actions.pickKernel(),
      restart: () => void this.#session.restart(false),
      resolve: (keep) => void this.#session.resolveConflict(keep),
    });
  }

  #showQuestion(): void {
    const { input, cells } = this.#session.notebook;
    const id = input?.cell_id ?? this.#session.notebook.running()?.id ?? cells[0]?.id;
    for (const view of this.#cells.views()) {
      view.showQuestion(view.id === id ? input : null, (value) => {
        void this.#session.answer(value);
        view.element.focus();
      });
    }
    if (input !== null) announce(`The program asks: ${input.prompt}`);
  }

  /** Goes to a heading, and shows the section that it is in. */
  #goTo({ id, place }: Heading): void {
    this.#operations.reveal(id);
    this.#cells.select(id);
    requestAnimationFrame(() => {
      const headings = this.#cells.view(id)?.element.querySelectorAll(".markdown :is(h1, h2, h3, h4, h5, h6)");
      (headings?.[place] ?? this.#cells.view(id)?.element)?.scrollIntoView({ block: "start" });
    });
  }

  async #inspect(id: string, text: string, cursor: number, detail: 0 | 1): Promise<Node | null> {
    const data = await this.#session.inspect(text, cursor, detail);
    const cell = this.#session.notebook.cell(id);
    if (data === null || cell === undefined || Object.keys(data).length === 0) return null;
    const plain = "text/plain" in data ? { "text/plain": data["text/plain"] } : data;
    return renderOutput({ output_type: "display_data", data: plain, metadata: {} }, false, this.context(cell)).element;
  }
}
