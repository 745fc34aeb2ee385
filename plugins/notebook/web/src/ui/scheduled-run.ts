//! The page of a scheduled run: what came of it, read-only.

import { fill, h, icon } from "../dom";
import type { JsonObject } from "../protocol";
import { base, url } from "../transport/base";
import { call, type PublishedCell } from "../transport/rest";
import { followAnchor } from "./anchors";
import { frozenCells } from "./frozen";

interface ScheduledRun {
  title: string;
  path: string;
  run: { started: string; ended: string | null; status: string; message: string };
  content: { cells: PublishedCell[]; metadata: JsonObject } | null;
}

export class ScheduledRunPage {
  readonly #head = h("div", { class: "published-head" });
  readonly #cells = h("div", { class: "cells published" });

  private readonly id: string;

  constructor(id: string) {
    this.id = id;
  }

  open(body: HTMLElement): void {
    body.append(h("header", { class: "top list-top" }, h("div", { class: "bar" }, h("a", { class: "home", href: base().href, title: "Notebooks" }, icon("notebook"), h("span", { class: "visually-hidden" }, "Notebooks")))), h("main", { class: "page" }, this.#head, this.#cells));
    this.#cells.addEventListener("click", (event) => followAnchor(event));
    call<ScheduledRun>("GET", url("api/scheduled-runs", this.id))
      .then((found) => this.#show(found))
      .catch((error: unknown) => fill(this.#cells, h("p", { class: "placeholder" }, error instanceof Error ? error.message : String(error))));
  }

  #show({ title, path, run, content }: ScheduledRun): void {
    document.title = title;
    const download = url("api/scheduled-runs", this.id);
    download.searchParams.set("download", "1");
    const when = (time: string): string => new Date(time).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "medium" });
    fill(
      this.#head,
      h("h1", {}, title),
      h("p", {}, `Scheduled run on ${when(run.started)}: ${run.status === "ok" ? "it succeeded" : run.message === "" ? run.status : run.message}`),
      h("p", {}, content !== null && h("a", { class: "button", href: download.href, download: `${title}.ipynb` }, "Download"), h("a", { class: "button", href: url("schedules", path).href }, "All runs")),
    );
    if (content === null) fill(this.#cells, h("p", { class: "placeholder" }, "This run has no result."));
    else fill(this.#cells, ...frozenCells(content));
  }
}
