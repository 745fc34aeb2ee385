//! What a cell is in a presentation, chosen above it.

import { h } from "../dom";
import type { Cell, JsonObject } from "../protocol";
import { type SlideType, slideType, SLIDE_TYPES, withSlideType } from "../state/slides";

/** The choice. */
export function slideTypeChoice(cell: Cell, writable: boolean, set: (metadata: JsonObject) => void): HTMLElement {
  const present = slideType(cell);
  const select = h("select", { "aria-label": "Slide type", disabled: !writable }, ...SLIDE_TYPES.map(([type, name]) => h("option", { value: type, selected: type === present }, name)));
  select.addEventListener("change", () => set(withSlideType(cell.metadata, select.value as SlideType)));
  return h("div", { class: "slide-type", "data-type": present }, select);
}
