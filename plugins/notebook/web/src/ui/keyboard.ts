//! Passes the keys pressed in a notebook to its actions.

import { listen, settings } from "../state/settings";
import type { Action } from "./commands";
import { combination, Keys } from "./shortcuts";

/** Calls `act` for every shortcut of a command that can be used now. Keys of others are left to the browser. */
export function listenToKeys(act: (action: Action) => void, usable: (action: Action) => boolean): void {
  const [always, edit, command] = [new Keys("always"), new Keys("edit"), new Keys("command")];
  const use = (): void => [always, edit, command].forEach((keys) => keys.use(settings().keys));
  use();
  listen(use);
  // Keys that the editor must not receive first.
  const capture = (event: KeyboardEvent) => {
    if (!applies(event)) return;
    const keys = combination(event);
    const inEditor = isEditor(event.target);
    // Enter on a button presses it.
    if (!inEditor && keys === "Enter") return;
    const action = always.press(keys) ?? (inEditor && keys !== "Escape" ? edit.press(keys) : null);
    if (action === null || !usable(action)) return;
    event.preventDefault();
    event.stopPropagation();
    act(action);
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.defaultPrevented || !applies(event)) return;
    const keys = combination(event);
    if (isEditor(event.target)) {
      if (keys === "Escape") {
        event.preventDefault();
        act("to_command");
      }
      return;
    }
    if (event.target instanceof Element && event.target.closest("button, a, summary, [tabindex='0']:not(.cell)") !== null && /^(?:Enter| |Arrow|Shift\+Arrow)/.test(keys)) return;
    const action = command.press(keys);
    if (action === null) return;
    event.preventDefault();
    act(action);
  };
  document.addEventListener("keydown", capture, true);
  document.addEventListener("keydown", pressed);
}

/** Whether a key is for the notebook, not for a dialog, a field or an input method. */
function applies(event: KeyboardEvent): boolean {
  // The keys of the debugger also work in its panel.
  if (/^F\d+$/.test(event.key) && event.target instanceof Element && event.target.closest(".debugger") !== null) return true;
  return !event.isComposing && !(event.target instanceof Element && event.target.closest("dialog, input, select, textarea, .menu, .cm-panel, .cm-tooltip, .side") !== null);
}

function isEditor(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(".cm-content") !== null;
}
