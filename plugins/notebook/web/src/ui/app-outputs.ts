//! The outputs of cells in a page without an editor, saved or of a session.

import { OutputBox } from "../cells/outputs";
import type { Context, Widgets } from "../outputs/markdown";
import type { Cell, JsonObject } from "../protocol";
import type { LiveApp } from "../state/live-app";

/** The comms of a page without a kernel. */
const NO_COMMS: Widgets["comms"] = { get: async () => null, listen: () => () => {}, send: async () => {} };

/** Widgets in the state that a notebook keeps in its metadata. */
export function savedWidgets(metadata: JsonObject): Widgets {
  const kept = (metadata["widgets"] as JsonObject | undefined)?.["application/vnd.jupyter.widget-state+json"];
  const state = typeof kept === "object" && kept !== null ? (kept as JsonObject) : null;
  return { comms: NO_COMMS, saved: () => state, frozen: true };
}

/** Shows the outputs of a session's cells and what happens to them. `box` gets the element of each cell's outputs. */
export function showLive(live: LiveApp, context: (widgets: Widgets) => Context, box: (cell: Cell, index: number, element: HTMLElement) => void): void {
  const { notebook, comms } = live;
  const shared = context({ comms, saved: () => null, frozen: true });
  const boxes = new Map<string, OutputBox>();
  notebook.cells.forEach((cell, index) => {
    if (cell.cell_type !== "code") return;
    const made = new OutputBox({ context: () => shared, fresh: () => true }, () => {});
    made.show(cell);
    boxes.set(cell.id, made);
    box(cell, index, made.element);
  });
  notebook.listen((event) => {
    if (!("id" in event)) return;
    const cell = notebook.cell(event.id);
    const shown = boxes.get(event.id);
    if (cell === undefined || shown === undefined) return;
    if (event.type === "outputs") shown.show(cell);
    if (event.type === "output") shown.showOne(cell, event.index);
    if (event.type === "text") shown.appendText(cell, event.index, event.text);
  });
}
