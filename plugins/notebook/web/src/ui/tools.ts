//! The toolbar of a notebook and its menu. Their actions belong to their owner.

import { account } from "./account";
import { menu } from "./dialog";
import { button, h } from "../dom";
import { type Action, help } from "./shortcuts";

/** The buttons' actions that have no key. */
export interface ToolbarActions {
  act(action: Action): void;
  runAll(): void;
  runAbove(): void;
  runBelow(): void;
  restartAndRunAll(): void;
  shutdown(): void;
  clearAll(): void;
  rename(): void;
  download(): void;
  share(): void;
  comments(): void;
  history(): void;
  logout(): void;
}

/** The toolbar; its owner updates `parts`. */
export function toolbar(actions: ToolbarActions, parts: { kind: Node; state: readonly Node[] }): HTMLElement {
  const tools = h(
    "div",
    { class: "toolbar", role: "toolbar", "aria-label": "Notebook" },
    button("Insert a cell below", () => actions.act("below"), { icon: "add", keys: "B" }),
    button("Run", () => actions.act("run_advance"), { icon: "run", text: "Run", keys: "Shift+Enter", class: "button main" }),
    button("Run all cells", () => actions.runAll(), { icon: "runAll", text: "Run all", class: "button" }),
    button("Interrupt the kernel", () => actions.act("interrupt"), { icon: "stop", keys: "I, I" }),
    button("Restart the kernel", () => actions.act("restart"), { icon: "restart", keys: "0, 0" }),
    parts.kind,
    h("span", { class: "spring" }),
    ...parts.state,
  );
  const more = button("More", () => moreMenu(more, actions), { icon: "more" });
  more.setAttribute("aria-haspopup", "menu");
  tools.append(more, button("Keyboard shortcuts", () => void help(), { icon: "help", keys: "H" }));
  return tools;
}

function moreMenu(anchor: HTMLElement, actions: ToolbarActions): void {
  const act = (label: string, action: Action, keys: string) => ({ label, keys, run: () => actions.act(action) });
  menu(anchor, "More", [
    { label: "Restart and run all", run: () => actions.restartAndRunAll() },
    { label: "Run all above", run: () => actions.runAbove() },
    { label: "Run this and all below", run: () => actions.runBelow() },
    { label: "Shut down the kernel", run: () => actions.shutdown() },
    "line",
    act("Cut cells", "cut", "X"),
    act("Copy cells", "copy", "C"),
    act("Paste cells below", "paste_below", "V"),
    act("Delete cells", "delete", "D, D"),
    act("Undo the deletion", "undo_delete", "Z"),
    act("Merge cells", "merge", "Shift+M"),
    act("Split the cell at the cursor", "split", "Ctrl+Shift+-"),
    "line",
    act("Hide or show the output", "toggle_output", "O"),
    act("Scroll the output in a box", "toggle_scroll", "Shift+O"),
    act("Hide or show the source", "toggle_source", "Shift+H"),
    act("Clear the output", "clear_output", "Shift+X"),
    { label: "Clear all outputs", run: () => actions.clearAll() },
    act("Line numbers", "line_numbers", "L"),
    "line",
    { label: "Comments", run: () => actions.comments() },
    { label: "History", run: () => actions.history() },
    { label: "Rename …", run: () => actions.rename() },
    { label: "Download", run: () => actions.download() },
    ...(account() === null ? [] : [{ label: "Share …", run: () => actions.share() }]),
    "line",
    { label: "Log out", run: () => actions.logout() },
  ]);
}
