//! The lists of notebooks from all folders, and the trash.

import { ago, button, bytes, fill, h, icon } from "../dom";
import { base, fileName, folderOf, url } from "../transport/base";
import { HttpError } from "../transport/rest";
import * as team from "../transport/team";
import { account, accountLinks, sharePage } from "./account";
import { ask, askText, menu, toast } from "./dialog";

type Tab = team.View | "trash";

const TABS: readonly [Tab, string][] = [
  ["mine", "Mine"],
  ["shared", "Shared with me"],
  ["starred", "Starred"],
  ["published", "Published"],
  ["archived", "Archived"],
  ["trash", "Trash"],
];
const EMPTY: Record<Tab, string> = {
  mine: "No notebooks yet.",
  shared: "No notebooks have been shared with you yet.",
  starred: "Star a notebook in its menu to find it here.",
  published: "None of your notebooks is published.",
  archived: "Archived notebooks are hidden from the other lists. Their files do not move.",
  trash: "The trash is empty.",
};
const ORDERS: readonly [team.Order, string][] = [
  ["modified", "Newest first"],
  ["name", "By name"],
  ["size", "Largest first"],
  ["relevance", "Best match first"],
];
const REFRESH_MS = 15_000;
const TYPING_MS = 200;

export class LibraryPage {
  #tab: Tab;
  #words = "";
  #tag: string | null = null;
  #order: team.Order = "modified";
  /** The newest request: answers to older ones are dropped. */
  #request = 0;
  readonly #tabs = new Map<Tab, HTMLAnchorElement>();
  readonly #tags = h("div", { class: "tags", role: "group", "aria-label": "Tags" });
  readonly #list = h("ul", { class: "results" });
  readonly #note = h("p", { class: "faint", role: "status" });
  readonly #search = h("input", { type: "search", placeholder: 'Words, or a "quoted phrase"', "aria-label": "Search in names, text and code", autocomplete: "off" });
  readonly #sort = h("select", { "aria-label": "Order" });
  readonly #emptyTrash = button("Empty the trash", () => void this.#empty(), { class: "button", icon: "trash", text: true });

  constructor() {
    const asked = location.hash.slice(1);
    this.#tab = TABS.find(([tab]) => tab === asked)?.[0] ?? "mine";
  }

