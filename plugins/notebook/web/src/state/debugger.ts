//! The debugger of the kernel, as this page knows it: breakpoints, and where a program is stopped.
//!
//! # Source
//! Microsoft, "Debug Adapter Protocol"; Jupyter, "Messaging in Jupyter", section "Additions to the DAP".

import type { JsonObject } from "../protocol";
import type { DebugResponse } from "./kernel";
import { murmur2 } from "./murmur";
import type { Notebook } from "./notebook";

/** A call of a stopped program. */
export interface Frame {
  id: number;
  name: string;
  /** From 1. */
  line: number;
  /** The file, and the cell that it is. */
  path: string;
  cell: string | null;
}

/** A variable of a stopped program. */
export interface DebugVariable {
  name: string;
  value: string;
  type: string;
  /** What its parts are asked for with; 0 if it has none. */
  reference: number;
}

/** Where a program is stopped. */
export interface Stop {
  thread: number;
  reason: string;
  frames: Frame[];
  /** The frame that is shown. */
  frame: Frame | null;
  scopes: { name: string; reference: number }[];
}

/** The longest time that a run waits until the kernel has its breakpoints. */
const PATIENCE_MS = 3000;

type Step = "continue" | "next" | "stepIn" | "stepOut";

/** The interface to the kernel. */
type Ask = (command: string, args?: JsonObject) => Promise<DebugResponse>;

export class Debugger {
  /** Whether it is on. */
  on = false;
  stop: Stop | null = null;
  /** The lines of each cell, from 1. */
  readonly breakpoints = new Map<string, readonly number[]>();
  /** Something changed, in these cells or (null) in general. */
  changed: (cells: readonly string[] | null) => void = () => {};
  /** How the kernel names the files of cells. */
  #naming: { seed: number; prefix: string; suffix: string } | null = null;
  /** The cells of files, and which file has the breakpoints of a cell. */
  readonly #cells = new Map<string, string>();
  readonly #files = new Map<string, string>();
  /** The user has turned it on. It continues after a restart of the kernel. */
  #wanted = false;
  /** Which kernel was asked for its state. */
  #known = "";
  #working: Promise<unknown> = Promise.resolve();
  private readonly notebook: Notebook;
  private readonly ask: Ask;

  constructor(notebook: Notebook, ask: Ask) {
    this.notebook = notebook;
    this.ask = ask;
    notebook.listen((event) => {
      if (event.type === "all" || event.type === "kernel") this.#kernelChanged(event.type === "all");
      if (event.type === "order") for (const id of [...this.breakpoints.keys()]) if (notebook.index(id) < 0) this.breakpoints.delete(id);
    });
  }

  /** Whether the kernel has a debugger. */
  get available(): boolean {
    return this.notebook.kernel.debugger && this.notebook.kernel.id !== null;
  }

  /** Turns it on or off. Returns why it failed, or null. */
  async turn(on: boolean): Promise<string | null> {
    this.#wanted = on;
    return this.#queue(() => (on ? this.#start() : this.#end()));
  }

  /** Sets or removes a breakpoint. */
  toggle(cell: string, line: number): void {
    const present = this.breakpoints.get(cell) ?? [];
    this.set(cell, present.includes(line) ? present.filter((one) => one !== line) : [...present, line].sort((a, b) => a - b));
    if (this.on) void this.#queue(() => this.#send(cell));
  }

  /** The breakpoints of a cell moved with its text. They are sent before the cell runs. */
  set(cell: string, lines: readonly number[]): void {
    if (lines.length === 0) this.breakpoints.delete(cell);
    else this.breakpoints.set(cell, lines);
    this.changed([cell]);
  }

