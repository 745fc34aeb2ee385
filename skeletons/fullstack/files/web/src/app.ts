import "./style.css";
import { type Account, ApiError, type Note, send } from "./api";
import { byId, element } from "./dom";

const page = document.body.dataset;
const main = byId("main");

/** Shows the page of an account, or the forms to get in. */
function show(name: string | undefined): void {
  byId("account").replaceChildren();
  if (name) void showNotes(name);
  else showLogin(page["signUp"] === "true" ? "sign-up" : "log-in");
}

type Form = "log-in" | "sign-up";
const LABELS: Record<Form, string> = { "log-in": "Log in", "sign-up": "Sign up" };

function showLogin(form: Form): void {
  const signingUp = form === "sign-up";
  const other: Form = signingUp ? "log-in" : "sign-up";
  const name = element("input", { id: "name", autocomplete: "username", maxlength: "40", required: true });
  const password = element("input", {
    id: "password",
    type: "password",
    autocomplete: signingUp ? "new-password" : "current-password",
    minlength: signingUp ? "10" : "1",
    required: true,
  });
  const error = element("p", { class: "error", role: "alert" });
  const button = element("button", { class: "primary" }, LABELS[form]);
  const submit = async (event: Event) => {
    event.preventDefault();
    button.disabled = true;
    error.textContent = "";
    try {
      const account = await send<Account>("POST", `/api/${form}`, { name: name.value, password: password.value });
      show(account.name);
    } catch (cause) {
      error.textContent = message(cause);
      button.disabled = false;
    }
  };
  const hint = signingUp ? "At least 10 characters. A sentence is easy to remember." : "";
  const lead = signingUp ? "Create an account. Only you see your notes." : "Welcome back.";
  main.replaceChildren(
    element("p", { class: "lead" }, lead),
    element(
      "form",
      { class: "card login", onsubmit: submit },
      element("h2", {}, LABELS[form]),
      element("label", { for: "name" }, "Name"),
      name,
      element("label", { for: "password" }, "Password"),
      password,
      element("p", { class: "hint" }, hint),
      error,
      button,
    ),
  );
  if (page["signUp"] === "true") {
    const question = signingUp ? "Do you have an account? " : "Are you new here? ";
    const change = element("button", { type: "button", class: "link", onclick: () => showLogin(other) }, LABELS[other]);
    main.append(element("p", { class: "change" }, question, change));
  }
  name.focus();
}

async function showNotes(name: string): Promise<void> {
  const logOut = element("button", { type: "button", onclick: () => attempt(leave) }, "Log out");
  byId("account").replaceChildren(element("span", { class: "name" }, name), logOut);
  const error = element("p", { class: "error", role: "alert" });
  const text = element("textarea", { id: "text", rows: "3", maxlength: "2000", required: true });
  const list = element("ul", { "aria-label": "Notes" });
  const empty = element("p", { class: "empty" }, "Nothing here yet. Write the first note.");

  async function attempt(work: () => Promise<void>): Promise<void> {
    error.textContent = "";
    try {
      await work();
    } catch (cause) {
      // The session has ended, perhaps in another tab.
      if (cause instanceof ApiError && cause.status === 401) show(undefined);
      else error.textContent = message(cause);
    }
  }
  async function leave(): Promise<void> {
    await send("POST", "/api/log-out");
    show(undefined);
  }
  async function add(): Promise<void> {
    const note = await send<Note>("POST", "/api/notes", { text: text.value });
    text.value = "";
    list.prepend(item(note));
    empty.hidden = true;
    text.focus();
  }
  function item(note: Note): HTMLLIElement {
    const remove = async () => {
      await send("DELETE", `/api/notes/${note.id}`);
      row.remove();
      empty.hidden = list.childElementCount > 0;
      text.focus();
    };
    const written = new Date(`${note.created_at.replace(" ", "T")}Z`);
    const label = `Delete the note “${note.text.slice(0, 40)}”`;
    const row = element(
      "li",
      { class: "card" },
      element("p", {}, note.text),
      element(
        "footer",
        {},
        element("time", { datetime: written.toISOString() }, written.toLocaleString()),
        element("button", { type: "button", class: "link", "aria-label": label, onclick: () => attempt(remove) }, "Delete"),
      ),
    );
    return row;
  }
  const submit = (event: Event) => {
    event.preventDefault();
    void attempt(add);
  };
  const keys = (event: Event) => {
    if (event instanceof KeyboardEvent && event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  };
  main.replaceChildren(
    element(
      "form",
      { class: "card write", onsubmit: submit, onkeydown: keys },
      element("label", { for: "text" }, "A note"),
      text,
      element("button", { class: "primary" }, "Add"),
    ),
    error,
    empty,
    list,
  );
  empty.hidden = true;
  await attempt(async () => {
    const notes = await send<Note[]>("GET", "/api/notes");
    list.replaceChildren(...notes.map(item));
    empty.hidden = notes.length > 0;
  });
}

function message(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

show(page["account"]);
