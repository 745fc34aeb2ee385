//! Compares two versions of a notebook: cells by their id, and their lines.

/** A line: in both texts, only in the old one, or only in the new one. */
export interface Line {
  kind: "same" | "removed" | "added";
  text: string;
}

export interface DiffCell {
  id?: string;
  cell_type: string;
  source: string;
}

/** A cell in both versions or in one. */
export interface CellChange<T extends DiffCell> {
  kind: "same" | "changed" | "moved" | "removed" | "added";
  before: T | null;
  after: T | null;
}

/** How many lines are compared exactly. Longer texts are compared as a whole. */
const LIMIT = 4_000_000;

/** The longest common subsequence, as pairs of places. */
function common<T>(before: readonly T[], after: readonly T[], same: (a: T, b: T) => boolean): [number, number][] {
  let start = 0;
  while (start < before.length && start < after.length && same(before[start] as T, after[start] as T)) start += 1;
  let end = 0;
  while (end < before.length - start && end < after.length - start && same(before[before.length - 1 - end] as T, after[after.length - 1 - end] as T)) end += 1;
  const pairs: [number, number][] = [];
  for (let i = 0; i < start; i += 1) pairs.push([i, i]);
  const rows = before.length - start - end;
  const columns = after.length - start - end;
  if (rows * columns <= LIMIT) {
    const width = columns + 1;
    const lengths = new Uint32Array((rows + 1) * width);
    const at = (i: number, j: number): number => lengths[i * width + j] ?? 0;
    for (let i = rows - 1; i >= 0; i -= 1) {
      for (let j = columns - 1; j >= 0; j -= 1) {
        const equal = same(before[start + i] as T, after[start + j] as T);
        lengths[i * width + j] = equal ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
      }
    }
    for (let i = 0, j = 0; i < rows && j < columns; ) {
      if (same(before[start + i] as T, after[start + j] as T)) pairs.push([start + i++, start + j++]);
      else if (at(i + 1, j) >= at(i, j + 1)) i += 1;
      else j += 1;
    }
  }
  for (let i = end; i > 0; i -= 1) pairs.push([before.length - i, after.length - i]);
  return pairs;
}

/** The lines of two texts. */
export function lines(before: string, after: string): Line[] {
  const [old, young] = [before.split("\n"), after.split("\n")];
  const result: Line[] = [];
  let [i, j] = [0, 0];
  for (const [a, b] of [...common(old, young, (x, y) => x === y), [old.length, young.length] as [number, number]]) {
    while (i < a) result.push({ kind: "removed", text: old[i++] ?? "" });
    while (j < b) result.push({ kind: "added", text: young[j++] ?? "" });
    if (a < old.length) result.push({ kind: "same", text: old[i++] ?? "" });
    j = Math.min(b + 1, young.length);
  }
  return result;
}

/** The cells of two versions, in the order of the new one; removed cells are where they were. */
export function cells<T extends DiffCell>(before: readonly T[], after: readonly T[]): CellChange<T>[] {
  const key = (cell: T): string => cell.id ?? `${cell.cell_type} ${cell.source}`;
  const old = new Map(before.map((cell) => [key(cell), cell]));
  const young = new Set(after.map(key));
  const inPlace = new Set(common(before.map(key), after.map(key), (a, b) => a === b).map(([, b]) => b));
  const result: CellChange<T>[] = [];
  let i = 0;
  const removedUpTo = (place: number): void => {
    for (; i < place; i += 1) {
      const cell = before[i];
      if (cell !== undefined && !young.has(key(cell))) result.push({ kind: "removed", before: cell, after: null });
    }
  };
  after.forEach((cell, place) => {
    const previous = old.get(key(cell));
    if (previous === undefined) {
      result.push({ kind: "added", before: null, after: cell });
      return;
    }
    if (inPlace.has(place)) removedUpTo(before.indexOf(previous) + 1);
    const same = previous.source === cell.source && previous.cell_type === cell.cell_type;
    result.push({ kind: !same ? "changed" : inPlace.has(place) ? "same" : "moved", before: previous, after: cell });
  });
  removedUpTo(before.length);
  return result;
}
