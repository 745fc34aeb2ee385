//! The account of who is logged in, if the notebook has accounts, and the pages that the server writes for it.

import { button, h } from "../dom";
import { url } from "../transport/base";
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
  if (name === null) return button("Log out", () => void logout(), { class: "button quiet" });
  const admin = document.documentElement.dataset["role"] === "admin";
  return h(
    "nav",
    { class: "account", "aria-label": "Account" },
    h("a", { href: url("shared").href }, "Shared with me"),
    admin && h("a", { href: url("admin").href }, "Administration"),
    h("a", { href: url("account").href }, name),
  );
}
