//! The page of a published notebook: frozen, and read without an account.

import { ago, button, fill, h, icon } from "../dom";
import { highlight } from "../editor/languages";
import { bokehLibrary } from "../outputs/bokeh";
import type { Context, Widgets } from "../outputs/markdown";
import type { Macros } from "../outputs/math";
import type { LiveApp } from "../state/live-app";
import { publishedSocket } from "../transport/apps";
import { base, url } from "../transport/base";
import * as rest from "../transport/rest";
import { account } from "./account";
import { followAnchor } from "./anchors";
import { AppControls, beginControls, hasControls } from "./app-controls";
import { showLive } from "./app-outputs";
import { toast } from "./dialog";
import { frozenCells } from "./frozen";

export class PublishedPage {
  readonly #cells = h("div", { class: "cells published" });
  readonly #head = h("div", { class: "published-head" });
  readonly #controls: AppControls;
  readonly #ratings = h("section", { class: "ratings", "aria-label": "Ratings" });

  private readonly slug: string;

  constructor(slug: string) {
    this.slug = slug;
    this.#controls = new AppControls({ connect: () => publishedSocket(slug), show: (live) => this.#showLive(live) });
  }

  open(body: HTMLElement): void {
    const name = account();
    body.append(
      h(
        "header",
        { class: "top list-top" },
        h("div", { class: "bar" }, name !== null && h("a", { class: "home", href: base().href, title: "Notebooks" }, icon("notebook"), h("span", { class: "visually-hidden" }, "Notebooks")), h("span", { class: "spring" }), name === null ? h("a", { href: url("login").href }, "Log in") : h("a", { href: url("account").href }, name)),
      ),
      h("main", { class: "page" }, this.#head, this.#controls.element, this.#cells, this.#ratings),
      h("div", { id: "live", class: "visually-hidden", "aria-live": "polite" }),
    );
    fill(this.#cells, h("p", { class: "placeholder loading" }, "Opening the notebook …"));
    this.#cells.addEventListener("click", (event) => followAnchor(event));
    void this.#load();
  }

  async #load(): Promise<void> {
    try {
      this.#show(await rest.published(this.slug));
    } catch (error) {
      fill(this.#cells, h("p", { class: "placeholder" }, error instanceof Error ? error.message : String(error)));
    }
  }

  #show(published: rest.Published): void {
    const { title, author, content, licence } = published;
    this.#showRatings(published.ratings, author);
    document.title = title;
    const name = account();
    fill(
      this.#head,
      h("h1", {}, title),
      h("p", {}, `Published by ${author} on ${new Date(published.published).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })}`),
      licence !== null && h("p", {}, "Licence: ", h("a", { href: licence.address, rel: "license noopener" }, licence.name)),
      h(
        "p",
        {},
        h("a", { class: "button", href: rest.publishedDownload(this.slug).href, download: `${title}.ipynb` }, "Download"),
        name !== null && button("Copy to my notebooks", () => void this.#copy(published, name), { class: "button main" }),
      ),
    );
    fill(this.#cells, ...frozenCells(content));
    beginControls(this.#controls, published.controls, hasControls(content.cells), false);
  }

  /** Shows the outputs of a session in place of the published ones. */
  #showLive(live: LiveApp): void {
    const macros: Macros = {};
    const context = (widgets: Widgets): Context => ({ file: (path) => path, attachments: null, widgets, macros, bokeh: () => bokehLibrary(live.notebook.cells), highlight: (code, name) => highlight(code, name) });
    const sections = this.#cells.querySelectorAll(":scope > .cell");
    showLive(live, context, (_cell, index, outputs) => sections[index]?.querySelector(".outputs")?.replaceWith(outputs));
  }

  #showRatings(ratings: rest.Rating[], author: string): void {
    const name = account();
    const own = ratings.find((rating) => rating.name === name);
    const average = ratings.reduce((sum, { stars }) => sum + stars, 0) / ratings.length;
    fill(
      this.#ratings,
      ratings.length > 0 && h("h2", {}, `${average.toFixed(1)} of 4 stars, from ${ratings.length === 1 ? "one reader" : `${ratings.length} readers`}`),
      ...ratings.map(({ name: reader, stars, text, at }) => h("p", {}, h("strong", {}, reader), ` ${"★".repeat(stars)}${"☆".repeat(4 - stars)} `, text, h("span", { class: "faint" }, ` ${ago(at)}`))),
      name !== null && name !== author && this.#rateForm(own, author),
    );
  }

  #rateForm(own: rest.Rating | undefined, author: string): HTMLElement {
    const stars = h("select", { "aria-label": "Stars" }, ...[4, 3, 2, 1, 0].map((count) => h("option", { value: count, selected: count === own?.stars }, `${count} of 4`)));
    const text = h("input", { type: "text", "aria-label": "Comment", placeholder: "Comment", maxlength: 500, value: own?.text ?? "" });
    const send = (rating: { stars: number; text: string } | null): void => {
      rest
        .rate(this.slug, rating)
        .then((ratings) => this.#showRatings(ratings, author))
        .catch((error: unknown) => toast(error instanceof Error ? error.message : String(error)));
    };
    return h(
      "div",
      { class: "list-tools" },
      stars,
      text,
      button(own === undefined ? "Rate it" : "Change the rating", () => send({ stars: Number(stars.value), text: text.value }), { class: "button" }),
      own !== undefined && button("Remove the rating", () => send(null), { class: "button" }),
    );
  }

  async #copy({ title, content }: rest.Published, folder: string): Promise<void> {
    try {
      const made = await rest.create(folder, "notebook");
      await rest.overwrite(made.path, content);
      const to = await rest.rename(made.path, `${folder}/${title}.ipynb`).catch(() => made);
      location.assign(url("notebooks", to.path));
    } catch (error) {
      toast(`It could not be copied: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
