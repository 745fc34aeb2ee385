//! What stands beside and below the source of a cell: the number of its run, its button, how long it ran.

import { button, duration, fill, h } from "../dom";
import type { Cell } from "../protocol";
import { recordedElapsed } from "../state/notebook";
import { type Doubt, DOUBTS } from "../state/order";

/** The interface to the notebook. */
export interface PromptHost {
  started(id: string): number | undefined;
  elapsed(id: string): number | undefined;
  ended(id: string): Date | undefined;
  run(id: string): void;
  /** Takes a cell that waits to run out of the queue. */
  cancel(id: string): void;
  interrupt(): void;
}

export class Prompt {
  readonly element = h("div", { class: "prompt" });
  readonly footer = h("div", { class: "cell-footer" });
  #ticking: ReturnType<typeof setInterval> | null = null;
  private readonly host: PromptHost;

  constructor(host: PromptHost) {
    this.host = host;
  }

  /** Shows the state of a cell. */
  show(cell: Cell): void {
    this.stop();
    const { cell_type, state, execution_count, id } = cell;
    if (cell_type !== "code") {
      fill(this.element);
      fill(this.footer);
      return;
    }
    const mark = state === "running" ? "*" : state === "queued" ? "…" : (execution_count ?? " ");
    fill(
      this.element,
      state === "running"
        ? button("Interrupt the kernel", () => this.host.interrupt(), { icon: "stop", class: "run-button" })
        : state === "queued"
          ? button("Remove this cell from the queue", () => this.host.cancel(id), { icon: "close", class: "run-button" })
          : button("Run this cell", () => this.host.run(id), { icon: "run", keys: "Ctrl+Enter", class: "run-button" }),
      h("span", { class: "count" }, `[${mark}]`),
    );
    this.showDoubt(cell, null);
    this.showFooter(cell);
    if (state === "running") this.#ticking = setInterval(() => this.showFooter(cell), 100);
  }

  /** Shows why the results may be old. */
  showDoubt(cell: Cell, doubt: Doubt | null): void {
    const count = this.element.querySelector<HTMLElement>(".count");
    if (count === null) return;
    const ended = this.host.ended(cell.id);
    const ms = this.host.elapsed(cell.id);
    const ran = ended === undefined ? "" : `Ran at ${ended.toLocaleTimeString()}${ms === undefined ? "" : `, took ${duration(ms)}`}`;
    const title = [doubt === null ? "" : DOUBTS[doubt], ran].filter((part) => part !== "").join(". ");
    if (count.title !== title) count.title = title;
    if ((count.dataset["doubt"] ?? null) === doubt) return;
    if (doubt === null) delete count.dataset["doubt"];
    else count.dataset["doubt"] = doubt;
    count.querySelector(".visually-hidden")?.remove();
    if (doubt !== null) count.append(h("span", { class: "visually-hidden" }, ` ${DOUBTS[doubt]}`));
  }

  /** Shows how long the cell runs or ran. */
  showFooter(cell: Cell): void {
    const { state, id } = cell;
    let text = "";
    if (state === "queued") text = "Waiting to run";
    else if (state === "running") {
      const started = this.host.started(id);
      const ms = started === undefined ? 0 : performance.now() - started;
      text = ms < 400 ? "Running" : `Running for ${duration(ms)}`;
    } else {
      const ms = this.host.elapsed(id) ?? recordedElapsed(cell);
      const ended = this.host.ended(id);
      if (ms !== null && ms >= 100) text = `Took ${duration(ms)}${ended === undefined ? "" : `, until ${ended.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`}`;
    }
    if (this.footer.textContent !== text) this.footer.textContent = text;
  }

  /** The cell was deleted, or no longer runs. */
  stop(): void {
    if (this.#ticking !== null) clearInterval(this.#ticking);
    this.#ticking = null;
  }
}
