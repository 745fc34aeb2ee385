//! The keyboard: Jupyter's shortcuts in one table, which the help dialog shows.

import { ask } from "./dialog";
import { h } from "../dom";

/** The actions of the keys, by name. The page has one function for each. */
export type Action =
  | "run_advance" | "run_stay" | "run_insert" | "save" | "to_command" | "split" | "edit" | "up" | "down" | "extend_up" | "extend_down"
  | "select_all" | "first" | "last" | "above" | "below" | "delete" | "undo_delete" | "cut" | "copy" | "paste_below" | "paste_above" | "merge"
  | "code" | "markdown" | "raw" | "move_up" | "move_down" | "toggle_output" | "toggle_scroll" | "toggle_source" | "clear_output" | "interrupt" | "restart"
  | "line_numbers" | "help" | "heading_1" | "heading_2" | "heading_3";

interface Shortcut {
  keys: string;
  action: Action;
  about: string;
}

/** In both modes. */
export const ALWAYS: readonly Shortcut[] = [
  { keys: "Shift+Enter", action: "run_advance", about: "Run, then go to the next cell" },
  { keys: "Mod+Enter", action: "run_stay", about: "Run and stay" },
  { keys: "Alt+Enter", action: "run_insert", about: "Run and insert a cell below" },
  { keys: "Mod+S", action: "save", about: "Save now (changes are also saved automatically)" },
];

/** While editing a cell. */
export const EDIT: readonly Shortcut[] = [
  { keys: "Escape", action: "to_command", about: "Leave the editor" },
  { keys: "Mod+Shift+-", action: "split", about: "Split the cell at the cursor" },
];

/** Keys of the editor itself, for the dialog. */
const EDITOR: readonly [string, string][] = [
  ["Tab", "Complete the name before the cursor, or indent"],
  ["Shift+Tab", "Help on the name at the cursor; again for its source. At the start of a line: unindent"],
  ["Mod+/", "Comment or uncomment"],
  ["Mod+Z", "Undo"],
];

/** While a cell is selected as a whole. */
export const COMMAND: readonly Shortcut[] = [
  { keys: "Enter", action: "edit", about: "Edit the cell" },
  { keys: "ArrowUp", action: "up", about: "Select the cell above" },
  { keys: "K", action: "up", about: "Select the cell above" },
  { keys: "ArrowDown", action: "down", about: "Select the cell below" },
  { keys: "J", action: "down", about: "Select the cell below" },
  { keys: "Shift+ArrowUp", action: "extend_up", about: "Extend the selection upwards" },
  { keys: "Shift+K", action: "extend_up", about: "Extend the selection upwards" },
  { keys: "Shift+ArrowDown", action: "extend_down", about: "Extend the selection downwards" },
  { keys: "Shift+J", action: "extend_down", about: "Extend the selection downwards" },
  { keys: "Mod+A", action: "select_all", about: "Select all cells" },
  { keys: "Mod+Home", action: "first", about: "Go to the first cell" },
  { keys: "Mod+End", action: "last", about: "Go to the last cell" },
  { keys: "A", action: "above", about: "Insert a cell above" },
  { keys: "B", action: "below", about: "Insert a cell below" },
  { keys: "D D", action: "delete", about: "Delete" },
  { keys: "Z", action: "undo_delete", about: "Undo the deletion" },
  { keys: "X", action: "cut", about: "Cut" },
  { keys: "C", action: "copy", about: "Copy" },
  { keys: "V", action: "paste_below", about: "Paste below" },
  { keys: "Shift+V", action: "paste_above", about: "Paste above" },
  { keys: "Shift+M", action: "merge", about: "Merge the selected cells, or with the one below" },
  { keys: "Alt+ArrowUp", action: "move_up", about: "Move up" },
  { keys: "Alt+ArrowDown", action: "move_down", about: "Move down" },
  { keys: "Y", action: "code", about: "Change to code" },
  { keys: "M", action: "markdown", about: "Change to Markdown" },
  { keys: "R", action: "raw", about: "Change to raw text" },
  { keys: "1", action: "heading_1", about: "Change to a heading" },
  { keys: "2", action: "heading_2", about: "Change to a second-level heading" },
  { keys: "3", action: "heading_3", about: "Change to a third-level heading" },
  { keys: "O", action: "toggle_output", about: "Hide or show the output" },
  { keys: "Shift+O", action: "toggle_scroll", about: "Scroll a long output in a box, or show all of it" },
  { keys: "Shift+H", action: "toggle_source", about: "Hide or show the source" },
  { keys: "Shift+X", action: "clear_output", about: "Clear the output" },
  { keys: "L", action: "line_numbers", about: "Turn line numbers on or off" },
  { keys: "S", action: "save", about: "Save now" },
  { keys: "I I", action: "interrupt", about: "Interrupt the kernel" },
  { keys: "0 0", action: "restart", about: "Restart the kernel" },
  { keys: "H", action: "help", about: "This list" },
];

