//! The arrow beside a heading, which hides its section.

import { button, fill, h } from "../dom";

/** Whether a heading hides its section, and how many cells that has. */
export interface Folding {
  collapsed: boolean;
  cells: number;
}

/** Shows the arrow; null: the cell is no heading. */
export function showFold(box: HTMLElement, fold: Folding | null, turn: () => void): void {
  const key = fold === null ? "" : `${fold.collapsed} ${fold.cells}`;
  if (box.dataset["key"] === key) return;
  box.dataset["key"] = key;
  if (fold === null) return fill(box);
  const had = box.contains(document.activeElement);
  const label = fold.collapsed ? `Show the section (${fold.cells} ${fold.cells === 1 ? "cell" : "cells"})` : "Hide the section";
  const made = button(label, turn, { icon: fold.collapsed ? "right" : "below", class: "icon-button small" });
  made.setAttribute("aria-expanded", String(!fold.collapsed));
  fill(box, made, fold.collapsed && h("span", { class: "fold-count" }, `${fold.cells}`));
  if (had) made.focus({ preventScroll: true });
}
