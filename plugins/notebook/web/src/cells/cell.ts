//! One cell in the page. Knows its model and the notebook view that contains it; sends nothing itself.

import { type OtherCursor, showOthers } from "../editor/others";
import { color } from "../state/people";
import type { EditorState } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import { makeEditor, type EditorHost, setText, showSettings } from "../editor/editor";
import { highlight } from "../editor/languages";
import { renderMarkdown } from "../outputs/markdown";
import type { Cell, JsonObject } from "../protocol";
import { recordedElapsed } from "../state/notebook";
import { type Doubt, DOUBTS } from "../state/order";
import { settings } from "../state/settings";
import { button, duration, fill, h } from "../dom";
import { flag, withJupyter } from "./flags";
import { OutputBox, outputsHidden, type OutputsHost } from "./outputs";

/** What a cell needs from the notebook around it. */
export interface CellHost extends OutputsHost {
  language(): string;
  writable(): boolean;
  started(id: string): number | undefined;
  elapsed(id: string): number | undefined;
  ended(id: string): Date | undefined;
  /** Takes a cell that waits to run out of the queue. */
  cancel(id: string): void;
  /** Hides or shows the section of a heading. */
  fold(id: string): void;
  owner(id: string): EditorHost;
  /** The user selected the cell with the mouse or by focus; `edit`: its editor. */
  select(id: string, edit: boolean, extend: boolean): void;
  run(id: string): void;
  interrupt(): void;
  setMetadata(id: string, metadata: JsonObject): void;
  /** Opens the menu of actions on the cell, below a button. */
  menu(id: string, anchor: HTMLElement): void;
  decide(id: string, keep: "mine" | "theirs"): void;
  editorMade(id: string): void;
}

const KIND_NAMES = { code: "Code", markdown: "Markdown", raw: "Raw" } as const;

export class CellView {
  readonly element: HTMLElement;
  readonly #prompt = h("div", { class: "prompt" });
  readonly #input = h("div", { class: "input" });
  readonly #clash = h("div", { class: "clash", role: "alert", hidden: true });
  readonly #footer = h("div", { class: "cell-footer" });
  readonly #fold = h("div", { class: "fold" });
  readonly #people = h("div", { class: "cell-people" });
  readonly #question = h("div", { class: "question" });
  readonly #outputs: OutputBox;
  #editor: EditorView | null = null;
  #state: EditorState | null = null;
  #editing = false;
  /** Whether the content is in the page. In a long notebook, cells out of view get it later. */
  #filled = false;
  #ticking: ReturnType<typeof setInterval> | null = null;

  private cell: Cell;
  private readonly host: CellHost;

