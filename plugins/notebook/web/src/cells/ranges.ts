//! Parts of a cell's source as ranges in the page.

import type { EditorView } from "@codemirror/view";

/** A part of the text of an editor; null if it has less text. */
export function editorRange(editor: EditorView, from: number, to: number): Range | null {
  if (to > editor.state.doc.length) return null;
  const range = document.createRange();
  const [start, end] = [editor.domAtPos(from), editor.domAtPos(to)];
  range.setStart(start.node, start.offset);
  range.setEnd(end.node, end.offset);
  return range;
}

/** A part of text that an element shows as it is; null if it has less text. */
export function shownRange(element: Element, from: number, to: number): Range | null {
  const range = document.createRange();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let at = 0;
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const length = (node as Text).length;
    if (from >= at && from < at + length) range.setStart(node, from - at);
    if (to > at && to <= at + length) {
      range.setEnd(node, to - at);
      return range;
    }
    at += length;
  }
  return null;
}

/** Where rendered Markdown shows a part of its source: the same text, as often as it stands before it. */
export function renderedRange(element: Element, source: string, from: number, to: number): Range | null {
  const text = source.slice(from, to);
  let skip = source.slice(0, from).split(text).length - 1;
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    for (let at = (node as Text).data.indexOf(text); at >= 0; at = (node as Text).data.indexOf(text, at + 1)) {
      if (skip-- > 0) continue;
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + text.length);
      return range;
    }
  }
  return null;
}