const MAC = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.platform);

/** Codes of keys that the table names, in addition to the letters and digits. */
const CODES: Readonly<Record<string, string>> = { Minus: "-", Slash: "/" };

/**
 * The key as the table writes it. The letter on the key decides, so that a shortcut moves with it on AZERTY and Dvorak. If the
 * layout has no such letter there (Cyrillic, Greek, an input method, `à` on AZERTY's 0), the position of the key decides.
 */
function keyName({ key, code }: Pick<KeyboardEvent, "key" | "code">): string {
  const printed = key.length === 1 && key >= " " && key <= "~";
  // Shift turns `-` into `_`. The table names the key.
  if (printed) return key === "_" ? "-" : key.toUpperCase();
  const foreign = [...key].length === 1 || key === "Process" || key === "Unidentified" || key === "Dead";
  return (foreign ? (/^(?:Key|Digit)(.)$/.exec(code)?.[1] ?? CODES[code]) : undefined) ?? key;
}

/** The combination of a key event, as the table writes it. */
export function combination(event: Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">): string {
  const mod = MAC ? event.metaKey : event.ctrlKey;
  const other = MAC ? event.ctrlKey : event.metaKey;
  const key = keyName(event);
  return [mod && "Mod", other && "Other", event.altKey && "Alt", event.shiftKey && (key.length > 1 || /[A-Z-]/.test(key)) && "Shift", key].filter(Boolean).join("+");
}

/** Finds the action for keys, including sequences of two (`D D`). */
export class Keys {
  #last = "";
  #at = 0;
  readonly #table = new Map<string, Action>();

  private readonly now: () => number;

  constructor(shortcuts: readonly Shortcut[], now: () => number = () => performance.now()) {
    this.now = now;
    for (const { keys, action } of shortcuts) this.#table.set(keys, action);
  }

  /** The action that this combination completes, or null. */
  press(keys: string): Action | null {
    // Shift alone does not interrupt `0 0` on layouts where digits need it.
    if (/(?:^|\+)(?:Shift|Control|Alt|AltGraph|Meta|CapsLock)$/.test(keys)) return null;
    const both = `${this.#last} ${keys}`;
    const recent = this.now() - this.#at < 1000;
    const found = (recent ? this.#table.get(both) : undefined) ?? this.#table.get(keys) ?? null;
    this.#last = found === null ? keys : "";
    this.#at = this.now();
    return found;
  }
}

/** Shows the table. */
export async function help(): Promise<void> {
  const section = (title: string, rows: readonly (readonly [string, string])[]): HTMLElement => {
    const list = h("dl", { class: "keys" });
    for (const [keys, about] of rows) {
      const term = h("dt");
      keys.split(" ").forEach((part, i) => {
        if (i > 0) term.append(" then ");
        term.append(h("kbd", {}, pretty(part)));
      });
      list.append(h("div", {}, term, h("dd", {}, about)));
    }
    return h("section", {}, h("h3", {}, title), list);
  };
  const rows = (shortcuts: readonly Shortcut[]) => {
    const by = new Map<string, string>();
    for (const { keys, about } of shortcuts) if (!by.has(about)) by.set(about, keys);
    return [...by].map(([about, keys]) => [keys, about] as const);
  };
  await ask("Keyboard shortcuts", [
    h("div", { class: "shortcuts", tabindex: 0, role: "region", "aria-label": "List of shortcuts" },
      h("div", { class: "columns" },
        section("Everywhere", rows(ALWAYS)),
        section("In an editor", [...rows(EDIT), ...EDITOR]),
        section("On a selected cell", rows(COMMAND)))),
  ], [{ label: "Close", value: null, kind: "main" }]);
}

function pretty(keys: string): string {
  return keys.replace("Mod", MAC ? "⌘" : "Ctrl").replace("ArrowUp", "↑").replace("ArrowDown", "↓").replace("Escape", "Esc").replaceAll("+", " ");
}
