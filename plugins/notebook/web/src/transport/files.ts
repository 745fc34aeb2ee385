//! Text files and terminals over Jupyter Server's REST interface.

import { url } from "./base";
import { call, HttpError } from "./rest";

/** A text file. */
export interface TextFile {
  path: string;
  content: string;
  last_modified: string;
  writable: boolean;
  mimetype: string | null;
}

/** Reads a text file. Fails with 400 if it is not UTF-8. */
export function readTextFile(path: string): Promise<TextFile> {
  const target = url("api/contents", path);
  target.search = new URLSearchParams({ type: "file", format: "text", content: "1" }).toString();
  return call("GET", target);
}

/** When a file was last changed; null if it is gone. */
export async function modified(path: string): Promise<string | null> {
  const target = url("api/contents", path);
  target.searchParams.set("content", "0");
  try {
    return (await call<{ last_modified: string }>("GET", target)).last_modified;
  } catch (error) {
    if (error instanceof HttpError && error.status === 404) return null;
    throw error;
  }
}

/** Writes a text file. Returns when it was changed. */
export async function writeTextFile(path: string, content: string): Promise<string> {
  return (await call<{ last_modified: string }>("PUT", url("api/contents", path), { type: "file", format: "text", content })).last_modified;
}

/** The WebSocket of a terminal. */
export function terminalAddress(name: string): URL {
  const target = url("terminals/websocket", name);
  target.protocol = target.protocol === "https:" ? "wss:" : "ws:";
  return target;
}

/** Starts a terminal. Returns its name. */
export async function openTerminal(): Promise<string> {
  return (await call<{ name: string }>("POST", url("api/terminals"))).name;
}
