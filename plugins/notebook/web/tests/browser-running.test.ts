//! The page of what runs.

import assert from "node:assert/strict";
import { violations } from "./axe";
import { ORIGIN, PREFIX } from "./fake";
import { page } from "./pages";
import { eventually, waitFor } from "./wait";

const kernel = (id: string, part: object = {}) => ({
  id, name: "python3", display_name: "Python 3", execution_state: "idle", reason: null, last_activity: new Date().toISOString(), connections: 1,
  session: `s-${id}`, path: `work/${id}.ipynb`, usage: { memory_bytes: 120_000_000, cpu_secs: 1.5 }, ...part,
});
const terminal = (name: string, part: object = {}) => ({ name, owner: "me", own: true, folder: "work", last_activity: new Date().toISOString(), usage: null, ...part });

for (const colorScheme of ["light", "dark"] as const) {
  page(`what runs: notebooks, use, states and links, ${colorScheme}`, async ({ fake, context }) => {
    const running = { kernels: [kernel("a", { execution_state: "busy" }), kernel("b", { last_activity: "2020-01-01T00:00:00Z" }), kernel("c", { path: null, session: null, usage: null, last_activity: new Date(Date.now() - 60_000).toISOString() })], terminals: [terminal("1"), terminal("2", { own: false, owner: "bob" })] };
    fake.answers["GET api/running"] = running;
    const shown = await fake.open(context, "running");
    const rows = shown.locator("li[data-key]");
    await rows.first().waitFor();
    await eventually.equal(() => shown.getByRole("link", { name: "a", exact: true }).getAttribute("href"), `${ORIGIN}${PREFIX}notebooks/work/a.ipynb`);
    await eventually.equal(() => shown.getByRole("link", { name: "Terminal 1" }).getAttribute("href"), `${ORIGIN}${PREFIX}terminals/1`);
    await eventually.equal(() => shown.getByRole("link", { name: "Terminal 2" }).count(), 0, "somebody else's cannot be opened");
    await eventually.match(() => rows.nth(0).innerText(), /Busy[\s\S]*work · Python 3 · 120 MB · 1\.5 s of CPU · used just now · 1 connection/);
    await eventually.match(() => rows.nth(2).innerText(), /^b\b/, "the one used last comes first");
    await eventually.match(() => shown.locator("li", { hasText: "without a notebook" }).innerText(), /Python 3 · used/);
    // From the second answer on, the share of a processor is known.
    for (const one of running.kernels) if (one.usage !== null) one.usage = { ...one.usage, cpu_secs: 100 };
    await shown.locator("li", { hasText: /\d+ % CPU/ }).first().waitFor();
    assert.deepEqual(await violations(shown), []);
    await shown.setViewportSize({ width: 360, height: 740 });
    await eventually.equal(() => shown.evaluate(() => [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 120))), [], "nothing is beyond the edge");
  }, { colorScheme });
}

page("what runs is interrupted, restarted and ended, one by one or together", async ({ fake, context }) => {
  const running = { kernels: [kernel("a", { execution_state: "busy" }), kernel("b"), kernel("c", { path: null, session: null })], terminals: [terminal("1"), terminal("2")] };
  fake.answers["GET api/running"] = running;
  for (const address of ["api/kernels/a/interrupt", "api/kernels/b/restart"]) fake.answers[`POST ${address}`] = {};
  for (const address of ["api/sessions/s-a", "api/sessions/s-b", "api/kernels/c", "api/terminals/1", "api/terminals/2"]) fake.answers[`DELETE ${address}`] = {};
  const shown = await fake.open(context, "running");
  const asked = () => fake.calls.filter(({ method }) => method !== "GET").map(({ method, path }) => `${method} ${path}`);
  await shown.getByRole("button", { name: "Interrupt the kernel of a", exact: true }).click();
  await shown.getByRole("button", { name: "Restart the kernel of b", exact: true }).click();
  await shown.getByRole("dialog").getByRole("button", { name: "Restart" }).click();
  // A busy kernel is not ended by one click, an idle one is.
  await shown.getByRole("button", { name: "Shut down the kernel of a", exact: true }).click();
  await shown.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await shown.getByRole("button", { name: "Shut down the kernel of b", exact: true }).click();
  await shown.getByRole("button", { name: "Close terminal 1" }).click();
  await waitFor("four requests", () => asked().length === 4);
  assert.deepEqual(asked(), ["POST api/kernels/a/interrupt", "POST api/kernels/b/restart", "DELETE api/sessions/s-b", "DELETE api/terminals/1"]);
  fake.calls.length = 0;
  await shown.getByRole("button", { name: "Shut down all" }).click();
  await shown.getByRole("dialog").getByRole("button", { name: "Shut down all" }).click();
  await waitFor("all kernels are ended", () => asked().length === 3);
  assert.deepEqual(asked().sort(), ["DELETE api/kernels/c", "DELETE api/sessions/s-a", "DELETE api/sessions/s-b"]);
  running.kernels = [];
  running.terminals = [];
  await shown.getByText("No kernel is running.").waitFor();
  await eventually.equal(() => shown.getByRole("button", { name: "Shut down all" }).isVisible(), false);
});

page("the links of a list's header stand on one line", async ({ fake, context }) => {
  fake.answers["GET api/running"] = { kernels: [], terminals: [] };
  fake.answers["GET api/notebooks"] = { notebooks: [], tags: [], complete: true };
  const list = await fake.open(context, "library");
  const middles = await list.getByRole("navigation", { name: "Account" }).evaluate((nav) =>
    [...nav.children].map((child) => {
      const range = document.createRange();
      range.selectNodeContents(child);
      const { top, bottom } = range.getBoundingClientRect();
      return (top + bottom) / 2;
    }));
  assert.equal(middles.length, 3);
  for (const middle of middles) assert.ok(Math.abs(middle - (middles[0] ?? 0)) <= 1, `not on one line: ${middles.join(", ")}`);
  await list.getByRole("link", { name: "Running" }).click();
  await list.getByRole("heading", { name: "Kernels" }).waitFor();
});
