//! Names of keys, the search for the command of a key, and the dialog that lists the keys.

import { h } from "../dom";
import { settings } from "../state/settings";
import { type Action, COMMANDS, keysOf, meant, type Mode } from "./commands";
import { ask } from "./dialog";

/** Keys of the editor itself, for the dialog. */
const EDITOR: readonly [string, string][] = [
  ["Tab", "Complete the name before the cursor, or indent"],
  ["Shift+Tab", "Show help for the name at the cursor; press again for its source. At the start of a line: unindent"],
  ["Mod+]", "Indent"],
  ["Mod+[", "Unindent"],
  ["Mod+/", "Comment or uncomment"],
  ["Mod+D", "Also select the next occurrence of the same text"],
  ["Mod+Alt+ArrowDown", "Add a cursor in the line below"],
  ["Mod+Alt+ArrowUp", "Add a cursor in the line above"],
  ["Alt+ArrowUp", "Move the line up"],
  ["Alt+ArrowDown", "Move the line down"],
  ["Mod+Alt+[", "Fold the block"],
  ["Mod+Alt+]", "Unfold the block"],
  ["Mod+Z", "Undo"],
];

export const MAC = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.platform);

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

/** Whether the combination is a key that only changes others. */
export function isModifier(keys: string): boolean {
  return /(?:^|\+)(?:Shift|Control|Alt|AltGraph|Meta|CapsLock)$/.test(keys);
}

/** Finds the action for keys, including sequences of two (`D D`). */
export class Keys {
  #last = "";
  #at = 0;
  #table = new Map<string, Action>();

  private readonly mode: Mode;
  private readonly now: () => number;

  constructor(mode: Mode, now: () => number = () => performance.now()) {
    this.mode = mode;
    this.now = now;
    this.use({});
  }

  /** Uses the default keys, except where the user has others. */
  use(own: Readonly<Record<string, readonly string[]>>): void {
    this.#table = new Map(COMMANDS.filter(({ mode }) => mode === this.mode).flatMap(({ action }) => keysOf(action, own).map((keys) => [keys, meant(action)] as const)));
  }

  /** The action that this combination completes, or null. */
  press(keys: string): Action | null {
    // Shift alone does not interrupt `0 0` on layouts where digits need it.
    if (isModifier(keys)) return null;
    const both = `${this.#last} ${keys}`;
    const recent = this.now() - this.#at < 1000;
    const found = (recent ? this.#table.get(both) : undefined) ?? this.#table.get(keys) ?? null;
    this.#last = found === null ? keys : "";
    this.#at = this.now();
    return found;
  }
}

/** The keys of a command, as a menu shows them; undefined if it has none. */
export function shownKeys(action: Action): string | undefined {
  const { keys: own } = settings();
  const keys = COMMANDS.filter((entry) => meant(entry.action) === action).flatMap((entry) => keysOf(entry.action, own));
  return keys[0]?.split(" ").map(pretty).join(", ");
}

/** Keys as `kbd` elements. */
export function keyCaps(keys: string): Node[] {
  return keys.split(" ").flatMap((part, i) => [...(i > 0 ? [document.createTextNode(" then ")] : []), h("kbd", {}, pretty(part))]);
}

/** Shows the table. */
export async function help(): Promise<void> {
  const section = (title: string, rows: readonly (readonly [string, string])[]): HTMLElement => {
    const list = h("dl", { class: "keys" });
    for (const [keys, about] of rows) list.append(h("div", {}, h("dt", {}, ...keyCaps(keys)), h("dd", {}, about)));
    return h("section", {}, h("h3", {}, title), list);
  };
  const { keys: own } = settings();
  const rows = (wanted: Mode) =>
    COMMANDS.flatMap(({ action, about, mode }) => {
      const keys = keysOf(action, own)[0];
      return mode === wanted && keys !== undefined && meant(action) === action ? [[keys, about] as const] : [];
    });
  await ask("Keyboard shortcuts", [
    h("div", { class: "shortcuts", tabindex: 0, role: "region", "aria-label": "List of shortcuts" },
      h("div", { class: "columns" },
        section("Everywhere", rows("always")),
        section("In an editor", [...rows("edit"), ...EDITOR]),
        section("On a selected cell", rows("command")))),
  ], [{ label: "Close", value: null, kind: "main" }]);
}

/** One combination in a user's words. */
export function pretty(keys: string): string {
  return keys.replace("Mod", MAC ? "⌘" : "Ctrl").replace("ArrowUp", "↑").replace("ArrowDown", "↓").replace("Escape", "Esc").replaceAll("+", " ");
}
