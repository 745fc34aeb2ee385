//! Lists of all notebooks, the trash, the history, comments and the inbox.

import assert from "node:assert/strict";
import { cell, notebook } from "./fake";
import { page } from "./pages";
import { eventually, waitFor } from "./wait";

const listed = (path: string, part: object = {}) => ({ path, name: path.replace(/\.ipynb$/, ""), last_modified: "2026-01-02T03:04:05Z", size: 1200, level: "manage", starred: false, archived: false, tags: [], published: null, snippet: [], ...part });

page("all notebooks: lists, a search with its matches, tags, stars", async ({ fake, context }) => {
  const found = listed("work/heat.ipynb", { tags: ["pde"], snippet: [{ text: "the ", match: false }, { text: "<heat>", match: true }] });
  fake.answers["GET api/notebooks"] = { notebooks: [found, listed("b.ipynb", { starred: true })], tags: [{ name: "pde", count: 1 }], complete: true };
  fake.answers["PATCH api/notebooks/work/heat.ipynb"] = found;
  const list = await fake.open(context, "library");
  await list.getByRole("link", { name: "work/heat" }).waitFor();
  await eventually.equal(() => list.locator("mark").innerText(), "<heat>");
  const asked = (part: string) => list.waitForRequest((request) => decodeURIComponent(request.url()).includes(part));
  let request = asked("q=\"heat+equation\"");
  await list.getByRole("searchbox").fill('"heat equation"');
  assert.equal(new URL((await request).url()).searchParams.get("sort"), "relevance");
  request = asked("tag=pde");
  await list.getByRole("button", { name: "pde (1)" }).click();
  await request;
  await list.getByRole("button", { name: "pde (1)", pressed: true }).waitFor();
  request = asked("view=starred");
  await list.getByRole("link", { name: "Starred" }).click();
  await request;
  await list.getByRole("button", { name: "Star work/heat" }).click();
  await waitFor("the star is sent", () => fake.calls.some(({ method }) => method === "PATCH"));
  await list.getByRole("button", { name: "Actions for work/heat" }).click();
  await list.getByRole("menuitem", { name: "Tags" }).click();
  await list.getByRole("textbox", { name: "Tags" }).fill("pde, new");
  await list.keyboard.press("Enter");
  await waitFor("the tags are sent", () => fake.calls.filter(({ method }) => method === "PATCH").length === 2);
  const sent = fake.calls.filter(({ method }) => method === "PATCH").map(({ body }) => body);
  assert.deepEqual(sent, [{ starred: true }, { tags: ["pde", "new"] }]);
});

page("the trash: restores, and deletes only after a question", async ({ fake, context }) => {
  fake.answers["GET api/trash"] = { entries: [{ id: "t1", path: "x/a.ipynb", deleted_by: "owner", deleted: "2026-01-02T03:04:05Z", ends: "2026-02-01T03:04:05Z" }] };
  fake.answers["POST api/trash/t1"] = { path: "x/a.ipynb" };
  fake.answers["DELETE api/trash"] = {};
  const list = await fake.open(context, "library#trash");
  await list.getByRole("button", { name: "Restore a.ipynb" }).click();
  await list.getByText("It is at x/a.ipynb again.").waitFor();
  await list.getByRole("button", { name: "Empty the trash" }).click();
  await list.getByRole("button", { name: "Cancel" }).click();
  assert.equal(fake.calls.some(({ method }) => method === "DELETE"), false);
  await list.getByRole("button", { name: "Empty the trash" }).click();
  await list.getByRole("button", { name: "Delete all" }).click();
  await waitFor("it is emptied", () => fake.calls.some(({ method, path }) => method === "DELETE" && path === "api/trash"));
});

