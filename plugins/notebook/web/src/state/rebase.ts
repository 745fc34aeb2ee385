//! Compares texts, and applies to another writer's text what was typed here.

import { ChangeSet, Text } from "@codemirror/state";

/** `insert` replaces `from..to` (UTF-16 offsets). */
export interface Hunk {
  from: number;
  to: number;
  insert: string;
}

/** Texts with more pairs of differing lines than this are compared as a whole. */
const LIMIT = 4_000_000;

/** The changes from `before` to `after`, in order and without overlap: lines that differ, and in them the words that differ. */
export function diff(before: string, after: string): Hunk[] {
  return compare(0, lines(before), lines(after)).flatMap((hunk) => {
    const old = before.slice(hunk.from, hunk.to);
    return old === "" || hunk.insert === "" ? [hunk] : compare(hunk.from, words(old), words(hunk.insert));
  });
}

/** The changes from the parts `a` to the parts `b`; `a` begins at `offset`. */
function compare(offset: number, a: readonly string[], b: readonly string[]): Hunk[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const kept = common(a.slice(start, a.length - end), b.slice(start, b.length - end)).map(([x, y]): [number, number] => [x + start, y + start]);
  const hunks: Hunk[] = [];
  let [x, y] = [start, start];
  let at = offset + a.slice(0, start).join("").length;
  for (const [nextX, nextY] of [...kept, [a.length - end, b.length - end] as [number, number]]) {
    const old = a.slice(x, nextX).join("");
    const insert = b.slice(y, nextY).join("");
    if (old !== insert) hunks.push(trimmed(at, old, insert));
    at += old.length + (a[nextX]?.length ?? 0);
    [x, y] = [nextX + 1, nextY + 1];
  }
  return hunks;
}

/** The same for CodeMirror. */
export function changes(before: string, after: string): ChangeSet {
  return ChangeSet.of(diff(before, after).map(({ from, to, insert }) => ({ from, to, insert: asText(insert) })), before.length);
}

/**
 * Applies `own`, which was made to `base`, to `theirs`. What both inserted is kept, theirs first; what one of them deleted is gone.
 * `how` is the other page's description of its change. A comparison of the texts alone can mistake one of two equal words for
 * the other.
 * `clash`: both replaced the same text with different ones, so that a user should check the result.
 */
export function rebase(base: string, own: ChangeSet, theirs: string, how?: unknown): { text: string; own: ChangeSet; clash: boolean } {
  const others = reported(base, theirs, how) ?? changes(base, theirs);
  const mapped = own.map(others);
  return { text: mapped.apply(asText(theirs)).toString(), own: mapped, clash: clash(base, own, others) };
}

/** Another page's description of its change, if it is correct. */
function reported(base: string, theirs: string, how: unknown): ChangeSet | null {
  if (how === null || how === undefined) return null;
  try {
    const set = ChangeSet.fromJSON(how);
    return set.length === base.length && set.apply(asText(base)).toString() === theirs ? set : null;
  } catch {
    return null;
  }
}

function clash(base: string, own: ChangeSet, others: ChangeSet): boolean {
  let found = false;
  own.iterChanges((from, to, _start, _end, mine) => {
    others.iterChanges((otherFrom, otherTo, _otherStart, _otherEnd, theirs) => {
      if (mine.length === 0 || theirs.length === 0 || from >= otherTo || otherFrom >= to) return;
      const both = base.slice(Math.max(from, otherFrom), Math.min(to, otherTo));
      // The Enter key replaces the spaces at its place. Two people who press it there have no question to answer.
      const blank = both.trim() === "" && [mine, theirs].some((text) => text.lines > 1 || text.toString().trim() !== "");
      found ||= !blank;
    });
  });
  return found;
}

function asText(text: string): Text {
  return Text.of(text.split("\n"));
}

/** The lines of a text with their ends. */
function lines(text: string): string[] {
  return text.split(/(?<=\n)/);
}

/** Words, spaces, and every other character separately. */
function words(text: string): string[] {
  return text.match(/[\p{L}\p{N}_]+|[^\S\n]+|[^]/gu) ?? [];
}

/** The places of a longest common subsequence. */
function common(a: readonly string[], b: readonly string[]): [number, number][] {
  if (a.length === 0 || b.length === 0 || a.length * b.length > LIMIT) return [];
  const width = b.length + 1;
  const best = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i * width + j] = a[i] === b[j] ? 1 + (best[(i + 1) * width + j + 1] ?? 0) : Math.max(best[(i + 1) * width + j] ?? 0, best[i * width + j + 1] ?? 0);
    }
  }
  const found: [number, number][] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) found.push([i++, j++]);
    else if ((best[(i + 1) * width + j] ?? 0) >= (best[i * width + j + 1] ?? 0)) i += 1;
    else j += 1;
  }
  return found;
}

/** A hunk without what is the same at both ends. */
function trimmed(offset: number, old: string, insert: string): Hunk {
  let start = 0;
  while (start < old.length && start < insert.length && old[start] === insert[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < insert.length - start && old[old.length - 1 - end] === insert[insert.length - 1 - end]) end += 1;
  return { from: offset + start, to: offset + old.length - end, insert: insert.slice(start, insert.length - end) };
}
