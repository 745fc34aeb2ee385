//! What a user can do with the kernel of an open document.

import type { Completion, JsonObject, Variable } from "../protocol";
import { ConnectionLost } from "../transport/connection";
import type { Notebook } from "./notebook";
import type { Requests } from "./requests";

/** The interface to the open document. */
export interface KernelDeps {
  notebook: Notebook;
  requests: Requests;
  /** Whether the user may run cells. Informs them if not. */
  may(): boolean;
  /** Waits until the server has the text of a cell, or of all. */
  settle(ids: readonly string[] | null): Promise<void>;
  /** Waits until the document is as the server had it when a lost connection came back. */
  caughtUp(): Promise<void>;
}

/** The debugger's answer to a request. */
export interface DebugResponse {
  success: boolean;
  message: string | null;
  body: JsonObject;
}

export class KernelActions {
  /** The steps before cells run, such as setting breakpoints in them. */
  beforeRun: (ids: readonly string[] | null) => Promise<void> = async () => {};
  private readonly deps: KernelDeps;

  constructor(deps: KernelDeps) {
    this.deps = deps;
  }

  /** Runs code cells with their current text. */
  async run(ids: string[]): Promise<void> {
    const { requests, may, settle, caughtUp } = this.deps;
    if (!may()) return;
    await settle(ids);
    await this.beforeRun(ids);
    const before = ids.map((id) => this.#runs(id)).join();
    try {
      await requests.ask({ type: "run", cell_ids: ids }, false);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) return requests.fail(error, "The cell was not run");
      // Whether it was queued is known when everything that was missed has arrived. A keystroke never runs a cell twice.
      await caughtUp();
      if (ids.map((id) => this.#runs(id)).join() === before) await requests.do({ type: "run", cell_ids: ids }, false, "The cell was not run");
    }
  }

  async runAll(): Promise<void> {
    if (!this.deps.may()) return;
    await this.deps.settle(null);
    await this.beforeRun(null);
    await this.deps.requests.do({ type: "run_all" }, false, "The cells were not run");
  }

  clearOutputs(ids: string[] | null): void {
    if (!this.deps.may()) return;
    void this.deps.requests.do({ type: "clear_outputs", cell_ids: ids }, true, "The outputs could not be cleared");
  }

  async interrupt(): Promise<void> {
    if (!this.deps.may()) return;
    await this.deps.requests.do({ type: "interrupt" }, true, "The kernel could not be interrupted");
  }

  /** Takes cells that wait to run out of the queue. */
  async cancel(ids: string[]): Promise<void> {
    if (!this.deps.may()) return;
    await this.deps.requests.do({ type: "cancel", cell_ids: ids }, true, "The cells could not be removed from the queue");
  }

  async restart(run_all: boolean): Promise<void> {
    if (!this.deps.may()) return;
    if (run_all) await this.deps.settle(null);
    await this.deps.requests.do({ type: "restart", run_all }, false, "The kernel could not be restarted");
  }

  async start(name: string | null): Promise<void> {
    if (!this.deps.may()) return;
    await this.deps.requests.do({ type: "start_kernel", name }, false, "The kernel could not be started");
  }

  async shutdown(): Promise<void> {
    if (!this.deps.may()) return;
    await this.deps.requests.do({ type: "shutdown_kernel" }, true, "The kernel could not be shut down");
  }

  async complete(code: string, cursor: number): Promise<{ matches: Completion[]; start: number; end: number } | null> {
    const reply = await this.deps.requests.look({ type: "complete", code, cursor });
    return reply?.type === "completions" ? reply : null;
  }

  async inspect(code: string, cursor: number, detail: 0 | 1): Promise<JsonObject | null> {
    const reply = await this.deps.requests.look({ type: "inspect", code, cursor, detail });
    return reply?.type === "inspection" ? reply.data : null;
  }

  /** The kernel's variables; null if it cannot list them. */
  async variables(): Promise<Variable[] | null> {
    if (!this.deps.notebook.may("run")) return null;
    const reply = await this.deps.requests.look({ type: "list_variables" });
    return reply?.type === "variables" ? reply.variables : null;
  }

  /** Sends a request of the Debug Adapter Protocol. */
  async debug(command: string, args: JsonObject = {}): Promise<DebugResponse> {
    const failed = { success: false, message: null, body: {} };
    if (!this.deps.notebook.may("run")) return failed;
    const reply = await this.deps.requests.look({ type: "debug", command, arguments: args });
    return reply?.type === "debug" ? reply : failed;
  }

  async answer(value: string): Promise<void> {
    await this.deps.requests.do({ type: "answer_input", value }, false, "Your input did not reach the kernel");
  }

  /** Identifies a run of a cell. */
  #runs(id: string): string {
    const { notebook } = this.deps;
    const cell = notebook.cell(id);
    return cell === undefined ? "" : `${cell.state}${cell.execution_count}${notebook.started.get(id)}${notebook.elapsed.get(id)}`;
  }
}
