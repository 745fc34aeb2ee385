//! Plotly figures.

import Plotly from "plotly.js-dist-min";
import { problem, renderer } from "./renderer";

interface Figure {
  data: unknown[];
  layout?: Record<string, unknown>;
  config?: Record<string, unknown>;
  frames?: unknown[];
}

renderer(({ root, data }) => {
  const { data: traces, layout = {}, config = {}, frames } = data as Figure;
  // The frame's height follows its content, so a figure without a height would have none.
  const sized = { ...layout, autosize: true, height: layout["height"] ?? 450 };
  Plotly.newPlot(root, traces, sized, { responsive: true, displaylogo: false, ...config })
    .then(() => (frames === undefined ? undefined : Plotly.addFrames(root, frames)))
    .catch((error: unknown) => problem(root, error));
});
