//! One cell in the page. Knows its model and the notebook view that contains it; sends nothing itself.

import { type OtherCursor, showOthers } from "../editor/others";
import { color } from "../state/people";
import type { EditorState } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import { makeEditor, type EditorHost, setText, showLineNumbers } from "../editor/editor";
import { highlight } from "../editor/languages";
import type { Context } from "../outputs/markdown";
import { renderMarkdown } from "../outputs/markdown";
import { bestType, joined, renderOutput, type Shape } from "../outputs/output";
import type { Cell, JsonObject, Output } from "../protocol";
import { recordedElapsed } from "../state/notebook";
import { button, duration, fill, h } from "../dom";

/** What a cell needs from the notebook around it. */
export interface CellHost {
  context(cell: Cell): Context;
  language(): string;
  lineNumbers(): boolean;
  writable(): boolean;
  fresh(id: string): boolean;
  started(id: string): number | undefined;
  elapsed(id: string): number | undefined;
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

/** Outputs with more lines than this scroll in a box, as in Jupyter Notebook. */
const LONG_LINES = 100;
/** A box that is scrolled to within this many pixels of its end follows new lines. */
const AT_END = 24;

const KIND_NAMES = { code: "Code", markdown: "Markdown", raw: "Raw" } as const;

export class CellView {
  readonly element: HTMLElement;
  readonly #prompt = h("div", { class: "prompt" });
  readonly #input = h("div", { class: "input" });
  readonly #clash = h("div", { class: "clash", role: "alert", hidden: true });
  readonly #footer = h("div", { class: "cell-footer" });
  readonly #outputs = h("div", { class: "outputs" });
  readonly #people = h("div", { class: "cell-people" });
  readonly #question = h("div", { class: "question" });
  readonly #boxRow = h("div", { class: "box-row" });
  /** The number of lines in all outputs. */
  #lines = 0;
  /** The user opened a long output; this is not saved. */
  #opened = false;
  /** Whether the box stays at its end while lines are added. */
  #following = false;
  /** The last scroll position of the box. */
  #top = 0;
  #shapes: Shape[] = [];
  #editor: EditorView | null = null;
  #state: EditorState | null = null;
  #editing = false;
  #ticking: ReturnType<typeof setInterval> | null = null;

  private cell: Cell;
  private readonly host: CellHost;

