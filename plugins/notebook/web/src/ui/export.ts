//! The dialog that exports a notebook: the formats of the server, and the browser's own printing.

import { h } from "../dom";
import { encodePath, url } from "../transport/base";
import { call, fileUrl } from "../transport/rest";
import { ask } from "./dialog";

/** Names of formats in the order of the dialog. Others are shown after them as the server calls them. */
const NAMES: Readonly<Record<string, string>> = { html: "Web page (HTML)", pdf: "PDF", markdown: "Markdown", python: "Python script", script: "Script", latex: "LaTeX", slides: "Slides (HTML)", rst: "reStructuredText", asciidoc: "AsciiDoc" };

/** Asks for a format and downloads the notebook in it. */
export async function exportNotebook(path: string): Promise<void> {
  const found = await call<Record<string, unknown>>("GET", url("api/nbconvert")).catch(() => ({}));
  const order = (format: string): number => (Object.keys(NAMES).indexOf(format) + 1 || 99);
  const formats = Object.keys(found).filter((format) => format !== "notebook").sort((a, b) => order(a) - order(b));
  const links = [
    link("Notebook (.ipynb)", fileUrl(path, true)),
    ...formats.map((format) => link(NAMES[format] ?? format, `${url(`nbconvert/${encodeURIComponent(format)}/${encodePath(path)}`).href}?download=true`)),
  ];
  const printing = await ask("Export", [h("ul", { class: "export-list" }, ...links.map((one) => h("li", {}, one)))], [
    { label: "Print …", value: true },
    { label: "Close", value: false, kind: "main" },
  ]);
  if (printing === true) print();
}

function link(text: string, href: string): HTMLAnchorElement {
  return h("a", { href, download: "" }, text);
}
