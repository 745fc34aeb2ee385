//! The debugger beside a notebook: steps, the call stack, variables and breakpoints.

import { button, fill, h } from "../dom";
import type { Debugger, DebugVariable, Frame } from "../state/debugger";
import { loadText, storeText } from "../state/kept";
import type { Session } from "../state/session";
import { fileName } from "../transport/base";
import { announce } from "./dialog";

const SHOWN = "paster:debugger";

/** The panel's actions on the cells. */
export interface DebuggerHost {
  /** Goes to a line of a cell. */
  goTo(cell: string, line: number): void;
}

export class DebuggerPanel {
  readonly element: HTMLElement;
  readonly #turn = button("Turn on", () => void this.#toggle(), { class: "button" });
  readonly #note = h("p", { class: "faint", role: "status" });
  readonly #continue = button("Continue", () => void this.debug.step("continue"), { icon: "run", keys: "F9" });
  readonly #next = button("Step over", () => void this.debug.step("next"), { icon: "stepOver", keys: "F10" });
  readonly #in = button("Step into", () => void this.debug.step("stepIn"), { icon: "stepIn", keys: "F11" });
  readonly #out = button("Step out", () => void this.debug.step("stepOut"), { icon: "stepOut", keys: "Shift+F11" });
  readonly #frames = h("ol", { class: "frames" });
  readonly #scopes = h("div", { class: "scopes" });
  readonly #points = h("ul", { class: "points" });
  /** Parts of variables that the user has opened, by path. */
  readonly #opened = new Set<string>();
  #shownStop: unknown = undefined;
  #problem = "";
  private readonly session: Session;
  private readonly debug: Debugger;
  private readonly host: DebuggerHost;

  constructor(session: Session, debug: Debugger, host: DebuggerHost) {
    this.session = session;
    this.debug = debug;
    this.host = host;
    const part = (title: string, content: HTMLElement): HTMLElement => h("section", {}, h("h3", {}, title), content);
    this.element = h(
      "aside",
      { class: "side right debugger", "aria-label": "Debugger", hidden: loadText(SHOWN) !== "1" },
      h("div", { class: "side-head" }, h("h2", {}, "Debugger"), button("Close the debugger", () => this.toggle(), { icon: "close", class: "icon-button small" })),
      h("div", { class: "steps", role: "toolbar", "aria-label": "Debugger" }, this.#turn, this.#continue, this.#next, this.#in, this.#out),
      this.#note,
      part("Call stack", this.#frames),
      part("Variables", this.#scopes),
      part("Breakpoints", this.#points),
    );
    this.show();
  }

  toggle(shown = this.element.hidden): void {
    this.element.hidden = !shown;
    storeText(SHOWN, shown ? "1" : "0");
    this.show();
  }

  /** Shows what the debugger does now. */
  show(): void {
    if (this.element.hidden) return;
    const { on, available, stop } = this.debug;
    this.#turn.textContent = on ? "Turn off" : "Turn on";
    this.#turn.removeAttribute("aria-label");
    this.#turn.title = "";
    this.#turn.disabled = !available || !this.session.notebook.may("run");
    for (const step of [this.#continue, this.#next, this.#in, this.#out]) step.disabled = stop === null;
    const { kernel } = this.session.notebook;
    const words =
      this.#problem !== "" ? this.#problem
      : kernel.id === null || kernel.state === "starting" ? "Run a cell to start the kernel."
      : !available ? "This kernel has no debugger. ipykernel has one if debugpy is installed."
      : stop !== null ? `Stopped${stop.frame === null ? "" : ` in ${stop.frame.name}, line ${stop.frame.line}`}`
      : on ? (kernel.state === "busy" ? "Running" : "Click left of a line to stop there, then run the cell.")
      : "Turn it on to stop at breakpoints.";
    if (this.#note.textContent !== words) this.#note.textContent = words;
    this.#showPoints();
    if (this.#shownStop === stop) return;
    this.#shownStop = stop;
    fill(this.#frames, ...(stop?.frames ?? []).map((frame) => this.#frame(frame, frame === stop?.frame)));
    fill(this.#scopes, ...(stop?.scopes ?? []).map(({ name, reference }, place) => this.#part(name, null, reference, name, place === 0)));
    if (stop?.frame != null) announce(words);
  }

  /** Turns the debugger on or off. */
  async #toggle(): Promise<void> {
    this.#turn.disabled = true;
    const problem = await this.debug.turn(!this.debug.on);
    this.#problem = problem === null ? "" : `The debugger could not be turned ${this.debug.on ? "off" : "on"}: ${problem}`;
    this.show();
  }

  #frame(frame: Frame, chosen: boolean): HTMLElement {
    const where = frame.cell === null ? `${fileName(frame.path)}:${frame.line}` : `cell ${this.session.notebook.index(frame.cell) + 1}, line ${frame.line}`;
    const select = button(`${frame.name}, ${where}`, () => void this.debug.select(frame), { class: "frame" });
    fill(select, h("span", { class: "mono" }, frame.name), " ", h("span", { class: "faint" }, where));
    select.removeAttribute("aria-label");
    if (chosen) select.setAttribute("aria-current", "true");
    return h("li", {}, select);
  }

  /** A variable, whose parts are asked for when it is opened. `path` names it. */
  #part(name: string, variable: DebugVariable | null, reference: number, path: string, open: boolean): HTMLElement {
    const label = [h("span", { class: "mono variable-name" }, name), variable === null ? null : h("span", { class: "mono variable-value", title: `${variable.type} ${variable.value}`.trim() }, variable.value)];
    if (reference === 0) return h("div", { class: "variable leaf" }, ...label);
    const parts = h("div", { class: "parts" });
    const details = h("details", { class: "variable" }, h("summary", {}, ...label), parts);
    const load = async (): Promise<void> => {
      const found = await this.debug.variables(reference);
      fill(parts, ...found.map((one) => this.#part(one.name, one, one.reference, `${path}/${one.name}`, false)));
      if (found.length === 0) fill(parts, h("p", { class: "faint" }, "Nothing"));
    };
    details.addEventListener("toggle", () => {
      if (!details.open) return void this.#opened.delete(path);
      this.#opened.add(path);
      if (parts.childElementCount === 0) void load();
    });
    details.open = open || this.#opened.has(path);
    return details;
  }

  #showPoints(): void {
    const { notebook } = this.session;
    const all = [...this.debug.breakpoints].flatMap(([id, lines]) => lines.map((line) => ({ id, line, at: notebook.index(id) }))).filter(({ at }) => at >= 0).sort((a, b) => a.at - b.at || a.line - b.line);
    const key = JSON.stringify(all);
    if (this.#points.dataset["key"] === key) return;
    this.#points.dataset["key"] = key;
    fill(this.#points, ...all.map(({ id, line, at }) => {
      const words = `Cell ${at + 1}, line ${line}`;
      const source = notebook.cell(id)?.source.split("\n")[line - 1]?.trim() ?? "";
      const go = button(words, () => this.host.goTo(id, line), { class: "frame" });
      fill(go, h("span", {}, words), " ", h("span", { class: "mono faint" }, source));
      go.removeAttribute("aria-label");
      return h("li", {}, go, button(`Remove the breakpoint in cell ${at + 1}, line ${line}`, () => this.debug.toggle(id, line), { icon: "close", class: "icon-button small" }));
    }));
    if (all.length === 0) fill(this.#points, h("li", { class: "faint" }, "None"));
  }
}
