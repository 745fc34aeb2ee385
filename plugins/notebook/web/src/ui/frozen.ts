//! A notebook that does not change: published, or what a scheduled run made.

import { h } from "../dom";
import { highlight } from "../editor/languages";
import { bokehLibrary } from "../outputs/bokeh";
import { type Context, renderMarkdown, type Widgets } from "../outputs/markdown";
import type { Macros } from "../outputs/math";
import { renderOutput } from "../outputs/output";
import type { JsonObject, Output } from "../protocol";
import { savedWidgets } from "./app-outputs";
import type { PublishedCell } from "../transport/rest";

const KNOWN: ReadonlySet<string> = new Set<Output["output_type"]>(["stream", "error", "display_data", "execute_result"]);

/** Its cells with their outputs. */
export function frozenCells(content: { cells: PublishedCell[]; metadata: JsonObject }): HTMLElement[] {
  const info = content.metadata["language_info"];
  const said = typeof info === "object" && info !== null ? (info as JsonObject)["name"] : null;
  const language = typeof said === "string" ? said : "python";
  const macros: Macros = {};
  const bokeh = () => bokehLibrary(content.cells);
  const widgets = savedWidgets(content.metadata);
  return content.cells.map((cell) => frozenCell(cell, { language, macros, bokeh, widgets }));
}

/** What the cells of a notebook share. */
interface Shared {
  language: string;
  macros: Macros;
  bokeh: () => string | null;
  widgets: Widgets;
}

function frozenCell(cell: PublishedCell, { language, macros, bokeh, widgets }: Shared): HTMLElement {
  const context: Context = { file: (path) => path, attachments: cell.attachments ?? null, widgets, macros, bokeh, highlight: (code, name) => highlight(code, name) };
  const body = h("div", { class: "body" });
  if (cell.cell_type === "markdown") {
    const box = h("div", { class: "markdown" });
    box.append(renderMarkdown(cell.source, context));
    body.append(h("div", { class: "input" }, box));
  } else {
    body.append(h("div", { class: "input" }, h("pre", { class: "static", tabindex: 0 }, highlight(cell.source, cell.cell_type === "code" ? language : ""))));
    const outputs = (cell.outputs ?? []).filter((output) => KNOWN.has(output.output_type));
    body.append(h("div", { class: "outputs" }, ...outputs.map((output) => renderOutput(output, false, context).element)));
  }
  return h("section", { class: `cell ${cell.cell_type}` }, h("div", { class: "gutter" }), body);
}
