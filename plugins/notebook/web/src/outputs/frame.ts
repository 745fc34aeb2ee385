//! A kernel's HTML in a sandboxed frame: an opaque origin without network, and nothing of this page in reach.

import DOMPurify from "dompurify";
import { url } from "../transport/base";
import { button, h } from "../dom";

const TALLEST = 2000;

/** HTML in a frame. Without `scripts` it is cleaned first; where that took something away, the user may ask for it. */
export function htmlFrame(html: string, scripts: boolean): HTMLElement {
  const box = h("div", { class: "out-html" });
  let shown = html;
  let active = false;
  if (!scripts) {
    shown = DOMPurify.sanitize(html, { ADD_TAGS: ["style"], FORCE_BODY: true });
    // (`remove` is a mark of the cleaner's own.)
    active = DOMPurify.removed.some((one) => "element" in one ? !/^(?:#comment|BODY|HEAD|REMOVE)$/i.test(one.element.nodeName) : /^on/i.test(one.attribute?.name ?? ""));
  }
  box.append(frame(shown));
  if (active) {
    const note = h("p", { class: "note" }, "This output came with the file; its scripts have not run. ");
    note.append(button("Run them", () => box.replaceChildren(frame(html)), { class: "link" }));
    box.append(note);
  }
  return box;
}

function frame(html: string): HTMLIFrameElement {
  const element = h("iframe", { sandbox: "allow-scripts", title: "Output", loading: "lazy", referrerpolicy: "no-referrer", src: url("static/frame.html").href });
  // Each load is a new start, also after the cell was moved in the page.
  element.addEventListener("load", () => {
    const channel = new MessageChannel();
    channel.port1.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data !== "object" || data === null) return;
      if ("ready" in data) {
        channel.port1.postMessage({ html, dark: matchMedia("(prefers-color-scheme: dark)").matches });
      } else if ("height" in data && typeof data.height === "number" && Number.isFinite(data.height)) {
        element.style.height = `${Math.min(TALLEST, Math.max(16, data.height))}px`;
      }
    };
    // The frame's origin is opaque, so it has no name to send to; only this window's content can receive it.
    element.contentWindow?.postMessage("start", "*", [channel.port2]);
  });
  return element;
}
