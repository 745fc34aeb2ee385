//! A cell's editor: CodeMirror with the notebook's keys, completion and inspection from the kernel.

import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, type Completion, type CompletionContext, type CompletionResult, completionStatus, startCompletion } from "@codemirror/autocomplete";
import { addCursorAbove, addCursorBelow, defaultKeymap, history, historyKeymap, indentLess, indentMore, insertTab, toggleComment } from "@codemirror/commands";
import { bracketMatching, codeFolding, foldCode, foldGutter, indentOnInput, indentUnit, unfoldCode } from "@codemirror/language";
import { highlightSelectionMatches, selectNextOccurrence, selectSelectionMatches } from "@codemirror/search";
import { type ChangeSet, Compartment, EditorState, type Extension, Facet, Prec, StateEffect, StateField, Transaction } from "@codemirror/state";
import { crosshairCursor, drawSelection, EditorView, keymap, lineNumbers, rectangularSelection, showTooltip, tooltips, type Tooltip, type ViewUpdate } from "@codemirror/view";
import type { CellType, Completion as Match } from "../protocol";
import { diff } from "../state/rebase";
import { pictureFiles } from "../state/pictures";
import { settings } from "../state/settings";
import { debuggingExtension } from "./debugging";
import { othersExtension } from "./others";
import { colours, grammar } from "./languages";

/** The interface of the editor to its cell. */
export interface EditorHost {
  changed(text: string, how: ChangeSet): void;
  /** The cursor moved; null if the editor lost the focus. */
  cursor(at: { anchor: number; head: number } | null): void;
  /** Up from the first line (-1) or down from the last (1). Returns whether there is a cell to move to. */
  leave(direction: -1 | 1): boolean;
  complete: ((code: string, cursor: number) => Promise<{ matches: Match[]; start: number; end: number } | null>) | null;
  inspect: ((code: string, cursor: number, detail: 0 | 1) => Promise<Node | null>) | null;
  /** Stores pictures that were pasted or dropped. Returns the text that shows them, or null where pictures cannot be. */
  attach: ((files: readonly File[]) => Promise<string>) | null;
}

/** How an editor looks and reads. */
export interface Setting {
  kind: CellType;
  language: string;
  label: string;
  readOnly: boolean;
}

const remote = StateEffect.define<null>();
const setTip = StateEffect.define<Tooltip | null>();
const tip = StateField.define<Tooltip | null>({
  create: () => null,
  update(value, transaction) {
    for (const effect of transaction.effects) if (effect.is(setTip)) return effect.value;
    return transaction.docChanged || transaction.selection !== undefined ? null : value;
  },
  provide: (field) => showTooltip.from(field),
});

/** The cell that an editor belongs to. */
const hosts = Facet.define<EditorHost>();
/** The properties that depend on the user's settings. */
const chosen = new Compartment();

function chosenExtensions(kind: CellType): Extension {
  const { lineNumbers: numbered, wrap, brackets, suggest } = settings();
  return [
    numbered ? [lineNumbers(), kind === "code" ? foldGutter() : []] : [],
    wrap || kind === "markdown" ? EditorView.lineWrapping : [],
    brackets && kind === "code" ? closeBrackets() : [],
    // On request only, a key pressed right after is meant for the list.
    autocompletion({ activateOnTyping: suggest, activateOnTypingDelay: 150, interactionDelay: suggest ? 75 : 0, override: [(context) => completions(context, context.state.facet(hosts)[0])], icons: false, maxRenderedOptions: 200 }),
  ];
}

/** Creates an editor. An earlier `state` restores its undo history. */
export function makeEditor(parent: HTMLElement, text: string, setting: Setting, owner: EditorHost, state?: EditorState): EditorView {
  const view = new EditorView({ parent, state: state ?? EditorState.create({ doc: text, extensions: extensions(setting, owner) }) });
  if (state !== undefined) {
    showSettings(view, setting.kind);
    if (state.doc.toString() !== text) setText(view, text);
  }
  return view;
}

/** Replaces the text by another writer's. The cursor stays in its place, and undo does not take it back. */
export function setText(view: EditorView, text: string): void {
  const old = view.state.doc.toString();
  if (old === text) return;
  view.dispatch({
    changes: diff(old, text),
    effects: remote.of(null),
    annotations: Transaction.addToHistory.of(false),
  });
}

/** Applies the user's settings, which changed. */
export function showSettings(view: EditorView, kind: CellType): void {
  view.dispatch({ effects: chosen.reconfigure(chosenExtensions(kind)) });
}

