//! Which results may not be what the cells would give now: cells that changed since they ran, ran before a cell above them,
//! or ran before the kernel was started again.

import type { Cell } from "../protocol";

/** The problem with a cell's results. */
export type Doubt = "changed" | "overtaken" | "earlier";

/** The doubt in words. */
export const DOUBTS: Readonly<Record<Doubt, string>> = {
  changed: "Changed since it ran",
  overtaken: "A cell above ran after this one",
  earlier: "Ran before the kernel was restarted",
};

/** A page's knowledge about the runs that it saw. */
export class RunOrder {
  /** The texts that ran in this process of the kernel. */
  readonly #ran = new Map<string, string>();
  /** Cells that ran in an earlier process. */
  readonly #earlier = new Set<string>();

  started({ id, source }: Cell): void {
    this.#ran.set(id, source);
    this.#earlier.delete(id);
  }

  /** The kernel's process is another one now. */
  restarted(cells: readonly Cell[]): void {
    for (const { id, execution_count } of cells) if (execution_count !== null) this.#earlier.add(id);
    this.#ran.clear();
  }

  /** The doubts about the cells, from top to bottom. A cell that waits or runs has none. */
  doubts(cells: readonly Cell[]): Map<string, Doubt> {
    const found = new Map<string, Doubt>();
    let highest = 0;
    for (const { id, source, state, execution_count } of cells) {
      if (state !== "idle" || execution_count === null) continue;
      const ran = this.#ran.get(id);
      if (ran === undefined) {
        if (this.#earlier.has(id)) found.set(id, "earlier");
        continue;
      }
      if (ran !== source) found.set(id, "changed");
      else if (execution_count < highest) found.set(id, "overtaken");
      highest = Math.max(highest, execution_count);
    }
    return found;
  }
}
