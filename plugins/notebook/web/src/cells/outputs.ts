//! The outputs of a cell: shown, hidden, or in a box that scrolls.

import { button, fill, h } from "../dom";
import type { Context } from "../outputs/markdown";
import { bestType, joined } from "../outputs/mime";
import { renderOutput, type Shape } from "../outputs/output";
import { newlines } from "../outputs/text";
import type { Cell, JsonObject, Output } from "../protocol";
import { flag } from "./flags";

/** Outputs with more lines than this scroll in a box, as in Jupyter Notebook. */
const LONG_LINES = 100;
/** A box that is scrolled to within this many pixels of its end follows new lines. */
const AT_END = 24;

/** The interface of outputs to the notebook. */
export interface OutputsHost {
  context(cell: Cell): Context;
  fresh(id: string): boolean;
}

export class OutputBox {
  readonly element = h("div", { class: "outputs" });
  /** The button below the box. */
  readonly row = h("div", { class: "box-row" });
  /** The number of lines in all outputs. */
  #lines = 0;
  /** The user opened a long output; this is not saved. */
  #opened = false;
  /** Whether the box stays at its end while lines are added. */
  #following = false;
  /** The last scroll position of the box. */
  #top = 0;
  #shapes: Shape[] = [];
  private readonly host: OutputsHost;
  private readonly reveal: () => void;

  /** `reveal` shows hidden outputs. */
  constructor(host: OutputsHost, reveal: () => void) {
    this.host = host;
    this.reveal = reveal;
    this.element.addEventListener("scroll", () => {
      const { scrollTop, clientHeight, scrollHeight } = this.element;
      // Text may have arrived since this page scrolled to the end, so only scrolling back shows that the user did it.
      if (scrollTop < this.#top) this.#following = false;
      else if (scrollTop + clientHeight >= scrollHeight - AT_END) this.#following = true;
      this.#top = scrollTop;
    });
  }

  /** Whether the user has opened a long output. */
  get isOpened(): boolean {
    return this.#opened;
  }

  /** Shows all outputs of a cell. */
  show(cell: Cell): void {
    const { cell_type, outputs } = cell;
    this.#shapes = [];
    this.#lines = 0;
    if (cell_type !== "code" || outputs.length === 0) {
      this.#opened = false;
      this.element.replaceChildren();
      this.#showBox(cell);
      return;
    }
    if (outputsHidden(cell)) {
      fill(this.element, button("Output is hidden: show it", () => this.reveal(), { class: "folded" }));
      this.#showBox(cell);
      return;
    }
    this.#lines = outputs.reduce((lines, output) => lines + lineCount(output), 0);
    this.#following = cell.state === "running";
    this.#shapes = outputs.map((output) => this.#shape(cell, output));
    this.element.replaceChildren(...this.#shapes.map(({ element }) => element));
    this.#showBox(cell);
  }

  /** Shows an output that was added or replaced. */
  showOne(cell: Cell, index: number): void {
    if (outputsHidden(cell) || this.#shapes.length === 0 || index > this.#shapes.length) return this.show(cell);
    const output = cell.outputs[index];
    if (output === undefined) return;
    const shape = this.#shape(cell, output);
    this.#lines = cell.outputs.reduce((lines, one) => lines + lineCount(one), 0);
    const old = this.#shapes[index];
    this.#shapes[index] = shape;
    if (old !== undefined) old.element.replaceWith(shape.element);
    else this.element.append(shape.element);
    this.#showBox(cell);
  }

  appendText(cell: Cell, index: number, text: string): void {
    if (outputsHidden(cell)) return;
    this.#shapes[index]?.append?.(text);
    this.#lines += newlines(text);
    this.#showBox(cell);
  }

  /** The metadata with the other choice between a box and the whole output. */
  toggled(cell: Cell): JsonObject {
    const { scrolled: _, ...metadata } = cell.metadata;
    const boxed = this.#isBoxed(cell);
    const long = this.#lines > LONG_LINES;
    this.#opened = false;
    // The metadata records only what differs from the default.
    return boxed === long ? { ...metadata, scrolled: !boxed } : metadata;
  }

  #shape(cell: Cell, output: Output): Shape {
    return renderOutput(output, this.host.fresh(cell.id), this.host.context(cell), cell.outputs[cell.outputs.indexOf(output) - 1]);
  }

  /** Whether the outputs scroll in a box: according to the metadata, or by default if they are long. */
  #isBoxed(cell: Cell): boolean {
    const scrolled = cell.metadata["scrolled"];
    if (outputsHidden(cell) || this.#shapes.length === 0 || this.#opened) return false;
    return typeof scrolled === "boolean" ? scrolled : this.#lines > LONG_LINES;
  }

  #showBox(cell: Cell): void {
    const boxed = this.#isBoxed(cell);
    if (boxed !== this.element.classList.contains("scrolled")) {
      this.element.classList.toggle("scrolled", boxed);
      if (boxed) {
        this.element.tabIndex = 0;
        this.element.setAttribute("role", "region");
        this.element.setAttribute("aria-label", "Output");
      } else {
        for (const name of ["tabindex", "role", "aria-label"]) this.element.removeAttribute(name);
      }
    }
    if (boxed && this.#following) {
      requestAnimationFrame(() => {
        if (this.#following) this.element.scrollTop = this.element.scrollHeight;
      });
    }
    const label = boxed ? "Show the whole output" : this.#opened ? "Scroll the output in a box" : "";
    if ((this.row.textContent ?? "") === label) return;
    fill(this.row, label !== "" && button(label, () => this.#open(cell, boxed), { class: "link" }));
  }

  #open(cell: Cell, on: boolean): void {
    this.#opened = on;
    this.#following = false;
    this.#showBox(cell);
    this.row.querySelector("button")?.focus({ preventScroll: true });
    if (!on) this.element.closest(".cell")?.scrollIntoView({ block: "nearest" });
  }
}

/** Whether a cell's outputs are hidden. */
export function outputsHidden({ metadata }: Pick<Cell, "metadata">): boolean {
  return flag(metadata, "outputs_hidden") || metadata["collapsed"] === true;
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
