//! The page of one notebook: puts the header, the toolbar, the notices and the cells together, and shows what changes.

import { button, fill, h } from "../dom";
import type { CellType } from "../protocol";
import { DraftStore } from "../state/kept";
import type { Event } from "../state/notebook";
import { Debugger, type Frame } from "../state/debugger";
import { Session } from "../state/session";
import type { Heading } from "../state/outline";
import { base, encodePath } from "../transport/base";
import { Connection } from "../transport/connection";
import { diagnose, documentSocket } from "../transport/document";
import { Actions } from "./actions";
import { listen } from "../state/settings";
import { FindPanel } from "./find";
import { followAnchor } from "./anchors";
import { BrokenFile } from "./broken";
import { NotebookCellHost } from "./cell-host";
import { CellList } from "./cells";
import { CommentPanel } from "./comments";
import { ContentsPanel } from "./contents";
import { DebuggerPanel } from "./debugger";
import { announce, toast } from "./dialog";
import { Header } from "./header";
import { listenToKeys } from "./keyboard";
import { Presentation } from "./slides";
import { endWords, Notices } from "./status";
import { CellOperations } from "./structure";
import { toolbar } from "./tools";
import { Transfer } from "./transfer";
import { VariablesPanel } from "./variables";

export class NotebookPage {
  readonly #session: Session;
  readonly #cells: CellList;
  readonly #operations: CellOperations;
  readonly #transfer: Transfer;
  readonly #find: FindPanel;
  readonly #contents: ContentsPanel;
  readonly #variables: VariablesPanel;
  readonly #debug: Debugger;
  readonly #debugger: DebuggerPanel;
  readonly #slides: Presentation;
  readonly #actions: Actions;
  readonly #header: Header;
  readonly #end = h("div", { class: "add-row", hidden: true });
  readonly #loading = h("p", { class: "placeholder loading" }, "Opening the notebook …");
  readonly #kind = h("select", { "aria-label": "Cell type" }, h("option", { value: "code" }, "Code"), h("option", { value: "markdown" }, "Markdown"), h("option", { value: "raw" }, "Raw"));
  readonly #broken = new BrokenFile();
  readonly #notices = new Notices();
  readonly #comments = new CommentPanel({
    path: () => this.#session.notebook.path,
    may: (level) => this.#session.notebook.may(level),
    quote: (id) => this.#session.notebook.cell(id)?.source ?? null,
    select: (id) => this.#cells.select(id),
    counted: (counts) => this.#showComments(counts),
  });
  /** Whether cells show breakpoints, and the frame that was scrolled to. */
  #debugShown = false;
  #shownFrame: Frame | null = null;
  #commentCounts: ReadonlyMap<string, number> = new Map();
  /** The ends of runs that were announced. */
  readonly #announced = new Map<string, Date>();

  constructor(path: string) {
    const draftStore = new DraftStore(new URL(encodePath(path), base()).pathname);
    this.#session = new Session(path, {
      connection: (listener) => new Connection((resume) => documentSocket(this.#session.notebook.path, resume), listener, (tries) => diagnose(this.#session.notebook.path, tries)),
      take: () => draftStore.take(),
      store: (drafts) => draftStore.store(drafts),
      report: (message) => toast(message),
      newId: () => crypto.getRandomValues(new Uint32Array(2)).reduce((id, part) => id + part.toString(16).padStart(8, "0"), ""),
    });
    this.#debug = new Debugger(this.#session.notebook, (command, args) => this.#session.kernel.debug(command, args));
    this.#session.onDebug = (event, body) => this.#debug.event(event, body);
    this.#session.kernel.beforeRun = (ids) => this.#debug.prepare(ids);
    const page = this;
    const host = new NotebookCellHost({
      get session() { return page.#session; },
      get cells() { return page.#cells; },
      get operations() { return page.#operations; },
      get transfer() { return page.#transfer; },
      get actions() { return page.#actions; },
      get comments() { return page.#comments; },
      debugger: this.#debug,
      decided: (id) => this.#showClash(id),
      editorMade: () => {
        this.#find.refresh();
        this.#showPeople();
      },
    });
    this.#cells = new CellList(this.#session.notebook, host, (cell) => (this.#kind.value = cell.cell_type));
    this.#operations = new CellOperations(this.#session, this.#cells);
    this.#transfer = new Transfer(this.#session, this.#cells, this.#operations);
    this.#find = new FindPanel(this.#session, this.#cells);
    this.#variables = new VariablesPanel(this.#session);
    this.#slides = new Presentation(this.#session.notebook, this.#cells);
    this.#debugger = new DebuggerPanel(this.#session, this.#debug, { goTo: (id, line) => this.#goToLine(id, line) });
    this.#debug.changed = (cells) => this.#showDebugging(cells);
    this.#contents = new ContentsPanel(this.#session.notebook, (heading) => this.#goTo(heading));
    this.#actions = new Actions(this.#session, this.#cells, this.#operations, { find: this.#find, contents: this.#contents, variables: this.#variables, debugger: this.#debugger, debug: this.#debug, slides: this.#slides, comments: this.#comments });
    this.#header = new Header(this.#session, {
      rename: () => void this.#actions.rename(),
      pickKernel: () => void this.#actions.pickKernel(),
      select: (id) => this.#cells.select(id),
      cancel: (ids) => void this.#session.kernel.cancel(ids),
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
      this.#debugger.element,
      h("main", { id: "cells", tabindex: -1 }, this.#notices.element, this.#broken.element, this.#cells.element, this.#end),
      this.#comments.element,
      this.#slides.element,
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    this.#kind.addEventListener("change", () => this.#operations.setType(this.#kind.value as CellType));
    listenToKeys((action) => this.#actions.act(action), (action) => this.#actions.usable(action));
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
    addEventListener("online", () => this.#session.connection.check());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#session.connection.check();
    });
    this.#showPath();
    fill(this.#cells.element, this.#loading);
    this.#session.start();
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
        this.#announceEnd(event.id);
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

  /** Announces the end of a run with its result. A cell that left the queue did not run. */
  #announceEnd(id: string): void {
    const { notebook } = this.#session;
    const cell = notebook.cell(id);
    const ended = notebook.ended.get(id);
    if (cell?.state !== "idle" || ended === undefined || ended === this.#announced.get(id)) return;
    this.#announced.set(id, ended);
    announce(endWords(cell, notebook.index(id) + 1));
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

  /** Shows breakpoints and where the program is stopped: in these cells, or in all (null). */
  #showDebugging(cells: readonly string[] | null): void {
    const { on, breakpoints, stop } = this.#debug;
    const shown = on || breakpoints.size > 0;
    if (cells !== null || shown !== this.#debugShown) for (const id of shown === this.#debugShown ? (cells ?? []) : this.#session.notebook.cells.map((cell) => cell.id)) this.#cells.view(id)?.showDebugging();
    this.#debugShown = shown;
    this.#debugger.show();
    const frame = stop?.frame ?? null;
    if (frame === this.#shownFrame) return;
    this.#shownFrame = frame;
    if (frame === null || frame.cell === null) return;
    this.#debugger.toggle(true);
    this.#variables.toggle(false);
    this.#goToLine(frame.cell, frame.line);
  }

  /** Scrolls to a line of a cell. */
  #goToLine(id: string, line: number): void {
    this.#operations.reveal(id);
    const view = this.#cells.view(id);
    if (view === undefined) return;
    view.fillIn();
    const element = view.element.querySelector(`.line[data-line="${line}"], .stopped-line`) ?? view.element;
    element.scrollIntoView({ block: "nearest" });
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
    const { connectionState, loaded, notebook } = this.#session;
    if (!loaded && connectionState.status === 400) this.#broken.show(notebook.path, connectionState.message);
    else if (loaded || connectionState.status !== null) this.#broken.hide();
    this.#loading.textContent = connectionState.state === "offline" && connectionState.message !== "" ? "The notebook could not be opened." : "Opening the notebook …";
    this.#header.showStatus();
    this.#notices.show(this.#session, {
      retry: () => this.#session.connection.check(),
      pick: () => void this.#actions.pickKernel(),
      restart: () => void this.#session.kernel.restart(false),
      resolve: (keep) => void this.#session.resolveConflict(keep),
    });
  }

  #showQuestion(): void {
    const { input, cells } = this.#session.notebook;
    const id = input?.cell_id ?? this.#session.notebook.running()?.id ?? cells[0]?.id;
    for (const view of this.#cells.views()) {
      view.showQuestion(view.id === id ? input : null, (value) => {
        void this.#session.kernel.answer(value);
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
}
