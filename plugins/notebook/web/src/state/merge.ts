//! Merges cells into one and splits one into two: their texts, and the images that these show as `attachment:NAME`.

import type { Cell, JsonObject } from "../protocol";

/** The contents of a cell. */
export interface Content {
  source: string;
  attachments: JsonObject | null;
}

/**
 * The content of several cells as one, in the first one's type. If an image has the name of another image in an earlier cell, it
 * gets a new name, in the text too.
 */
export function merged(cells: readonly Pick<Cell, "cell_type" | "source" | "attachments">[]): Content {
  const attachments: JsonObject = {};
  const taken = new Set(cells.flatMap((cell) => Object.keys(cell.attachments ?? {})));
  const sources = cells.map((cell) => {
    const renamed = new Map<string, string>();
    for (const [name, bundle] of Object.entries(cell.attachments ?? {})) {
      if (!Object.hasOwn(attachments, name)) {
        attachments[name] = bundle;
      } else if (!same(attachments[name], bundle)) {
        const other = freeName(name, taken);
        taken.add(other);
        renamed.set(name, other);
        attachments[other] = bundle;
      }
    }
    return renameReferences(cell.source, renamed);
  });
  return {
    source: sources.join(cells[0]?.cell_type === "markdown" ? "\n\n" : "\n"),
    attachments: Object.keys(attachments).length > 0 ? attachments : null,
  };
}

/** Those attachments that a text shows; null if there are none. */
export function shownIn(source: string, attachments: JsonObject | null): JsonObject | null {
  const shown = Object.entries(attachments ?? {}).filter(([name]) => references([name]).test(source));
  return shown.length > 0 ? Object.fromEntries(shown) : null;
}

function renameReferences(source: string, names: ReadonlyMap<string, string>): string {
  if (names.size === 0) return source;
  return source.replace(references([...names.keys()]), (whole, written: string) => {
    const name = names.get(written) ?? names.get(decoded(written));
    return name === undefined ? whole : `attachment:${encodeURIComponent(name)}`;
  });
}

/** Finds `attachment:NAME` for these names, plain or encoded. */
function references(names: readonly string[]): RegExp {
  const written = names.flatMap((name) => [name, encodeURI(name), encodeURIComponent(name)]);
  const longestFirst = [...new Set(written)].sort((a, b) => b.length - a.length);
  const escaped = longestFirst.map((name) => name.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
  return new RegExp(`attachment:(${escaped.join("|")})(?![^\\s)"'>\\]])`, "g");
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** `a.png` becomes `a-1.png`, or the next number that is free. */
function freeName(name: string, taken: ReadonlySet<string>): string {
  const dot = name.lastIndexOf(".");
  const [stem, ending] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  for (let n = 1; ; n++) {
    const other = `${stem}-${n}${ending}`;
    if (!taken.has(other)) return other;
  }
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
