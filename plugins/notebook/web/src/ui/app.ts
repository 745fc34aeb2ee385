//! A notebook as an app: its texts, outputs and controls, without its code.

import { fill, h, icon } from "../dom";
import { outputsHidden } from "../cells/outputs";
import { highlight } from "../editor/languages";
import { bokehLibrary } from "../outputs/bokeh";
import { type Context, renderHtml, type Widgets } from "../outputs/markdown";
import type { Macros } from "../outputs/math";
import { renderOutput } from "../outputs/output";
import type { Cell, Document } from "../protocol";
import { type App, app, appSocket } from "../transport/apps";
import { base, url } from "../transport/base";
import { account } from "./account";
import { followAnchor } from "./anchors";
import { AppControls, beginControls, hasControls } from "./app-controls";
import { savedWidgets, showLive } from "./app-outputs";

export class AppPage {
  readonly #head = h("div", { class: "published-head" });
  readonly #cells = h("div", { class: "cells published app-cells" });
  readonly #controls: AppControls;

  private readonly path: string;

  constructor(path: string) {
    this.path = path;
    this.#controls = new AppControls({
      connect: () => appSocket(path),
      show: (live) => {
        const sections = this.#sections(live.notebook.cells, savedWidgets({}), false);
        const context = contextOf(live.notebook.cells);
        showLive(live, context, (_cell, index, outputs) => sections[index]?.append(outputs));
      },
    });
  }

  open(body: HTMLElement): void {
    const name = account();
    body.append(
      h(
        "header",
        { class: "top list-top" },
        h("div", { class: "bar" }, h("a", { class: "home", href: base().href, title: "Notebooks" }, icon("notebook"), h("span", { class: "visually-hidden" }, "Notebooks")), h("span", { class: "spring" }), name !== null && h("a", { href: url("account").href }, name)),
      ),
      h("main", { class: "page" }, this.#head, this.#controls.element, this.#cells),
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    fill(this.#cells, h("p", { class: "placeholder loading" }, "Opening the app …"));
    this.#cells.addEventListener("click", (event) => followAnchor(event));
    app(this.path)
      .then((found) => this.#show(found))
      .catch((error: unknown) => fill(this.#cells, h("p", { class: "placeholder" }, error instanceof Error ? error.message : String(error))));
  }

  #show({ title, document: content, level, controls }: App): void {
    document.title = title;
    fill(this.#head, h("h1", {}, title), level !== "app" && h("p", {}, h("a", { class: "button", href: url("notebooks", this.path).href }, "Open the notebook")));
    this.#sections(content.cells, savedWidgets(content.metadata), true);
    const has = hasControls(content.cells);
    // Outputs that are there without controls need no kernel.
    beginControls(this.#controls, controls, has, has || !hasOutputs(content));
  }

  /** Shows the cells. Returns an element per cell for its outputs, which has the saved ones if they are `wanted`. */
  #sections(cells: Cell[], widgets: Widgets, wanted: boolean): HTMLElement[] {
    const context = contextOf(cells)(widgets);
    const bodies = cells.map((cell) => bodyOf(cell, context, wanted));
    fill(this.#cells, ...cells.map((cell, index) => h("section", { class: `cell ${cell.cell_type}`, hidden: cell.cell_type === "raw" }, bodies[index])));
    return bodies;
  }
}

function contextOf(cells: Cell[]): (widgets: Widgets) => Context {
  const macros: Macros = {};
  return (widgets) => ({ file: (path) => path, attachments: null, widgets, macros, bokeh: () => bokehLibrary(cells), highlight: (code, name) => highlight(code, name) });
}

function bodyOf(cell: Cell, context: Context, wanted: boolean): HTMLElement {
  const body = h("div", { class: "body" });
  if (cell.cell_type === "markdown") {
    const box = h("div", { class: "markdown" });
    box.append(renderHtml(cell.source, context));
    body.append(h("div", { class: "input" }, box));
  } else if (wanted && !outputsHidden(cell)) {
    body.append(h("div", { class: "outputs" }, ...cell.outputs.map((output, index) => renderOutput(output, false, context, cell.outputs[index - 1]).element)));
  }
  return body;
}

function hasOutputs({ cells }: Document): boolean {
  return cells.some(({ outputs }) => outputs.length > 0);
}
