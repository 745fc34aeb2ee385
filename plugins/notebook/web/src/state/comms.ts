//! The kernel's comms as this page knows them: the state of its widgets.

import type { Comm, CommMessage, JsonObject } from "../protocol";

/** The interface of comms to the session. */
export interface CommsHost {
  /** The server's comms; null if they cannot be had now. */
  load(): Promise<Comm[] | null>;
  send(message: CommMessage): Promise<void>;
}

export class Comms {
  #known: Promise<Map<string, Comm>> | null = null;
  #loaded: Map<string, Comm> | null = null;
  readonly #listeners = new Set<(message: CommMessage) => void>();
  private readonly host: CommsHost;

  constructor(host: CommsHost) {
    this.host = host;
  }

  /** A comm with its present state; null if it is not open. */
  async get(id: string): Promise<Comm | null> {
    this.#known ??= this.#load();
    return (await this.#known).get(id) ?? null;
  }

  /** Calls `listener` with each message of the kernel, until the returned function is called. */
  listen(listener: (message: CommMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Sends a message to the kernel. Resolves when the kernel has handled it. */
  send(message: CommMessage): Promise<void> {
    return this.host.send(message);
  }

  /** A message of the kernel. */
  apply(message: CommMessage): void {
    // The server's answer includes all earlier messages.
    if (this.#loaded !== null) applyTo(this.#loaded, message);
    for (const listener of [...this.#listeners]) listener(message);
  }

  /** The document was opened again: what happened in between is not known. */
  reset(): void {
    this.#known = null;
    this.#loaded = null;
  }

  async #load(): Promise<Map<string, Comm>> {
    const comms = await this.host.load();
    if (comms === null) {
      this.#known = null;
      return new Map();
    }
    this.#loaded = new Map(comms.map((comm) => [comm.comm_id, comm]));
    return this.#loaded;
  }
}

/** Applies a message to the comms that it is about. */
export function applyTo(comms: Map<string, Comm>, { comm_id, kind, target_name, data, metadata, buffers }: CommMessage): void {
  if (kind === "open") comms.set(comm_id, { comm_id, target_name: target_name ?? "", data, metadata, buffers });
  if (kind === "close") comms.delete(comm_id);
  const comm = comms.get(comm_id);
  if (kind !== "message" || comm === undefined || (data["method"] !== "update" && data["method"] !== "echo_update")) return;
  const changed = (data["state"] ?? {}) as JsonObject;
  const kept = paths(comm.data).map((path, i) => ({ path, buffer: comm.buffers[i] ?? "" })).filter(({ path }) => !(String(path[0]) in changed));
  const added = paths(data).map((path, i) => ({ path, buffer: buffers[i] ?? "" }));
  const all = [...kept, ...added];
  comm.data = { ...comm.data, state: { ...(comm.data["state"] as JsonObject), ...changed }, buffer_paths: all.map(({ path }) => path) };
  comm.buffers = all.map(({ buffer }) => buffer);
}

function paths(data: JsonObject): unknown[][] {
  return Array.isArray(data["buffer_paths"]) ? data["buffer_paths"] : [];
}
