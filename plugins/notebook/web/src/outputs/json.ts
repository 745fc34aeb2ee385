//! A JSON value as a collapsible tree.

import { h } from "../dom";

const MOST = 200;

/** The tree of a value; `name` is its key. */
export function jsonTree(value: unknown, name: string | null = null, depth = 0): HTMLElement {
  const label = name === null ? null : h("span", { class: "json-key" }, `${name}: `);
  if (typeof value !== "object" || value === null) {
    const kind = value === null ? "null" : typeof value;
    return h("div", { class: "json-leaf" }, label, h("span", { class: `json-${kind}` }, JSON.stringify(value) ?? "undefined"));
  }
  const list = Array.isArray(value);
  const entries = Object.entries(value);
  const size = list ? `[${entries.length}]` : `{${entries.length}}`;
  const node = h("details", { class: "json" }, h("summary", {}, label, h("span", { class: "json-size" }, size)));
  let filled = false;
  const fillIn = (): void => {
    if (filled) return;
    filled = true;
    for (const [key, child] of entries.slice(0, MOST)) node.append(jsonTree(child, key, depth + 1));
    if (entries.length > MOST) node.append(h("div", { class: "json-leaf" }, `… ${entries.length - MOST} more`));
  };
  node.addEventListener("toggle", fillIn);
  if (depth === 0 && entries.length > 0) {
    fillIn();
    node.open = true;
  }
  return node;
}
