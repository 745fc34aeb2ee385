//! The dialog of the settings, with the user's own keys.

import { button, fill, h } from "../dom";
import { change, DEFAULTS, type Settings, settings } from "../state/settings";
import { type Action, clash, COMMANDS, defaultKeys, keysOf, meant, usersOf } from "./commands";
import { ask } from "./dialog";
import { combination, isModifier, keyCaps } from "./shortcuts";

type Flag = "lineNumbers" | "wrap" | "brackets" | "suggest" | "signatures";

const FLAGS: readonly [Flag, string][] = [
  ["lineNumbers", "Show line numbers"],
  ["wrap", "Wrap long lines"],
  ["brackets", "Close brackets and quotes"],
  ["suggest", "Suggest completions while typing"],
  ["signatures", "Show the signature after an opening parenthesis"],
];

/** Shows the settings. Each change applies at once. */
export async function editSettings(): Promise<void> {
  const now = settings();
  const theme = h("select", { id: "setting-theme" }, ...(["system", "light", "dark"] as const).map((value) => h("option", { value, selected: value === now.theme }, { system: "Same as the system", light: "Light", dark: "Dark" }[value])));
  theme.addEventListener("change", () => change({ theme: theme.value as Settings["theme"] }));
  const size = h("input", { id: "setting-size", type: "number", min: 9, max: 28, step: 0.5, value: now.fontSize });
  size.addEventListener("change", () => {
    if (size.checkValidity()) change({ fontSize: Number(size.value) });
  });
  const flags = FLAGS.map(([name, about]) => {
    const box = h("input", { type: "checkbox", id: `setting-${name}`, checked: now[name] });
    box.addEventListener("change", () => change({ [name]: box.checked }));
    return h("label", { for: `setting-${name}`, class: "check" }, box, about);
  });
  const keys = h("div", { class: "key-table", role: "region", "aria-label": "Keys", tabindex: 0 });
  showKeys(keys);
  await ask(
    "Settings",
    [
      h("p", { class: "faint" }, "Settings are stored in this browser. The server saves notebooks while you type."),
      h("div", { class: "setting" }, h("label", { for: "setting-theme" }, "Theme"), theme),
      h("div", { class: "setting" }, h("label", { for: "setting-size" }, "Font size of code, in pixels"), size),
      ...flags,
      h("details", { class: "own-keys" }, h("summary", {}, "Keys"), keys, button("Use the default keys", () => {
        change({ keys: DEFAULTS.keys });
        showKeys(keys);
      }, { class: "button" })),
    ],
    [{ label: "Close", value: null, kind: "main" }],
  );
}

function showKeys(table: HTMLElement): void {
  const { keys: own } = settings();
  fill(table, ...COMMANDS.filter(({ action }) => meant(action) === action).map(({ action, about }) => row(table, action, about, own)));
}

function row(table: HTMLElement, action: Action, about: string, own: Settings["keys"]): HTMLElement {
  const keys = keysOf(action, own);
  const shown = h("span", { class: "own" });
  if (keys.length === 0) shown.append("none");
  keys.forEach((one, i) => shown.append(...(i > 0 ? [" or "] : []), ...keyCaps(one)));
  const set = (next: readonly string[]): void => {
    const same = JSON.stringify(next) === JSON.stringify(defaultKeys(action));
    const { [action]: _, ...others } = settings().keys;
    change({ keys: same ? others : { ...others, [action]: next } });
    showKeys(table);
    table.querySelector<HTMLElement>(`[data-action="${action}"] button`)?.focus();
  };
  return h(
    "div",
    { class: "key-row", "data-action": action },
    h("span", {}, about),
    shown,
    named(`Change the keys of: ${about}`, button("Change", () => listenFor(shown, action, set), { class: "link" })),
    keys.length > 0 && named(`Remove the keys of: ${about}`, button("Remove", () => set([]), { class: "link" })),
  );
}

/** A button of a row, whose accessible name includes the row. */
function named(name: string, made: HTMLButtonElement): HTMLButtonElement {
  made.setAttribute("aria-label", name);
  return made;
}

/** Takes the next combination, or two of them in a row, as the keys of a command. */
function listenFor(shown: HTMLElement, action: Action, set: (keys: readonly string[]) => void): void {
  fill(shown, h("span", { role: "status" }, "Press the keys. Escape cancels."));
  let pressed: string[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = (): void => {
    clearTimeout(timer);
    removeEventListener("keydown", listen, true);
    removeEventListener("pointerdown", stop, true);
  };
  const stop = (): void => {
    end();
    set(keysOf(action, settings().keys));
  };
  const take = (): void => {
    end();
    const keys = pressed.join(" ");
    // Another command gives the keys up.
    const own = { ...settings().keys };
    for (const other of usersOf(keys, action, own)) own[other.action] = keysOf(other.action, own).filter((one) => !clash(one, keys));
    change({ keys: own });
    set([keys]);
  };
  const listen = (event: KeyboardEvent): void => {
    event.preventDefault();
    event.stopPropagation();
    const keys = combination(event);
    if (isModifier(keys)) return;
    if (keys === "Escape") return stop();
    pressed = [...pressed, keys];
    fill(shown, ...keyCaps(pressed.join(" ")));
    clearTimeout(timer);
    // A letter alone may be the first of two.
    if (pressed.length === 2 || keys.includes("+")) take();
    else timer = setTimeout(take, 1000);
  };
  addEventListener("keydown", listen, true);
  addEventListener("pointerdown", stop, true);
}
