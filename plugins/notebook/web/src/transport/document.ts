//! A notebook's WebSocket, and the reason if there is none.

import { documentAddress, type Socket, webSocket } from "./early";
import * as rest from "./rest";

/** Opens the WebSocket of the notebook at `path`. `resume` asks for what was missed. */
export function documentSocket(path: string, resume: { instance: string; after: number } | null): Socket {
  const target = documentAddress(path);
  if (resume !== null) {
    target.searchParams.set("instance", resume.instance);
    target.searchParams.set("after", String(resume.after));
  }
  return webSocket(target);
}

/** Why there is no connection after so many attempts, if known; "" if the server does not respond at all. */
export async function diagnose(path: string, tries: number): Promise<string> {
  // The first attempt may have met a server that was just restarting.
  if (tries < 2) return "";
  try {
    await rest.documentAddress(path);
    return "The server responds, but the live connection (a WebSocket) fails. A proxy in between may not support WebSockets.";
  } catch (error) {
    if (!(error instanceof rest.HttpError)) return "";
    if (error.status === 401 || error.status === 403) return "You are no longer logged in. Log in again in another tab. This page keeps your changes.";
    if (error.status === 404) return "This notebook is no longer on the server. It was moved or deleted.";
    return error.status === 0 ? "" : error.message;
  }
}
