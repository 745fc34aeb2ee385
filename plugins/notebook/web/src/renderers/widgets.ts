//! Jupyter widgets (ipywidgets and anywidget) in an output's frame.
//!
//! The frame has the models that its widgets need, with the state that the server keeps. A user's changes go to the kernel,
//! which reports them to all other frames and pages (`echo_update`).

import "./amd";
import * as base from "@jupyter-widgets/base";
import { ManagerBase } from "@jupyter-widgets/base-manager";
import * as controls from "@jupyter-widgets/controls";
import "@jupyter-widgets/controls/css/labvariables.css";
import "@jupyter-widgets/controls/css/widgets-base.css";
import "./widgets.css";
import "anywidget";
import { Widget } from "@lumino/widgets";
import type { Comm, CommMessage, JsonObject } from "../protocol";
import { defined } from "./amd";
import { fromBase64, toBase64 } from "./base64";
import { problem, renderer, type Start } from "./renderer";
import { outputModule } from "./widget-output";

/** Messages from the page. */
type Incoming = { comm: CommMessage } | { handled: string } | { opened: string; comm: Comm | null };

class FrameComm implements base.IClassicComm {
  readonly comm_id: string;
  readonly target_name: string;
  #onMessage: ((message: unknown) => void) | null = null;
  #onClose: ((message: unknown) => void) | null = null;
  private readonly manager: Manager;

  constructor(manager: Manager, comm_id: string, target_name: string) {
    this.manager = manager;
    this.comm_id = comm_id;
    this.target_name = target_name;
  }

  open(data: unknown, callbacks?: base.ICallbacks, metadata?: unknown, buffers?: (ArrayBuffer | ArrayBufferView)[]): string {
    return this.manager.say(this, "open", data, callbacks, metadata, buffers);
  }

  send(data: unknown, callbacks?: base.ICallbacks, metadata?: unknown, buffers?: (ArrayBuffer | ArrayBufferView)[]): string {
    return this.manager.say(this, "message", data, callbacks, metadata, buffers);
  }

  close(data?: unknown, callbacks?: base.ICallbacks, metadata?: unknown, buffers?: (ArrayBuffer | ArrayBufferView)[]): string {
    return this.manager.say(this, "close", data ?? {}, callbacks, metadata, buffers);
  }

  on_msg(callback: (message: unknown) => void): void {
    this.#onMessage = callback;
  }

  on_close(callback: (message: unknown) => void): void {
    this.#onClose = callback;
  }

  receive(message: unknown, closes: boolean): void {
    (closes ? this.#onClose : this.#onMessage)?.(message);
  }
}

class Manager extends ManagerBase {
  readonly #comms = new Map<string, FrameComm>();
  readonly #asked = new Map<string, Promise<base.WidgetModel>>();
  readonly #waiting = new Map<string, (comm: Comm | null) => void>();
  readonly #callbacks = new Map<string, base.ICallbacks>();
  readonly send: Start["send"];
  readonly #modules: ReadonlyMap<string, object>;

  constructor(send: Start["send"]) {
    super();
    this.send = send;
    const anywidget = defined[0]?.factory(base) as object;
    this.#modules = new Map<string, object>([["@jupyter-widgets/base", base], ["@jupyter-widgets/controls", controls], ["@jupyter-widgets/output", outputModule(this)], ["anywidget", anywidget]]);
  }

  /** The model of a widget. Its state comes from the page when it is needed first. */
  override get_model(id: string): Promise<base.WidgetModel> {
    if (this.has_model(id)) return super.get_model(id);
    let asked = this.#asked.get(id);
    if (asked === undefined) {
      asked = this.#make(id);
      this.#asked.set(id, asked);
    }
    return asked;
  }

  async #make(id: string): Promise<base.WidgetModel> {
    const comm = await new Promise<Comm | null>((resolve) => {
      this.#waiting.set(id, resolve);
      this.send({ open: id });
    });
    if (comm === null) throw new Error("the kernel no longer has this widget: run the cell again");
    const state = structuredClone((comm.data["state"] ?? {}) as JsonObject);
    base.put_buffers(state as never, (comm.data["buffer_paths"] ?? []) as never, comm.buffers.map((text) => new DataView(fromBase64(text))));
    const text = (key: string): string => String(state[key] ?? "");
    return this.new_model({ model_name: text("_model_name"), model_module: text("_model_module"), model_module_version: text("_model_module_version"), comm: this.#comm(id, comm.target_name), model_id: id }, state);
  }

  receive(message: Incoming): void {
    if ("opened" in message) {
      this.#waiting.get(message.opened)?.(message.comm);
      this.#waiting.delete(message.opened);
    } else if ("handled" in message) {
      const status = this.#callbacks.get(message.handled)?.iopub?.["status"];
      this.#callbacks.delete(message.handled);
      status?.({ content: { execution_state: "idle" } } as never);
    } else {
      const { comm_id, kind, data, metadata, buffers, request } = message.comm;
      const content = { comm_id, data };
      const parent = { msg_id: request ?? "" };
      this.#comms.get(comm_id)?.receive({ content, metadata, parent_header: parent, header: {}, buffers: buffers.map((text) => new DataView(fromBase64(text))) }, kind === "close");
    }
  }

  say(comm: FrameComm, kind: CommMessage["kind"], data: unknown, callbacks?: base.ICallbacks, metadata?: unknown, buffers: (ArrayBuffer | ArrayBufferView)[] = []): string {
    const request = base.uuid().replaceAll(/[^A-Za-z0-9_-]/g, "").slice(0, 64);
    if (callbacks !== undefined) this.#callbacks.set(request, callbacks);
    const message: CommMessage = { comm_id: comm.comm_id, kind, target_name: comm.target_name, data: data as JsonObject, metadata: (metadata ?? {}) as JsonObject, buffers: buffers.map(toBase64), request };
    this.send({ comm: message });
    return request;
  }

  #comm(id: string, target: string): FrameComm {
    const comm = this.#comms.get(id) ?? new FrameComm(this, id, target);
    this.#comms.set(id, comm);
    return comm;
  }

  protected async loadClass(className: string, moduleName: string): Promise<never> {
    const module = this.#modules.get(moduleName) as Record<string, unknown> | undefined;
    const found = module?.[className];
    if (found === undefined) throw new Error(module === undefined ? `the notebook does not support widgets of the package ${moduleName}` : `${moduleName} has no ${className}`);
    return found as never;
  }

  protected async _create_comm(target: string, id?: string, data?: unknown, metadata?: unknown): Promise<base.IClassicComm> {
    const comm = this.#comm(id ?? base.uuid(), target);
    if (data !== undefined || metadata !== undefined) comm.open(data, undefined, metadata);
    return comm;
  }

  protected async _get_comm_info(): Promise<object> {
    return {};
  }
}

renderer(({ root, data, send, dark }) => {
  const manager = new Manager(send);
  document.body.dataset["jpThemeLight"] = String(!dark);
  const show = async (): Promise<void> => {
    const { model_id, saved } = data as { model_id: string; saved?: never };
    if (saved !== undefined) await manager.set_state(saved);
    const model = await manager.get_model(model_id);
    const view = await manager.create_view(model as base.DOMWidgetModel);
    Widget.attach(view.luminoWidget, root);
  };
  show().catch((error: unknown) => problem(root, error));
  return { receive: (message) => manager.receive(message as Incoming) };
});
