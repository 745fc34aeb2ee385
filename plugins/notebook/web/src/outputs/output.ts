//! One output of a cell as an element, by its best MIME type.

import type { JsonObject, Output } from "../protocol";
import { h } from "../dom";
import { plain } from "./ansi";
import { bokehOutput } from "./bokeh";
import { htmlFrame, renderedFrame } from "./frame";
import { jsonTree } from "./json";
import { type Context, renderMarkdown, svgAddress } from "./markdown";
import { formulaAt, setFormula } from "./math";
import { bestType, isMedia, isVega, joined, PLOTLY, WIDGET } from "./mime";
import { TextView } from "./text";
import { widgetOutput } from "./widget";

/** An element for an output and, if it is a stream, how to append text to it. */
export interface Shape {
  element: HTMLElement;
  append?: (text: string) => void;
}

/** Shows an output. `fresh`: a run in this page made it, so its scripts may run (in a sandboxed frame). `before`: the output before it. */
export function renderOutput(output: Output, fresh: boolean, context: Context, before?: Output): Shape {
  const bokeh = bokehOutput(output, before, () => context.bokeh?.() ?? null);
  if (bokeh !== null) return "nothing" in bokeh ? { element: h("div", { hidden: true }) } : { element: wrap(htmlFrame(bokeh.html, fresh, context.file), output.output_type) };
  switch (output.output_type) {
    case "stream": {
      const view = new TextView(() => output.text, output.name === "stderr" ? "stderr" : "stdout");
      return { element: wrap(view.element, output.name === "stderr" ? "stderr" : "stdout"), append: (text) => view.append(text) };
    }
    case "error": {
      const lines = output.traceback.length > 0 ? output.traceback.join("\n") : output.evalue === "" ? output.ename : `${output.ename}: ${output.evalue}`;
      return { element: wrap(new TextView(() => lines, "error").element, "error") };
    }
    case "display_data":
    case "execute_result":
      return { element: wrap(bundle(output.data, output.metadata, fresh, context), output.output_type) };
  }
}

function wrap(child: HTMLElement, kind: string): HTMLElement {
  return h("div", { class: `output ${kind}` }, child);
}

function bundle(data: JsonObject, metadata: JsonObject, fresh: boolean, context: Context): HTMLElement {
  const type = bestType(data);
  if (type === null) {
    const names = Object.keys(data).join(", ");
    return h("p", { class: "note" }, names === "" ? "An empty output." : `This type of output cannot be shown here: ${names}`);
  }
  if (type === "application/json") return h("div", { class: "out-json" }, jsonTree(data[type]));
  if (type === PLOTLY) return renderedFrame("plotly", data[type], context.file);
  if (isVega(type)) return renderedFrame("vega", data[type], context.file);
  if (type === WIDGET) {
    const { [WIDGET]: view, ...others } = data;
    return widgetOutput(view as JsonObject, fresh, context, () => bundle(others, metadata, fresh, context));
  }
  const text = joined(data[type]);
  if (isMedia(type)) return media(type, text);
  switch (type) {
    case "text/html":
      return htmlFrame(text, fresh, context.file);
    case "application/javascript":
      return htmlFrame(`<script>${text.replaceAll("</script", "<\\/script")}</script>`, fresh, context.file);
    case "text/markdown": {
      const element = h("div", { class: "markdown" });
      element.append(renderMarkdown(text, context));
      return element;
    }
    case "text/latex":
      return latex(text, context);
    case "text/plain":
      return new TextView(() => text, "result").element;
    case "application/pdf":
      return h("p", { class: "note" }, h("a", { href: `data:${type};base64,${text.replace(/\s/g, "")}`, download: "output.pdf" }, "Download the PDF"));
    case "image/svg+xml":
      return image(svgAddress(text), type, data, metadata);
    default:
      return image(`data:${type};base64,${text.replace(/\s/g, "")}`, type, data, metadata);
  }
}

/** Audio or video. */
function media(type: string, text: string): HTMLElement {
  return h(type.startsWith("audio/") ? "audio" : "video", { class: "out-media", controls: true, src: `data:${type};base64,${text.replace(/\s/g, "")}` });
}

function image(source: string, type: string, data: JsonObject, metadata: JsonObject): HTMLElement {
  const said = joined(data["text/plain"]);
  const about = said.startsWith("<") ? said.slice(1, -1) : said;
  const element = h("img", { class: "out-image", src: source, alt: about === "" ? "Image made by the cell" : plain(about).slice(0, 200) });
  const size = metadata[type];
  if (typeof size === "object" && size !== null) {
    const { width, height } = size as JsonObject;
    if (typeof width === "number") element.width = width;
    if (typeof height === "number") element.height = height;
  }
  return element;
}

/** LaTeX of an output: formulas between text, or one bare formula. */
function latex(text: string, context: Context): HTMLElement {
  const element = h("div", { class: "out-latex" });
  let rest = text.trim();
  if (formulaAt(rest, 0) === null && !/[$]|\\[([]/.test(rest)) rest = `$$${rest}$$`;
  let words = "";
  const flush = (): void => {
    if (words !== "") element.append(words);
    words = "";
  };
  for (let at = 0; at < rest.length; ) {
    const formula = formulaAt(rest, at);
    if (formula === null) {
      words += rest[at] ?? "";
      at += 1;
      continue;
    }
    flush();
    const span = h("span");
    setFormula(span, formula.tex, formula.display, context.macros);
    element.append(span);
    at += formula.length;
  }
  flush();
  return element;
}
