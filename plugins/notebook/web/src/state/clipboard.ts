//! Cells on the clipboard, as a notebook (nbformat 4): for other notebooks, other tabs, and other programs.

import type { Cell, CellType, JsonObject, Output } from "../protocol";
import { plain } from "../outputs/ansi";
import { joined } from "../outputs/mime";
import { type CellCopy, copyOf } from "./copy";

/** The MIME type of cells on the clipboard and while they are dragged. */
export const CELLS_TYPE = "application/x-ipynb+json";

/** Cells as a notebook. */
export function toNotebook(cells: readonly Cell[]): string {
  const written = cells.map(copyOf).map(({ cell_type, source, metadata, attachments, outputs, execution_count }) => ({
    cell_type,
    metadata,
    source,
    ...(attachments === null ? {} : { attachments }),
    ...(cell_type === "code" ? { outputs, execution_count } : {}),
  }));
  return JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: {}, cells: written });
}

/** The texts of cells, for programs that know no cells. */
export function toText(cells: readonly Cell[]): string {
  return cells.map(({ source }) => source).join("\n\n");
}

/** Outputs as text, as far as they have one. */
export function outputText(outputs: readonly Output[]): string {
  const parts = outputs.map((output) => {
    switch (output.output_type) {
      case "stream":
        return output.text;
      case "error":
        return output.traceback.length > 0 ? output.traceback.join("\n") : `${output.ename}: ${output.evalue}`;
      default:
        return ["text/plain", "text/markdown", "text/latex"].map((type) => joined(output.data[type])).find((one) => one !== "") ?? "";
    }
  });
  return parts.filter((part) => part !== "").map((part) => plain(part).replace(/\n$/, "")).join("\n");
}

/** The cells of a notebook, of a list of cells, or of one cell; null if the text is none of them. */
export function fromNotebook(text: string): CellCopy[] | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const list = isObject(value) && Array.isArray(value["cells"]) ? value["cells"] : Array.isArray(value) ? value : [value];
  const cells = list.map(read);
  return cells.length > 0 && cells.every((cell) => cell !== null) ? cells : null;
}

function read(value: unknown): CellCopy | null {
  if (!isObject(value)) return null;
  const { cell_type, source, metadata, attachments, outputs, execution_count } = value;
  if (!isCellType(cell_type) || (typeof source !== "string" && !Array.isArray(source))) return null;
  const code = cell_type === "code";
  return {
    cell_type,
    source: text(source),
    metadata: isObject(metadata) ? metadata : {},
    attachments: isObject(attachments) ? attachments : null,
    outputs: code && Array.isArray(outputs) ? outputs.flatMap(output) : [],
    execution_count: code && typeof execution_count === "number" ? execution_count : null,
  };
}

/** An output with its texts joined, as the server wants it. Others are left out. */
function output(value: unknown): Output[] {
  if (!isObject(value)) return [];
  const object = (name: string): JsonObject => (isObject(value[name]) ? value[name] : {});
  const count = typeof value["execution_count"] === "number" ? value["execution_count"] : null;
  switch (value["output_type"]) {
    case "stream":
      return [{ output_type: "stream", name: value["name"] === "stderr" ? "stderr" : "stdout", text: text(value["text"]) }];
    case "display_data":
      return [{ output_type: "display_data", data: object("data"), metadata: object("metadata") }];
    case "execute_result":
      return [{ output_type: "execute_result", execution_count: count, data: object("data"), metadata: object("metadata") }];
    case "error":
      return [{ output_type: "error", ename: text(value["ename"]), evalue: text(value["evalue"]), traceback: Array.isArray(value["traceback"]) ? value["traceback"].map(text) : [] }];
    default:
      return [];
  }
}

function isCellType(value: unknown): value is CellType {
  return value === "code" || value === "markdown" || value === "raw";
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  if (Array.isArray(value)) return value.map(text).join("");
  return typeof value === "string" ? value : "";
}
