//! The command palette: finds a command by words of its name.

import { h } from "../dom";
import { account } from "./account";
import { type Action, COMMANDS, meant } from "./commands";
import { keyCaps } from "./shortcuts";
import { settings } from "../state/settings";
import { keysOf } from "./commands";

/** A command that a search found. */
interface Found {
  action: Action;
  about: string;
  keys: string | undefined;
}

/** Commands whose names have all the words, those that begin with the text first. */
export function search(text: string): Found[] {
  const words = text.trim().toLowerCase().split(/\s+/);
  const { keys: own } = settings();
  const found = COMMANDS.filter(({ action, about }) => meant(action) === action && words.every((word) => about.toLowerCase().includes(word)));
  const begins = (about: string): number => (about.toLowerCase().startsWith(words.join(" ")) ? 0 : 1);
  return found
    .filter(({ action }) => action !== "palette" && (action !== "share" || account() !== null))
    .map(({ action, about }) => ({ action, about, keys: keysOf(action, own)[0] }))
    .sort((a, b) => begins(a.about) - begins(b.about));
}

/** Asks for a command; null if dismissed. */
export function choose(): Promise<Action | null> {
  return new Promise((resolve) => {
    const list = h("ul", { role: "listbox", id: "palette-list", "aria-label": "Commands" });
    const input = h("input", { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", "aria-label": "Search the commands", placeholder: "Search the commands", autocomplete: "off", spellcheck: "false" });
    const dialog = h("dialog", { class: "palette", "aria-label": "Commands" }, input, list);
    let result: Action | null = null;
    let at = 0;
    const end = (action: Action | null): void => {
      result = action;
      dialog.close();
    };
    const mark = (to: number): void => {
      at = Math.max(0, Math.min(to, list.childElementCount - 1));
      [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
      const option = list.children[at];
      input.setAttribute("aria-activedescendant", option?.id ?? "");
      option?.scrollIntoView({ block: "nearest" });
    };
    const show = (): void => {
      list.replaceChildren(...search(input.value).map(({ action, about, keys }) => {
        const option = h("li", { role: "option", id: `palette-${action}`, "data-action": action }, h("span", {}, about), keys !== undefined && h("span", {}, ...keyCaps(keys)));
        option.addEventListener("click", () => end(action));
        return option;
      }));
      mark(0);
    };
    input.addEventListener("input", show);
    dialog.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.isComposing) return;
      if (event.key === "ArrowDown") mark(at + 1);
      else if (event.key === "ArrowUp") mark(at - 1);
      else if (event.key === "Enter") {
        const option = list.children[at];
        if (option instanceof HTMLElement) end(option.dataset["action"] as Action);
      } else return;
      event.preventDefault();
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    show();
    dialog.showModal();
    input.focus();
  });
}
