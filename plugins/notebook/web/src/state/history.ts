//! Changes of cells as a whole, to undo and redo them. What is typed in an editor is undone there.

import type { CellType, JsonObject } from "../protocol";
import type { CellCopy } from "./copy";
import type { Notebook } from "./notebook";
import { changes, rebase } from "./rebase";

/** One change. */
export type Step =
  | { type: "insert"; at: number; id: string; copy: CellCopy }
  | { type: "delete"; at: number; id: string; copy: CellCopy }
  | { type: "move"; id: string; from: number; to: number }
  | { type: "kind"; id: string; from: CellType; to: CellType }
  | { type: "source"; id: string; from: string; to: string }
  | { type: "metadata"; id: string; from: JsonObject; to: JsonObject }
  | { type: "attachments"; id: string; from: JsonObject | null; to: JsonObject | null };

/** The document that steps are made in. */
export interface Target {
  readonly notebook: Pick<Notebook, "cell" | "cells">;
  insert(index: number, cell_type: CellType, source: string, copy: CellCopy, id: string): void;
  remove(ids: string[]): void;
  move(id: string, index: number): void;
  setType(id: string, cell_type: CellType): void;
  setMetadata(id: string, metadata: JsonObject): void;
  setAttachments(id: string, attachments: JsonObject | null): void;
  replaceSource(id: string, text: string): void;
}

/** Makes a change. One of a cell that is gone is skipped. */
export function make(target: Target, step: Step): void {
  const { cells } = target.notebook;
  const cell = target.notebook.cell(step.id);
  if (step.type === "insert") {
    // It gets its old id, so that a running execution finds it.
    if (cell === undefined) target.insert(Math.min(step.at, cells.length), step.copy.cell_type, step.copy.source, step.copy, step.id);
    return;
  }
  if (cell === undefined) return;
  switch (step.type) {
    case "delete":
      return target.remove([step.id]);
    case "move":
      return target.move(step.id, Math.min(step.to, cells.length - 1));
    case "kind":
      return target.setType(step.id, step.to);
    case "metadata":
      return target.setMetadata(step.id, step.to);
    case "attachments":
      return target.setAttachments(step.id, step.to);
    case "source":
      // Keeps the text that was typed since then.
      return target.replaceSource(step.id, rebase(step.from, changes(step.from, step.to), cell.source).text);
  }
}

/** How many actions can be undone. */
const MOST = 200;

/** The inverse of a change. */
export function inverse(step: Step): Step {
  switch (step.type) {
    case "insert":
      return { ...step, type: "delete" };
    case "delete":
      return { ...step, type: "insert" };
    case "move":
      return { ...step, from: step.to, to: step.from };
    case "kind":
      return { ...step, from: step.to, to: step.from };
    case "source":
      return { ...step, from: step.to, to: step.from };
    case "metadata":
      return { ...step, from: step.to, to: step.from };
    case "attachments":
      return { ...step, from: step.to, to: step.from };
  }
}

/** The actions of the user, each with its changes in order. */
export class History {
  #done: Step[][] = [];
  #undone: Step[][] = [];
  /** The action in progress. */
  #open: Step[] | null = null;
  #replaying = false;

  /** Records a change that is being made. */
  record(step: Step): void {
    if (this.#replaying) return;
    if (this.#open !== null) {
      this.#open.push(step);
      return;
    }
    this.#add([step]);
  }

  /** Records all changes that `act` makes as one action. */
  together(act: () => void): void {
    if (this.#open !== null || this.#replaying) return act();
    this.#open = [];
    try {
      act();
    } finally {
      const steps = this.#open;
      this.#open = null;
      if (steps.length > 0) this.#add(steps);
    }
  }

  get canUndo(): boolean {
    return this.#done.length > 0;
  }

  get canRedo(): boolean {
    return this.#undone.length > 0;
  }

  /** Turns the last action back: calls `make` with each change to make. Returns whether there was one. */
  undo(make: (step: Step) => void): boolean {
    const steps = this.#done.pop();
    if (steps === undefined) return false;
    this.#undone.push(steps);
    this.#replay([...steps].reverse().map(inverse), make);
    return true;
  }

  /** Makes the last action that was undone again. Returns whether there was one. */
  redo(make: (step: Step) => void): boolean {
    const steps = this.#undone.pop();
    if (steps === undefined) return false;
    this.#done.push(steps);
    this.#replay(steps, make);
    return true;
  }

  #add(steps: Step[]): void {
    this.#done.push(steps);
    if (this.#done.length > MOST) this.#done.shift();
    this.#undone = [];
  }

  #replay(steps: readonly Step[], make: (step: Step) => void): void {
    this.#replaying = true;
    try {
      for (const step of steps) make(step);
    } finally {
      this.#replaying = false;
    }
  }
}
