//! Outputs that are drawn by a renderer in their frame: charts, figures and widgets.

import assert from "node:assert/strict";
import type { FrameLocator, Page } from "playwright-core";
import type { Comm, CommMessage, Output } from "../src/protocol";
import { cell, notebook } from "./fake";
import { code, page } from "./pages";
import { eventually, waitFor } from "./wait";

const VIEW = "application/vnd.jupyter.widget-view+json";

function display(data: { [type: string]: unknown }): Output {
  return { output_type: "display_data", data, metadata: {} };
}

const frame = (book: Page, n: number): FrameLocator => code(book, n).frameLocator("iframe");

page("Vega-Lite and Plotly are drawn, in the sandbox", async ({ fake, context }) => {
  const chart = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", data: { values: [{ a: "A", b: 28 }, { a: "B", b: 55 }] }, mark: "bar", encoding: { x: { field: "a", type: "nominal" }, y: { field: "b", type: "quantitative" } } };
  const figure = { data: [{ type: "bar", x: ["A", "B"], y: [1, 3] }], layout: { title: { text: "Two bars" } } };
  fake.document = notebook([
    cell("v", { outputs: [display({ "application/vnd.vegalite.v6+json": chart, "text/plain": "<chart>" })] }),
    cell("p", { outputs: [display({ "application/vnd.plotly.v1+json": figure, "text/html": "<div>other</div>" })] }),
    cell("x", { outputs: [display({ "application/vnd.vegalite.v6+json": { mark: 5 } })] }),
  ]);
  const book = await fake.open(context);
  await frame(book, 0).locator("canvas").waitFor();
  await code(book, 1).scrollIntoViewIfNeeded();
  await frame(book, 1).locator(".gtitle", { hasText: "Two bars" }).waitFor();
  await frame(book, 2).getByText("This output cannot be shown").waitFor();
  await eventually.equal(() => code(book, 1).locator("iframe").getAttribute("sandbox"), "allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads");
  await waitFor("the frame is as tall as the figure", async () => ((await code(book, 1).locator("iframe").boundingBox())?.height ?? 0) >= 450);
}, { complaints: /vega|Invalid|mark/i });

const controls = (name: string, part: object = {}) => ({ _model_module: "@jupyter-widgets/controls", _model_module_version: "2.0.0", _model_name: `${name}Model`, _view_module: "@jupyter-widgets/controls", _view_module_version: "2.0.0", _view_name: `${name}View`, ...part });
const comm = (comm_id: string, state: object, buffers: string[] = [], buffer_paths: unknown[] = []): Comm => ({ comm_id, target_name: "jupyter.widget", data: { state, buffer_paths }, metadata: { version: "2.1.0" }, buffers });
const sent = (part: Partial<CommMessage>): CommMessage => ({ comm_id: "s", kind: "message", target_name: null, data: {}, metadata: {}, buffers: [], request: null, ...part });

