//! The toolbar of a notebook and its menu. Their actions belong to their owner.

import { account } from "./account";
import { type Action, COMMANDS } from "./commands";
import { menu } from "./dialog";
import { button, h } from "../dom";
import { shownKeys } from "./shortcuts";

/** The toolbar; its owner updates `parts`. */
export function toolbar(act: (action: Action) => void, parts: { kind: Node; state: readonly Node[] }): HTMLElement {
  const keys = (action: Action): { keys?: string } => {
    const shown = shownKeys(action);
    return shown === undefined ? {} : { keys: shown };
  };
  const tools = h(
    "div",
    { class: "toolbar", role: "toolbar", "aria-label": "Notebook" },
    button("Insert a cell below", () => act("below"), { icon: "add", ...keys("below") }),
    button("Run", () => act("run_advance"), { icon: "run", text: "Run", ...keys("run_advance"), class: "button main" }),
    button("Run all cells", () => act("run_all"), { icon: "runAll", text: "Run all", class: "button" }),
    button("Interrupt the kernel", () => act("interrupt"), { icon: "stop", ...keys("interrupt") }),
    button("Restart the kernel", () => act("restart"), { icon: "restart", ...keys("restart") }),
    parts.kind,
    h("span", { class: "spring" }),
    ...parts.state,
  );
  const more = button("More", () => moreMenu(more, act), { icon: "more" });
  more.setAttribute("aria-haspopup", "menu");
  tools.append(button("Table of contents", () => act("contents"), { icon: "list", ...keys("contents") }), button("Find and replace", () => act("find"), { icon: "search", ...keys("find") }), more, button("Keyboard shortcuts", () => act("help"), { icon: "help", ...keys("help") }));
  return tools;
}

const MENU: readonly (Action | "line")[] = [
  "palette", "help", "settings", "line",
  "restart_run_all", "run_above", "run_below", "shutdown", "line",
  "undo", "redo", "merge", "split", "line",
  "contents", "variables", "debugger", "toggle_output", "toggle_scroll", "toggle_source", "clear_output", "clear_all", "line",
  "slide_types", "present", "comments", "history", "schedule", "rename", "download", "export", "open_app", "share", "terminal", "line",
  "logout",
];

/** Commands that open something. */
const OPENING: ReadonlySet<Action> = new Set<Action>(["palette", "settings", "rename", "export", "share", "schedule"]);

function moreMenu(anchor: HTMLElement, act: (action: Action) => void): void {
  const entry = (action: Action) => {
    const about = COMMANDS.find((one) => one.action === action)?.about ?? action;
    const keys = shownKeys(action);
    return { label: OPENING.has(action) ? `${about} …` : about, run: () => act(action), ...(keys === undefined ? {} : { keys }) };
  };
  menu(anchor, "More", MENU.filter((one) => one !== "share" || account() !== null).map((one) => (one === "line" ? one : entry(one))));
}
