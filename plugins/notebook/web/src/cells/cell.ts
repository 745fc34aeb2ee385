//! One cell in the page. Knows its model and the notebook view that contains it; sends nothing itself.

import { type Debugging, showDebugging } from "../editor/debugging";
import { type OtherCursor, showOthers } from "../editor/others";
import { color } from "../state/people";
import type { EditorState } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import { makeEditor, type EditorHost, setText, showSettings } from "../editor/editor";
import { highlight } from "../editor/languages";
import { renderMarkdown } from "../outputs/markdown";
import type { Cell, JsonObject } from "../protocol";
import type { Doubt } from "../state/order";
import { settings } from "../state/settings";
import { button, fill, h } from "../dom";
import { showClash, showQuestion } from "./asks";
import { flag, withJupyter } from "./flags";
import { type Folding, showFold } from "./fold";
import { breakpointLine, splitLines } from "./lines";
import { CellParts } from "./parts";
import type { PromptHost } from "./prompt";
import { editorRange, renderedRange, shownRange } from "./ranges";
import { listenToMouse } from "./mouse";
import { slideTypeChoice } from "./slide-type";
import { outputsHidden, type OutputsHost } from "./outputs";

/** The interface of a cell to the notebook. */
export interface CellHost extends OutputsHost, PromptHost {
  language(): string;
  writable(): boolean;
  /** Hides or shows the section of a heading. */
  fold(id: string): void;
  owner(id: string): EditorHost;
  /** The user selected the cell with the mouse or by focus; `edit`: its editor. */
  select(id: string, edit: boolean, extend: boolean): void;
  setMetadata(id: string, metadata: JsonObject): void;
  /** Opens the menu of actions on the cell, below a button. */
  menu(id: string, anchor: HTMLElement): void;
  decide(id: string, keep: "mine" | "theirs"): void;
  editorMade(id: string): void;
  /** Whether each cell shows what it is in a presentation. */
  slideTypes(): boolean;
  /** The debugger's state for the cell; null if it is off. */
  debugging(id: string): Debugging | null;
  /** Sets or removes a breakpoint. */
  toggleBreakpoint(id: string, line: number): void;
  /** The text changed, and its breakpoints are elsewhere. */
  moveBreakpoints(id: string, lines: readonly number[]): void;
}

const KIND_NAMES = { code: "Code", markdown: "Markdown", raw: "Raw" } as const;

export class CellView {
  readonly element: HTMLElement;
  #made: CellParts | null = null;
  #editor: EditorView | null = null;
  #state: EditorState | null = null;
  #editing = false;
  /** Why the results may be old. */
  #doubt: Doubt | null = null;
  /** The cells that it hides as a heading. */
  #folding: Folding | null = null;
  /** Whether the content is in the page. In a long notebook, cells out of view get it later. */
  #filled = false;

  private cell: Cell;
  private readonly host: CellHost;

  constructor(cell: Cell, host: CellHost) {
    this.cell = cell;
    this.host = host;
    const { id } = cell;
    this.element = h("section", { class: "cell", "data-id": id, tabindex: -1, role: "group" });
    this.element.addEventListener("focusin", (event) => {
      const inEditor = this.#editor !== null && event.target instanceof Node && this.#editor.dom.contains(event.target);
      if (event.target === this.element || inEditor) this.host.select(id, inEditor, false);
    });
    listenToMouse(this.element, (extend) => {
      this.host.select(id, false, extend);
      this.element.focus({ preventScroll: true });
    });
    this.showKind();
  }