page("the history: a slider over steps, compares cells and lines, restores", async ({ fake, context }) => {
  const edit = (point: string, at: string, author = "ann") => ({ point, at, author, kind: "edit", name: "", action: "set_source", cell: "a" });
  fake.answers["GET api/history/a.ipynb"] = {
    entries: [{ ...edit("s1", "2026-01-01T00:00:00Z", ""), kind: "start", action: null }, edit("1", "2026-01-01T10:00:00Z"), edit("2", "2026-01-01T10:00:20Z"), edit("3", "2026-01-02T10:00:00Z", "bob")],
    newest: "3",
  };
  const states: Record<string, { id: string; source: string }[]> = {
    s1: [{ id: "a", source: "x" }, { id: "gone", source: "old" }],
    "2": [{ id: "a", source: "x\ny" }, { id: "gone", source: "old" }],
    "3": [{ id: "a", source: "x\nz" }, { id: "new", source: "<b>new</b>" }],
  };
  // Playwright asks the newest route first.
  await context.route(/api\/history\/a\.ipynb\?point=/, (route) => {
    const point = new URL(route.request().url()).searchParams.get("point") ?? "";
    return route.fulfill({ json: { point, content: { cells: (states[point] ?? []).map((one) => ({ cell_type: "code", ...one })) } } });
  });
  fake.answers["POST api/history/a.ipynb"] = {};
  const history = await fake.open(context, "history/a.ipynb");
  await history.locator(".change-added").waitFor();
  await eventually.match(() => history.locator(".moment").innerText(), /bob changed a cell.*3 of 3/s);
  await eventually.equal(async () => (await history.locator(".diff-removed").innerText()).trimEnd(), "- y");
  await eventually.equal(async () => (await history.locator(".diff-added").innerText()).trimEnd(), "+ z");
  await eventually.equal(() => history.locator(".change-removed pre").innerText(), "old");
  await eventually.equal(() => history.locator(".change-added pre").innerText(), "<b>new</b>");
  await eventually.equal(() => history.getByRole("button", { name: "Restore this state" }).isDisabled(), true);
  await history.getByRole("button", { name: "Previous step" }).click();
  await history.locator(".change-removed").waitFor({ state: "detached" });
  await eventually.equal(async () => (await history.locator(".diff-added").innerText()).trimEnd(), "+ y");
  await history.getByRole("checkbox", { name: "Every edit" }).check();
  await waitFor("every edit is a step", async () => /of 4/.test(await history.locator(".moment").innerText()));
  await history.getByRole("button", { name: "Restore this state" }).click();
  await waitFor("it is restored", () => fake.calls.some(({ method }) => method === "POST"));
  assert.deepEqual(fake.calls.find(({ method }) => method === "POST")?.body, { restore: { point: "2" } });
});

page("comments: a thread at a cell, with its count, a reply and a mention", async ({ fake, context }) => {
  fake.document = notebook([cell("c0", { source: "print(1)" }), cell("c1")]);
  const thread = { id: 7, cell: "c0", quote: "print(1)", resolved: null, comments: [{ id: 1, author: "bob", at: "2026-01-02T03:04:05Z", edited: null, text: "why, @ann?\n<b>no markup</b>" }] };
  fake.answers["GET api/comments/a.ipynb"] = { threads: [thread] };
  fake.answers["POST api/comments/a.ipynb"] = { threads: [{ ...thread, comments: [...thread.comments, { ...thread.comments[0], id: 2, author: "owner", text: "because" }] }] };
  const own = await fake.open(context);
  await own.locator(".cell[data-comments='1']").waitFor();
  await own.getByRole("button", { name: "More" }).click();
  await own.getByRole("menuitem", { name: "Comments" }).click();
  await eventually.equal(() => own.locator(".mention").innerText(), "@ann");
  await eventually.match(() => own.locator(".comment-text").innerText(), /<b>no markup<\/b>/);
  await own.getByRole("button", { name: "Reply" }).click();
  await own.getByRole("textbox", { name: "Comment" }).fill("because");
  await own.keyboard.press("Control+Enter");
  await own.getByText("because").waitFor();
  assert.deepEqual(fake.calls.find(({ path, method }) => method === "POST" && path.startsWith("api/comments/"))?.body, { thread: 7, text: "because" });
  fake.answers["GET api/comments/a.ipynb"] = { threads: [] };
  fake.send({ type: "commented" });
  await own.locator(".cell[data-comments]").waitFor({ state: "detached" });
});

page("the inbox: what is unread, and an offer that can be accepted", async ({ fake, context }) => {
  const notice = { id: 1, at: "2026-01-02T03:04:05Z", kind: "mention", author: "ann", path: "ann/n.ipynb", thread: 7, text: "look", read: false };
  fake.answers["GET api/inbox"] = { notices: [notice, { ...notice, id: 2, kind: "offer", text: "" }], unread: 2 };
  fake.answers["POST api/inbox"] = {};
  const inbox = await fake.open(context, "inbox");
  const link = inbox.getByRole("link", { name: "n.ipynb" });
  await link.waitFor();
  await eventually.match(() => link.getAttribute("href"), /notebooks\/ann\/n\.ipynb#comment-7$/);
  await eventually.match(() => inbox.locator("form").first().getAttribute("action"), /handover\/ann\/n\.ipynb/);
  await inbox.getByRole("button", { name: "Mark all as read" }).click();
  await waitFor("it is sent", () => fake.calls.some(({ method, path }) => method === "POST" && path === "api/inbox"));
});