page("widgets: a page that comes late shows their state; both directions; a closed one; other pages' changes", async ({ fake, context }) => {
  const slider = controls("IntSlider", { value: 3, min: 0, max: 10, step: 1, description: "n", continuous_update: true, readout: true, readout_format: "d", orientation: "horizontal" });
  const comms = [
    comm("s", slider),
    comm("o", { _model_module: "@jupyter-widgets/output", _model_module_version: "1.0.0", _model_name: "OutputModel", _view_module: "@jupyter-widgets/output", _view_module_version: "1.0.0", _view_name: "OutputView", msg_id: "", outputs: [{ output_type: "stream", name: "stdout", text: "captured 3\n" }] }),
    comm("b", controls("VBox", { children: ["IPY_MODEL_s", "IPY_MODEL_o"], box_style: "" })),
  ];
  fake.answer = (op) => (op.type === "open_comms" ? { type: "comms", comms } : null);
  fake.document = notebook([
    cell("a", { outputs: [display({ [VIEW]: { version_major: 2, version_minor: 0, model_id: "b" }, "text/plain": "VBox(…)" })] }),
    cell("c", { outputs: [display({ [VIEW]: { version_major: 2, version_minor: 0, model_id: "s" }, "text/plain": "IntSlider(…)" })] }),
    cell("g", { outputs: [display({ [VIEW]: { version_major: 2, version_minor: 0, model_id: "gone" }, "text/plain": "Gone()" })] }),
  ]);
  const book = await fake.open(context);
  const readout = (n: number) => frame(book, n).locator(".widget-readout");
  await readout(0).waitFor();
  await eventually.equal(() => readout(0).innerText(), "3");
  await frame(book, 0).getByText("captured 3").waitFor();
  await code(book, 2).getByText("The kernel no longer has this widget").waitFor();
  await code(book, 2).getByText("Gone()").waitFor();
  assert.equal(fake.asked("open_comms").length, 1, "the state is asked for once");
  // From the page to the kernel.
  await frame(book, 0).locator(".noUi-handle").focus();
  await book.keyboard.press("ArrowRight");
  await waitFor("the kernel is told", () => fake.asked("send_comm").length > 0);
  const told = fake.asked("send_comm")[0];
  assert.ok(told?.type === "send_comm");
  assert.deepEqual([told.message.comm_id, told.message.kind, told.message.data], ["s", "message", { method: "update", state: { value: 4 }, buffer_paths: [] }]);
  // The kernel tells every frame.
  fake.change({ type: "comm_sent", message: sent({ data: { method: "echo_update", state: { value: 4 }, buffer_paths: [] }, request: told.message.request }) });
  await code(book, 1).scrollIntoViewIfNeeded();
  await readout(1).filter({ hasText: "4" }).waitFor();
  fake.change({ type: "comm_sent", message: sent({ data: { method: "update", state: { value: 9 }, buffer_paths: [] } }) });
  fake.change({ type: "comm_sent", message: sent({ comm_id: "o", data: { method: "update", state: { outputs: [{ output_type: "display_data", data: { "text/html": "<b>nine</b>" }, metadata: {} }] }, buffer_paths: [] } }) });
  await readout(0).filter({ hasText: "9" }).waitFor();
  await readout(1).filter({ hasText: "9" }).waitFor();
  await frame(book, 0).locator("b", { hasText: "nine" }).waitFor();
  // The kernel restarts.
  fake.change({ type: "comm_sent", message: sent({ kind: "close" }) });
  await code(book, 1).getByText("The kernel no longer has this widget").waitFor();
});

page("anywidget: its module runs in the frame, with binary state and messages", async ({ fake, context }) => {
  const esm = `export default { render({ model, el }) {
    const bytes = model.get("data");
    el.innerHTML = "<button>" + model.get("label") + " " + bytes.getUint8(1) + "</button>";
    el.firstChild.onclick = () => model.send({ clicked: true }, undefined, [new Uint8Array([7, 8]).buffer]);
    model.on("msg:custom", (message, buffers) => { el.append(message.answer + buffers[0].getUint8(0)); });
  } }`;
  const state = { _model_module: "anywidget", _model_module_version: "~0.9.*", _model_name: "AnyModel", _view_module: "anywidget", _view_module_version: "~0.9.*", _view_name: "AnyView", _esm: esm, _anywidget_id: "x", label: "go" };
  fake.answer = (op) => (op.type === "open_comms" ? { type: "comms", comms: [comm("w", state, ["BQY="], [["data"]])] } : null);
  fake.document = notebook([cell("a", { outputs: [display({ [VIEW]: { model_id: "w" } })] })]);
  const book = await fake.open(context);
  await frame(book, 0).getByRole("button", { name: "go 6" }).click();
  await waitFor("the kernel is told", () => fake.asked("send_comm").length > 0);
  const told = fake.asked("send_comm").at(-1);
  assert.ok(told?.type === "send_comm");
  assert.deepEqual([told.message.data, told.message.buffers], [{ method: "custom", content: { clicked: true } }, ["Bwg="]]);
  fake.change({ type: "comm_sent", message: sent({ comm_id: "w", data: { method: "custom", content: { answer: "yes " } }, buffers: ["CQ=="] }) });
  await frame(book, 0).getByText("yes 9").waitFor();
});

page("widgets that a file keeps are shown when the user asks for it", async ({ fake, context }) => {
  const saved = { version_major: 2, version_minor: 0, state: { t: { model_name: "TextModel", model_module: "@jupyter-widgets/controls", model_module_version: "2.0.0", state: controls("Text", { value: "kept in the file" }) } } };
  fake.answer = (op) => (op.type === "open_comms" ? { type: "comms", comms: [] } : null);
  fake.document = notebook([cell("a", { outputs: [display({ [VIEW]: { model_id: "t" }, "text/plain": "Text()" })] })], { metadata: { widgets: { "application/vnd.jupyter.widget-state+json": saved } } });
  const book = await fake.open(context);
  await code(book, 0).getByRole("button", { name: "Show it" }).click();
  await waitFor("its state is shown", async () => (await frame(book, 0).locator("input").inputValue()) === "kept in the file");
});
