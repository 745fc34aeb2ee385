//! The history of a notebook: a slider over every edit, what each changed, and the way back.

import { ago, button, fill, h, icon } from "../dom";
import { highlight } from "../editor/languages";
import { type Context, renderMarkdown } from "../outputs/markdown";
import { type CellChange, cells, lines } from "../state/diff";
import { fileName, url } from "../transport/base";
import * as team from "../transport/team";
import { ask, askText, toast } from "./dialog";

/** Edits of one person within this time are one step of the slider. */
const STEP_MS = 60_000;

const ACTIONS: Record<string, string> = {
  set_source: "changed a cell",
  insert_cell: "added a cell",
  delete_cell: "deleted a cell",
  move_cell: "moved a cell",
  set_cell_type: "changed the type of a cell",
  set_cell_metadata: "changed the metadata of a cell",
  set_cell_attachments: "changed the images of a cell",
  set_metadata: "changed the notebook's metadata",
  clear_outputs: "cleared outputs",
};

export class HistoryPage {
  #moments: team.Moment[] = [];
  /** The last moment of each step. */
  #steps: team.Moment[] = [];
  #at = 0;
  #request = 0;
  readonly #slider = h("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Moment", class: "slider" });
  readonly #against = h("select", { "aria-label": "Compare with" }, h("option", { value: "previous" }, "the step before"), h("option", { value: "present" }, "the present"), h("option", { value: "none" }, "nothing"));
  readonly #moment = h("p", { class: "moment", role: "status" });
  readonly #revisions = h("ul", { class: "revisions" });
  readonly #cells = h("div", { class: "cells history-cells" });
  readonly #every = h("input", { type: "checkbox", id: "every" });
  readonly #restore = button("Restore this state", () => void this.#restoreState(), { class: "button main" });

  private readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  open(body: HTMLElement): void {
    const name = fileName(this.path).replace(/\.ipynb$/, "");
    document.title = `History of ${name}`;
    this.#slider.addEventListener("input", () => this.#go(Number(this.#slider.value)));
    this.#against.addEventListener("change", () => void this.#show());
    this.#every.addEventListener("change", () => this.#makeSteps());
    body.append(
      h("header", { class: "top list-top" }, h("div", { class: "bar" }, h("a", { class: "home", href: url("notebooks", this.path).href, title: "Back to the notebook" }, icon("notebook"), h("span", { class: "visually-hidden" }, "Back to the notebook")), h("h1", { class: "library-title" }, `History of ${name}`))),
      h(
        "main",
        { class: "page" },
        h("div", { class: "timeline" }, arrow("Previous step", "‹", () => this.#go(this.#at - 1)), this.#slider, arrow("Next step", "›", () => this.#go(this.#at + 1))),
        this.#moment,
        h(
          "div",
          { class: "list-tools" },
          h("label", {}, "Compare with ", this.#against),
          h("label", { for: "every" }, this.#every, " Every edit"),
          h("span", { class: "spring" }),
          button("Name this state …", () => void this.#name(), { class: "button" }),
          this.#restore,
        ),
        this.#revisions,
        this.#cells,
        h("h2", {}, "Erase a text"),
        h("p", { class: "faint" }, "You can erase a password that was pasted by mistake from the notebook, its outputs, its history and its published page. The log records who did it."),
        button("Erase a text …", () => void this.#erase(), { class: "button danger" }),
      ),
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    void this.#load();
  }

  async #load(): Promise<void> {
    try {
      this.#moments = (await team.history(this.path)).entries;
    } catch (error) {
      fill(this.#cells, h("p", { class: "placeholder" }, message(error)));
      return;
    }
    this.#showRevisions();
    this.#makeSteps();
  }

  #makeSteps(): void {
    const shown = this.#steps[this.#at]?.point;
    this.#steps = [];
    for (const moment of this.#moments) {
      const last = this.#steps.at(-1);
      const joins = !this.#every.checked && last?.kind === "edit" && moment.kind === "edit" && last.author === moment.author && Date.parse(moment.at) - Date.parse(last.at) < STEP_MS;
      if (joins) this.#steps.pop();
      this.#steps.push(moment);
    }
    this.#slider.max = String(Math.max(this.#steps.length - 1, 0));
    const place = this.#steps.findIndex((step) => step.point === shown);
    this.#go(place >= 0 ? place : this.#steps.length - 1);
  }

  #go(place: number): void {
    this.#at = Math.max(0, Math.min(place, this.#steps.length - 1));
    this.#slider.value = String(this.#at);
    const step = this.#steps[this.#at];
    if (step === undefined) {
      this.#moment.textContent = "Nothing has happened yet.";
      return;
    }
    const words = `${describe(step)}, ${ago(step.at)}`;
    this.#slider.setAttribute("aria-valuetext", words);
    fill(this.#moment, h("strong", {}, describe(step)), ` · ${new Date(step.at).toLocaleString("en-GB")} · ${this.#at + 1} of ${this.#steps.length}`);
    void this.#show();
  }

  async #show(): Promise<void> {
    const request = ++this.#request;
    const step = this.#steps[this.#at];
    if (step === undefined) return;
    const against = this.#against.value;
    const other = against === "previous" ? this.#steps[this.#at - 1] : against === "present" ? this.#steps.at(-1) : undefined;
    this.#restore.disabled = this.#at === this.#steps.length - 1;
    try {
      const [here, there] = await Promise.all([team.pastCells(this.path, step.point), other === undefined ? null : team.pastCells(this.path, other.point)]);
      if (request !== this.#request) return;
      // The older one is on the left.
      const changes = there === null ? here.map((cell): CellChange<team.PastCell> => ({ kind: "same", before: cell, after: cell })) : against === "present" ? cells(here, there) : cells(there, here);
      fill(this.#cells, ...changes.map((change) => compared(change)));
    } catch (error) {
      if (request === this.#request) fill(this.#cells, h("p", { class: "placeholder" }, message(error)));
    }
  }

  #showRevisions(): void {
    const named = this.#moments.filter(({ kind }) => kind === "revision");
    fill(
      this.#revisions,
      ...named.map((revision) =>
        h(
          "li",
          {},
          button(revision.name, () => this.#go(this.#steps.findIndex(({ point }) => point === revision.point)), { class: "link" }),
          h("span", { class: "faint" }, ` ${revision.author}, ${ago(revision.at)} `),
          button(`Remove the name ${revision.name}`, () => void this.#try(() => team.removeRevision(this.path, revision.point)), { icon: "close", class: "icon-button small" }),
        ),
      ),
    );
    this.#revisions.hidden = named.length === 0;
  }

  async #name(): Promise<void> {
    const step = this.#steps[this.#at];
    if (step === undefined) return;
    const name = await askText("Name this state", "Name", "", "Save", (text) => (text === "" ? "Type a name." : null));
    if (name !== null) await this.#try(() => team.nameRevision(this.path, name, step.point));
  }

  async #restoreState(): Promise<void> {
    const step = this.#steps[this.#at];
    if (step === undefined) return;
    await this.#try(async () => {
      await team.restore(this.path, step.point);
      toast("The notebook was restored. This is a new edit, which you can revert in the same way.");
    });
    this.#go(this.#steps.length - 1);
  }

  async #erase(): Promise<void> {
    const input = h("input", { type: "text", "aria-label": "Text to erase", autocomplete: "off", spellcheck: "false" });
    const yes = await ask("Erase a text", [h("p", {}, "Every occurrence is replaced with [erased]. This cannot be undone."), input], [
      { label: "Cancel", value: false },
      { label: "Erase", value: true, kind: "danger" },
    ]);
    if (yes !== true || input.value === "") return;
    await this.#try(async () => {
      const { erased_in_file: inFile, erased_in_history: inHistory, kernel_runs: running } = await team.erase(this.path, input.value);
      toast(`Erased ${inFile} times in the notebook, and in ${inHistory} records.${running ? " The kernel may still have it in memory. Restart the kernel." : ""}`);
    });
  }

  async #try(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      toast(message(error));
    }
    await this.#load();
  }
}

