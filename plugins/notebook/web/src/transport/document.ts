//! A notebook's WebSocket, and why there is none.

import { url } from "./base";
import { type Socket, webSocket } from "./connection";
import * as rest from "./rest";

/** Opens the WebSocket of the notebook at `path`; `resume` asks for what was missed. */
export function documentSocket(path: string, resume: { instance: string; after: number } | null): Socket {
  const target = url("api/documents", path);
  target.protocol = target.protocol === "https:" ? "wss:" : "ws:";
  if (resume !== null) {
    target.searchParams.set("instance", resume.instance);
    target.searchParams.set("after", String(resume.after));
  }
  return webSocket(target);
}

/** Why there is no connection after so many tries, where that can be learned: "" where the server does not answer at all. */
export async function diagnose(path: string, tries: number): Promise<string> {
  // The first try may have met a server that was just starting again.
  if (tries < 2) return "";
  try {
    await rest.documentAddress(path);
    return "The server answers, but the live connection (a WebSocket) cannot be made. A proxy on the way may not pass it on.";
  } catch (error) {
    if (!(error instanceof rest.HttpError)) return "";
    if (error.status === 401 || error.status === 403) return "You are not signed in any more. Sign in again in another tab; what you typed stays here.";
    if (error.status === 404) return "This notebook is not on the server any more: it was moved or deleted.";
    return error.status === 0 ? "" : error.message;
  }
}
