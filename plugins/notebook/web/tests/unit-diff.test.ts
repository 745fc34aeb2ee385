//! The comparison of two versions of a notebook.

import assert from "node:assert/strict";
import { test } from "node:test";
import { cells, lines } from "../src/state/diff";

test("lines: what is removed, added and the same", () => {
  const shown = (before: string, after: string) => lines(before, after).map(({ kind, text }) => `${kind[0]}${text}`);
  assert.deepEqual(shown("a\nb\nc", "a\nx\nc"), ["sa", "rb", "ax", "sc"]);
  assert.deepEqual(shown("", "a"), ["r", "aa"]);
  assert.deepEqual(shown("a\nb", "b\na"), ["ra", "sb", "aa"]);
  assert.deepEqual(shown("same", "same"), ["ssame"]);
});

test("lines: both texts can be made from the result, whatever they are", () => {
  let seed = 7;
  const random = (below: number) => (seed = (seed * 16807) % 2147483647) % below;
  const text = () => Array.from({ length: random(12) }, () => "abc"[random(3)]).join("\n");
  for (let i = 0; i < 500; i += 1) {
    const [before, after] = [text(), text()];
    const result = lines(before, after);
    assert.equal(result.filter(({ kind }) => kind !== "added").map((line) => line.text).join("\n"), before);
    assert.equal(result.filter(({ kind }) => kind !== "removed").map((line) => line.text).join("\n"), after);
  }
});

test("cells: by their ids", () => {
  const version = (text: string) => text.split(" ").map((part) => ({ id: part[0] ?? "", cell_type: "code", source: part.slice(1) }));
  const shown = (before: string, after: string) => cells(version(before), version(after)).map(({ kind, before: old, after: young }) => `${kind} ${(young ?? old)?.id}`);
  assert.deepEqual(shown("a1 b1 c1", "a1 c2 d1"), ["same a", "removed b", "changed c", "added d"]);
  assert.deepEqual(shown("a1 b1 c1", "c1 a1 b1"), ["moved c", "same a", "same b"]);
});
