//! The kernel's variables beside a notebook. They are asked for again after each run, while the panel is open.

import { button, fill, h } from "../dom";
import { loadText, storeText } from "../state/kept";
import type { Session } from "../state/session";

const SHOWN = "paster:variables";

export class VariablesPanel {
  readonly element: HTMLElement;
  readonly #body = h("div", { class: "variables-body", role: "region", "aria-label": "List of variables", tabindex: 0 });
  #asking = false;
  #again = false;
  private readonly session: Session;

  constructor(session: Session) {
    this.session = session;
    this.element = h("aside", { class: "side right variables", "aria-label": "Variables", hidden: loadText(SHOWN) !== "1" },
      h("div", { class: "side-head" }, h("h2", {}, "Variables"), button("Close the variables", () => this.toggle(), { icon: "close", class: "icon-button small" })),
      this.#body);
    session.notebook.listen((event) => {
      const { notebook } = session;
      const ended = event.type === "state" && notebook.cell(event.id)?.state === "idle" && notebook.running() === undefined;
      const ready = event.type === "kernel" && notebook.running() === undefined;
      if (ended || ready || event.type === "all") void this.#refresh();
    });
  }

  toggle(shown = this.element.hidden): void {
    this.element.hidden = !shown;
    storeText(SHOWN, shown ? "1" : "0");
    void this.#refresh();
  }

  async #refresh(): Promise<void> {
    if (this.element.hidden) return;
    if (this.session.notebook.kernel.id === null) return this.#say("The kernel is not running.");
    // One request at a time: a busy kernel answers late.
    this.#again = this.#asking;
    if (this.#asking) return;
    this.#asking = true;
    const variables = await this.session.kernel.variables();
    this.#asking = false;
    if (this.#again) return this.#refresh();
    if (variables === null) return this.#say("This kernel cannot list its variables.");
    if (variables.length === 0) return this.#say("There are no variables yet.");
    const rows = variables.map(({ name, kind, size, value }) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, size === "" ? kind : `${kind} ${size}`), h("td", { title: value }, value)));
    fill(this.#body, h("table", {}, h("thead", {}, h("tr", {}, ...["Name", "Type", "Value"].map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, ...rows)));
  }

  #say(words: string): void {
    fill(this.#body, h("p", { class: "faint" }, words));
  }
}
