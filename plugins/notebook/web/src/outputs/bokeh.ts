//! Figures of Bokeh. `show(figure)` makes two outputs, an empty element and the script that draws into it, and
//! `output_notebook()` made one with the library earlier. Each output has a separate frame, so they are combined here.

import type { JsonObject, Output } from "../protocol";
import { joined } from "./mime";

const LOAD = "application/vnd.bokehjs_load.v0+json";
const EXEC = "application/vnd.bokehjs_exec.v0+json";
const SCRIPT = "application/javascript";
/** The element that `show(figure)` draws into. */
const PLACE = /^\s*<div id="[^"]*" data-root-id="[^"]*"[^<]*><\/div>\s*$/;
/** A script that is shorter than this has only the addresses of the library. */
const LIBRARY_BYTES = 100_000;

function data(output: Output | undefined): JsonObject {
  return output !== undefined && "data" in output ? output.data : {};
}

/** The library in a notebook's outputs; null if there is none. */
export function bokehLibrary(cells: readonly { outputs?: Output[] }[]): string | null {
  for (const { outputs = [] } of cells) {
    for (const output of outputs) {
      const script = joined(data(output)[LOAD] ?? "");
      if (script.length > LIBRARY_BYTES) return script;
    }
  }
  return null;
}

/** Returns the HTML to show for an output of Bokeh, if any; null if the output is not from Bokeh. `before` is the previous one. */
export function bokehOutput(output: Output, before: Output | undefined, library: () => string | null): { html: string } | { nothing: true } | null {
  const own = data(output);
  if (LOAD in own) return { nothing: true };
  const html = joined(own["text/html"] ?? "");
  if (PLACE.test(html)) return { nothing: true };
  if (html.includes("bk-notebook-logo")) return { html: html.replace("Loading BokehJS ...", "BokehJS is ready.") };
  if (!(EXEC in own) || !(SCRIPT in own)) return null;
  const place = joined(data(before)["text/html"] ?? "");
  const script = library();
  if (script === null) return { html: "<p>This figure needs Bokeh's library: run <code>output_notebook()</code> again, with the environment variable <code>BOKEH_RESOURCES=inline</code>, which new kernels have.</p>" };
  return { html: `${place}${element(script)}${element(joined(own[SCRIPT]))}` };
}

function element(script: string): string {
  return `<script>${script.replaceAll("</script", "<\\/script")}</script>`;
}
