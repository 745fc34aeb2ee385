//! Printed text in the page. It is appended piece by piece; the middle of a very long text is hidden until the user asks for it.

import { button, h } from "../dom";
import { plain, type Run, Terminal } from "./ansi";

/** How many lines at the start and at the end of a long text are shown. */
const HEAD_LINES = 400;
const TAIL_LINES = 100;
/** A start with more characters than this is cut too, because one line can be long. */
const HEAD_CHARS = 200_000;
const TAIL_CHARS = 20_000;

export class TextView {
  readonly element: HTMLElement;
  readonly #head = h("pre", { class: "text" });
  readonly #gap = h("div", { class: "gap", hidden: true });
  readonly #tail = h("pre", { class: "text", hidden: true });
  #terminal = new Terminal();
  #last: Node | null = null;
  #lines = 0;
  #chars = 0;
  #newlines = 0;
  #full = false;
  #due = false;
  private readonly text: () => string;

  /** `text` returns the whole text, which is kept only once. */
  constructor(text: () => string, kind: "stdout" | "stderr" | "result" | "error") {
    this.text = text;
    this.element = h("div", { class: `out-text ${kind}` }, this.#head, this.#gap, this.#tail);
    this.append(text());
  }

  /** Shows what was added to the text. */
  append(text: string): void {
    this.#newlines += newlines(text);
    if (!this.#full && (this.#lines > HEAD_LINES + TAIL_LINES || this.#chars > HEAD_CHARS)) {
      this.#showTail();
      return;
    }
    this.#chars += text.length;
    if (this.#full) this.#write(text);
    else {
      // One piece may be longer than everything that is shown.
      const most = this.#limit(text);
      this.#write(text.slice(0, most));
      if (most < text.length) {
        this.#lines = Infinity;
        this.#showTail();
      }
    }
  }

  /** The whole text, without escape sequences. */
  get plain(): string {
    return plain(this.text());
  }

  #limit(text: string): number {
    let left = HEAD_LINES + TAIL_LINES + 1 - this.#lines;
    let at = 0;
    while (left-- > 0) {
      const next = text.indexOf("\n", at);
      if (next < 0) return Math.min(text.length, HEAD_CHARS);
      at = next + 1;
    }
    return Math.min(at, HEAD_CHARS);
  }

  #write(text: string): void {
    const lines = this.#terminal.feed(text);
    this.#lines += lines.length;
    const fragment = document.createDocumentFragment();
    for (const line of lines) {
      append(fragment, line);
      fragment.append("\n");
    }
    const last = h("span");
    append(last, this.#terminal.line());
    fragment.append(last);
    this.#last?.parentNode?.removeChild(this.#last);
    this.#head.append(fragment);
    this.#last = last;
    this.#head.normalize();
  }

  #showTail(): void {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      if (this.#full) return;
      const text = this.text();
      fill(this.#gap, this.#newlines + 1, () => this.#showAll(), () => openText(this.plain));
      this.#gap.hidden = false;
      this.#tail.hidden = false;
      const lines = text.slice(Math.max(0, text.length - TAIL_CHARS)).split("\n").slice(-TAIL_LINES - 1);
      this.#tail.replaceChildren();
      const terminal = new Terminal();
      for (const line of terminal.feed(lines.join("\n"))) {
        append(this.#tail, line);
        this.#tail.append("\n");
      }
      append(this.#tail, terminal.line());
    });
  }

  #showAll(): void {
    this.#full = true;
    this.#gap.hidden = true;
    this.#tail.hidden = true;
    this.#terminal = new Terminal();
    this.#last = null;
    this.#lines = 0;
    this.#head.replaceChildren();
    this.#write(this.text());
    this.#head.tabIndex = -1;
    this.#head.focus({ preventScroll: true });
  }
}

/** The number of line ends in a text. */
export function newlines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

function fill(gap: HTMLElement, total: number, all: () => void, open: () => void): void {
  const label = `${total.toLocaleString("en")} lines. The middle is hidden.`;
  const text = gap.firstElementChild;
  if (text !== null) text.textContent = label;
  else gap.append(h("span", {}, label), button("Show all", all, { class: "link" }), button("Open as text", open, { class: "link" }));
}

/** Opens a text in a new tab. */
export function openText(text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  window.open(address, "_blank", "noopener");
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function append(to: Node, runs: Run[]): void {
  for (const { text, style } of runs) {
    const bare = style.fg === null && style.bg === null && !style.bold && !style.dim && !style.italic && !style.underline && !style.strike && !style.inverse;
    if (bare) {
      to.appendChild(document.createTextNode(text));
      continue;
    }
    const span = document.createElement("span");
    span.textContent = text;
    const [fg, bg] = style.inverse ? [style.bg ?? "inverse", style.fg ?? "inverse"] : [style.fg, style.bg];
    const classes: string[] = [];
    for (const name of ["bold", "dim", "italic", "underline", "strike"] as const) if (style[name]) classes.push(`ansi-${name}`);
    if (typeof fg === "number") classes.push(`ansi-fg-${fg}`);
    else if (fg === "inverse") classes.push("ansi-fg-inverse");
    else if (fg !== null) span.style.color = fg;
    if (typeof bg === "number") classes.push(`ansi-bg-${bg}`);
    else if (bg === "inverse") classes.push("ansi-bg-inverse");
    else if (bg !== null) span.style.backgroundColor = bg;
    span.className = classes.join(" ");
    to.appendChild(span);
  }
}
