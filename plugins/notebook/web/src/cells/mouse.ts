//! Which clicks on a cell select it as a whole.

/** Calls `select` if a click is for the cell, and not for something in it; `extend`: with Shift. */
export function listenToMouse(cell: HTMLElement, select: (extend: boolean) => void): void {
  cell.addEventListener("mousedown", (event) => {
    const target = event.target;
    if (!(target instanceof Element) || target.closest("button, a, input, select, iframe, .cm-editor, summary, .outputs, .static") !== null) return;
    // Rendered Markdown can be selected and copied.
    if (target.closest(".markdown") !== null) return;
    // The rest of the cell can be dragged.
    if (target.closest(".gutter") === null) event.preventDefault();
    select(event.shiftKey);
  });
  cell.addEventListener("click", (event) => {
    const { target } = event;
    if (!(target instanceof Element) || target.closest(".markdown, .outputs") === null || target.closest("a, button, summary, iframe, input") !== null) return;
    // The end of a selection of text.
    if (document.getSelection()?.isCollapsed === false) return;
    select(event.shiftKey);
  });
}