  constructor(cell: Cell, host: CellHost) {
    this.cell = cell;
    this.host = host;
    const { id } = cell;
    this.element = h(
      "section",
      { class: "cell", "data-id": id, tabindex: -1, role: "group" },
      h("div", { class: "gutter" }, this.#prompt, this.#people),
      h("div", { class: "body" }, this.#clash, this.#input, this.#footer, this.#question, this.#outputs, this.#boxRow),
      this.#tools(),
    );
    this.#outputs.addEventListener("scroll", () => {
      const { scrollTop, clientHeight, scrollHeight } = this.#outputs;
      // Text may have arrived since this page scrolled to the end, so only scrolling back shows that the user did it.
      if (scrollTop < this.#top) this.#following = false;
      else if (scrollTop + clientHeight >= scrollHeight - AT_END) this.#following = true;
      this.#top = scrollTop;
    });
    this.element.addEventListener("focusin", (event) => {
      const inEditor = this.#editor !== null && event.target instanceof Node && this.#editor.dom.contains(event.target);
      if (event.target === this.element || inEditor) this.host.select(id, inEditor, false);
    });
    this.element.addEventListener("mousedown", (event) => {
      const target = event.target;
      if (!(target instanceof Element) || target.closest("button, a, input, iframe, .cm-editor, summary, .outputs, .static") !== null) return;
      // Rendered Markdown can be selected and copied.
      if (target.closest(".markdown") !== null) return;
      event.preventDefault();
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
  }

  /** Shows the source: in the editor if there is one, otherwise as colored or rendered text. */
  showSource(): void {
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
      if (this.host.lineNumbers()) pre.classList.add("numbered");
      if (source === "") pre.append(h("br"));
      pre.addEventListener("mousedown", (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        this.edit(undefined, event);
      });
      fill(this.#input, pre);
    }
  }

  /** Opens the editor and focuses it; `at` puts the cursor at the start or the end. */
  edit(at?: "start" | "end", mouse?: MouseEvent): void {
    if (flag(this.cell.metadata, "source_hidden")) this.#setJupyter("source_hidden", false);
    if (this.#editor === null) {
      this.#editing = true;
      const { cell_type, source, id } = this.cell;
      this.#input.replaceChildren();
      this.#editor = makeEditor(
        this.#input,
        source,
        {
          language: cell_type === "code" ? this.host.language() : cell_type === "markdown" ? "markdown" : "",
          label: `${KIND_NAMES[cell_type]} cell source. Escape leaves the editor.`,
          lineNumbers: this.host.lineNumbers(),
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
      editor.dispatch({ selection: { anchor: at === "start" ? 0 : editor.state.doc.length } });
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

  lineNumbers(): void {
    if (this.#editor !== null) showLineNumbers(this.#editor, this.host.lineNumbers());
    else if (this.cell.cell_type !== "markdown") this.showSource();
  }

  showState(): void {
    const { cell_type, state, execution_count } = this.cell;
    this.element.classList.toggle("running", state === "running");
    this.element.classList.toggle("queued", state === "queued");
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
        : button("Run this cell", () => this.host.run(this.cell.id), { icon: "run", keys: "Ctrl+Enter", class: "run-button" }),
      h("span", { class: "count" }, `[${mark}]`),
    );
    this.#showFooter();
    if (state === "running") this.#ticking = setInterval(() => this.#showFooter(), 100);
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
      if (ms !== null && ms >= 100) text = `Took ${duration(ms)}`;
    }
    if (this.#footer.textContent !== text) this.#footer.textContent = text;
  }

  showOutputs(): void {
    const { cell_type, outputs } = this.cell;
    this.#shapes = [];
    this.element.classList.toggle("has-outputs", cell_type === "code" && outputs.length > 0);
    this.#lines = 0;
    if (cell_type !== "code" || outputs.length === 0) {
      this.#opened = false;
      this.#outputs.replaceChildren();
      this.#showBox();
      return;
    }
    if (this.outputsHidden) {
      fill(this.#outputs, button("Output is hidden: show it", () => this.toggleOutputs(), { class: "folded" }));
      this.#showBox();
      return;
    }
    this.#lines = outputs.reduce((lines, output) => lines + lineCount(output), 0);
    this.#following = this.cell.state === "running";
    this.#shapes = outputs.map((output) => renderOutput(output, this.host.fresh(this.cell.id), this.host.context(this.cell)));
    this.#outputs.replaceChildren(...this.#shapes.map(({ element }) => element));
    this.#showBox();
  }

  /** Whether the outputs scroll in a box: as the metadata says, or by default if they are long. */
  get #boxed(): boolean {
    const scrolled = this.cell.metadata["scrolled"];
    if (this.outputsHidden || this.#shapes.length === 0 || this.#opened) return false;
    return typeof scrolled === "boolean" ? scrolled : this.#lines > LONG_LINES;
  }

  #showBox(): void {
    const boxed = this.#boxed;
    if (boxed !== this.#outputs.classList.contains("scrolled")) {
      this.#outputs.classList.toggle("scrolled", boxed);
      if (boxed) {
        this.#outputs.tabIndex = 0;
        this.#outputs.setAttribute("role", "region");
        this.#outputs.setAttribute("aria-label", "Output");
      } else {
        for (const name of ["tabindex", "role", "aria-label"]) this.#outputs.removeAttribute(name);
      }
    }
    if (boxed && this.#following) {
      requestAnimationFrame(() => {
        if (this.#following) this.#outputs.scrollTop = this.#outputs.scrollHeight;
      });
    }
    const label = boxed ? "Show the whole output" : this.#opened ? "Scroll the output in a box" : "";
    if ((this.#boxRow.textContent ?? "") === label) return;
    fill(this.#boxRow, label !== "" && button(label, () => this.#open(boxed), { class: "link" }));
  }

  #open(on: boolean): void {
    this.#opened = on;
    this.#following = false;
    this.#showBox();
    this.#boxRow.querySelector("button")?.focus({ preventScroll: true });
    if (!on) this.element.scrollIntoView({ block: "nearest" });
  }

  showOutput(index: number): void {
    if (this.outputsHidden || this.#shapes.length === 0 || index > this.#shapes.length) {
      this.showOutputs();
      return;
    }
    const output = this.cell.outputs[index];
    if (output === undefined) return;
    const shape = renderOutput(output, this.host.fresh(this.cell.id), this.host.context(this.cell));
    this.#lines = this.cell.outputs.reduce((lines, one) => lines + lineCount(one), 0);
    const old = this.#shapes[index];
    this.#shapes[index] = shape;
    if (old !== undefined) old.element.replaceWith(shape.element);
    else this.#outputs.append(shape.element);
    this.#showBox();
  }

  appendText(index: number, text: string): void {
    if (this.outputsHidden) return;
    this.#shapes[index]?.append?.(text);
    this.#lines += newlines(text);
    this.#showBox();
  }

  get outputsHidden(): boolean {
    return flag(this.cell.metadata, "outputs_hidden") || this.cell.metadata["collapsed"] === true;
  }

  toggleOutputs(): void {
    const hidden = this.outputsHidden;
    const { collapsed: _, ...metadata } = this.cell.metadata;
    this.host.setMetadata(this.cell.id, withJupyter(metadata, "outputs_hidden", !hidden));
  }

  toggleSource(): void {
    this.#setJupyter("source_hidden", !flag(this.cell.metadata, "source_hidden"));
  }

  toggleScroll(): void {
    const { scrolled: _, ...metadata } = this.cell.metadata;
    const boxed = this.#boxed;
    const long = this.#lines > LONG_LINES;
    this.#opened = false;
    // The metadata records only what differs from the default.
    this.host.setMetadata(this.cell.id, boxed === long ? { ...metadata, scrolled: !boxed } : metadata);
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

function flag(metadata: JsonObject, name: string): boolean {
  const jupyter = metadata["jupyter"];
  return typeof jupyter === "object" && jupyter !== null && (jupyter as JsonObject)[name] === true;
}

function withJupyter(metadata: JsonObject, name: string, on: boolean): JsonObject {
  const { jupyter, ...rest } = metadata;
  const { [name]: _, ...others } = typeof jupyter === "object" && jupyter !== null ? (jupyter as JsonObject) : {};
  const next = on ? { ...others, [name]: true } : others;
  return Object.keys(next).length > 0 ? { ...rest, jupyter: next } : rest;
}

function lineCount(output: Output): number {
  switch (output.output_type) {
    case "stream":
      return newlines(output.text);
    case "error":
      return output.traceback.reduce((lines, part) => lines + newlines(part) + 1, 0);
    default: {
      const text = bestType(output.data) === "text/plain" ? joined(output.data["text/plain"]) : "";
      return newlines(text) + 1;
    }
  }
}

function newlines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}
