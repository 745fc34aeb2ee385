//! Highlighted code line by line: numbers, breakpoints, and where a program is stopped.

import { h } from "../dom";
import type { Debugging } from "../editor/debugging";

/** Puts each line of `pre` into a separate element. Its text stays the same. */
export function splitLines(pre: HTMLElement, debugging: Debugging | null, numbered: boolean): void {
  pre.classList.toggle("numbered", numbered);
  pre.classList.toggle("debugging", debugging !== null);
  const lines: HTMLElement[] = [];
  const begin = (): HTMLElement => {
    const number = lines.length + 1;
    const classes = ["line", debugging?.breakpoints.includes(number) === true ? "with-breakpoint" : "", debugging?.stopped === number ? "stopped-line" : ""];
    const line = h("span", { class: classes.filter((name) => name !== "").join(" "), "data-line": number });
    lines.push(line);
    return line;
  };
  let line = begin();
  for (const node of [...pre.childNodes]) {
    const parts = (node.textContent ?? "").split("\n");
    if (parts.length === 1) {
      line.append(node);
      continue;
    }
    parts.forEach((part, place) => {
      const more = place < parts.length - 1;
      const piece = node instanceof Text ? document.createTextNode(more ? `${part}\n` : part) : node.cloneNode(false);
      if (!(node instanceof Text)) piece.textContent = more ? `${part}\n` : part;
      line.append(piece);
      if (more) line = begin();
    });
  }
  pre.replaceChildren(...lines);
}

/** The line at whose breakpoint a mouse is; null if it is elsewhere. */
export function breakpointLine(event: MouseEvent): number | null {
  const line = event.target instanceof Element ? event.target.closest<HTMLElement>(".debugging > .line") : null;
  if (line === null || event.clientX > line.getBoundingClientRect().left + 18) return null;
  return Number(line.dataset["line"]);
}
