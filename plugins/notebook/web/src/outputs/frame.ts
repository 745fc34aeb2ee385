//! A kernel's HTML in a sandboxed frame, which has an opaque origin without cookies and cannot access this page.
//!
//! This page, which is logged in, reads files beside the notebook and passes them on as bytes: images, audio, video and HTML, up
//! to a limit. From other hosts, the frame's policy allows images, media and frames over https:. Those see neither the token nor
//! the notebook's address.

import DOMPurify from "dompurify";
import { button, h } from "../dom";
import { isDark, listen } from "../state/settings";
import { url } from "../transport/base";
import type { JsonObject } from "../protocol";
import { readFile, readText } from "../transport/rest";

const TALLEST = 2000;
/** The same as in the policy of `frame.html`. Popups are tabs that links open; they are not part of the sandbox. */
const SANDBOX = "allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads";
/** The size limit of one file, and of all files for one frame, in bytes. */
const FILE_BYTES = 16 << 20;
const ALL_BYTES = 64 << 20;
const FILE_TYPES = /^(?:image|audio|video)\/|^text\/html\b/;

/** HTML in a frame. Without `scripts` it is sanitized first; if that removed something active, the user may run it. */
export function htmlFrame(text: string, scripts: boolean, file: (path: string) => string): HTMLElement {
  const box = h("div", { class: "out-html" });
  let shown = text;
  let active = false;
  if (!scripts) {
    shown = DOMPurify.sanitize(text, { ADD_TAGS: ["style"], FORBID_ATTR: ["srcset", "ping"], FORCE_BODY: true });
    // (`remove` is a marker of the sanitizer itself.)
    active = DOMPurify.removed.some((one) => "element" in one ? !/^(?:#comment|BODY|HEAD|REMOVE)$/i.test(one.element.nodeName) : /^on/i.test(one.attribute?.name ?? ""));
  }
  box.append(frame(content(shown, file), file));
  if (active) {
    const note = h("p", { class: "note" }, "This output was loaded from the file. Its scripts have not run. ");
    note.append(button("Run them", () => box.replaceChildren(frame(content(text, file), file)), { class: "link" }));
    box.append(note);
  }
  return box;
}

/** The ports of the frames in the page. */
const ports = new WeakMap<HTMLIFrameElement, MessagePort>();

/** The theme changed. */
function showTheme(): void {
  for (const element of document.querySelectorAll<HTMLIFrameElement>(".out-html iframe")) ports.get(element)?.postMessage({ dark: isDark() });
}
listen(showTheme);
if (typeof matchMedia !== "undefined") matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);

function content(html: string, file: (path: string) => string): (port: MessagePort) => void {
  return (port) => port.postMessage({ html, files: file("") });
}

/** The names of the renderers, which are files of `static/renderers`. */
export type RendererName = "plotly" | "vega" | "widgets";

const loaded = new Map<RendererName, Promise<{ script: string; style: string }>>();

/** A renderer's script and style. They are passed on as text, because the frame may not load anything itself. */
function load(name: RendererName): Promise<{ script: string; style: string }> {
  let promise = loaded.get(name);
  if (promise === undefined) {
    promise = Promise.all([readText(url(`static/renderers/${name}.js`)), name === "widgets" ? readText(url("static/renderers/widgets.css")) : ""]).then(([script, style]) => ({ script, style }));
    promise.catch(() => loaded.delete(name));
    loaded.set(name, promise);
  }
  return promise;
}

/** A conversation of a renderer with the page. Messages may come until the frame is gone from the page. */
export interface Talk {
  /** Gets the renderer's messages. */
  receive(message: JsonObject, send: (message: unknown) => void): void;
}

/** Data in a frame, shown by one of our renderers. */
export function renderedFrame(name: RendererName, data: unknown, file: (path: string) => string, talk?: Talk): HTMLElement {
  const box = h("div", { class: "out-html" });
  const show = (port: MessagePort): void => {
    load(name).then(
      ({ script, style }) => port.postMessage({ renderer: script, style, data, files: file("") }),
      (error: unknown) => box.replaceChildren(h("p", { class: "note" }, `This output cannot be shown: ${error instanceof Error ? error.message : String(error)}`)),
    );
  };
  box.append(frame(show, file, talk));
  return box;
}

/** With a wildcard origin, each page has its own host. */
const LABEL = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** The address of the frame: at the second origin, if there is one. */
function frameUrl(): string {
  const own = url("static/frame.html");
  const content = document.documentElement.dataset["content"] ?? "";
  return content === "" || content.startsWith("{{") ? own.href : content.replace("*", LABEL) + own.pathname;
}

/** A frame in the sandbox. `show` is called with its port each time it is loaded. */
function frame(show: (port: MessagePort) => void, file: (path: string) => string, talk?: Talk): HTMLIFrameElement {
  const element = h("iframe", { sandbox: SANDBOX, title: "Output", loading: "lazy", referrerpolicy: "no-referrer", src: frameUrl() });
  // Each load starts again, for example after the cell was moved in the page.
  element.addEventListener("load", () => {
    const { port1: port, port2 } = new MessageChannel();
    let left = ALL_BYTES;
    const give = async (id: number, path: string): Promise<void> => {
      try {
        const { type, data } = await readFile(file(path), FILE_TYPES, Math.min(FILE_BYTES, left));
        left -= data.byteLength;
        port.postMessage({ id, file: path, type, data }, [data]);
      } catch (error) {
        port.postMessage({ id, file: path, problem: error instanceof Error ? error.message : String(error) });
      }
    };
    port.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data !== "object" || data === null) return;
      if ("ready" in data) {
        port.postMessage({ dark: isDark() });
        ports.set(element, port);
        show(port);
      } else if ("height" in data && typeof data.height === "number" && Number.isFinite(data.height)) {
        element.style.height = `${Math.min(TALLEST, Math.max(16, data.height))}px`;
      } else if ("file" in data && typeof data.file === "string" && "id" in data && typeof data.id === "number") {
        void give(data.id, data.file);
      } else if ("message" in data && typeof data.message === "object" && data.message !== null) {
        talk?.receive(data.message as JsonObject, (message) => port.postMessage({ message }));
      }
    };
    // The frame's origin is opaque, so it cannot be named; only this window's content can receive the message.
    element.contentWindow?.postMessage("start", "*", [port2]);
  });
  return element;
}
