//! The MIME types of outputs: which can be shown, and which of a bundle is best.

import type { JsonObject } from "../protocol";

export const WIDGET = "application/vnd.jupyter.widget-view+json";
export const PLOTLY = "application/vnd.plotly.v1+json";
const VEGA = /^application\/vnd\.vega(?:lite)?\.v\d+(?:\.\d+)*\+json$/;
const MEDIA = /^(?:audio|video)\/[a-z0-9.+-]+$/;

/** Types that can be shown, the best first. */
const ORDER: readonly (string | RegExp)[] = [
  WIDGET,
  PLOTLY,
  VEGA,
  "text/html",
  "text/markdown",
  "image/svg+xml",
  "text/latex",
  "image/png",
  "image/jpeg",
  "image/gif",
  "image/webp",
  MEDIA,
  "application/pdf",
  "application/javascript",
  "application/json",
  "text/plain",
];

/** The best type of a bundle; null if none can be shown. */
export function bestType(data: JsonObject): string | null {
  const types = Object.keys(data);
  for (const wanted of ORDER) {
    const found = types.find((type) => (typeof wanted === "string" ? type === wanted : wanted.test(type)));
    if (found !== undefined) return found;
  }
  return null;
}

export function isVega(type: string): boolean {
  return VEGA.test(type);
}

export function isMedia(type: string): boolean {
  return MEDIA.test(type);
}

/** nbformat stores a text as a string or as a list of lines. */
export function joined(value: unknown): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.join("");
  return value === undefined ? "" : JSON.stringify(value);
}