  open(body: HTMLElement): void {
    document.title = "Notebooks";
    const tabs = TABS.filter(([tab]) => tab !== "shared" || account() !== null).map(([tab, label]) => {
      const link = h("a", { href: `${url("library").pathname}#${tab}` }, label);
      this.#tabs.set(tab, link);
      return h("li", {}, link);
    });
    fill(this.#sort, ...ORDERS.map(([order, label]) => h("option", { value: order }, label)));
    this.#sort.value = this.#order;
    this.#sort.addEventListener("change", () => {
      this.#order = this.#sort.value as team.Order;
      void this.#load();
    });
    let typing: ReturnType<typeof setTimeout> | undefined;
    this.#search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => {
        this.#words = this.#search.value;
        this.#sort.value = this.#order = this.#words.trim() === "" ? "modified" : "relevance";
        void this.#load();
      }, TYPING_MS);
    });
    body.append(
      h("header", { class: "top list-top" }, h("div", { class: "bar" }, h("a", { class: "home", href: base().href, title: "Folders" }, icon("folder"), h("span", { class: "visually-hidden" }, "Folders")), h("h1", { class: "library-title" }, "Notebooks"), h("span", { class: "spring" }), accountLinks())),
      h("main", { class: "page" }, h("nav", { class: "tabs", "aria-label": "Lists" }, h("ul", {}, ...tabs)), h("div", { class: "list-tools" }, h("div", { class: "search" }, icon("search"), this.#search), this.#sort, h("span", { class: "spring" }), this.#emptyTrash), this.#tags, this.#note, this.#list),
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    addEventListener("hashchange", () => {
      const asked = location.hash.slice(1);
      this.#tab = TABS.find(([tab]) => tab === asked)?.[0] ?? "mine";
      this.#tag = null;
      void this.#load();
    });
    void this.#load();
    setInterval(() => {
      if (document.visibilityState === "visible" && document.querySelector("dialog, .menu") === null) void this.#load();
    }, REFRESH_MS);
  }

  async #load(): Promise<void> {
    const request = ++this.#request;
    for (const [tab, link] of this.#tabs) {
      if (tab === this.#tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const inTrash = this.#tab === "trash";
    for (const element of [this.#search.parentElement, this.#sort, this.#tags]) if (element !== null) element.hidden = inTrash;
    this.#emptyTrash.hidden = true;
    try {
      if (this.#tab === "trash") {
        const entries = await team.trash();
        if (request === this.#request) this.#showTrash(entries);
      } else {
        const down = this.#order === "modified" || this.#order === "size";
        const list = await team.notebooks(this.#tab, this.#words, this.#tag, this.#order, down);
        if (request === this.#request) this.#show(list);
      }
    } catch (error) {
      if (error instanceof HttpError && error.status === 401) return location.reload();
      if (request === this.#request) this.#note.textContent = message(error);
    }
  }

  #show({ notebooks, tags, complete }: team.NotebookList): void {
    fill(
      this.#tags,
      ...tags.map(({ name, count }) => {
        const chosen = name === this.#tag;
        const tag = button(`${name} (${count})`, () => {
          this.#tag = chosen ? null : name;
          void this.#load();
        }, { class: "tag" });
        tag.setAttribute("aria-pressed", String(chosen));
        return tag;
      }),
    );
    const empty = this.#words.trim() === "" ? EMPTY[this.#tab] : "Nothing contains all of these words.";
    const found = notebooks.length === 0 ? empty : this.#words.trim() === "" ? "" : `${notebooks.length} found`;
    const note = complete ? found : `${found} The index is still being built.`.trim();
    if (this.#note.textContent !== note) this.#note.textContent = note;
    this.#keepFocus(() => fill(this.#list, ...notebooks.map((notebook) => this.#row(notebook))));
  }

  /** Renders the list again; what has the focus keeps it. */
  #keepFocus(render: () => void): void {
    const focused = document.activeElement?.closest<HTMLElement>("li[data-key]");
    const kind = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["kind"] : undefined;
    render();
    if (focused === null || focused === undefined || kind === undefined) return;
    for (const row of this.#list.querySelectorAll<HTMLElement>("li[data-key]")) if (row.dataset["key"] === focused.dataset["key"]) row.querySelector<HTMLElement>(`[data-kind="${kind}"]`)?.focus();
  }

  #row(notebook: team.Listed): HTMLElement {
    const { path, name, starred, tags, snippet, published } = notebook;
    const star = button(starred ? `Remove the star of ${name}` : `Star ${name}`, () => void this.#try(() => team.mark(path, { starred: !starred })), { class: "star" });
    star.textContent = starred ? "★" : "☆";
    star.setAttribute("aria-label", starred ? `Remove the star of ${name}` : `Star ${name}`);
    star.dataset["kind"] = "star";
    const more = button(`Actions for ${name}`, () => this.#menu(more, notebook), { icon: "more" });
    more.setAttribute("aria-haspopup", "menu");
    more.dataset["kind"] = "more";
    const folder = folderOf(path);
    return h(
      "li",
      { "data-key": path },
      star,
      h(
        "div",
        { class: "result" },
        h("p", { class: "result-name" }, h("a", { href: url("notebooks", path).href, "data-kind": "link" }, name), notebook.level === "app" && h("span", { class: "chip" }, "App"), published !== null && h("span", { class: "chip" }, "Published"), ...tags.map((tag) => h("span", { class: "chip tag-chip" }, tag))),
        snippet.length > 0 && h("p", { class: "snippet" }, ...snippet.map(({ text, match }) => (match ? h("mark", {}, text) : text))),
        h("p", { class: "faint result-facts" }, [folder, ago(notebook.last_modified), bytes(notebook.size)].filter((fact) => fact !== "").join(" · ")),
      ),
      more,
    );
  }

  #menu(anchor: HTMLElement, notebook: team.Listed): void {
    const { path, archived, level } = notebook;
    const items: Parameters<typeof menu>[2] = [
      { label: "Tags …", run: () => void this.#editTags(notebook) },
      { label: archived ? "Remove from the archive" : "Archive", run: () => void this.#try(() => team.mark(path, { archived: !archived })) },
    ];
    if (level === "edit" || level === "manage") items.push({ label: "History", run: () => location.assign(url("history", path)) });
    if (level === "manage") {
      if (account() !== null) items.push({ label: "Share …", run: () => location.assign(sharePage(path)) });
      items.push("line", { label: "Move to the trash", danger: true, run: () => void this.#trash(path) });
    }
    menu(anchor, `Actions for ${notebook.name}`, items);
  }

  async #editTags(notebook: team.Listed): Promise<void> {
    const text = await askText(`Tags of ${notebook.name}`, "Tags, separated by commas", notebook.tags.join(", "), "Save", () => null);
    if (text !== null) await this.#try(() => team.mark(notebook.path, { tags: text.split(",").map((tag) => tag.trim()) }));
  }

  async #trash(path: string): Promise<void> {
    await this.#try(async () => {
      const entry = await team.toTrash(path);
      toast(`${fileName(path)} is in the trash.`, { label: "Undo", run: () => void this.#try(() => team.restoreFromTrash(entry.id)) });
    });
  }

  #showTrash(entries: team.Trashed[]): void {
    this.#emptyTrash.hidden = entries.length === 0;
    this.#note.textContent = entries.length === 0 ? EMPTY.trash : "";
    this.#keepFocus(() => fill(this.#list, ...entries.map((entry) => this.#trashRow(entry))));
  }

  #trashRow(entry: team.Trashed): HTMLElement {
    const name = fileName(entry.path);
    const ends = entry.ends === null ? "" : `deleted permanently on ${new Date(entry.ends).toLocaleDateString("en-GB", { day: "numeric", month: "long" })}`;
    const by = account() === null ? "" : `by ${entry.deleted_by}`;
    const restore = button("Restore", () => void this.#restore(entry), { class: "button" });
    restore.dataset["kind"] = "restore";
    restore.setAttribute("aria-label", `Restore ${name}`);
    return h(
      "li",
      { "data-key": entry.id },
      h("div", { class: "result" }, h("p", { class: "result-name" }, name), h("p", { class: "faint result-facts" }, [folderOf(entry.path), `deleted ${ago(entry.deleted)} ${by}`.trim(), ends].filter((fact) => fact !== "").join(" · "))),
      restore,
      button(`Delete ${name} permanently`, () => void this.#delete(entry), { icon: "trash" }),
    );
  }

  async #restore(entry: team.Trashed): Promise<void> {
    await this.#try(async () => toast(`It is at ${await team.restoreFromTrash(entry.id)} again.`));
  }

  async #delete(entry: team.Trashed): Promise<void> {
    if (await this.#sure(`Delete ${fileName(entry.path)} permanently?`, "Delete")) await this.#try(() => team.deleteTrash(entry.id));
  }

  async #empty(): Promise<void> {
    if (await this.#sure("Empty the trash?", "Delete all")) await this.#try(() => team.deleteTrash(null));
  }

  async #sure(title: string, action: string): Promise<boolean> {
    const yes = await ask(title, [h("p", {}, "This cannot be undone. The histories are deleted too.")], [
      { label: "Cancel", value: false },
      { label: action, value: true, kind: "danger" },
    ]);
    return yes === true;
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

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