function describe(moment: team.Moment): string {
  const who = moment.author === "" ? "Someone" : moment.author;
  if (moment.kind === "disk") return "Another program changed the notebook";
  if (moment.kind === "start") return "The oldest stored state";
  if (moment.kind === "revision") return `“${moment.name}”, named by ${who}`;
  return `${who} ${ACTIONS[moment.action ?? ""] ?? "changed the notebook"}`;
}

const WORDS: Record<CellChange<team.PastCell>["kind"], string> = { same: "", changed: "Changed", moved: "Moved", removed: "Removed", added: "Added" };

function compared({ kind, before, after }: CellChange<team.PastCell>): HTMLElement {
  const cell = after ?? before;
  const body = h("div", { class: "body" });
  if (cell === null) return body;
  if (kind === "changed" && before !== null && after !== null) {
    const rows = lines(before.source, after.source).map(({ kind: line, text }) => h("span", { class: `diff-${line}` }, `${line === "removed" ? "-" : line === "added" ? "+" : " "} ${text}\n`));
    body.append(h("pre", { class: "static diff", tabindex: 0 }, ...rows));
  }
  if (kind !== "changed" || cell.cell_type === "markdown") body.append(rendered(cell));
  return h("section", { class: `cell ${cell.cell_type} change-${kind}`, "data-cell": cell.id ?? null }, h("div", { class: "gutter" }, h("span", { class: "change" }, WORDS[kind])), body);
}

function rendered(cell: team.PastCell): HTMLElement {
  if (cell.cell_type !== "markdown") return h("pre", { class: "static", tabindex: 0 }, highlight(cell.source, cell.cell_type === "code" ? "python" : ""));
  const context: Context = { file: (path) => path, attachments: cell.attachments ?? null, widgets: null, macros: {}, highlight: (code, name) => highlight(code, name) };
  const box = h("div", { class: "markdown" });
  box.append(renderMarkdown(cell.source, context));
  return box;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A button with a sign, which has a name for those who do not see it. */
function arrow(label: string, sign: string, onclick: () => void): HTMLButtonElement {
  const made = button(label, onclick, { text: sign });
  made.setAttribute("aria-label", label);
  return made;
}
