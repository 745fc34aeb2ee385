//! A kernel's HTML in a sandboxed frame, which has an opaque origin without cookies and cannot access this page.
//!
//! This page, which is logged in, reads files beside the notebook and passes them on as bytes: images, audio, video and HTML, up
//! to a limit. From other hosts, the frame's policy allows images, media and frames over https:. Those see neither the token nor
//! the notebook's address.

import DOMPurify from "dompurify";
import { button, h } from "../dom";
import { url } from "../transport/base";
import { readFile } from "../transport/rest";

const TALLEST = 2000;
/** The same as in the policy of `frame.html`. Popups are tabs that links open; they are not part of the sandbox. */
const SANDBOX = "allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads";
/** The size limit of one file, and of all files for one frame, in bytes. */
const FILE_BYTES = 16 << 20;
const ALL_BYTES = 64 << 20;
const FILE_TYPES = /^(?:image|audio|video)\/|^text\/html\b/;

/** HTML in a frame. Without `scripts` it is sanitized first; if that removed something active, the user may run it. */
export function htmlFrame(html: string, scripts: boolean, file: (path: string) => string): HTMLElement {
  const box = h("div", { class: "out-html" });
  let shown = html;
  let active = false;
  if (!scripts) {
    shown = DOMPurify.sanitize(html, { ADD_TAGS: ["style"], FORBID_ATTR: ["srcset", "ping"], FORCE_BODY: true });
    // (`remove` is a marker of the sanitizer itself.)
    active = DOMPurify.removed.some((one) => "element" in one ? !/^(?:#comment|BODY|HEAD|REMOVE)$/i.test(one.element.nodeName) : /^on/i.test(one.attribute?.name ?? ""));
  }
  box.append(frame(shown, file));
  if (active) {
    const note = h("p", { class: "note" }, "This output came with the file; its scripts have not run. ");
    note.append(button("Run them", () => box.replaceChildren(frame(html, file)), { class: "link" }));
    box.append(note);
  }
  return box;
}

function frame(html: string, file: (path: string) => string): HTMLIFrameElement {
  const element = h("iframe", { sandbox: SANDBOX, title: "Output", loading: "lazy", referrerpolicy: "no-referrer", src: url("static/frame.html").href });
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
        port.postMessage({ html, files: file(""), dark: matchMedia("(prefers-color-scheme: dark)").matches });
      } else if ("height" in data && typeof data.height === "number" && Number.isFinite(data.height)) {
        element.style.height = `${Math.min(TALLEST, Math.max(16, data.height))}px`;
      } else if ("file" in data && typeof data.file === "string" && "id" in data && typeof data.id === "number") {
        void give(data.id, data.file);
      }
    };
    // The frame's origin is opaque, so it cannot be named; only this window's content can receive the message.
    element.contentWindow?.postMessage("start", "*", [port2]);
  });
  return element;
}
