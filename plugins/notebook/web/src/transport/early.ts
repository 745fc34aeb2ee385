//! The first WebSocket of a notebook's page. A small script opens it while the browser still loads the page's main script, so that
//! the document arrives in the meantime.

import { base, place, url } from "./base";

/** The part of a `WebSocket` that the page uses. Tests supply their own. */
export interface Socket {
  onmessage: ((text: string) => void) | null;
  onclose: (() => void) | null;
  send(text: string): void;
  close(): void;
}

/** The address of a notebook's WebSocket. */
export function documentAddress(path: string): URL {
  const target = url("api/documents", path);
  target.protocol = target.protocol === "https:" ? "wss:" : "ws:";
  return target;
}

/** A browser's WebSocket as a `Socket`. What it receives before it has a receiver is kept. */
class BrowserSocket implements Socket {
  onmessage: ((text: string) => void) | null = null;
  onclose: (() => void) | null = null;
  readonly target: URL;
  readonly #inner: WebSocket;
  #early: string[] = [];
  #closed = false;

  constructor(target: URL) {
    this.target = target;
    this.#inner = new WebSocket(target);
    this.#inner.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data !== "string") return;
      if (this.onmessage === null || this.#early.length > 0) this.#early.push(data);
      else this.onmessage(data);
    };
    this.#inner.onclose = () => {
      this.#closed = true;
      this.onclose?.();
    };
  }

  /** Gives the receiver what came before it was there. */
  deliver(): void {
    for (const text of this.#early.splice(0)) this.onmessage?.(text);
    if (this.#closed) this.onclose?.();
  }

  send(text: string): void {
    this.#inner.send(text);
  }

  close(): void {
    this.#inner.close();
  }
}

let first: BrowserSocket | null = null;
/** The main script was quicker, and has opened a WebSocket. */
let isLate = false;

/** Opens the WebSocket of the notebook that the address of the page names, if it names one. */
export function connectEarly(): void {
  if (isLate) return;
  const here = place(new URL(location.href), base());
  if (here.page === "notebook") first = new BrowserSocket(documentAddress(here.path));
}

/** Opens a WebSocket, or takes the one that is open already. */
export function webSocket(target: URL): Socket {
  const taken = first;
  first = null;
  isLate = true;
  if (taken === null) return new BrowserSocket(target);
  if (taken.target.href !== target.href) {
    taken.close();
    return new BrowserSocket(target);
  }
  // After the caller has set `onmessage`.
  queueMicrotask(() => taken.deliver());
  return taken;
}