  /** Sends the kernel the breakpoints of cells that are about to run, or of all cells (null). */
  async prepare(cells: readonly string[] | null): Promise<void> {
    if (!this.on) return;
    const code = this.notebook.cells.filter(({ id, cell_type }) => cell_type === "code" && (cells === null || cells.includes(id)));
    const sent = this.#queue(async () => {
      for (const { id } of code) if (this.breakpoints.has(id) || this.#files.has(id)) await this.#send(id);
    });
    // A kernel that does not answer must not keep cells from running.
    let late: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([sent, new Promise((resolve) => (late = setTimeout(resolve, PATIENCE_MS)))]);
    clearTimeout(late);
  }

  /** Continues the stopped program. */
  async step(step: Step): Promise<void> {
    const { stop } = this;
    if (stop === null) return;
    this.#stopped(null);
    const { success } = await this.ask(step, { threadId: stop.thread });
    if (!success && this.stop === null) this.#stopped(stop);
  }

  /** Shows another frame of the stopped program. */
  async select(frame: Frame): Promise<void> {
    const { stop } = this;
    if (stop === null) return;
    const { body } = await this.ask("scopes", { frameId: frame.id });
    if (this.stop?.thread !== stop.thread) return;
    this.#stopped({ ...stop, frame, scopes: objects(body["scopes"]).map((scope) => ({ name: text(scope["name"]), reference: number(scope["variablesReference"]) })) });
  }

  /** The variables of a scope, or the parts of one. */
  async variables(reference: number): Promise<DebugVariable[]> {
    const { body } = await this.ask("variables", { variablesReference: reference });
    return objects(body["variables"]).map((one) => ({ name: text(one["name"]), value: text(one["value"]), type: text(one["type"]), reference: number(one["variablesReference"]) }));
  }

  /** An event of the kernel's debugger. */
  event(name: string, body: JsonObject): void {
    if (!this.on) {
      // Another page has turned it on.
      if (name === "stopped" || name === "initialized") void this.#queue(() => this.#look());
      return;
    }
    if (name === "stopped") void this.#queue(() => this.#take(number(body["threadId"]), text(body["reason"])));
    if (name === "continued" || name === "terminated" || name === "exited") this.#stopped(null);
  }

  /** One after another: the kernel answers in this order, too. */
  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#working.then(work);
    this.#working = done.catch(() => {});
    return done;
  }

  #kernelChanged(loaded: boolean): void {
    const { id, state } = this.notebook.kernel;
    if (state !== "idle" && state !== "busy") {
      this.#known = "";
      this.#files.clear();
      this.#cells.clear();
      if (this.on) {
        this.on = false;
        this.#stopped(null);
      }
      if (state === "dead" || state === "none") this.#wanted = false;
      return this.changed(null);
    }
    if (state === "idle" && this.stop !== null) this.#stopped(null);
    if (!this.available || (this.#known === id && !loaded)) return;
    this.#known = id ?? "";
    void this.#queue(async () => {
      await this.#look();
      if (this.#wanted && !this.on) await this.#start();
    });
    this.changed(null);
  }

  /** Asks the kernel what the debugger does: this page may be new. */
  async #look(): Promise<void> {
    const { success, body } = await this.ask("debugInfo");
    if (!success) return;
    this.#naming = { seed: number(body["hashSeed"]), prefix: text(body["tmpFilePrefix"]), suffix: text(body["tmpFileSuffix"]) };
    const was = this.on;
    this.on = body["isStarted"] === true;
    if (!this.on) return this.changed(null);
    this.#wanted = true;
    for (const { source, breakpoints } of objects(body["breakpoints"]).map((one) => ({ source: text(one["source"]), breakpoints: objects(one["breakpoints"]) }))) {
      const cell = this.#cellOf(source);
      if (cell === null || (was && this.breakpoints.has(cell)) || breakpoints.length === 0) continue;
      this.#files.set(cell, source);
      this.breakpoints.set(cell, breakpoints.map((one) => number(one["line"])));
    }
    const [thread] = Array.isArray(body["stoppedThreads"]) ? (body["stoppedThreads"] as unknown[]) : [];
    this.changed(null);
    if (typeof thread === "number") await this.#take(thread, "breakpoint");
  }

  async #start(): Promise<string | null> {
    if (this.on) return null;
    if (this.#naming === null) await this.#look();
    if (this.on) return null;
    const begun = await this.ask("initialize", {
      clientID: "paster", clientName: "paster", adapterID: this.notebook.kernel.name ?? "", pathFormat: "path", linesStartAt1: true, columnsStartAt1: true,
      supportsVariableType: true, supportsVariablePaging: true, supportsRunInTerminalRequest: false, locale: "en",
    });
    const attached = begun.success ? await this.ask("attach") : begun;
    if (!attached.success) return attached.message ?? "the kernel does not answer";
    this.on = true;
    for (const cell of this.breakpoints.keys()) await this.#send(cell);
    await this.ask("configurationDone");
    this.changed(null);
    return null;
  }

  async #end(): Promise<string | null> {
    if (!this.on) return null;
    const { success, message } = await this.ask("disconnect", { restart: false, terminateDebuggee: false });
    if (!success) return message ?? "the kernel does not answer";
    this.on = false;
    this.#files.clear();
    this.stop = null;
    this.changed(null);
    return null;
  }

  /** Sends the kernel the breakpoints of a cell. */
  async #send(cell: string): Promise<void> {
    const source = this.notebook.cell(cell)?.source;
    if (source === undefined) return;
    const { success, body } = await this.ask("dumpCell", { code: source });
    if (!success) return;
    const path = text(body["sourcePath"]);
    const before = this.#files.get(cell);
    if (before !== undefined && before !== path) await this.ask("setBreakpoints", { breakpoints: [], source: { path: before }, sourceModified: true });
    this.#cells.set(path, cell);
    this.#files.set(cell, path);
    const last = source.split("\n").length;
    const lines = (this.breakpoints.get(cell) ?? []).filter((line) => line <= last);
    const set = await this.ask("setBreakpoints", { breakpoints: lines.map((line) => ({ line })), source: { path }, sourceModified: false });
    // The debugger may have put them elsewhere.
    const verified = objects(set.body["breakpoints"]).map((one) => number(one["line"])).filter((line) => line > 0);
    if (set.success && verified.length === lines.length && verified.join() !== lines.join() && this.notebook.cell(cell)?.source === source) this.set(cell, [...new Set(verified)]);
  }

  /** A thread is stopped: asks where. */
  async #take(thread: number, reason: string): Promise<void> {
    const { success, body } = await this.ask("stackTrace", { threadId: thread });
    if (!success) return;
    const frames = objects(body["stackFrames"]).map((frame): Frame => {
      const path = text((frame["source"] as JsonObject | undefined)?.["path"]);
      return { id: number(frame["id"]), name: text(frame["name"]), line: number(frame["line"]), path, cell: this.#cellOf(path) };
    });
    this.#stopped({ thread, reason, frames, frame: null, scopes: [] });
    const first = frames[0];
    if (first !== undefined) await this.select(first);
  }

  /** The cell that a file of the kernel is; null if it is none. */
  #cellOf(path: string): string | null {
    const known = this.#cells.get(path);
    if (known !== undefined || this.#naming === null || path === "") return known ?? null;
    const { seed, prefix, suffix } = this.#naming;
    const cell = this.notebook.cells.find(({ cell_type, source }) => cell_type === "code" && `${prefix}${murmur2(source, seed)}${suffix}` === path);
    if (cell !== undefined) this.#cells.set(path, cell.id);
    return cell?.id ?? null;
  }

  #stopped(stop: Stop | null): void {
    const shown = [this.stop?.frame?.cell, stop?.frame?.cell].filter((id) => typeof id === "string");
    this.stop = stop;
    this.changed(shown);
    this.changed(null);
  }
}

function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter((one): one is JsonObject => typeof one === "object" && one !== null) : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function number(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
