//! What JupyterLab stores about a cell in `metadata.jupyter`.

import type { JsonObject } from "../protocol";

/** Whether a flag is set. */
export function flag(metadata: JsonObject, name: string): boolean {
  const jupyter = metadata["jupyter"];
  return typeof jupyter === "object" && jupyter !== null && (jupyter as JsonObject)[name] === true;
}

/** The metadata with a flag set or removed. */
export function withJupyter(metadata: JsonObject, name: string, on: boolean): JsonObject {
  const { jupyter, ...rest } = metadata;
  const { [name]: _, ...others } = typeof jupyter === "object" && jupyter !== null ? (jupyter as JsonObject) : {};
  const next = on ? { ...others, [name]: true } : others;
  return Object.keys(next).length > 0 ? { ...rest, jupyter: next } : rest;
}
