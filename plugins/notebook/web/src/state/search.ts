//! Finds a text in the sources of cells, and replaces it.

import type { Cell } from "../protocol";

/** The search's options. */
export interface Query {
  text: string;
  caseSensitive: boolean;
  wholeWord: boolean;
  regexp: boolean;
}

/** A place in a cell's source, in UTF-16 units. */
export interface Match {
  id: string;
  from: number;
  to: number;
}

/** More matches than this are not looked for. */
export const MOST = 10_000;

/** The expression of a query; null if there is nothing to find. Throws a `SyntaxError` if it is not a valid expression. */
export function expression({ text, caseSensitive, wholeWord, regexp }: Query): RegExp | null {
  if (text === "") return null;
  const body = regexp ? text : text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
  return new RegExp(wholeWord ? `(?<![\\p{L}\\p{N}_])(?:${body})(?![\\p{L}\\p{N}_])` : body, `gmu${caseSensitive ? "" : "i"}`);
}

/** All matches, top to bottom. */
export function find(cells: readonly Pick<Cell, "id" | "source">[], wanted: RegExp): Match[] {
  const matches: Match[] = [];
  for (const { id, source } of cells) {
    for (const match of source.matchAll(wanted)) {
      if (match[0] === "") continue;
      matches.push({ id, from: match.index, to: match.index + match[0].length });
      if (matches.length === MOST) return matches;
    }
  }
  return matches;
}

/** The source with these matches replaced. In a regular expression's replacement, `$1` is its first group. */
export function replaced(source: string, wanted: RegExp, replacement: string, regexp: boolean, only?: number): string {
  // The whole source decides what matches, because an expression may look around.
  return source.replace(wanted, (...parts: unknown[]) => {
    const [whole] = parts as [string];
    const named = typeof parts.at(-1) === "object" ? 1 : 0;
    const at = parts.at(-2 - named) as number;
    if (whole === "" || (only !== undefined && at !== only)) return whole;
    return regexp ? expanded(replacement, parts.slice(0, -2 - named) as (string | undefined)[], named === 1 ? (parts.at(-1) as Record<string, string | undefined>) : {}) : replacement;
  });
}

/** `$1`, `$&`, `$<name>` and `$$` in a replacement, as in JavaScript. */
function expanded(replacement: string, groups: readonly (string | undefined)[], names: Readonly<Record<string, string | undefined>>): string {
  return replacement.replace(/\$(?:\$|&|(\d{1,2})|<([^>]*)>)/g, (whole, number: string | undefined, name: string | undefined) => {
    if (whole === "$$") return "$";
    if (whole === "$&") return groups[0] ?? "";
    if (name !== undefined) return names[name] ?? "";
    return Number(number) < groups.length ? (groups[Number(number)] ?? "") : whole;
  });
}