function extensions(setting: Setting, owner: EditorHost): Extension {
  return [
    Prec.high(keymap.of(keys(owner))),
    history(),
    drawSelection(),
    rectangularSelection(),
    crosshairCursor(),
    indentUnit.of("    "),
    EditorState.tabSize.of(4),
    EditorState.allowMultipleSelections.of(true),
    EditorState.readOnly.of(setting.readOnly),
    indentOnInput(),
    bracketMatching(),
    highlightSelectionMatches({ minSelectionLength: 3 }),
    codeFolding(),
    chosen.of(chosenExtensions(setting.kind)),
    hosts.of(owner),
    pictures(owner),
    grammar(setting.language),
    colours,
    tip,
    // A cell paints nothing outside itself (`overflow`, `content-visibility`), so lists and help are children of the page.
    tooltips({ parent: document.querySelector("main") ?? document.body, position: "fixed", tooltipSpace }),
    keymap.of([...closeBracketsKeymap, ...historyKeymap, ...defaultKeymap.filter((binding) => binding.key !== "Mod-Enter" && binding.key !== "Escape")]),
    EditorView.contentAttributes.of({ "aria-label": setting.label, spellcheck: setting.language === "markdown" ? "true" : "false" }),
    othersExtension(),
    debuggingExtension(),
    EditorView.updateListener.of((update) => {
      const { anchor, head } = update.state.selection.main;
      if (update.focusChanged && !update.view.hasFocus) owner.cursor(null);
      else if (update.view.hasFocus && (update.focusChanged || update.selectionSet || update.docChanged)) owner.cursor({ anchor, head });
      if (!update.docChanged || update.transactions.some((one) => one.effects.some((effect) => effect.is(remote)))) return;
      owner.changed(update.state.doc.toString(), update.changes);
      if (settings().signatures && opensCall(update)) void signature(update.view, owner);
    }),
  ];
}

/** Whether the user has just typed an opening parenthesis after a name, or a comma. */
function opensCall(update: ViewUpdate): boolean {
  const { main } = update.state.selection;
  return update.transactions.some((one) => one.isUserEvent("input.type")) && main.empty && /[\w\])]\($|,$/.test(update.state.sliceDoc(Math.max(0, main.head - 2), main.head));
}

/** Pictures that are pasted into the editor, or dropped on it. */
function pictures(owner: EditorHost): Extension {
  const take = (view: EditorView, data: DataTransfer | null, at: number): boolean => {
    const files = owner.attach === null ? [] : pictureFiles(data?.files ?? []);
    if (files.length === 0 || view.state.readOnly) return false;
    void owner.attach?.(files).then((text) => {
      const from = Math.min(at, view.state.doc.length);
      view.dispatch({ changes: { from, insert: text }, selection: { anchor: from + text.length }, userEvent: "input.paste" });
    });
    return true;
  };
  return EditorView.domEventHandlers({
    paste: (event, view) => take(view, event.clipboardData, view.state.selection.main.head),
    drop: (event, view) => take(view, event.dataTransfer, view.posAtCoords({ x: event.clientX, y: event.clientY }) ?? view.state.selection.main.head),
  });
}

/** Where lists and help may be shown: below the page's header. */
function tooltipSpace(): { left: number; right: number; top: number; bottom: number } {
  const head = document.querySelector(".top")?.getBoundingClientRect().bottom ?? 0;
  return { left: 0, right: document.documentElement.clientWidth, top: Math.max(0, head), bottom: innerHeight };
}

function keys(owner: EditorHost) {
  return [
    { key: "Tab", run: (view: EditorView) => acceptCompletion(view) || tab(view, owner) },
    {
      key: "Shift-Tab",
      run: (view: EditorView) => {
        const { main } = view.state.selection;
        if (owner.inspect === null || !main.empty || /^\s*$/.test(view.state.sliceDoc(view.state.doc.lineAt(main.head).from, main.head))) return indentLess(view);
        void inspect(view, owner);
        return true;
      },
    },
    { key: "Mod-/", run: toggleComment },
    { key: "Mod-d", run: selectNextOccurrence, preventDefault: true },
    { key: "Mod-Shift-l", run: selectSelectionMatches },
    { key: "Mod-Alt-ArrowUp", run: addCursorAbove },
    { key: "Mod-Alt-ArrowDown", run: addCursorBelow },
    { key: "Mod-Alt-[", run: foldCode },
    { key: "Mod-Alt-]", run: unfoldCode },
    { key: "Escape", run: hideTip },
    { key: "ArrowUp", run: (view: EditorView) => edge(view, -1) && owner.leave(-1) },
    { key: "ArrowDown", run: (view: EditorView) => edge(view, 1) && owner.leave(1) },
  ];
}

