//! What a renderer is: a script of the notebook's own that runs in an output's frame, and is loaded when an output needs it.

/** The input of a renderer. */
export interface Start {
  /** Where it shows the output. */
  root: HTMLElement;
  /** The output's data. */
  data: unknown;
  dark: boolean;
  /** Sends a message to the page. */
  send(message: unknown): void;
}

/** The interface of a renderer. */
export interface Running {
  /** Gets the page's messages. */
  receive?(message: unknown): void;
}

/** Registers the renderer of this script with the frame. */
export function renderer(start: (start: Start) => Running | void): void {
  (globalThis as { notebookRenderer?: typeof start }).notebookRenderer = start;
}

/** Shows why an output cannot be shown. */
export function problem(root: HTMLElement, error: unknown): void {
  const note = document.createElement("p");
  note.textContent = `This output cannot be shown: ${error instanceof Error ? error.message : String(error)}`;
  root.append(note);
}
