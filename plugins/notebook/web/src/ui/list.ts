//! The list of notebooks: one folder at a time.

import { base, fileName, join, url } from "../transport/base";
import * as rest from "../transport/rest";
import * as team from "../transport/team";
import { account, accountLinks, sharePage } from "./account";
import { ask, askText, menu, nameProblem, toast } from "./dialog";
import { ago, button, bytes, fill, h, icon } from "../dom";

type Column = "name" | "last_modified" | "size";

const SORT = "paster:sort";
const REFRESH_MS = 10_000;
/** Files that can be made notebooks, and archives of them. */
const CONVERTED = /\.(sws|sagews|txt|html?|rst|py|zip)$/i;

export class ListPage {
  #entries: rest.Entry[] = [];
  #sessions = new Map<string, rest.Session>();
  #search = "";
  #sort: { by: Column; down: boolean } = storedSort();
  #error: string | null = null;
  readonly #rows = h("tbody");
  readonly #empty = h("div", { class: "empty" });
  readonly #count = h("p", { class: "visually-hidden", role: "status" });
  readonly #heads = new Map<Column, { cell: HTMLElement; button: HTMLButtonElement }>();
  readonly #table: HTMLTableElement;
  #loaded = false;

  private readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    const head = (by: Column, label: string, name: string) => {
      const sorter = button(`Sort by ${label.toLowerCase()}`, () => this.#sortBy(by), { text: label, class: "sort" });
      const cell = h("th", { scope: "col", class: name }, sorter);
      this.#heads.set(by, { cell, button: sorter });
      return cell;
    };
    this.#table = h(
      "table",
      { class: "list" },
      h("caption", { class: "visually-hidden" }, "Notebooks and files"),
      h("thead", {}, h("tr", {}, head("name", "Name", "name"), h("th", { scope: "col", class: "state" }, "Kernel"), head("last_modified", "Modified", "modified"), head("size", "Size", "size"), h("th", { scope: "col", class: "actions" }, h("span", { class: "visually-hidden" }, "Actions")))),
      this.#rows,
    );
  }

  /** Shows the page in `body` and loads the folder. */
  open(body: HTMLElement): void {
    document.title = this.folder === "" ? "Notebooks" : `${fileName(this.folder)} – Notebooks`;
    const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search by name", autocomplete: "off" });
    search.addEventListener("input", () => {
      this.#search = search.value;
      this.#show();
    });
    const file = h("input", { type: "file", multiple: true, hidden: true, tabindex: -1, "aria-hidden": "true" });
    file.addEventListener("change", () => {
      void this.#upload([...(file.files ?? [])]);
      file.value = "";
    });
    body.append(
      h("header", { class: "top list-top" }, h("div", { class: "bar" }, h("a", { class: "home", href: base().href, title: "All notebooks" }, icon("notebook"), h("span", { class: "visually-hidden" }, "All notebooks")), this.#crumbs(), h("span", { class: "spring" }), accountLinks())),
      h(
        "main",
        { class: "page" },
        h(
          "div",
          { class: "list-tools" },
          h("div", { class: "search" }, icon("search"), search),
          h("span", { class: "spring" }),
          button("Upload", () => file.click(), { icon: "upload", text: true, class: "button" }),
          button("New folder", () => void this.#newFolder(), { icon: "folder", text: true, class: "button" }),
          button("New notebook", () => void this.#newNotebook(), { icon: "add", text: true, class: "button main" }),
          file,
        ),
        this.#count,
        this.#table,
        this.#empty,
      ),
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    body.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      body.classList.add("dropping");
    });
    body.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) body.classList.remove("dropping");
    });
    body.addEventListener("drop", (event) => {
      body.classList.remove("dropping");
      if (event.dataTransfer === null || event.dataTransfer.files.length === 0) return;
      event.preventDefault();
      void this.#upload([...event.dataTransfer.files]);
    });
    void this.#load();
    setInterval(() => {
      if (document.visibilityState === "visible") void this.#load();
    }, REFRESH_MS);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") void this.#load();
    });
    addEventListener("pageshow", (event) => {
      if (event.persisted) void this.#load();
    });
  }

  #crumbs(): HTMLElement {
    const list = h("ol");
    const names = this.folder === "" ? [] : this.folder.split("/");
    const parts: [string, string][] = [["Notebooks", ""], ...names.map((name, i): [string, string] => [name, names.slice(0, i + 1).join("/")])];
    parts.forEach(([label, path], i) => {
      const last = i === parts.length - 1;
      const address = path === "" ? base().href : url("tree", path).href;
      list.append(h("li", {}, last ? h("h1", { "aria-current": "page" }, label) : h("a", { href: address }, label)));
    });
    return h("nav", { class: "crumbs", "aria-label": "Folders" }, list);
  }

  async #load(): Promise<void> {
    try {
      const [entries, sessions] = await Promise.all([rest.list(this.folder), rest.sessions().catch(() => [])]);
      this.#entries = entries;
      this.#sessions = new Map(sessions.map((session) => [session.path, session]));
      this.#error = null;
    } catch (error) {
      this.#error = error instanceof Error ? error.message : String(error);
      if (error instanceof rest.HttpError && error.status === 401) {
        location.reload();
        return;
      }
    }
    this.#loaded = true;
    this.#show();
  }

  #show(): void {
    if (!this.#loaded) return;
    const words = this.#search.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const shown = this.#entries.filter((entry) => words.every((word) => shownName(entry).toLowerCase().includes(word)));
    const { by, down } = this.#sort;
    shown.sort((a, b) => {
      if ((a.type === "directory") !== (b.type === "directory")) return a.type === "directory" ? -1 : 1;
      const order = by === "name" ? 0 : by === "size" ? (a.size ?? 0) - (b.size ?? 0) : Date.parse(a.last_modified) - Date.parse(b.last_modified);
      return (down ? -1 : 1) * (order === 0 ? a.name.localeCompare(b.name, undefined, { numeric: true }) : order);
    });
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement : null;
    const back = focused?.closest<HTMLElement>("tr")?.dataset["path"];
    const kind = focused?.dataset["kind"];
    this.#rows.replaceChildren(...shown.map((entry) => this.#row(entry)));
    if (back !== undefined && kind !== undefined && !document.contains(focused)) {
      for (const row of this.#rows.rows) if (row.dataset["path"] === back) row.querySelector<HTMLElement>(`[data-kind="${kind}"]`)?.focus();
    }
    for (const [column, { cell, button: sorter }] of this.#heads) {
      if (column === by) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      sorter.dataset["order"] = column === by ? (down ? "down" : "up") : "";
    }
    this.#table.hidden = shown.length === 0;
    this.#empty.hidden = shown.length > 0;
    if (this.#error !== null) fill(this.#empty, h("p", {}, this.#error), button("Try again", () => void this.#load(), { class: "button" }));
    else if (this.#search !== "") fill(this.#empty, h("p", {}, `No names contain “${this.#search}”.`));
    else fill(this.#empty, h("p", {}, "Nothing here yet."), button("New notebook", () => void this.#newNotebook(), { icon: "add", text: "Create the first notebook", class: "button main" }));
    const said = this.#search === "" ? "" : `${shown.length} found`;
    if (this.#count.textContent !== said) this.#count.textContent = said;
  }

  #row(entry: rest.Entry): HTMLTableRowElement {
    const session = this.#sessions.get(entry.path);
    const address = entry.type === "directory" ? url("tree", entry.path).href : entry.type === "notebook" ? url("notebooks", entry.path).href : url("edit", entry.path).href;
    const more = button(`Actions for ${entry.name}`, () => this.#menu(more, entry, session), { icon: "more" });
    more.setAttribute("aria-haspopup", "menu");
    more.dataset["kind"] = "more";
    const state = session === undefined ? null : session.kernel.execution_state === "busy" ? "Busy" : "Running";
    return h(
      "tr",
      { "data-path": entry.path },
      h("td", { class: "name" }, h("a", { href: address, "data-kind": "link", class: entry.type }, icon(entry.type === "notebook" ? "notebook" : entry.type === "directory" ? "folder" : "file"), h("span", {}, shownName(entry)))),
      h("td", { class: "state" }, state !== null && h("span", { class: `chip ${state.toLowerCase()}` }, state)),
      h("td", { class: "modified", title: new Date(entry.last_modified).toLocaleString() }, ago(entry.last_modified)),
      h("td", { class: "size" }, entry.type === "directory" || entry.size === null ? "" : bytes(entry.size)),
      h("td", { class: "actions" }, more),
    );
  }

  #menu(anchor: HTMLElement, entry: rest.Entry, session: rest.Session | undefined): void {
    const items: Parameters<typeof menu>[2] = [{ label: "Rename …", run: () => void this.#rename(entry) }];
    if (entry.type !== "directory") {
      items.push({ label: "Duplicate", run: () => void this.#try(() => rest.duplicate(entry.path, this.folder), "It could not be duplicated") });
      items.push({ label: "Download", run: () => h("a", { href: rest.fileUrl(entry.path, true), download: entry.name }).click() });
    }
    const download = (format: "py" | "md" | "sws" | "zip"): void => h("a", { href: team.exportUrl(entry.path, format), download: "" }).click();
    if (entry.type === "directory") items.push({ label: "Download as archive", run: () => download("zip") });
    if (CONVERTED.test(entry.name)) items.push({ label: entry.name.endsWith(".zip") ? "Unpack" : "Convert to a notebook", run: () => void this.#import(entry.path) });
    if (entry.type === "notebook") {
      items.push({ label: "Download as script", run: () => download("py") });
      items.push({ label: "Download as Markdown", run: () => download("md") });
      items.push({ label: "Download as Sage worksheet", run: () => download("sws") });
      items.push({ label: "Star", run: () => void this.#try(() => team.mark(entry.path, { starred: true }), "It could not be starred") });
      items.push({ label: "History", run: () => location.assign(url("history", entry.path)) });
    }
    if (account() !== null) items.push({ label: "Share …", run: () => location.assign(sharePage(entry.path)) });
    if (session !== undefined) items.push({ label: "Shut down its kernel", run: () => void this.#try(() => rest.shutdown(session.id), "The kernel could not be shut down") });
    items.push("line", { label: "Move to the trash", danger: true, run: () => void this.#trash(entry) });
    menu(anchor, `Actions for ${entry.name}`, items);
  }

  #sortBy(by: Column): void {
    this.#sort = { by, down: this.#sort.by === by ? !this.#sort.down : by !== "name" };
    try {
      localStorage.setItem(SORT, JSON.stringify(this.#sort));
    } catch {
      // The order applies until the page is left.
    }
    this.#show();
  }

  async #newNotebook(): Promise<void> {
    try {
      const made = await rest.create(this.folder, "notebook");
      location.assign(url("notebooks", made.path));
    } catch (error) {
      toast(`Cannot create a notebook: ${message(error)}`);
    }
  }

  async #newFolder(): Promise<void> {
    const name = await askText("New folder", "Name", "", "Create folder", (text) => nameProblem(text) ?? this.#taken(text));
    if (name === null) return;
    await this.#try(async () => {
      const made = await rest.create(this.folder, "directory");
      await rest.rename(made.path, join(this.folder, name));
    }, "The folder could not be created");
  }

  async #rename(entry: rest.Entry): Promise<void> {
    const ending = entry.type === "notebook" ? ".ipynb" : "";
    const whole = (text: string): string => (ending !== "" && !text.endsWith(ending) ? text + ending : text);
    const name = await askText(`Rename ${entry.name}`, "Name", entry.name, "Rename", (text) => nameProblem(text) ?? (whole(text) === entry.name ? null : this.#taken(whole(text))));
    if (name === null || whole(name) === entry.name) return;
    await this.#try(() => rest.rename(entry.path, join(this.folder, whole(name))), "It could not be renamed");
  }

  async #trash(entry: rest.Entry): Promise<void> {
    await this.#try(async () => {
      const { id } = await team.toTrash(entry.path);
      toast(`${entry.name} is in the trash.`, { label: "Undo", run: () => void this.#try(() => team.restoreFromTrash(id), "It could not be restored") });
    }, "It could not be moved to the trash");
  }

  async #import(path: string): Promise<void> {
    await this.#try(async () => {
      const [made] = await team.importFile(path);
      if (made !== undefined) toast(`It was converted to ${fileName(made)}.`, { label: "Open", run: () => location.assign(url(made.endsWith(".ipynb") ? "notebooks" : "tree", made)) });
    }, "It could not be converted");
  }

  async #upload(files: File[]): Promise<void> {
    for (const file of files) {
      if (this.#taken(file.name) !== null) {
        const yes = await ask(`Replace ${file.name}?`, [h("p", {}, "A file with this name already exists.")], [
          { label: "Skip", value: false },
          { label: "Replace", value: true, kind: "danger" },
        ]);
        if (yes !== true) continue;
      }
      await this.#try(() => rest.upload(this.folder, file), `${file.name} could not be uploaded`);
      // These are not useful as files.
      if (/\.(sws|sagews)$/i.test(file.name)) await this.#import(join(this.folder, file.name));
    }
  }

  #taken(name: string): string | null {
    return this.#entries.some((entry) => entry.name === name) ? "This name is already taken." : null;
  }

  async #try(work: () => Promise<unknown>, what: string): Promise<void> {
    try {
      await work();
    } catch (error) {
      toast(`${what}: ${message(error)}`);
    }
    await this.#load();
  }
}

function shownName(entry: rest.Entry): string {
  return entry.type === "notebook" ? entry.name.replace(/\.ipynb$/, "") : entry.name;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function storedSort(): { by: Column; down: boolean } {
  try {
    const value = JSON.parse(localStorage.getItem(SORT) ?? "null") as { by?: unknown; down?: unknown } | null;
    if ((value?.by === "name" || value?.by === "last_modified" || value?.by === "size") && typeof value.down === "boolean") return { by: value.by, down: value.down };
  } catch {
    // Treat it as absent.
  }
  return { by: "last_modified", down: true };
}
