//! Notebooks as apps: their content without code, and the sockets of readers who use controls.

import type { Document, Level } from "../protocol";
import { url } from "./base";
import { type Socket, webSocket } from "./early";
import { call } from "./rest";

/** Whether the controls of a notebook can be used, and why not. */
export interface Controls {
  usable: boolean;
  problem: string | null;
}

/** A notebook as an app. Its Markdown cells are HTML. */
export interface App {
  title: string;
  document: Document;
  level: Level;
  controls: Controls;
}

export function app(path: string): Promise<App> {
  return call("GET", url("api/apps", path));
}

/** The socket of a reader of the notebook at `path`. */
export function appSocket(path: string): Socket {
  return socket(url("api/app-sessions", path));
}

/** The socket of a reader of a published notebook. */
export function publishedSocket(slug: string): Socket {
  return socket(url("api/published-sessions", slug));
}

function socket(target: URL): Socket {
  target.protocol = target.protocol === "https:" ? "wss:" : "ws:";
  return webSocket(target);
}