  get #parts(): CellParts {
    this.#made ??= new CellParts(this.host, () => this.toggleOutputs(), () => {
      if (this.cell.cell_type === "markdown" && !this.#editing) this.edit();
    });
    return this.#made;
  }

  /** Puts the content into the page, if it is not there yet. */
  fillIn(): void {
    if (this.#filled) return;
    this.#filled = true;
    this.element.append(...this.#parts.elements(this.#tools()));
    if (this.#folding !== null) this.showFold(this.#folding);
    this.showKind();
  }

  /** Takes the content out of the page, which keeps its height; `fillIn` brings it back. Not if something in it would be lost. */
  emptyOut(): void {
    const used = this.#editor !== null || this.#editing || this.cell.state !== "idle" || this.element.tabIndex === 0 || this.#made?.isNeeded === true;
    if (!this.#filled || used || this.element.contains(document.activeElement) || this.element.querySelector("iframe, audio, video") !== null) return;
    this.#filled = false;
    this.#made = null;
    this.element.replaceChildren();
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
    this.showSlideType();
  }

  /** Shows what the cell is in a presentation, if that is to be seen. */
  showSlideType(): void {
    if (!this.#filled) return;
    fill(this.#parts.slide, this.host.slideTypes() && slideTypeChoice(this.cell, this.host.writable(), (metadata) => this.host.setMetadata(this.cell.id, metadata)));
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
      fill(this.#parts.input, button("Source is hidden: show it", () => this.#setJupyter("source_hidden", false), { class: "folded" }));
    } else if (cell_type === "markdown" && !this.#editing) {
      const box = h("div", { class: "markdown" });
      if (source.trim() === "") box.append(h("p", { class: "placeholder" }, "Empty Markdown cell. Press Enter or double-click to edit."));
      else box.append(renderMarkdown(source, this.host.context(this.cell)));
      fill(this.#parts.input, box);
    } else {
      const code = cell_type === "code";
      const pre = h("pre", { class: "static" }, highlight(source, code ? this.host.language() : cell_type));
      const debugging = code ? this.host.debugging(this.cell.id) : null;
      if (source === "") pre.append(h("br"));
      if (settings().lineNumbers || debugging !== null) splitLines(pre, debugging, settings().lineNumbers);
      pre.addEventListener("mousedown", (event) => {
        if (event.button !== 0) return;
        event.preventDefault();
        const line = breakpointLine(event);
        if (line !== null) this.host.toggleBreakpoint(this.cell.id, line);
        else this.edit(undefined, event);
      });
      fill(this.#parts.input, pre);
    }
  }

  /** Opens the editor and focuses it; `at` puts the cursor at the start or the end, or selects a part. */
  edit(at?: "start" | "end" | { from: number; to: number }, mouse?: MouseEvent): void {
    this.fillIn();
    if (flag(this.cell.metadata, "source_hidden")) this.#setJupyter("source_hidden", false);
    if (this.#editor === null) {
      this.#editing = true;
      const { cell_type, source, id } = this.cell;
      this.#parts.input.replaceChildren();
      this.#editor = makeEditor(
        this.#parts.input,
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
      this.#showEditorDebugging();
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
    if (names.length > 0 || this.#made !== null) fill(this.#parts.people, ...names.map((name) => h("span", { class: `person person-${color(name)}`, title: `${name} is in this cell` }, name)));
    if (this.#editor !== null) showOthers(this.#editor, others);
  }

  /** Shows the breakpoints, and the line where the program is stopped. */
  showDebugging(): void {
    if (this.cell.cell_type !== "code") return;
    if (this.host.debugging(this.cell.id)?.stopped != null) this.fillIn();
    if (this.#editor === null) this.showSource();
    else this.#showEditorDebugging();
  }

  #showEditorDebugging(): void {
    if (this.#editor === null || this.cell.cell_type !== "code") return;
    showDebugging(this.#editor, this.host.debugging(this.cell.id), {
      toggle: (line) => this.host.toggleBreakpoint(this.cell.id, line),
      moved: (lines) => this.host.moveBreakpoints(this.cell.id, lines),
    });
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

  /** Removes a code editor that was not used for a while. A Markdown cell that is being edited does not change. */
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
    if (this.#editor !== null) return editorRange(this.#editor, from, to);
    const pre = this.#parts.input.querySelector(".static");
    if (pre === null) return renderedRange(this.#parts.input, this.cell.source, from, to);
    return shownRange(pre, from, to);
  }

  showState(): void {
    const { state } = this.cell;
    this.element.classList.toggle("running", state === "running");
    this.element.classList.toggle("queued", state === "queued");
    if (!this.#filled) return;
    this.#parts.prompt.show(this.cell);
    this.#parts.prompt.showDoubt(this.cell, this.#doubt);
  }

  /** Shows why the results may be old. */
  showDoubt(doubt: Doubt | null): void {
    this.#doubt = doubt;
    this.#made?.prompt.showDoubt(this.cell, doubt);
  }

  /** Shows the cell as a heading whose section can be hidden; null: it is none. `hidden`: how many cells it hides. */
  showFold(fold: Folding | null): void {
    this.#folding = fold;
    if (this.#made !== null) showFold(this.#made.fold, fold, () => this.host.fold(this.cell.id));
  }

  showOutputs(): void {
    const { cell_type, outputs } = this.cell;
    if (!this.#filled) return;
    this.element.classList.toggle("has-outputs", cell_type === "code" && outputs.length > 0);
    this.#parts.outputs.show(this.cell);
  }

  showOutput(index: number): void {
    if (!this.#filled) return;
    this.element.classList.toggle("has-outputs", this.cell.cell_type === "code" && this.cell.outputs.length > 0);
    this.#parts.outputs.showOne(this.cell, index);
  }

  appendText(index: number, text: string): void {
    if (!this.#filled) return;
    this.#parts.outputs.appendText(this.cell, index, text);
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
    this.host.setMetadata(this.cell.id, this.#parts.outputs.toggled(this.cell));
  }

  showMetadata(): void {
    if (flag(this.cell.metadata, "source_hidden")) this.closeEditor();
    this.showSource();
    this.showOutputs();
    this.showSlideType();
    this.#parts.prompt.showFooter(this.cell);
  }

  /** Shows another user's text beside what was typed here. */
  showClash(theirs: string | null): void {
    if (theirs === null && this.#made === null) return;
    this.fillIn();
    showClash(this.#parts.clash, theirs, (keep) => this.host.decide(this.cell.id, keep));
  }

  /** A kernel's question, or none. */
  showQuestion(question: { prompt: string; password: boolean } | null, answer: (value: string) => void): void {
    if (question === null && this.#made === null) return;
    this.fillIn();
    showQuestion(this.#parts.question, question, answer, () => this.element.focus());
  }

  destroy(): void {
    this.#made?.prompt.stop();
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
