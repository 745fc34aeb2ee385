//! The dialog that exports a notebook: the formats of the server, and the browser's own printing.

import { h } from "../dom";
import { encodePath, url } from "../transport/base";
import { call, fileUrl, readDownload } from "../transport/rest";
import { announce, ask, toast } from "./dialog";

/** Names of formats in the order of the dialog. Others are shown after them as the server calls them. */
const NAMES: Readonly<Record<string, string>> = { html: "Web page (HTML)", pdf: "PDF", markdown: "Markdown", python: "Python script", script: "Script", latex: "LaTeX", slides: "Slides (HTML)", rst: "reStructuredText", asciidoc: "AsciiDoc" };

/** A format of the server: what it needs if it cannot be made now. */
interface Format {
  problem?: string;
}

/** Formats that a browser shows. */
const SHOWN: ReadonlySet<string> = new Set(["html", "slides", "pdf"]);

/** Asks for a format and downloads the notebook in it. */
export async function exportNotebook(path: string): Promise<void> {
  const found = await call<Record<string, Format>>("GET", url("api/nbconvert")).catch((): Record<string, Format> => ({}));
  const order = (format: string): number => (Object.keys(NAMES).indexOf(format) + 1 || 99);
  const formats = Object.keys(found).filter((format) => format !== "notebook").sort((a, b) => order(a) - order(b));
  const rows = formats.map((format) => {
    const name = NAMES[format] ?? format;
    const problem = found[format]?.problem;
    if (problem !== undefined) return h("li", { class: "export-row" }, h("span", { class: "export-off" }, name, h("span", { class: "faint" }, problem)));
    const address = url(`nbconvert/${encodeURIComponent(format)}/${encodePath(path)}`).href;
    return h("li", { class: "export-row" }, download(name, `${address}?download=true`), SHOWN.has(format) && h("a", { href: address, target: "_blank", rel: "noopener", "aria-label": `Open ${name} in a new tab` }, "Open"));
  });
  const printing = await ask("Export", [h("ul", { class: "export-list" }, h("li", { class: "export-row" }, h("a", { href: fileUrl(path, true), download: "" }, "Notebook (.ipynb)")), ...rows)], [
    { label: "Print …", value: true },
    { label: "Close", value: false, kind: "main" },
  ]);
  if (printing === true) print();
}

/** A link that downloads an export, and shows the reason if the server cannot create it. */
function download(text: string, href: string): HTMLAnchorElement {
  const link = h("a", { href, download: "" }, text);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    if (link.getAttribute("aria-busy") === "true") return;
    link.setAttribute("aria-busy", "true");
    announce(`${text}: preparing the download`);
    void save(href).then((name) => announce(`${text}: downloaded as ${name}`)).catch((error: unknown) => toast(`${text}: ${error instanceof Error ? error.message : String(error)}`)).finally(() => link.removeAttribute("aria-busy"));
  });
  return link;
}

/** Returns the file's name. */
async function save(href: string): Promise<string> {
  const { name, content } = await readDownload(new URL(href));
  const address = URL.createObjectURL(content);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  return name;
}
