//! What a cell asks its user: which of two texts to keep, and what a program wants to read.

import { button, fill, h } from "../dom";

/** Shows another user's text beside what was typed here; null: there is none. */
export function showClash(box: HTMLElement, theirs: string | null, decide: (keep: "mine" | "theirs") => void): void {
  if (theirs === null) {
    box.hidden = true;
    box.replaceChildren();
    return;
  }
  if (!box.hidden && box.dataset["theirs"] === theirs) return;
  box.dataset["theirs"] = theirs;
  box.hidden = false;
  fill(
    box,
    h("p", {}, "Someone else changed this cell while you were typing. The other text:"),
    h("pre", { tabindex: 0 }, theirs),
    h("div", { class: "row" },
      button("Keep mine", () => decide("mine"), { class: "button" }),
      button("Use the other", () => decide("theirs"), { class: "button" })),
  );
}

/** Shows a kernel's question; null: there is none. `leave` moves the focus away. */
export function showQuestion(box: HTMLElement, question: { prompt: string; password: boolean } | null, answer: (value: string) => void, leave: () => void): void {
  if (question === null) {
    box.replaceChildren();
    return;
  }
  const input = h("input", { type: question.password ? "password" : "text", "aria-label": question.prompt === "" ? "The program asks for input" : question.prompt, autocomplete: "off", spellcheck: "false" });
  const form = h("form", { class: "ask" }, h("span", { class: "ask-prompt" }, question.prompt), input, h("button", { type: "submit", class: "button" }, "Send"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(input.value);
    input.disabled = true;
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
    event.stopPropagation();
  });
  fill(box, form);
  input.focus();
}
