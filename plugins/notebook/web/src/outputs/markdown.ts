//! Markdown to elements: markdown-it, then DOMPurify, then formulas and code are rendered. HTML in it is allowed and sanitized.

import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";
import type { JsonObject } from "../protocol";
import type { Comms } from "../state/comms";
import { type Macros, mathPlugin, setFormula } from "./math";

/** The services that widgets in outputs need. */
export interface Widgets {
  comms: Pick<Comms, "get" | "listen" | "send">;
  /** The state of widgets that the file keeps, for a reader without the kernel; null if there is none. */
  saved(): JsonObject | null;
  /** The reader cannot run cells: a saved widget is shown at once. */
  frozen?: boolean;
}

/** Where a text is, for its links and images. */
export interface Context {
  /** The URL of a file beside the notebook. */
  file(path: string): string;
  attachments: JsonObject | null;
  macros: Macros;
  /** The kernel's widgets; null where there is no kernel. */
  widgets: Widgets | null;
  /** Bokeh's library in the notebook's outputs, if it is there. */
  bokeh?(): string | null;
  /** Highlights a code block. */
  highlight(code: string, language: string): Node | null;
}

const markdown = new MarkdownIt({ html: true, linkify: true });
markdown.use(mathPlugin);
// Column alignment as classes: the page's policy refuses style attributes.
for (const rule of ["th_open", "td_open"]) {
  markdown.renderer.rules[rule] = (tokens, index, options, _env, self) => {
    const token = tokens[index];
    const style = String(token?.attrGet("style") ?? "").replace("text-align:", "");
    if (token !== undefined && style !== "") token.attrs = [["class", `align-${style}`]];
    return self.renderToken(tokens, index, options);
  };
}

const CLEAN = {
  USE_PROFILES: { html: true },
  FORBID_TAGS: ["style", "form", "input", "textarea", "select", "option", "button", "dialog", "video", "audio", "source", "picture", "template", "slot"],
  FORBID_ATTR: ["style", "srcset", "background", "ping", "formaction", "target", "autofocus", "tabindex", "accesskey", "contenteditable", "popover", "popovertarget"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|attachment:|[^a-z]|[a-z+.-]+(?:[^a-z+.:-]|$))/i,
  SANITIZE_NAMED_PROPS: true,
  ALLOW_ARIA_ATTR: true,
  RETURN_DOM_FRAGMENT: true,
} as const;

/** The elements of a Markdown text. */
export function renderMarkdown(source: string, context: Context): DocumentFragment {
  return renderHtml(markdown.render(source), context);
}

/** The elements of HTML that was made from Markdown. */
export function renderHtml(html: string, context: Context): DocumentFragment {
  const fragment = clean(html);
  for (const link of fragment.querySelectorAll("a")) fixLink(link, context);
  for (const image of fragment.querySelectorAll("img")) fixImage(image, context);
  for (const math of fragment.querySelectorAll<HTMLElement>("span.math")) {
    setFormula(math, math.dataset["tex"] ?? "", math.dataset["display"] === "1", context.macros);
  }
  for (const code of fragment.querySelectorAll("pre > code")) {
    const language = /(?:^|\s)language-(\S+)/.exec(code.className)?.[1];
    const coloured = language === undefined ? null : context.highlight(code.textContent ?? "", language);
    if (coloured !== null) code.replaceChildren(coloured);
  }
  for (const table of fragment.querySelectorAll("table")) {
    const scroller = document.createElement("div");
    scroller.className = "table-scroll";
    table.replaceWith(scroller);
    scroller.append(table);
  }
  for (const box of fragment.querySelectorAll("li")) task(box);
  return fragment;
}

/** Sanitized HTML as nodes of this page: no script, handler, style, form or frame is left. */
function clean(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, { ...CLEAN, FORBID_TAGS: [...CLEAN.FORBID_TAGS], FORBID_ATTR: [...CLEAN.FORBID_ATTR] });
}

function fixLink(link: HTMLAnchorElement, context: Context): void {
  const target = link.getAttribute("href");
  if (target === null) return;
  if (/^(https?:|mailto:)/i.test(target)) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  } else if (/^[a-z][a-z0-9+.-]*:|^\/\//i.test(target)) {
    link.removeAttribute("href");
  } else if (target.startsWith("#")) {
    link.dataset["anchor"] = safeDecode(target.slice(1));
  } else {
    link.href = context.file(target);
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
}

function fixImage(image: HTMLImageElement, context: Context): void {
  const source = image.getAttribute("src") ?? "";
  image.loading = "lazy";
  if (image.getAttribute("alt") === null) image.alt = "";
  if (/^data:image\//i.test(source)) return;
  const attachment = /^attachment:(.*)$/i.exec(source)?.[1];
  if (attachment !== undefined) {
    const address = attached(context.attachments, safeDecode(attachment));
    if (address === null) image.removeAttribute("src");
    else image.src = address;
    return;
  }
  // Its server learns that someone reads this, but not what: it gets no referrer and, as another origin, no cookies of the
  // notebook.
  image.referrerPolicy = "no-referrer";
  if (/^(?:https:)?\/\//i.test(source)) {
    image.src = source.replace(/^\/\//, "https://");
    return;
  }
  if (/^[a-z][a-z0-9+.-]*:/i.test(source)) {
    // Over http: anyone on the network path could replace it.
    const link = document.createElement("a");
    link.textContent = image.alt === "" ? source : `${image.alt} (image at ${host(source)})`;
    if (/^http:/i.test(source)) {
      link.href = source;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
    }
    image.replaceWith(link);
    return;
  }
  image.src = context.file(source);
}

function attached(attachments: JsonObject | null, name: string): string | null {
  const bundle = attachments?.[name];
  if (typeof bundle !== "object" || bundle === null) return null;
  for (const [type, data] of Object.entries(bundle)) {
    const text = Array.isArray(data) ? data.join("") : data;
    if (typeof text === "string" && /^image\/[a-z+.-]+$/.test(type)) {
      return type === "image/svg+xml" ? svgAddress(text) : `data:${type};base64,${text.replace(/\s/g, "")}`;
    }
  }
  return null;
}

/** An SVG as an image's address. Shown this way, its scripts never run. */
export function svgAddress(svg: string): string {
  return `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
}

/** `- [x] done` as a read-only checkbox. */
function task(item: HTMLLIElement): void {
  const text = item.firstChild?.nodeName === "P" ? item.firstChild.firstChild : item.firstChild;
  if (!(text instanceof Text)) return;
  const tick = /^\[([ xX])\]\s/.exec(text.data);
  if (tick === null) return;
  text.data = `${tick[1] === " " ? "☐" : "☑"} ${text.data.slice(tick[0].length)}`;
  item.classList.add("task");
}

function host(address: string): string {
  try {
    return new URL(address, "https://unknown.invalid").host;
  } catch {
    return address;
  }
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
