//! The `Output` widget. The server collects what it captures; here it is only shown.

import * as base from "@jupyter-widgets/base";
import type { ManagerBase } from "@jupyter-widgets/base-manager";
import { Widget } from "@lumino/widgets";
import type { JsonObject, Output } from "../protocol";
import { joined } from "../outputs/mime";
import { TextView } from "../outputs/text";

const VIEW = "application/vnd.jupyter.widget-view+json";

/** The classes of `@jupyter-widgets/output`. */
export function outputModule(manager: ManagerBase): object {
  class OutputModel extends base.DOMWidgetModel {
    override defaults(): Record<string, unknown> {
      return { ...super.defaults(), _model_name: "OutputModel", _view_name: "OutputView", _model_module: "@jupyter-widgets/output", _view_module: "@jupyter-widgets/output", msg_id: "", outputs: [] };
    }
  }

  class OutputView extends base.DOMWidgetView {
    override render(): void {
      super.render();
      this.el.classList.add("jupyter-widgets-output");
      this.listenTo(this.model, "change:outputs", () => void this.show());
      void this.show();
    }

    async show(): Promise<void> {
      const outputs = this.model.get("outputs") as Output[];
      const shown = outputs.map((output) => element(output, manager));
      this.el.replaceChildren(...shown);
    }
  }
  return { OutputModel, OutputView };
}

function element(output: Output, manager: ManagerBase): HTMLElement {
  switch (output.output_type) {
    case "stream":
      return new TextView(() => joined(output.text), output.name === "stderr" ? "stderr" : "stdout").element;
    case "error":
      return new TextView(() => output.traceback.length > 0 ? output.traceback.join("\n") : output.evalue === "" ? output.ename : `${output.ename}: ${output.evalue}`, "error").element;
    default:
      return bundle(output.data, manager);
  }
}

function bundle(data: JsonObject, manager: ManagerBase): HTMLElement {
  const box = document.createElement("div");
  const text = (type: string): string | null => (type in data ? joined(data[type]) : null);
  if (VIEW in data) {
    void child(box, String((data[VIEW] as JsonObject)["model_id"]), manager);
    return box;
  }
  const html = text("text/html") ?? text("image/svg+xml");
  if (html !== null) {
    // Scripts run, as in any output of this frame.
    box.append(document.createRange().createContextualFragment(html));
    return box;
  }
  for (const type of ["image/png", "image/jpeg", "image/gif", "image/webp"]) {
    const image = text(type);
    if (image === null) continue;
    const shown = document.createElement("img");
    shown.src = `data:${type};base64,${image.replace(/\s/g, "")}`;
    shown.alt = text("text/plain") ?? "";
    box.append(shown);
    return box;
  }
  return new TextView(() => text("text/plain") ?? text("text/markdown") ?? text("text/latex") ?? "", "result").element;
}

async function child(box: HTMLElement, id: string, manager: ManagerBase): Promise<void> {
  try {
    const view = await manager.create_view((await manager.get_model(id)) as base.DOMWidgetModel);
    Widget.attach(view.luminoWidget, box);
  } catch (error) {
    box.textContent = error instanceof Error ? error.message : String(error);
  }
}
