//! The page of a file: a text in an editor, a table, a picture, sound or video. Others can be downloaded.

import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, foldGutter, foldKeymap, indentOnInput, indentUnit } from "@codemirror/language";
import { openSearchPanel, search, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import { crosshairCursor, drawSelection, EditorView, keymap, lineNumbers, rectangularSelection } from "@codemirror/view";
import { button, fill, h, icon } from "../dom";
import { colours, grammar } from "../editor/languages";
import { parseCsv } from "../state/csv";
import { settings } from "../state/settings";
import { base, fileName, folderOf, url } from "../transport/base";
import { modified, readTextFile, type TextFile, writeTextFile } from "../transport/files";
import { fileUrl, HttpError } from "../transport/rest";
import { ask, toast } from "./dialog";

/** The delay between the last key and saving, in milliseconds. */
const PAUSE = 1000;
const ROWS = 1000;
const LANGUAGES: Readonly<Record<string, string>> = { py: "python", pyw: "python", md: "markdown", markdown: "markdown" };

export class FilePage {
  readonly #state = h("span", { class: "save-state", role: "status" });
  readonly #tools = h("span", { class: "row" });
  readonly #main = h("main", { class: "file-main", tabindex: -1 });
  #view: EditorView | null = null;
  #saved = "";
  #lastModified = "";
  #saving: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  private readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  open(body: HTMLElement): void {
    const name = fileName(this.path);
    document.title = name;
    const folder = folderOf(this.path);
    const home = folder === "" ? base().href : url("tree", folder).href;
    body.append(
      h("header", { class: "top" },
        h("div", { class: "bar" },
          h("a", { class: "home", href: home, title: "Files" }, icon("folder"), h("span", { class: "visually-hidden" }, "Files")),
          h("h1", {}, name), this.#state, h("span", { class: "spring" }), this.#tools,
          h("a", { class: "button", href: fileUrl(this.path, true), download: name }, "Download"))),
      this.#main,
    );
    void this.#load(name);
  }

  async #load(name: string): Promise<void> {
    const ending = name.includes(".") ? (name.split(".").at(-1) ?? "").toLowerCase() : "";
    const address = fileUrl(this.path);
    if (/^(?:png|jpe?g|gif|webp|avif|bmp|ico|svg)$/.test(ending)) return this.#main.append(h("img", { class: "file-picture", src: address, alt: name }));
    if (/^(?:mp3|wav|ogg|flac|m4a|opus)$/.test(ending)) return this.#main.append(h("audio", { controls: true, src: address }));
    if (/^(?:mp4|webm|ogv|mov)$/.test(ending)) return this.#main.append(h("video", { class: "file-picture", controls: true, src: address }));
    try {
      const file = await readTextFile(this.path);
      if (/^(?:csv|tsv)$/.test(ending)) this.#showTable(file);
      else this.#edit(file, LANGUAGES[ending] ?? "");
    } catch (error) {
      const binary = error instanceof HttpError && error.status === 400;
      fill(this.#main, h("p", { class: "placeholder" }, binary ? "This file is not text, so it cannot be shown here. You can download it." : error instanceof Error ? error.message : String(error)));
    }
  }

  /** A table, and a button for its text. */
  #showTable(file: TextFile): void {
    const rows = parseCsv(file.content, ROWS + 1);
    const [head = [], ...body] = rows;
    const line = (row: string[]) => h("tr", {}, ...row.map((field) => h("td", { class: /^-?[\d.,]+$/.test(field) ? "number" : null }, field)));
    fill(this.#main,
      h("div", { class: "file-table", tabindex: 0, role: "region", "aria-label": "Table" },
        h("table", {}, h("thead", {}, h("tr", {}, ...head.map((field) => h("th", { scope: "col" }, field)))), h("tbody", {}, ...body.map(line)))),
      rows.length > ROWS && h("p", { class: "note" }, `Only the first ${ROWS} rows are shown.`));
    fill(this.#tools, button("Edit as text", () => {
      fill(this.#tools);
      this.#edit(file, "");
    }, { class: "button" }));
  }

  #edit(file: TextFile, language: string): void {
    this.#saved = file.content;
    this.#lastModified = file.last_modified;
    // The file keeps its line ends.
    const returns = file.content.includes("\r\n");
    fill(this.#main);
    const { wrap } = settings();
    this.#view = new EditorView({
      parent: this.#main,
      state: EditorState.create({
        doc: file.content,
        extensions: [
          lineNumbers(), foldGutter(), history(), drawSelection(), rectangularSelection(), crosshairCursor(), indentOnInput(), bracketMatching(), search({ top: true }),
          EditorState.allowMultipleSelections.of(true), EditorState.tabSize.of(4), indentUnit.of("    "), EditorState.readOnly.of(!file.writable),
          returns ? EditorState.lineSeparator.of("\r\n") : [],
          wrap ? EditorView.lineWrapping : [], grammar(language), colours,
          keymap.of([{ key: "Mod-s", run: () => (void this.#save(), true), preventDefault: true }, { key: "Mod-f", run: openSearchPanel }, ...searchKeymap, ...foldKeymap, ...historyKeymap, ...defaultKeymap, indentWithTab]),
          EditorView.contentAttributes.of({ "aria-label": `Text of ${fileName(this.path)}` }),
          EditorView.updateListener.of(({ docChanged }) => {
            if (docChanged) this.#changed();
          }),
        ],
      }),
    });
    this.#show(file.writable ? "Saved" : "Read only");
    const line = Number(/^#line=(\d+)$/.exec(location.hash)?.[1] ?? 0);
    if (line > 0) {
      const { from } = this.#view.state.doc.line(Math.min(line, this.#view.state.doc.lines));
      this.#view.dispatch({ selection: { anchor: from }, effects: EditorView.scrollIntoView(from, { y: "center" }) });
    }
    this.#view.focus();
    addEventListener("beforeunload", (event) => {
      if (this.#text() !== this.#saved) event.preventDefault();
    });
  }

  #text(): string {
    return this.#view?.state.sliceDoc() ?? "";
  }

  #changed(): void {
    clearTimeout(this.#timer);
    if (this.#text() === this.#saved) return this.#show("Saved");
    this.#show("Saving …");
    this.#timer = setTimeout(() => void this.#save(), PAUSE);
  }

  /** Saves the text. If another program has changed the file, asks first. */
  async #save(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#saving !== null) {
      await this.#saving;
      if (this.#text() === this.#saved) return;
    }
    this.#saving = this.#write();
    await this.#saving;
    this.#saving = null;
  }

  async #write(): Promise<void> {
    const text = this.#text();
    if (text === this.#saved) return;
    try {
      const now = await modified(this.path);
      if (now !== null && now !== this.#lastModified && !(await this.#settle())) return this.#show("Not saved");
      this.#lastModified = await writeTextFile(this.path, text);
      this.#saved = text;
      if (this.#text() === text) this.#show("Saved");
    } catch (error) {
      this.#show("Not saved");
      toast(`The file could not be saved: ${error instanceof Error ? error.message : String(error)}`, { label: "Try again", run: () => void this.#save() });
    }
  }

  /** Another program has changed the file. Returns whether this text replaces it. */
  async #settle(): Promise<boolean> {
    const theirs = await readTextFile(this.path);
    if (theirs.content === this.#saved || theirs.content === this.#text()) return true;
    const keep = await ask("The file was changed by another program", [h("p", {}, "Your text is not saved. Which one do you want to keep?")], [
      { label: "The file on disk", value: false },
      { label: "My text", value: true, kind: "main" },
    ]);
    if (keep !== false) return keep === true;
    this.#saved = theirs.content;
    this.#lastModified = theirs.last_modified;
    this.#view?.dispatch({ changes: { from: 0, to: this.#view.state.doc.length, insert: this.#view.state.toText(theirs.content) } });
    this.#show("Saved");
    return false;
  }

  #show(state: "Saved" | "Saving …" | "Not saved" | "Read only"): void {
    this.#state.textContent = state;
    this.#state.dataset["kind"] = state === "Not saved" ? "bad" : state === "Saving …" ? "busy" : "ok";
  }
}
