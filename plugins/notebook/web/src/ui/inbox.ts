//! The inbox: mentions, replies, requests and offers.

import { ago, button, fill, h, icon } from "../dom";
import { base, fileName, url } from "../transport/base";
import * as team from "../transport/team";
import { accountLinks, sharePage } from "./account";
import { toast } from "./dialog";

const WORDS: Record<team.Notice["kind"], string> = {
  mention: "mentioned you in",
  reply: "replied in",
  comment: "commented on",
  offer: "offers you",
  request: "asks for access to",
  granted: "answered about",
  run: "Scheduled run of",
};
const REFRESH_MS = 30_000;

export class InboxPage {
  readonly #list = h("ul", { class: "results" });
  readonly #note = h("p", { class: "faint", role: "status" });
  readonly #all = button("Mark all as read", () => void this.#read(null), { class: "button" });

  open(body: HTMLElement): void {
    document.title = "Inbox";
    body.append(
      h("header", { class: "top list-top" }, h("div", { class: "bar" }, h("a", { class: "home", href: base().href, title: "Notebooks" }, icon("notebook"), h("span", { class: "visually-hidden" }, "Notebooks")), h("h1", { class: "library-title" }, "Inbox"), h("span", { class: "spring" }), accountLinks())),
      h("main", { class: "page" }, h("div", { class: "list-tools" }, h("span", { class: "spring" }), this.#all), this.#note, this.#list),
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    void this.#load();
    setInterval(() => {
      if (document.visibilityState === "visible") void this.#load();
    }, REFRESH_MS);
  }

  async #load(): Promise<void> {
    try {
      const { notices, unread } = await team.inbox();
      this.#all.disabled = unread === 0;
      this.#note.textContent = notices.length === 0 ? "Nothing here yet. You get a notice when someone mentions you, replies, or asks for access." : unread === 0 ? "" : `${unread} unread`;
      fill(this.#list, ...notices.map((notice) => this.#row(notice)));
    } catch (error) {
      this.#note.textContent = message(error);
    }
  }

  #row(notice: team.Notice): HTMLElement {
    const notebook = url(notice.path.endsWith(".ipynb") ? "notebooks" : "tree", notice.path);
    if (notice.thread !== null) notebook.hash = `comment-${notice.thread}`;
    const target = notice.kind === "request" ? sharePage(notice.path) : notice.kind === "run" ? url("schedules", notice.path).href : notebook.href;
    const link = notice.kind === "offer" ? h("strong", {}, fileName(notice.path)) : h("a", { href: target, onclick: () => void team.markRead(notice.id).catch(() => undefined) }, fileName(notice.path));
    return h(
      "li",
      { class: notice.read ? null : "unread" },
      h("div", { class: "result" }, h("p", { class: "result-name" }, `${notice.author} ${WORDS[notice.kind]} `.trimStart(), link), notice.text !== "" && h("p", { class: "snippet" }, notice.text), h("p", { class: "faint result-facts" }, ago(notice.at))),
      notice.kind === "offer" && !notice.read && this.#answer(notice, "accept", "Accept"),
      notice.kind === "offer" && !notice.read && this.#answer(notice, "decline", "Decline"),
      !notice.read && button(`Mark as read: ${fileName(notice.path)}`, () => void this.#read(notice.id), { text: "Mark as read" }),
    );
  }

  /** A form, so that the server redirects to the notebook at its new path. */
  #answer(notice: team.Notice, field: "accept" | "decline", label: string): HTMLElement {
    const target = url("handover", notice.path);
    const xsrf = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)?.[1];
    if (xsrf !== undefined) target.searchParams.set("_xsrf", decodeURIComponent(xsrf));
    const form = h("form", { method: "post", action: target.href }, h("input", { type: "hidden", name: field, value: "true" }), h("button", { type: "submit", class: field === "accept" ? "button main" : "button" }, label));
    form.addEventListener("submit", () => void team.markRead(notice.id).catch(() => undefined));
    return form;
  }

  async #read(notice: number | null): Promise<void> {
    try {
      await team.markRead(notice);
    } catch (error) {
      toast(message(error));
    }
    await this.#load();
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
