//! Presents a notebook: one slide at a time, with the cells themselves, so that they can run.

import { button, h } from "../dom";
import type { Notebook } from "../state/notebook";
import { type Slide, slides } from "../state/slides";
import type { CellList } from "./cells";
import { announce } from "./dialog";

export class Presentation {
  /** The bar with the place, shown while presenting. */
  readonly element: HTMLElement;
  readonly #place = h("output", {});
  #slides: Slide[] = [];
  #at = 0;
  #step = 0;
  #on = false;
  #notes = false;
  private readonly notebook: Notebook;
  private readonly cells: CellList;

  constructor(notebook: Notebook, cells: CellList) {
    this.notebook = notebook;
    this.cells = cells;
    this.element = h(
      "nav",
      { class: "slide-bar", "aria-label": "Slides", hidden: true },
      button("Previous slide", () => this.#back(), { icon: "left", keys: "Left" }),
      this.#place,
      button("Next slide", () => this.#forward(), { icon: "right", keys: "Right" }),
      button("End the presentation", () => this.end(), { icon: "close", keys: "Escape" }),
    );
    notebook.listen(({ type }) => {
      if (this.#on && (type === "all" || type === "order" || type === "metadata" || type === "kind")) this.#load();
    });
    document.addEventListener("keydown", (event) => this.#key(event), true);
  }

  /** Begins with the slide of a cell. */
  begin(cell: string | null): void {
    this.cells.fillAll();
    this.#on = true;
    this.#step = 0;
    this.#slides = slides(this.notebook.cells);
    this.#at = Math.max(0, this.#slides.findIndex((slide) => slide.cells.some(({ id }) => id === cell)));
    document.body.classList.add("presenting");
    this.element.hidden = false;
    void document.documentElement.requestFullscreen?.().catch(() => {});
    this.#show();
  }

  end(): void {
    if (!this.#on) return;
    this.#on = false;
    document.body.classList.remove("presenting");
    this.element.hidden = true;
    if (document.fullscreenElement !== null) void document.exitFullscreen();
    for (const view of this.cells.views()) view.element.classList.remove("off-slide", "later");
    this.cells.selectAgain();
  }

  #load(): void {
    this.#slides = slides(this.notebook.cells);
    this.#at = Math.min(this.#at, Math.max(0, this.#slides.length - 1));
    this.#show();
  }

  #forward(): void {
    const slide = this.#slides[this.#at];
    if (slide !== undefined && this.#step < slide.steps) this.#step += 1;
    else if (this.#at < this.#slides.length - 1) [this.#at, this.#step] = [this.#at + 1, 0];
    this.#show();
  }

  #back(): void {
    if (this.#step > 0) this.#step -= 1;
    else if (this.#at > 0) [this.#at, this.#step] = [this.#at - 1, this.#slides[this.#at - 1]?.steps ?? 0];
    this.#show();
  }

  #goTo(at: number, step: number): void {
    [this.#at, this.#step] = [Math.max(0, at), step];
    this.#show();
  }

  #show(): void {
    const slide = this.#slides[this.#at];
    const steps = new Map(slide?.cells.map(({ id, step }) => [id, step]));
    if (this.#notes) for (const id of slide?.notes ?? []) steps.set(id, 0);
    for (const view of this.cells.views()) {
      const step = steps.get(view.id);
      view.element.classList.toggle("off-slide", step === undefined);
      view.element.classList.toggle("later", step !== undefined && step > this.#step);
    }
    const words = `${this.#slides.length === 0 ? 0 : this.#at + 1} / ${this.#slides.length}`;
    if (this.#place.textContent === words) return;
    this.#place.textContent = words;
    announce(`Slide ${words}`);
    scrollTo(0, 0);
    const first = slide?.cells[0]?.id;
    if (first !== undefined) this.cells.select(first);
  }

  #key(event: KeyboardEvent): void {
    if (!this.#on || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    // In an editor, the keys are for the text; Escape leaves it first.
    if (event.target instanceof Element && event.target.closest(".cm-editor, input, select, textarea, dialog, .menu") !== null) return;
    const last = this.#slides.length - 1;
    const keys: Record<string, () => void> = {
      ArrowRight: () => this.#forward(), ArrowDown: () => this.#forward(), PageDown: () => this.#forward(), " ": () => this.#forward(),
      ArrowLeft: () => this.#back(), ArrowUp: () => this.#back(), PageUp: () => this.#back(),
      Home: () => this.#goTo(0, 0), End: () => this.#goTo(last, this.#slides[last]?.steps ?? 0), Escape: () => this.end(),
      n: () => {
        this.#notes = !this.#notes;
        this.#show();
      },
    };
    const act = keys[event.key];
    if (act === undefined || (event.key === " " && event.target instanceof Element && event.target.closest("button, a, summary") !== null)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    act();
  }
}
