//! Kernels and terminals that run.

import { url } from "./base";
import { call } from "./rest";

/** The resources used by processes; null if the server does not know. */
export type Usage = { memory_bytes: number; cpu_secs: number } | null;

/** A running kernel. */
export interface RunningKernel {
  id: string;
  name: string;
  display_name: string | null;
  execution_state: string;
  /** Why it died. */
  reason: string | null;
  last_activity: string;
  connections: number;
  /** Its session, and the notebook; null for a kernel that a program started. */
  session: string | null;
  path: string | null;
  usage: Usage;
}

/** An open terminal. */
export interface RunningTerminal {
  name: string;
  owner: string;
  /** Whether it is the user's own, so that they can open it. */
  own: boolean;
  folder: string;
  last_activity: string;
  usage: Usage;
}

/** The running kernels and terminals. */
export interface Running {
  kernels: RunningKernel[];
  terminals: RunningTerminal[];
}

export function running(): Promise<Running> {
  return call("GET", url("api/running"));
}

export function interruptKernel(id: string): Promise<void> {
  return call("POST", url(`api/kernels/${id}/interrupt`));
}

export async function restartKernel(id: string): Promise<void> {
  await call("POST", url(`api/kernels/${id}/restart`));
}

/** Ends a kernel, and its session if it has one. */
export function shutDownKernel({ id, session }: RunningKernel): Promise<void> {
  return call("DELETE", session === null ? url("api/kernels", id) : url("api/sessions", session));
}

export function closeTerminal(name: string): Promise<void> {
  return call("DELETE", url("api/terminals", name));
}
