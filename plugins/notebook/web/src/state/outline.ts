//! The headings of a notebook, and the sections that they begin.

import type { Cell } from "../protocol";

/** A heading in a Markdown cell. */
export interface Heading {
  /** The cell. */
  id: string;
  level: number;
  text: string;
  /** Which heading of the cell it is, from 0. */
  place: number;
}

const LINE = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const FENCE = /^ {0,3}(`{3,}|~{3,})/;

/** The headings in a Markdown text. */
export function headings(source: string): { level: number; text: string }[] {
  const found: { level: number; text: string }[] = [];
  let fence = "";
  let before = "";
  for (const line of source.split("\n")) {
    const mark = FENCE.exec(line)?.[1];
    if (mark !== undefined && (fence === "" || (mark[0] === fence[0] && mark.length >= fence.length))) fence = fence === "" ? mark : "";
    const heading = fence === "" ? LINE.exec(line) : null;
    const underline = fence === "" && /\S/.test(before) && LINE.exec(before) === null && !/^ {0,3}(?:[-*+>]|\d+[.)])/.test(before) ? UNDERLINE.exec(line)?.[1] : undefined;
    if (heading !== null) found.push({ level: heading[1]?.length ?? 1, text: plainText(heading[2] ?? "") });
    else if (underline !== undefined) found.push({ level: underline.startsWith("=") ? 1 : 2, text: plainText(before) });
    before = mark === undefined ? line : "";
  }
  return found.filter(({ text }) => text !== "");
}

/** A heading's text without its Markdown. */
function plainText(text: string): string {
  return text
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/<[^>]+>/g, "")
    .replace(/(\*\*|__|\*|_|`)(.+?)\1/g, "$2")
    .trim();
}

/** All headings of a notebook. */
export function outline(cells: readonly Pick<Cell, "id" | "cell_type" | "source">[]): Heading[] {
  return cells.flatMap(({ id, cell_type, source }) => (cell_type === "markdown" && /[#=-]/.test(source) ? headings(source).map((heading, place) => ({ ...heading, id, place })) : []));
}

/** The levels of cells, with the texts that have them. They are asked for after each change of a notebook. */
const levels = new WeakMap<object, { source: string; level: number | null }>();

/** The level of the heading that a cell begins with; null if it begins with none. */
export function levelOf(cell: Pick<Cell, "cell_type" | "source">): number | null {
  if (cell.cell_type !== "markdown") return null;
  const known = levels.get(cell);
  if (known?.source === cell.source) return known.level;
  const first = cell.source.trimStart().split("\n", 2).join("\n");
  const level = headings(first)[0]?.level ?? null;
  levels.set(cell, { source: cell.source, level });
  return level;
}

/** Whether a heading hides its section, as JupyterLab stores it. */
export function isCollapsed({ metadata }: Pick<Cell, "metadata">): boolean {
  return metadata["heading_collapsed"] === true;
}

/** The cells that a collapsed heading above hides, each with the id of that heading's cell. */
export function hiddenCells(cells: readonly Cell[]): Map<string, string> {
  const hidden = new Map<string, string>();
  let by: { id: string; level: number } | null = null;
  for (const cell of cells) {
    const level = levelOf(cell);
    if (by !== null && level !== null && level <= by.level) by = null;
    if (by !== null) hidden.set(cell.id, by.id);
    else if (level !== null && isCollapsed(cell)) by = { id: cell.id, level };
  }
  return hidden;
}

/** How many cells a heading's section has below it. */
export function sectionLength(cells: readonly Cell[], index: number): number {
  const own = cells[index] === undefined ? null : levelOf(cells[index]);
  if (own === null) return 0;
  const end = cells.findIndex((cell, i) => i > index && (levelOf(cell) ?? 7) <= own);
  return (end < 0 ? cells.length : end) - index - 1;
}