/** Whether the cursor is in the first (or last) line and nothing is open that uses the arrow keys. */
function edge(view: EditorView, direction: -1 | 1): boolean {
  const { main } = view.state.selection;
  if (!main.empty || completionStatus(view.state) !== null) return false;
  const line = view.state.doc.lineAt(main.head).number;
  if (line !== (direction < 0 ? 1 : view.state.doc.lines)) return false;
  // A wrapped line has several rows.
  const moved = view.moveVertically(main, direction > 0);
  return moved.head === main.head || view.state.doc.lineAt(moved.head).number !== line || moved.head === (direction < 0 ? 0 : view.state.doc.length);
}

function tab(view: EditorView, owner: EditorHost): boolean {
  const { main } = view.state.selection;
  const line = view.state.doc.lineAt(main.head);
  const before = view.state.sliceDoc(line.from, main.head);
  if (!main.empty) return indentMore(view);
  if (owner.complete !== null && /[^\s]$/.test(before)) return startCompletion(view);
  if (view.state.readOnly) return false;
  if (/^\s*$/.test(before) || owner.complete !== null) {
    view.dispatch(view.state.replaceSelection(" ".repeat(4 - (before.length % 4))), { userEvent: "input" });
    return true;
  }
  return insertTab(view);
}

async function completions(context: CompletionContext, owner: EditorHost | undefined): Promise<CompletionResult | null> {
  // While typing: after two letters of a name, or a dot.
  if (!context.explicit && context.matchBefore(/[\p{L}_][\p{L}\p{N}_]+|\./u) === null) return null;
  const found = await owner?.complete?.(context.state.doc.toString(), context.pos);
  if (found === null || found === undefined || found.matches.length === 0 || context.aborted) return null;
  const { start, end } = found;
  const only = found.matches[0];
  if (context.explicit && found.matches.length === 1 && only !== undefined && context.view !== undefined) {
    const view = context.view;
    queueMicrotask(() => view.dispatch({ changes: { from: start, to: end, insert: only.text }, selection: { anchor: start + only.text.length }, userEvent: "input.complete" }));
    return null;
  }
  const options: Completion[] = found.matches.map(({ text, kind }, rank) => ({
    label: text,
    ...(kind === null ? {} : { detail: kind }),
    boost: -Math.min(99, rank),
  }));
  return { from: start, to: end, options, filter: true, validFor: /^[\w.]*$/ };
}

async function inspect(view: EditorView, owner: EditorHost): Promise<void> {
  const again = view.state.field(tip) !== null;
  const pos = view.state.selection.main.head;
  const content = await owner.inspect?.(view.state.doc.toString(), pos, again ? 1 : 0);
  if (view.state.selection.main.head === pos) showTip(view, pos, content ?? "The kernel has no help for this name.");
}

/** Shows what a function takes, if the kernel knows it, for as long as its arguments are typed. */
async function signature(view: EditorView, owner: EditorHost): Promise<void> {
  const pos = view.state.selection.main.head;
  const open = view.state.sliceDoc(0, pos).search(/[\w.]+\([^()]*$/);
  if (open < 0) return;
  const name = open + (/^[\w.]+/.exec(view.state.sliceDoc(open, pos))?.[0].length ?? 0);
  const content = await owner.inspect?.(view.state.doc.toString(), name, 0);
  if (content != null && view.state.selection.main.head === pos) showTip(view, pos, content);
}

function showTip(view: EditorView, pos: number, content: Node | string): void {
  const box = document.createElement("div");
  box.className = "inspection";
  box.setAttribute("role", "tooltip");
  box.tabIndex = 0;
  box.append(content);
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    hideTip(view);
    view.focus();
  });
  const announce = document.getElementById("live");
  if (announce !== null) announce.textContent = (box.textContent ?? "").slice(0, 500);
  view.dispatch({ effects: setTip.of({ pos, above: true, strictSide: false, arrow: false, create: () => ({ dom: box }) }) });
}

function hideTip(view: EditorView): boolean {
  if (view.state.field(tip) === null) return false;
  view.dispatch({ effects: setTip.of(null) });
  return true;
}
