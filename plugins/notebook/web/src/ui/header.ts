//! The header of a notebook: its name, whether it is saved, what runs, and its kernel.

import { button, fill, h, icon } from "../dom";
import type { Cell } from "../protocol";
import { menu } from "./dialog";
import { color } from "../state/people";
import type { Session } from "../state/session";
import { base, fileName, folderOf, url } from "../transport/base";
import { KERNEL_WORDS, saveWords } from "./status";

/** The actions of the header's buttons. */
export interface HeaderActions {
  rename(): void;
  pickKernel(): void;
  /** Goes to a cell. */
  select(id: string): void;
  /** Takes cells out of the queue. */
  cancel(ids: string[]): void;
}

export class Header {
  readonly #title: HTMLButtonElement;
  readonly #home = h("a", { class: "home", title: "All notebooks" }, icon("notebook"), h("span", { class: "visually-hidden" }, "All notebooks"));
  readonly #save = h("span", { class: "save-state", role: "status" });
  readonly #kernel: HTMLButtonElement;
  readonly #people = h("span", { class: "people", role: "status" });
  readonly #queue = h("span", { class: "queue" });
  /** The bar above the toolbar. */
  readonly bar: HTMLElement;
  /** The items at the end of the toolbar. */
  readonly state: readonly Node[];

  private readonly session: Session;
  private readonly actions: HeaderActions;

  constructor(session: Session, actions: HeaderActions) {
    this.session = session;
    this.actions = actions;
    this.#title = button("Rename", () => actions.rename(), { class: "title" });
    this.#kernel = button("Kernel", () => actions.pickKernel(), { class: "kernel" });
    this.bar = h("div", { class: "bar" }, this.#home, h("h1", {}, this.#title), this.#save, h("span", { class: "spring" }), this.#people);
    this.state = [this.#queue, this.#kernel];
  }

  /** Shows where the notebook is, also in the address. */
  showPath(): void {
    const { path } = this.session.notebook;
    const name = fileName(path);
    this.#title.textContent = name.replace(/\.ipynb$/, "");
    this.#title.removeAttribute("aria-label");
    this.#title.title = `${path}: rename`;
    const folder = folderOf(path);
    this.#home.href = folder === "" ? base().href : url("tree", folder).href;
    const here = url("notebooks", path);
    if (location.pathname !== here.pathname) history.replaceState(null, "", here.pathname + location.hash);
  }

  /** Shows who else has the notebook open. */
  showPeople(): void {
    const names = [...new Set([...this.session.people.others.values()].map(({ name }) => name))].sort();
    const shown = names.map((name) => h("span", { class: `person person-${color(name)}`, title: `${name} is here too` }, name));
    fill(this.#people, names.length > 0 && h("span", { class: "visually-hidden" }, "Also here: "), ...shown);
  }

  showStatus(): void {
    const { notebook } = this.session;
    const [words, kind] = saveWords(this.session);
    if (this.#save.textContent !== words) this.#save.textContent = words;
    this.#save.dataset["kind"] = kind;
    this.#save.title = notebook.saving.lastModified === "" ? "" : `Last written ${new Date(notebook.saving.lastModified).toLocaleString()}`;
    this.#showKernel();
    this.#showQueue();
    document.title = `${notebook.running() === undefined ? "" : "● "}${fileName(notebook.path).replace(/\.ipynb$/, "")}`;
  }

  #showKernel(): void {
    const { kernel } = this.session.notebook;
    const state = this.session.connectionState.state === "online" ? kernel.state : null;
    this.#kernel.dataset["state"] = state ?? "unknown";
    this.#kernel.removeAttribute("aria-label");
    fill(
      this.#kernel,
      h("span", { class: "dot", "aria-hidden": "true" }),
      h("span", { class: "visually-hidden" }, "Kernel: "),
      h("span", { class: "kernel-name" }, kernel.display_name ?? kernel.name ?? "No kernel"),
      h("span", { class: "kernel-state" }, state === null ? "Not connected" : KERNEL_WORDS[state]),
    );
    this.#kernel.title = kernel.message ?? "Choose a kernel";
  }

  /** The running and waiting cells, and a button to remove each from the queue. */
  #queueMenu(anchor: HTMLElement): void {
    const { notebook } = this.session;
    const running = notebook.running();
    const queued = notebook.queued();
    const first = (source: string): string => source.trim().split("\n", 1)[0]?.slice(0, 40) ?? "";
    const name = (cell: Cell): string => `cell ${notebook.index(cell.id) + 1}: ${first(cell.source)}`;
    menu(anchor, "Queue", [
      ...(running === undefined ? [] : [{ label: `Go to running ${name(running)}`, run: () => this.actions.select(running.id) }]),
      ...queued.slice(0, 20).map((cell) => ({ label: `Remove ${name(cell)}`, run: () => this.actions.cancel([cell.id]) })),
      ...(queued.length > 1 ? ["line" as const, { label: `Remove all ${queued.length}`, run: () => this.actions.cancel(queued.map(({ id }) => id)) }] : []),
    ]);
  }

  #showQueue(): void {
    const { notebook } = this.session;
    const running = notebook.running();
    const queued = notebook.queued().length;
    if (running === undefined && queued === 0) return fill(this.#queue);
    const at = running === undefined ? null : notebook.index(running.id) + 1;
    const words = [at === null ? null : `Running cell ${at}`, queued > 0 ? `${queued} waiting` : null].filter(Boolean).join(", ");
    const open = button(`${words}: show the queue`, () => this.#queueMenu(open), { text: words, class: "link" });
    open.setAttribute("aria-haspopup", "menu");
    // An open menu stays, although the queue moves on.
    if (this.#queue.textContent === words) return;
    fill(this.#queue, open);
  }
}
