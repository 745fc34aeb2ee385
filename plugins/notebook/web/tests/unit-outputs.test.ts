import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, plain, Terminal } from "../src/outputs/ansi";
import { bokehLibrary, bokehOutput } from "../src/outputs/bokeh";
import { formulaAt } from "../src/outputs/math";
import { bestType, joined } from "../src/outputs/mime";
import type { Output } from "../src/protocol";

/** Lines as text with marks: `[1]red` for color 1, `*` for bold. */
function marked(text: string): string {
  return parse(text)
    .map((line) => line.map(({ text, style }) => `${style.fg === null ? "" : `[${style.fg}]`}${style.bg === null ? "" : `{${style.bg}}`}${style.bold ? "*" : ""}${text}`).join("|"))
    .join("\n");
}

test("ansi: text, colours and their ends", () => {
  const cases: [string, string][] = [
    ["", ""],
    ["plain", "plain"],
    ["a\nb\n", "a\nb\n"],
    ["\x1b[31mred\x1b[0m after", "[1]red|after".replace("after", " after")],
    ["\x1b[1;32mbold\x1b[22m not", "[2]*bold|[2] not"],
    ["\x1b[91mbright\x1b[39m", "[9]bright"],
    ["\x1b[38;5;196mx\x1b[48;5;232my", "[#ff0000]x|[#ff0000]{#080808}y"],
    ["\x1b[38;2;1;2;3mx", "[#010203]x"],
    ["\x1b[mreset", "reset"],
    ["\x1b]8;;http://example.org\x07link\x1b]8;;\x07", "link"],
    ["\x1b[2Kcleared", "cleared"],
    ["bell\x07", "bell"],
  ];
  for (const [input, expected] of cases) assert.equal(marked(input), expected, JSON.stringify(input));
});

test("ansi: carriage returns and backspaces write over the line", () => {
  const cases: [string, string][] = [
    ["10%\r20%\r100%", "100%"],
    ["long line\rab", "abng line"],
    ["long line\r\x1b[Kab", "ab"],
    ["abc\b\bX", "aXc"],
    ["a\r\nb", "a\nb"],
    [`${"x".repeat(100)}\rab`, `ab${"x".repeat(98)}`],
    [`${"x".repeat(100)}${"y".repeat(100)}\b\bZZ`, `${"x".repeat(100)}${"y".repeat(98)}ZZ`],
  ];
  for (const [input, expected] of cases) assert.equal(plain(input), expected, JSON.stringify(input));
});

test("ansi: any cut of the stream gives the same lines", () => {
  const text = "a\x1b[31mred\x1b[0m\r\nprogress 1\rprogress 2\x1b[K\n\x1b]0;title\x07é𝒳\b!end";
  const whole = marked(text);
  for (let cut = 0; cut <= text.length; cut++) {
    const terminal = new Terminal();
    const lines = [...terminal.feed(text.slice(0, cut)), ...terminal.feed(text.slice(cut)), terminal.line()];
    const joinedLines = lines.map((line) => line.map(({ text, style }) => `${style.fg === null ? "" : `[${style.fg}]`}${style.bold ? "*" : ""}${text}`).join("|")).join("\n");
    // A cut surrogate pair is not overwritten, so it comes out whole.
    assert.equal(joinedLines, whole, `cut at ${cut}`);
  }
});

test("ansi: markup stays text", () => {
  assert.equal(plain("<img src=x onerror=alert(1)>"), "<img src=x onerror=alert(1)>");
});

test("math: what is a formula and what is money", () => {
  const cases: [string, string | null, boolean][] = [
    ["$x^2$", "x^2", false],
    ["$$x$$", "x", true],
    ["\\(a\\)", "a", false],
    ["\\[a\n\nb\\]", "a\n\nb", true],
    ["\\\\[a\\\\]", "a", true],
    ["\\begin{align}a&=b\\end{align}", "\\begin{align}a&=b\\end{align}", true],
    ["$5 and $6", null, false],
    ["$ x$", null, false],
    ["$x$5", null, false],
    ["$\\$5$", "\\$5", false],
    ["$", null, false],
    ["$$", null, false],
    ["\\begin{align}", null, false],
  ];
  for (const [input, tex, display] of cases) {
    const found = formulaAt(input, 0);
    assert.equal(found?.tex ?? null, tex, input);
    if (found !== null) {
      assert.equal(found.display, display, input);
      assert.equal(found.length, input.length, input);
    }
  }
});

test("outputs: the best type wins, and lists of lines are joined", () => {
  assert.equal(bestType({ "text/plain": "x", "image/png": "…" }), "image/png");
  assert.equal(bestType({ "text/plain": "x", "text/html": "<b>x</b>" }), "text/html");
  assert.equal(bestType({ "application/x-unknown": 1 }), null);
  assert.equal(joined(["a\n", "b"]), "a\nb");
});

test("the outputs of Bokeh are put together with its library", () => {
  const output = (data: { [type: string]: unknown }): Output => ({ output_type: "display_data", data, metadata: {} });
  const library = `/*${"x".repeat(200_000)}*/`;
  const cells = [{ outputs: [output({ "application/javascript": "other", "application/vnd.bokehjs_load.v0+json": library })] }, {}];
  assert.equal(bokehLibrary(cells), library);
  assert.equal(bokehLibrary([{ outputs: [output({ "application/vnd.bokehjs_load.v0+json": "only an address" })] }]), null);
  const place = output({ "text/html": '\n  <div id="a1" data-root-id="p1001" style="display: contents;"></div>\n' });
  const script = output({ "application/javascript": 'draw("</script>")', "application/vnd.bokehjs_exec.v0+json": "" });
  assert.deepEqual(bokehOutput(place, undefined, () => library), { nothing: true });
  const shown = bokehOutput(script, place, () => "LIBRARY");
  assert.ok(shown !== null && "html" in shown);
  assert.match(shown.html, /^\s*<div id="a1"[^>]*><\/div>\s*<script>LIBRARY<\/script><script>draw\("<\\\/script>"\)<\/script>$/);
  const without = bokehOutput(script, place, () => null);
  assert.ok(without !== null && "html" in without);
  assert.match(without.html, /output_notebook\(\)/);
  assert.equal(bokehOutput(output({ "text/html": "<b>x</b>" }), undefined, () => null), null);
  assert.equal(bokehOutput({ output_type: "stream", name: "stdout", text: "x" }, undefined, () => null), null);
});
