//! The page of kernels and terminals that run.

import { ago, button, bytes, fill, h, icon } from "../dom";
import { base, fileName, folderOf, url } from "../transport/base";
import { openTerminal } from "../transport/files";
import { HttpError } from "../transport/rest";
import * as api from "../transport/running";
import { account, accountLinks } from "./account";
import { ask, toast } from "./dialog";

const REFRESH_MS = 5000;
const STATES: Readonly<Record<string, string>> = { idle: "Idle", busy: "Busy", starting: "Starting", restarting: "Restarting", dead: "Died" };

export class RunningPage {
  #shown: api.Running = { kernels: [], terminals: [] };
  /** The newest request: answers to older ones are dropped. */
  #request = 0;
  /** CPU time and moment of the last answer, by id. */
  #before = new Map<string, { secs: number; at: number }>();
  readonly #kernels = h("ul", { class: "results" });
  readonly #terminals = h("ul", { class: "results" });
  readonly #noKernels = h("p", { class: "faint", role: "status" }, "Loading …");
  readonly #noTerminals = h("p", { class: "faint", role: "status" });
  readonly #endAll = button("Shut down all", () => void this.#shutDownAll(), { class: "button" });
  readonly #closeAll = button("Close all", () => void this.#closeTerminals(), { class: "button" });

