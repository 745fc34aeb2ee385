//! The comments at a notebook, beside its cells.

import { ago, button, fill, h } from "../dom";
import * as team from "../transport/team";
import { account } from "./account";
import { ask, toast } from "./dialog";

/** The interface of the comments to the page. */
export interface CommentHost {
  path(): string;
  /** Whether the user may comment, and delete what others wrote. */
  may(level: "comment" | "manage"): boolean;
  /** The beginning of a cell; null if it is gone. */
  quote(cell: string): string | null;
  select(cell: string): void;
  /** How many open threads each cell has. */
  counted(counts: ReadonlyMap<string, number>): void;
}

export class CommentPanel {
  #threads: team.Thread[] = [];
  #resolved = false;
  #asked = "";
  readonly element: HTMLElement;
  readonly #list = h("div", { class: "threads" });
  readonly #names = h("datalist", { id: "people" });

  private readonly host: CommentHost;

  constructor(host: CommentHost) {
    this.host = host;
    const all = h("input", { type: "checkbox", id: "show-resolved" });
    all.addEventListener("change", () => {
      this.#resolved = all.checked;
      this.#show();
    });
    this.element = h(
      "aside",
      { class: "comments", "aria-label": "Comments", hidden: true },
      h("div", { class: "comments-head" }, h("h2", {}, "Comments"), h("label", { for: "show-resolved" }, all, " Resolved"), button("Close the comments", () => this.toggle(false), { icon: "close" })),
      this.#list,
      this.#names,
      button("Comment on the notebook", () => this.begin(""), { class: "button" }),
    );
    this.element.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.toggle(false);
    });
    if (location.hash.startsWith("#comment-")) this.#asked = location.hash.slice(9);
  }

  /** Shows or hides the panel. */
  toggle(shown = this.element.hidden === true): void {
    this.element.hidden = !shown;
    document.body.classList.toggle("with-comments", shown);
    if (shown) void this.load();
  }

  async load(): Promise<void> {
    try {
      this.#set(await team.threads(this.host.path()));
    } catch (error) {
      if (!this.element.hidden) fill(this.#list, h("p", { class: "placeholder" }, message(error)));
    }
    if (this.#asked !== "") {
      const thread = this.#threads.find(({ id }) => String(id) === this.#asked);
      this.#asked = "";
      if (thread !== undefined) {
        this.#resolved ||= thread.resolved !== null;
        this.toggle(true);
        this.#show();
        this.#list.querySelector(`[data-thread="${thread.id}"]`)?.scrollIntoView({ block: "center" });
      }
    }
  }

  /** Asks for the first comment of a thread at a cell; "" is the whole notebook. */
  begin(cell: string): void {
    this.toggle(true);
    this.#list.querySelector(".new-thread")?.remove();
    const quote = cell === "" ? "" : (this.host.quote(cell) ?? "");
    const form = this.#form("Comment", "", async (text) => this.#set(await team.changeComments(this.host.path(), { text, cell, quote })), () => form.remove());
    form.classList.add("new-thread");
    if (quote !== "") form.prepend(h("p", { class: "quote" }, firstLine(quote)));
    this.#list.prepend(form);
    form.querySelector("textarea")?.focus();
  }

  #set(threads: team.Thread[]): void {
    this.#threads = threads;
    const counts = new Map<string, number>();
    for (const { cell, resolved } of threads) if (resolved === null) counts.set(cell, (counts.get(cell) ?? 0) + 1);
    this.host.counted(counts);
    this.#show();
  }

  #show(): void {
    // A text that is being typed stays.
    if (this.#list.querySelector("textarea:focus") !== null && this.#list.querySelector<HTMLTextAreaElement>("textarea:focus")?.value !== "") return;
    const shown = this.#threads.filter(({ resolved }) => this.#resolved || resolved === null);
    fill(this.#list, ...shown.map((thread) => this.#thread(thread)), shown.length === 0 && h("p", { class: "faint" }, "No comments. Choose “Comment” in the menu of a cell."));
  }

  #thread(thread: team.Thread): HTMLElement {
    const { id, cell, quote, resolved, comments } = thread;
    const gone = cell !== "" && this.host.quote(cell) === null;
    const about = cell === "" ? null : gone ? h("p", { class: "quote", title: "The cell was deleted" }, `${firstLine(quote)} (deleted)`) : button(firstLine(quote) || "Empty cell", () => this.host.select(cell), { class: "quote link" });
    const may = this.host.may("comment");
    const reply = (): void => {
      element.querySelector("form")?.remove();
      const form = this.#form("Reply", "", async (text) => this.#set(await team.changeComments(this.host.path(), { thread: id, text })), () => form.remove());
      element.append(form);
      form.querySelector("textarea")?.focus();
    };
    const element = h(
      "section",
      { class: `thread${resolved === null ? "" : " resolved"}`, "data-thread": id, "aria-label": `Comment by ${comments[0]?.author ?? ""}` },
      about,
      ...comments.map((comment) => this.#comment(comment)),
      resolved !== null && h("p", { class: "faint" }, `Resolved by ${resolved.by}, ${ago(resolved.at)}`),
      may && h("div", { class: "row" }, button("Reply", reply, { class: "link" }), button(resolved === null ? "Resolve" : "Reopen", () => void this.#try(async () => this.#set(await team.changeComments(this.host.path(), { thread: id, resolved: resolved === null }))), { class: "link" })),
    );
    return element;
  }

  #comment(comment: team.Comment): HTMLElement {
    const own = comment.author === (account() ?? "owner");
    const text = h("p", { class: "comment-text" }, ...withMentions(comment.text));
    const edit = (): void => {
      const form = this.#form("Save", comment.text, async (changed) => this.#set(await team.changeComments(this.host.path(), { comment: comment.id, text: changed })), () => form.replaceWith(text));
      text.replaceWith(form);
      form.querySelector("textarea")?.focus();
    };
    return h(
      "div",
      { class: "comment" },
      h(
        "p",
        { class: "comment-head" },
        h("strong", {}, comment.author),
        h("span", { class: "faint", title: new Date(comment.at).toLocaleString("en-GB") }, ` ${ago(comment.at)}${comment.edited === null ? "" : ", edited"}`),
        own && this.host.may("comment") && button("Edit the comment", edit, { icon: "edit", class: "icon-button small" }),
        (own || this.host.may("manage")) && this.host.may("comment") && button("Delete the comment", () => void this.#delete(comment), { icon: "trash", class: "icon-button small" }),
      ),
      text,
    );
  }

  #form(action: string, value: string, send: (text: string) => Promise<unknown>, close: () => void): HTMLFormElement {
    const field = h("textarea", { rows: 3, "aria-label": "Comment", placeholder: account() === null ? "" : "@name notifies someone" });
    field.value = value;
    const form = h("form", { class: "comment-form" }, field, h("div", { class: "row end" }, button("Cancel", close, { class: "button" }), h("button", { type: "submit", class: "button main" }, action)));
    const submit = (): void => {
      const text = field.value.trim();
      if (text === "") return;
      void this.#try(async () => {
        // Sent. The text in the field must no longer block updates of the list.
        field.disabled = true;
        try {
          await send(text);
          form.remove();
        } finally {
          field.disabled = false;
        }
      });
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit();
    });
    return form;
  }

  async #delete(comment: team.Comment): Promise<void> {
    const yes = await ask("Delete the comment?", [], [
      { label: "Cancel", value: false },
      { label: "Delete", value: true, kind: "danger" },
    ]);
    if (yes !== true) return;
    await this.#try(() => team.deleteComment(this.host.path(), comment.id));
    await this.load();
  }

  async #try(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      toast(message(error));
    }
  }
}

/** The text with its mentions in bold. */
function withMentions(text: string): (string | HTMLElement)[] {
  return text.split(/((?<![\p{L}\p{N}])@[A-Za-z0-9_-]+)/u).map((part, i) => (i % 2 === 1 ? h("strong", { class: "mention" }, part) : part));
}

function firstLine(text: string): string {
  return text.split("\n").find((line) => line.trim() !== "")?.slice(0, 80) ?? "";
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
