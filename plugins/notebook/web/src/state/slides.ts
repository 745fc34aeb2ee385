//! The slides of a notebook: which cells belong to which, and which of them appear later.
//!
//! # Source
//! nbconvert, `exporters/slides.py`, for the metadata `slideshow.slide_type`.

import type { Cell, JsonObject } from "../protocol";

/** The role of a cell in a presentation; "" belongs to the previous slide. */
export type SlideType = "" | "slide" | "subslide" | "fragment" | "skip" | "notes";

/** Their names. */
export const SLIDE_TYPES: readonly (readonly [SlideType, string])[] = [["", "Continues"], ["slide", "Slide"], ["subslide", "Subslide"], ["fragment", "Fragment"], ["skip", "Skipped"], ["notes", "Notes"]];

/** One slide. */
export interface Slide {
  /** Its cells, each with the step at which it appears, from 0. */
  cells: { id: string; step: number }[];
  /** The last step. */
  steps: number;
  /** Cells for the speaker. */
  notes: string[];
}

/** The slide type in the metadata of a cell. */
export function slideType({ metadata }: Pick<Cell, "metadata">): SlideType {
  const said = (metadata["slideshow"] as JsonObject | undefined)?.["slide_type"];
  return SLIDE_TYPES.find(([type]) => type === said)?.[0] ?? "";
}

/** The metadata of a cell with another type of slide. */
export function withSlideType(metadata: JsonObject, type: SlideType): JsonObject {
  const { slideshow, ...others } = metadata;
  const { slide_type: _, ...kept } = typeof slideshow === "object" && slideshow !== null ? (slideshow as JsonObject) : {};
  const made = type === "" ? kept : { ...kept, slide_type: type };
  return Object.keys(made).length === 0 ? others : { ...others, slideshow: made };
}

/** The slides. If no cell is marked as one, each heading of the first two levels begins one. */
export function slides(cells: readonly Cell[]): Slide[] {
  const types = cells.map(slideType);
  const marked = types.some((type) => type === "slide" || type === "subslide");
  const found: Slide[] = [];
  cells.forEach(({ id, cell_type, source }, place) => {
    const type = types[place] ?? "";
    if (type === "skip") return;
    const begins = type === "slide" || type === "subslide" || (!marked && type === "" && cell_type === "markdown" && /^\s*##? /.test(source));
    let slide = found.at(-1);
    if (begins || slide === undefined) found.push((slide = { cells: [], steps: 0, notes: [] }));
    if (type === "notes") return void slide.notes.push(id);
    if (type === "fragment") slide.steps += 1;
    slide.cells.push({ id, step: slide.steps });
  });
  return found;
}
