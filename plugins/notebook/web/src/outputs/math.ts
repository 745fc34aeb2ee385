//! Formulas: finds them in Markdown and renders them with KaTeX.

import katex from "katex";
import type { MarkdownIt } from "markdown-it";

/** Macros that `\newcommand` and `\gdef` define in one document, shared by its cells. */
export type Macros = Record<string, string>;

/** Renders `tex` into `element`. An error is shown in its place, as text. */
export function setFormula(element: HTMLElement, tex: string, display: boolean, macros: Macros = {}): void {
  // A cell that is rendered again defines its commands again.
  for (const [, name] of tex.matchAll(/\\newcommand\*?\s*\{?\s*(\\[a-zA-Z]+)/g)) delete macros[name ?? ""];
  try {
    katex.render(tex, element, { displayMode: display, throwOnError: true, strict: "ignore", trust: false, maxExpand: 1000, maxSize: 50, macros, globalGroup: true });
  } catch (error) {
    element.textContent = tex;
    element.title = error instanceof Error ? error.message : "";
    element.classList.add("math-error");
    return;
  }
  // The page's policy refuses the few styles that KaTeX sets as attributes (widths of arrows), not those set by script.
  for (const styled of element.querySelectorAll<HTMLElement | SVGElement>("[style]")) {
    if (styled.style.length === 0) styled.style.cssText = styled.getAttribute("style") ?? "";
  }
}

const DELIMITERS: readonly { open: string; close: string; display: boolean }[] = [
  { open: "$$", close: "$$", display: true },
  { open: "\\[", close: "\\]", display: true },
  { open: "\\\\[", close: "\\\\]", display: true },
  { open: "\\(", close: "\\)", display: false },
  { open: "\\\\(", close: "\\\\)", display: false },
  { open: "$", close: "$", display: false },
];

/** One formula at the start of `text`: its TeX, its kind, and its length in characters. */
export interface Formula {
  tex: string;
  display: boolean;
  length: number;
}

/** Reads a formula that begins at `text[at]`, or null. A single `$` (a price) is not one. */
export function formulaAt(text: string, at: number): Formula | null {
  const first = text[at];
  if (first !== "$" && first !== "\\") return null;
  const environment = /^\\begin\{([a-zA-Z]+\*?)\}/.exec(text.slice(at, at + 40));
  if (environment !== null) {
    const close = `\\end{${environment[1]}}`;
    const end = text.indexOf(close, at);
    if (end < 0) return null;
    const length = end + close.length - at;
    return { tex: text.slice(at, at + length), display: true, length };
  }
  for (const { open, close, display } of DELIMITERS) {
    if (!text.startsWith(open, at)) continue;
    const from = at + open.length;
    const end = closing(text, from, close);
    if (end < 0) continue;
    const tex = text.slice(from, end);
    if (tex.trim() === "") return null;
    if (open === "$") {
      // As in Pandoc: no space inside the dollars, no digit after the second one, no empty line within.
      if (/^\s|\s$|\n\s*\n/.test(tex) || /[0-9]/.test(text[end + 1] ?? "")) return null;
    }
    return { tex, display, length: end + close.length - at };
  }
  return null;
}

function closing(text: string, from: number, close: string): number {
  for (let i = from; i < text.length; i++) {
    if (text.startsWith(close, i)) return i;
    if (text[i] === "\\") i += 1;
  }
  return -1;
}

/** Adds formulas to markdown-it. They become `<span class="math" data-tex=…>` and are rendered after sanitizing. */
export function mathPlugin(markdown: MarkdownIt): void {
  markdown.inline.ruler.before("escape", "math", (state, silent) => {
    const formula = formulaAt(state.src, state.pos);
    if (formula === null || state.pos + formula.length > state.posMax) return false;
    if (!silent) {
      const token = state.push("math", "", 0);
      token.content = formula.tex;
      token.meta = { display: formula.display };
    }
    state.pos += formula.length;
    return true;
  });
  // A display formula at the start of a line may contain empty lines and text that looks like Markdown.
  markdown.block.ruler.before("fence", "math_block", (state, startLine, endLine, silent) => {
    const begin = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
    if ((state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
    const formula = formulaAt(state.src, begin);
    if (formula === null || !formula.display) return false;
    const end = begin + formula.length;
    let line = startLine;
    while (line < endLine && (state.eMarks[line] ?? 0) < end) line += 1;
    if (line >= endLine || state.src.slice(end, state.eMarks[line]).trim() !== "") return false;
    if (silent) return true;
    const token = state.push("math", "", 0);
    token.content = formula.tex;
    token.meta = { display: true, block: true };
    token.block = true;
    state.line = line + 1;
    return true;
  }, { alt: ["paragraph", "reference", "blockquote", "list"] });
  markdown.renderer.rules["math"] = (tokens, index) => {
    const token = tokens[index];
    if (token === undefined) return "";
    const meta = token.meta as { display: boolean; block?: boolean };
    const tex = markdown.utils.escapeHtml(token.content);
    const span = `<span class="math" data-tex="${tex}" data-display="${meta.display ? "1" : ""}"></span>`;
    return meta.block === true ? `<p>${span}</p>\n` : span;
  };
}
