//! The account of who is logged in, if the notebook has accounts, and the pages that the server writes for it.

import { button, h } from "../dom";
import { url } from "../transport/base";
import * as team from "../transport/team";
import { logout } from "./logout";

/** The login name; null if the notebook has one user with a token. */
export function account(): string | null {
  const name = document.documentElement.dataset["user"] ?? "";
  return name === "" || name.startsWith("{{") ? null : name;
}

/** The page on which a notebook or folder is shared. */
export function sharePage(path: string): string {
  return url("share", path).href;
}

/** The links at the end of the list's header. */
export function accountLinks(): HTMLElement {
  const name = account();
  const library = h("a", { href: url("library").href }, "All notebooks");
  const running = h("a", { href: url("running").href }, "Running");
  if (name === null) return h("nav", { class: "account", "aria-label": "Account" }, library, running, button("Log out", () => void logout(), { class: "button quiet" }));
  const inbox = h("a", { href: url("inbox").href }, "Inbox");
  void showUnread(inbox);
  const admin = document.documentElement.dataset["role"] === "admin";
  return h(
    "nav",
    { class: "account", "aria-label": "Account" },
    library,
    running,
    h("a", { href: url("shared").href }, "Shared with me"),
    inbox,
    admin && h("a", { href: url("admin").href }, "Administration"),
    h("a", { href: url("account").href }, name),
  );
}

/** The number of unread notices on a link; nothing if there are none. */
async function showUnread(link: HTMLElement): Promise<void> {
  try {
    const { unread } = await team.inbox();
    if (unread > 0) link.append(" ", h("span", { class: "badge", title: `${unread} unread` }, String(unread)));
  } catch {
    // The number is missing, and the link works.
  }
}
