//! A widget as an output: its frame, and what passes between it and the kernel.

import { button, h } from "../dom";
import type { CommMessage, JsonObject } from "../protocol";
import { renderedFrame, type Talk } from "./frame";
import type { Context, Widgets } from "./markdown";

/** The widget of an output. `otherwise` is what is shown without its kernel. */
export function widgetOutput(view: JsonObject, fresh: boolean, context: Context, otherwise: () => HTMLElement): HTMLElement {
  const id = String(view["model_id"] ?? "");
  const { widgets } = context;
  const box = h("div", { class: "out-widget" });
  if (widgets === null) {
    box.append(otherwise());
    return box;
  }
  void widgets.comms.get(id).then((comm) => {
    const ended = (): void => box.replaceChildren(gone(box, id, false, context, widgets, otherwise));
    if (comm !== null) box.replaceChildren(renderedFrame("widgets", { model_id: id }, context.file, talk(id, box, widgets, ended)));
    else box.replaceChildren(gone(box, id, fresh, context, widgets, otherwise));
  });
  return box;
}

/** Shown in place of a widget that the kernel does not have. */
function gone(box: HTMLElement, id: string, fresh: boolean, context: Context, widgets: Widgets, otherwise: () => HTMLElement): HTMLElement {
  const saved = widgets.saved();
  const states = saved?.["state"] as JsonObject | undefined;
  if (saved !== null && states !== undefined && id in states) {
    const show = (): void => box.replaceChildren(renderedFrame("widgets", { model_id: id, saved }, context.file));
    // The state may contain scripts, as any output may.
    if (fresh || widgets.frozen === true) queueMicrotask(show);
    const note = h("p", { class: "note" }, "This widget was loaded from the file. Its scripts have not run. ");
    note.append(button("Show it", show, { class: "link" }));
    return note;
  }
  if (widgets.frozen === true) return h("p", { class: "note" }, "This control has no saved state.");
  return h("div", {}, otherwise(), h("p", { class: "note" }, "The kernel no longer has this widget. Run the cell again to use it."));
}

/** Passes messages of the frame to the kernel, and of the kernel to the frame: those of the widgets that the frame has. */
function talk(id: string, box: HTMLElement, { comms }: Widgets, ended: () => void): Talk {
  const wanted = new Set<string>();
  let post: ((message: unknown) => void) | null = null;
  const stop = comms.listen((comm) => {
    if (!box.isConnected) stop();
    else if (comm.comm_id === id && comm.kind === "close") {
      stop();
      ended();
    } else if (wanted.has(comm.comm_id)) post?.({ comm });
  });
  return {
    receive(message, send) {
      // Another port means that the frame was reloaded and starts over.
      post = send;
      if (typeof message["open"] === "string") {
        const asked = message["open"];
        wanted.add(asked);
        void comms.get(asked).then((comm) => send({ opened: asked, comm }));
      } else if (typeof message["comm"] === "object" && message["comm"] !== null) {
        const comm = message["comm"] as CommMessage;
        wanted.add(comm.comm_id);
        void comms.send(comm).finally(() => send({ handled: comm.request }));
      }
    },
  };
}
