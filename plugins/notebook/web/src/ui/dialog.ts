//! Dialogs and short messages, based on the browser's own `<dialog>`, which keeps the focus inside and closes on Escape.

import { button, h } from "../dom";

/** A choice in a dialog. */
export interface Choice<T> {
  label: string;
  value: T;
  kind?: "main" | "danger";
}

/** Asks the user. Resolves with the choice, or with null if the dialog was dismissed. */
export function ask<T>(title: string, body: (Node | string)[], choices: Choice<T>[]): Promise<T | null> {
  return new Promise((resolve) => {
    const heading = h("h2", { id: "dialog-title" }, title);
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, heading, ...body);
    let result: T | null = null;
    const end = (value: T | null): void => {
      result = value;
      dialog.close();
    };
    const buttons = choices.map(({ label, value, kind }) => button(label, () => end(value), { class: `button ${kind ?? ""}`.trim() }));
    dialog.append(h("div", { class: "row end" }, ...buttons), liveRegion());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    keysStayIn(dialog);
    document.body.append(dialog);
    dialog.showModal();
    const first = dialog.querySelector<HTMLElement>("input, select") ?? buttons.at(-1);
    first?.focus();
  });
}

/** Asks for a line of text; null if dismissed. */
export function askText(title: string, label: string, value: string, action: string, check: (value: string) => string | null): Promise<string | null> {
  return new Promise((resolve) => {
    const input = h("input", { id: "dialog-input", type: "text", value, autocomplete: "off", spellcheck: "false", "aria-describedby": "dialog-error" });
    const error = h("p", { id: "dialog-error", class: "error-text", role: "alert" });
    let result: string | null = null;
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "dialog-title" }, title),
      h("label", { for: "dialog-input" }, label),
      input,
      error,
      h("div", { class: "row end" }, button("Cancel", () => dialog.close()), h("button", { type: "submit", class: "button main" }, action)),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const problem = check(input.value.trim());
      error.textContent = problem ?? "";
      if (problem !== null) return;
      result = input.value.trim();
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    keysStayIn(dialog);
    dialog.append(form, liveRegion());
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
    const dot = value.lastIndexOf(".");
    input.setSelectionRange(0, dot > 0 ? dot : value.length);
  });
}

/** Why a name cannot be a file's name here; null if it can. */
export function nameProblem(name: string): string | null {
  if (name === "") return "Enter a name.";
  if (name.includes("/") || name.includes("\\")) return "A name cannot contain a slash.";
  if (name === "." || name === "..") return "This name is reserved for folders.";
  if (name.startsWith(".")) return "Names that begin with a dot are hidden.";
  return null;
}

let toasts: HTMLElement | null = null;

/** A short message at the bottom of the page, with an action if one makes sense. */
export function toast(message: string, action?: { label: string; run: () => void }): void {
  toasts ??= document.body.appendChild(h("div", { class: "toasts", role: "status", "aria-live": "polite" }));
  const element = h("div", { class: "toast" }, h("span", {}, message));
  const end = (): void => element.remove();
  if (action !== undefined) {
    element.append(button(action.label, () => {
      action.run();
      end();
    }, { class: "link" }));
  }
  element.append(button("Dismiss", end, { icon: "close", class: "icon-button small" }));
  toasts.append(element);
  if (document.querySelector("dialog[open]") !== null) announce(message);
  // A message under the pointer or with the focus is being read.
  const timer = setInterval(() => {
    if (element.matches(":hover, :focus-within")) return;
    clearInterval(timer);
    end();
  }, action === undefined && message.length < 80 ? 6000 : 10_000);
  while (toasts.childElementCount > 4) toasts.firstElementChild?.remove();
}

/** Announces something to screen readers only. While a dialog is open, they do not read the page behind it. */
export function announce(message: string): void {
  const live = document.querySelector("dialog[open] .live") ?? document.getElementById("live");
  if (live !== null) live.textContent = message;
}

/** The place in a dialog for announcements. */
function liveRegion(): HTMLElement {
  return h("div", { class: "live visually-hidden", "aria-live": "polite" });
}

/** Hides what is typed in a dialog from the page's shortcuts. */
function keysStayIn(dialog: HTMLElement): void {
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
}

/** A menu of actions below a button. */
export function menu(anchor: HTMLElement, label: string, items: ({ label: string; keys?: string; run: () => void; danger?: boolean } | "line")[]): void {
  document.querySelector(".menu")?.remove();
  const list = h("div", { class: "menu", role: "menu", "aria-label": label });
  const close = (refocus: boolean): void => {
    list.remove();
    anchor.setAttribute("aria-expanded", "false");
    removeEventListener("pointerdown", outside, true);
    if (refocus) anchor.focus({ preventScroll: true });
  };
  const outside = (event: PointerEvent): void => {
    if (event.target instanceof Node && !list.contains(event.target) && !anchor.contains(event.target)) close(false);
  };
  for (const item of items) {
    if (item === "line") {
      list.append(h("div", { role: "separator" }));
      continue;
    }
    const entry = h("button", { type: "button", role: "menuitem", tabindex: -1, class: item.danger === true ? "danger" : null }, h("span", {}, item.label), item.keys !== undefined && h("kbd", {}, item.keys));
    entry.addEventListener("click", () => {
      close(true);
      item.run();
    });
    list.append(entry);
  }
  list.addEventListener("keydown", (event) => {
    const entries = [...list.querySelectorAll<HTMLElement>("[role=menuitem]")];
    const at = entries.indexOf(document.activeElement as HTMLElement);
    const go = (to: number): void => entries[(to + entries.length) % entries.length]?.focus();
    if (event.key === "ArrowDown") go(at + 1);
    else if (event.key === "ArrowUp") go(at - 1);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(-1);
    else if (event.key === "Escape") close(true);
    else if (event.key === "Tab") return close(false);
    else {
      event.stopPropagation();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  (document.querySelector("main") ?? document.body).append(list);
  const place = anchor.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.left, innerWidth - list.offsetWidth - 8));
  const below = place.bottom + 4 + list.offsetHeight < innerHeight;
  list.style.left = `${left}px`;
  list.style.top = `${below ? place.bottom + 4 : Math.max(8, place.top - 4 - list.offsetHeight)}px`;
  anchor.setAttribute("aria-expanded", "true");
  addEventListener("pointerdown", outside, true);
  list.querySelector<HTMLElement>("[role=menuitem]")?.focus();
}