  open(body: HTMLElement): void {
    document.title = "Running";
    this.#endAll.hidden = this.#closeAll.hidden = true;
    body.append(
      h("header", { class: "top list-top" }, h("div", { class: "bar" }, h("a", { class: "home", href: base().href, title: "Folders" }, icon("folder"), h("span", { class: "visually-hidden" }, "Folders")), h("h1", { class: "library-title" }, "Running"), h("span", { class: "spring" }), accountLinks())),
      h(
        "main",
        { class: "page" },
        h("div", { class: "running-head" }, h("h2", {}, "Kernels"), h("span", { class: "spring" }), this.#endAll),
        this.#noKernels,
        this.#kernels,
        h("div", { class: "running-head" }, h("h2", {}, "Terminals"), h("span", { class: "spring" }), button("New terminal", () => void this.#openTerminal(), { class: "button", icon: "add", text: true }), this.#closeAll),
        this.#noTerminals,
        this.#terminals,
      ),
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    void this.#load();
    setInterval(() => {
      if (document.visibilityState === "visible" && document.querySelector("dialog") === null) void this.#load();
    }, REFRESH_MS);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") void this.#load();
    });
  }

  async #load(): Promise<void> {
    const request = ++this.#request;
    try {
      const shown = await api.running();
      if (request !== this.#request) return;
      this.#shown = shown;
      this.#show();
    } catch (error) {
      if (error instanceof HttpError && error.status === 401) return location.reload();
      if (request === this.#request) this.#noKernels.textContent = message(error);
    }
  }

  #show(): void {
    const { kernels, terminals } = this.#shown;
    const focused = document.activeElement instanceof HTMLElement ? { key: document.activeElement.closest<HTMLElement>("li")?.dataset["key"], kind: document.activeElement.dataset["kind"] } : {};
    const now = performance.now();
    const busiest = [...kernels].sort((a, b) => Date.parse(b.last_activity) - Date.parse(a.last_activity));
    fill(this.#kernels, ...busiest.map((kernel) => this.#kernel(kernel, now)));
    fill(this.#terminals, ...terminals.map((terminal) => this.#terminal(terminal, now)));
    this.#before = new Map([
      ...kernels.map(({ id, usage }): [string, api.Usage] => [`kernel ${id}`, usage]),
      ...terminals.map(({ name, usage }): [string, api.Usage] => [`terminal ${name}`, usage]),
    ].flatMap(([key, usage]): [string, { secs: number; at: number }][] => (usage === null ? [] : [[key, { secs: usage.cpu_secs, at: now }]])));
    this.#endAll.hidden = kernels.length < 2;
    this.#closeAll.hidden = terminals.length < 2;
    say(this.#noKernels, kernels.length === 0 ? "No kernel is running." : "");
    say(this.#noTerminals, terminals.length === 0 ? "No terminal is open." : "");
    if (focused.key === undefined || focused.kind === undefined) return;
    for (const row of document.querySelectorAll<HTMLElement>("li[data-key]")) if (row.dataset["key"] === focused.key) row.querySelector<HTMLElement>(`[data-kind="${focused.kind}"]`)?.focus();
  }

  #kernel(kernel: api.RunningKernel, now: number): HTMLElement {
    const { id, path, display_name, name, execution_state, last_activity, connections, reason } = kernel;
    const shown = path === null ? "A kernel without a notebook" : fileName(path).replace(/\.ipynb$/, "");
    const folder = path === null ? "" : folderOf(path);
    const key = `kernel ${id}`;
    const facts = [folder, display_name ?? name, ...this.#use(key, kernel.usage, now), `used ${ago(last_activity)}`, connections === 0 ? "" : connections === 1 ? "1 connection" : `${connections} connections`];
    const state = execution_state === "busy" ? "chip busy" : execution_state === "dead" ? "chip dead" : "chip";
    const tool = (kind: string, made: HTMLButtonElement): HTMLButtonElement => {
      made.dataset["kind"] = kind;
      return made;
    };
    return h(
      "li",
      { "data-key": key },
      h(
        "div",
        { class: "result" },
        h("p", { class: "result-name" }, path === null ? shown : h("a", { href: url(path.endsWith(".ipynb") ? "notebooks" : "edit", path).href, "data-kind": "link" }, shown), h("span", { class: state, title: reason ?? "" }, STATES[execution_state] ?? execution_state)),
        h("p", { class: "faint result-facts" }, facts.filter((fact) => fact !== "").join(" · ")),
      ),
      tool("interrupt", button(`Interrupt the kernel of ${shown}`, () => void this.#try(() => api.interruptKernel(id)), { icon: "stop" })),
      tool("restart", button(`Restart the kernel of ${shown}`, () => void this.#restart(id, shown), { icon: "restart" })),
      tool("end", labelled(button("Shut down", () => void this.#shutDown(kernel, shown), { class: "button" }), `Shut down the kernel of ${shown}`)),
    );
  }

  #terminal(terminal: api.RunningTerminal, now: number): HTMLElement {
    const { name, owner, own, folder, last_activity, usage } = terminal;
    const shown = `Terminal ${name}`;
    const key = `terminal ${name}`;
    const facts = [folder, account() === null || own ? "" : `of ${owner}`, ...this.#use(key, usage, now), `used ${ago(last_activity)}`];
    const end = labelled(button("Close", () => void this.#try(() => api.closeTerminal(name)), { class: "button" }), `Close terminal ${name}`);
    end.dataset["kind"] = "end";
    return h(
      "li",
      { "data-key": key },
      h(
        "div",
        { class: "result" },
        h("p", { class: "result-name" }, own ? h("a", { href: url("terminals", name).href, "data-kind": "link" }, shown) : shown),
        h("p", { class: "faint result-facts" }, facts.filter((fact) => fact !== "").join(" · ")),
      ),
      end,
    );
  }

  /** The resources used by processes, as text. The CPU usage is known from the second answer on. */
  #use(key: string, usage: api.Usage, now: number): string[] {
    if (usage === null) return [];
    const before = this.#before.get(key);
    const share = before === undefined || now <= before.at ? null : Math.max(0, (usage.cpu_secs - before.secs) / ((now - before.at) / 1000));
    return [bytes(usage.memory_bytes), share === null ? `${usage.cpu_secs.toFixed(1)} s of CPU` : `${Math.round(share * 100)} % CPU`];
  }

  async #restart(id: string, shown: string): Promise<void> {
    if (await sure(`Restart the kernel of ${shown}?`, "All of its variables are lost.", "Restart")) await this.#try(() => api.restartKernel(id));
  }

  async #shutDown(kernel: api.RunningKernel, shown: string): Promise<void> {
    if (kernel.execution_state === "busy" && !(await sure(`Shut down the kernel of ${shown}?`, "It is running a cell.", "Shut down"))) return;
    await this.#try(() => api.shutDownKernel(kernel));
  }

  async #shutDownAll(): Promise<void> {
    const { kernels } = this.#shown;
    if (!(await sure(`Shut down ${kernels.length} kernels?`, "All of their variables are lost. Notebooks and outputs are kept.", "Shut down all"))) return;
    await this.#try(() => every(kernels.map((kernel) => api.shutDownKernel(kernel))));
  }

  async #closeTerminals(): Promise<void> {
    const { terminals } = this.#shown;
    if (!(await sure(`Close ${terminals.length} terminals?`, "The programs in them end.", "Close all"))) return;
    await this.#try(() => every(terminals.map(({ name }) => api.closeTerminal(name))));
  }

  async #openTerminal(): Promise<void> {
    await this.#try(async () => void window.open(url("terminals", await openTerminal()), "_blank", "noopener"));
  }

  async #try(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      // Kernels that have ended meanwhile need no message.
      if (!(error instanceof HttpError && error.status === 404)) toast(message(error));
    }
    await this.#load();
  }
}

/** Waits for all, also if one fails, and then throws what one of them has thrown. */
async function every(work: Promise<unknown>[]): Promise<void> {
  for (const done of await Promise.allSettled(work)) if (done.status === "rejected") throw done.reason;
}

async function sure(title: string, consequence: string, action: string): Promise<boolean> {
  const yes = await ask(title, [h("p", {}, consequence)], [
    { label: "Cancel", value: false },
    { label: action, value: true, kind: "danger" },
  ]);
  return yes === true;
}

function labelled(made: HTMLButtonElement, label: string): HTMLButtonElement {
  made.setAttribute("aria-label", label);
  made.title = label;
  return made;
}

function say(element: HTMLElement, words: string): void {
  if (element.textContent !== words) element.textContent = words;
  element.hidden = words === "";
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