  constructor(cell: Cell, host: CellHost) {
    this.cell = cell;
    this.host = host;
    this.#outputs = new OutputBox(host, () => this.toggleOutputs());
    const { id } = cell;
    this.element = h("section", { class: "cell", "data-id": id, tabindex: -1, role: "group" });
    this.element.addEventListener("focusin", (event) => {
      const inEditor = this.#editor !== null && event.target instanceof Node && this.#editor.dom.contains(event.target);
      if (event.target === this.element || inEditor) this.host.select(id, inEditor, false);
    });
    this.element.addEventListener("mousedown", (event) => {
      const target = event.target;
      if (!(target instanceof Element) || target.closest("button, a, input, iframe, .cm-editor, summary, .outputs, .static") !== null) return;
      // Rendered Markdown can be selected and copied.
      if (target.closest(".markdown") !== null) return;
      // What is left of the cell is dragged.
      if (target.closest(".gutter") === null) event.preventDefault();
      this.host.select(id, false, event.shiftKey);
      this.element.focus({ preventScroll: true });
    });
    this.element.addEventListener("click", (event) => {
      if (event.target instanceof Element && event.target.closest(".markdown, .outputs") !== null && document.getSelection()?.isCollapsed !== false && event.target.closest("a, button, summary, iframe, input") === null) {
        this.host.select(id, false, event.shiftKey);
        this.element.focus({ preventScroll: true });
      }
    });
    this.#input.addEventListener("dblclick", () => {
      if (this.cell.cell_type === "markdown" && !this.#editing) this.edit();
    });
    this.showKind();
  }

  /** Puts the content into the page, if it is not there yet. */
  fillIn(): void {
    if (this.#filled) return;
    this.#filled = true;
    this.element.append(
      h("div", { class: "gutter", draggable: "true" }, this.#prompt, this.#fold, this.#people),
      h("div", { class: "body" }, this.#clash, this.#input, this.#footer, this.#question, this.#outputs.element, this.#outputs.row),
      this.#tools(),
    );
    this.showKind();
  }

  get id(): string {
    return this.cell.id;
  }

  /** Whether its editor has the focus. */
  get focused(): boolean {
    return this.#editor?.hasFocus ?? false;
  }

  get view(): EditorView | null {
    return this.#editor;
  }

  /** Another model for the same cell, because its type or everything else changed. */
  replace(cell: Cell): void {
    const kind = cell.cell_type !== this.cell.cell_type;
    this.cell = cell;
    if (kind) {
      this.closeEditor(false);
      this.#editing = false;
    }
    this.showKind();
  }

  /** The same cell in another object. */
  adopt(cell: Cell): void {
    this.cell = cell;
  }

  showKind(): void {
    const { cell_type } = this.cell;
    this.element.classList.remove("code", "markdown-cell", "raw");
    this.element.classList.add(cell_type === "markdown" ? "markdown-cell" : cell_type);
    if (cell_type === "markdown" && this.cell.source.trim() === "" && this.#editor === null) this.#editing = false;
    if (!this.#filled) return;
    this.showSource();
    this.showState();
    this.showOutputs();
  }

  /** The number that screen readers read. */
  number(place: number, count: number): void {
    this.element.setAttribute("aria-label", `${KIND_NAMES[this.cell.cell_type]} cell ${place + 1} of ${count}`);
  }

  selected(on: boolean, among: boolean, editing: boolean): void {
    this.element.classList.toggle("selected", on);
    this.element.classList.toggle("among", among);
    this.element.classList.toggle("editing", on && editing);
    this.element.tabIndex = on ? 0 : -1;
    if (on) this.fillIn();
  }

  /** Shows the source: in the editor if there is one, otherwise as colored or rendered text. */
  showSource(): void {
    if (!this.#filled) return;
    const { cell_type, source } = this.cell;
    if (this.#editor !== null) {
      setText(this.#editor, source);
      return;
    }
    const hidden = flag(this.cell.metadata, "source_hidden");
    if (hidden) {
      fill(this.#input, button("Source is hidden: show it", () => this.#setJupyter("source_hidden", false), { class: "folded" }));
    } else if (cell_type === "markdown" && !this.#editing) {
      const box = h("div", { class: "markdown" });
      if (source.trim() === "") box.append(h("p", { class: "placeholder" }, "Empty Markdown cell: press Enter or double-click to edit"));
      else box.append(renderMarkdown(source, this.host.context(this.cell)));
      fill(this.#input, box);
    } else {
      const pre = h("pre", { class: "static" }, highlight(source, cell_type === "code" ? this.host.language() : cell_type));
      if (settings().lineNumbers) pre.classList.add("numbered");
      if (source === "") pre.append(h("br"));
      pre.addEventListener("mousedown", (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        this.edit(undefined, event);
      });
      fill(this.#input, pre);
    }
  }

  /** Opens the editor and focuses it; `at` puts the cursor at the start or the end, or selects a part. */
  edit(at?: "start" | "end" | { from: number; to: number }, mouse?: MouseEvent): void {
    this.fillIn();
    if (flag(this.cell.metadata, "source_hidden")) this.#setJupyter("source_hidden", false);
    if (this.#editor === null) {
      this.#editing = true;
      const { cell_type, source, id } = this.cell;
      this.#input.replaceChildren();
      this.#editor = makeEditor(
        this.#input,
        source,
        {
          kind: cell_type,
          language: cell_type === "code" ? this.host.language() : cell_type === "markdown" ? "markdown" : "",
          label: `${KIND_NAMES[cell_type]} cell source. Escape leaves the editor.`,
          readOnly: !this.host.writable(),
        },
        this.host.owner(id),
        this.#state ?? undefined,
      );
      this.host.editorMade(id);
    }
    const editor = this.#editor;
    editor.focus();
    if (mouse !== undefined) {
      const pos = editor.posAtCoords({ x: mouse.clientX, y: mouse.clientY }, false);
      editor.dispatch({ selection: { anchor: pos } });
      editor.contentDOM.dispatchEvent(new MouseEvent("mousedown", { bubbles: true, cancelable: true, button: 0, buttons: 1, detail: mouse.detail, clientX: mouse.clientX, clientY: mouse.clientY, shiftKey: mouse.shiftKey }));
    } else if (at !== undefined) {
      const end = editor.state.doc.length;
      const [anchor, head] = at === "start" ? [0, 0] : at === "end" ? [end, end] : [Math.min(at.from, end), Math.min(at.to, end)];
      editor.dispatch({ selection: { anchor, head }, scrollIntoView: true });
    }
    this.host.select(this.cell.id, true, false);
  }

  /** Shows who else types in this cell, and where. */
  showPeople(others: OtherCursor[]): void {
    const names = [...new Set(others.map(({ name }) => name))];
    fill(this.#people, ...names.map((name) => h("span", { class: `person person-${color(name)}`, title: `${name} is in this cell` }, name)));
    if (this.#editor !== null) showOthers(this.#editor, others);
  }

  /** Removes the editor and keeps its undo history. A Markdown cell is rendered. */
  closeEditor(keep = true): void {
    if (this.#editor === null) {
      if (this.#editing) {
        this.#editing = false;
        this.showSource();
      }
      return;
    }
    this.#state = keep ? this.#editor.state : null;
    this.#editor.destroy();
    this.#editor = null;
    this.#editing = false;
    this.showSource();
  }

  /** Removes a code editor that was not used for a while. A Markdown cell that is being edited stays as it is. */
  rest(): void {
    if (this.cell.cell_type !== "markdown" && !this.focused) this.closeEditor();
  }

  /** The settings changed. */
  showSettings(): void {
    if (this.#editor !== null) showSettings(this.#editor, this.cell.cell_type);
    else if (this.cell.cell_type !== "markdown") this.showSource();
  }

  /** Shows the source of a cell that hides it. */
  revealSource(): void {
    if (flag(this.cell.metadata, "source_hidden")) this.#setJupyter("source_hidden", false);
  }

  /** A part of the source in the page; null if it is not shown as text. */
  rangeOf(from: number, to: number): Range | null {
    this.fillIn();
    const range = document.createRange();
    if (this.#editor !== null) {
      const { state } = this.#editor;
      if (to > state.doc.length) return null;
      const [start, end] = [this.#editor.domAtPos(from), this.#editor.domAtPos(to)];
      range.setStart(start.node, start.offset);
      range.setEnd(end.node, end.offset);
      return range;
    }
    const pre = this.#input.querySelector(".static");
    if (pre === null) return this.#rendered(from, to);
    const walker = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT);
    let at = 0;
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const length = (node as Text).length;
      if (from >= at && from < at + length) range.setStart(node, from - at);
      if (to > at && to <= at + length) {
        range.setEnd(node, to - at);
        return range;
      }
      at += length;
    }
    return null;
  }

  /** Where rendered Markdown shows a part of the source: the same text, as often as it stands before it. */
  #rendered(from: number, to: number): Range | null {
    const text = this.cell.source.slice(from, to);
    let skip = this.cell.source.slice(0, from).split(text).length - 1;
    const walker = document.createTreeWalker(this.#input, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      for (let at = (node as Text).data.indexOf(text); at >= 0; at = (node as Text).data.indexOf(text, at + 1)) {
        if (skip-- > 0) continue;
        const range = document.createRange();
        range.setStart(node, at);
        range.setEnd(node, at + text.length);
        return range;
      }
    }
    return null;
  }

  showState(): void {
    const { cell_type, state, execution_count } = this.cell;
    this.element.classList.toggle("running", state === "running");
    this.element.classList.toggle("queued", state === "queued");
    if (!this.#filled) return;
    if (this.#ticking !== null) clearInterval(this.#ticking);
    this.#ticking = null;
    if (cell_type !== "code") {
      fill(this.#prompt);
      fill(this.#footer);
      return;
    }
    const mark = state === "running" ? "*" : state === "queued" ? "…" : (execution_count ?? " ");
    fill(
      this.#prompt,
      state === "running"
        ? button("Interrupt the kernel", () => this.host.interrupt(), { icon: "stop", class: "run-button" })
        : state === "queued"
          ? button("Take this cell out of the queue", () => this.host.cancel(this.cell.id), { icon: "close", class: "run-button" })
        : button("Run this cell", () => this.host.run(this.cell.id), { icon: "run", keys: "Ctrl+Enter", class: "run-button" }),
      h("span", { class: "count" }, `[${mark}]`),
    );
    this.showDoubt(null);
    this.#showFooter();
    if (state === "running") this.#ticking = setInterval(() => this.#showFooter(), 100);
  }

  /** Shows why the results may be old. */
  showDoubt(doubt: Doubt | null): void {
    const count = this.#prompt.querySelector<HTMLElement>(".count");
    if (count === null) return;
    const ended = this.host.ended(this.cell.id);
    const ms = this.host.elapsed(this.cell.id);
    const ran = ended === undefined ? "" : `Ran at ${ended.toLocaleTimeString()}${ms === undefined ? "" : `, took ${duration(ms)}`}`;
    const title = [doubt === null ? "" : DOUBTS[doubt], ran].filter((part) => part !== "").join(". ");
    if (count.title !== title) count.title = title;
    if ((count.dataset["doubt"] ?? null) === doubt) return;
    if (doubt === null) delete count.dataset["doubt"];
    else count.dataset["doubt"] = doubt;
    count.querySelector(".visually-hidden")?.remove();
    if (doubt !== null) count.append(h("span", { class: "visually-hidden" }, ` ${DOUBTS[doubt]}`));
  }

  /** Shows the cell as a heading whose section can be hidden; null: it is none. `hidden`: how many cells it hides. */
  showFold(fold: { collapsed: boolean; cells: number } | null): void {
    const key = fold === null ? "" : `${fold.collapsed} ${fold.cells}`;
    if (this.#fold.dataset["key"] === key) return;
    this.#fold.dataset["key"] = key;
    if (fold === null) return fill(this.#fold);
    const had = this.#fold.contains(document.activeElement);
    const label = fold.collapsed ? `Show the section (${fold.cells} ${fold.cells === 1 ? "cell" : "cells"})` : "Hide the section";
    const made = button(label, () => this.host.fold(this.cell.id), { icon: fold.collapsed ? "right" : "below", class: "icon-button small" });
    made.setAttribute("aria-expanded", String(!fold.collapsed));
    fill(this.#fold, made, fold.collapsed && h("span", { class: "fold-count" }, `${fold.cells}`));
    if (had) made.focus({ preventScroll: true });
  }

  #showFooter(): void {
    const { state, id } = this.cell;
    let text = "";
    if (state === "queued") text = "Waiting to run";
    else if (state === "running") {
      const started = this.host.started(id);
      const ms = started === undefined ? 0 : performance.now() - started;
      text = ms < 400 ? "Running" : `Running for ${duration(ms)}`;
    } else {
      const ms = this.host.elapsed(id) ?? recordedElapsed(this.cell);
      const ended = this.host.ended(id);
      if (ms !== null && ms >= 100) text = `Took ${duration(ms)}${ended === undefined ? "" : `, until ${ended.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`}`;
    }
    if (this.#footer.textContent !== text) this.#footer.textContent = text;
  }

  showOutputs(): void {
    const { cell_type, outputs } = this.cell;
    if (!this.#filled) return;
    this.element.classList.toggle("has-outputs", cell_type === "code" && outputs.length > 0);
    this.#outputs.show(this.cell);
  }

  showOutput(index: number): void {
    if (!this.#filled) return;
    this.element.classList.toggle("has-outputs", this.cell.cell_type === "code" && this.cell.outputs.length > 0);
    this.#outputs.showOne(this.cell, index);
  }

  appendText(index: number, text: string): void {
    if (!this.#filled) return;
    this.#outputs.appendText(this.cell, index, text);
  }

  toggleOutputs(): void {
    const hidden = outputsHidden(this.cell);
    const { collapsed: _, ...metadata } = this.cell.metadata;
    this.host.setMetadata(this.cell.id, withJupyter(metadata, "outputs_hidden", !hidden));
  }

  toggleSource(): void {
    this.#setJupyter("source_hidden", !flag(this.cell.metadata, "source_hidden"));
  }

  toggleScroll(): void {
    this.host.setMetadata(this.cell.id, this.#outputs.toggled(this.cell));
  }

  showMetadata(): void {
    if (flag(this.cell.metadata, "source_hidden")) this.closeEditor();
    this.showSource();
    this.showOutputs();
    this.#showFooter();
  }

  /** Shows another user's text beside what was typed here. */
  showClash(theirs: string | null): void {
    if (theirs === null) {
      this.#clash.hidden = true;
      this.#clash.replaceChildren();
      return;
    }
    if (!this.#clash.hidden && this.#clash.dataset["theirs"] === theirs) return;
    this.#clash.dataset["theirs"] = theirs;
    this.#clash.hidden = false;
    fill(
      this.#clash,
      h("p", {}, "This cell was changed elsewhere while you were typing. The other text:"),
      h("pre", { tabindex: 0 }, theirs),
      h("div", { class: "row" },
        button("Keep mine", () => this.host.decide(this.cell.id, "mine"), { class: "button" }),
        button("Use the other", () => this.host.decide(this.cell.id, "theirs"), { class: "button" })),
    );
  }

  /** A kernel's question, or none. */
  showQuestion(question: { prompt: string; password: boolean } | null, answer: (value: string) => void): void {
    if (question === null) {
      this.#question.replaceChildren();
      return;
    }
    const input = h("input", { type: question.password ? "password" : "text", "aria-label": question.prompt === "" ? "The program asks for input" : question.prompt, autocomplete: "off", spellcheck: "false" });
    const form = h("form", { class: "ask" }, h("span", { class: "ask-prompt" }, question.prompt), input, h("button", { type: "submit", class: "button" }, "Send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer(input.value);
      input.disabled = true;
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.element.focus();
      event.stopPropagation();
    });
    fill(this.#question, form);
    input.focus();
  }

  destroy(): void {
    if (this.#ticking !== null) clearInterval(this.#ticking);
    this.#editor?.destroy();
    this.#editor = null;
    this.element.remove();
  }

  #tools(): HTMLElement {
    const more = button("Actions for this cell", () => this.host.menu(this.cell.id, more), { icon: "more", class: "icon-button small" });
    more.tabIndex = -1;
    more.setAttribute("aria-haspopup", "menu");
    return h("div", { class: "tools" }, more);
  }

  #setJupyter(name: string, on: boolean): void {
    this.host.setMetadata(this.cell.id, withJupyter(this.cell.metadata, name, on));
  }
}
