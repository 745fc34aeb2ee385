//! Vega and Vega-Lite charts.

import embed from "vega-embed";
import { problem, renderer } from "./renderer";

renderer(({ root, data, dark }) => {
  // The page's export menus and the editor of the Vega project are not part of an output.
  embed(root, data as object, { actions: false, renderer: "canvas", config: { background: "transparent" }, ...(dark ? { theme: "dark" as const } : {}) }).catch((error: unknown) => problem(root, error));
});
