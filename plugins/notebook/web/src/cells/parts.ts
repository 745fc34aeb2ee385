//! The elements of a cell. In a long notebook, a cell far from the view has none.

import { h } from "../dom";
import { OutputBox, type OutputsHost } from "./outputs";
import { Prompt, type PromptHost } from "./prompt";

export class CellParts {
  readonly prompt: Prompt;
  readonly input = h("div", { class: "input" });
  readonly clash = h("div", { class: "clash", role: "alert", hidden: true });
  readonly fold = h("div", { class: "fold" });
  readonly slide = h("div", {});
  readonly people = h("div", { class: "cell-people" });
  readonly question = h("div", { class: "question" });
  readonly outputs: OutputBox;

  constructor(host: OutputsHost & PromptHost, reveal: () => void, edit: () => void) {
    this.prompt = new Prompt(host);
    this.outputs = new OutputBox(host, reveal);
    this.input.addEventListener("dblclick", edit);
  }

  /** The contents of the cell; `tools` come last. */
  elements(tools: HTMLElement): HTMLElement[] {
    return [
      h("div", { class: "gutter", draggable: "true" }, this.prompt.element, this.fold, this.people),
      h("div", { class: "body" }, this.slide, this.clash, this.input, this.prompt.footer, this.question, this.outputs.element, this.outputs.row),
      tools,
    ];
  }

  /** Whether something in it would be lost with it. */
  get isNeeded(): boolean {
    return this.question.hasChildNodes() || !this.clash.hidden || this.people.hasChildNodes() || this.outputs.isOpened;
  }
}
