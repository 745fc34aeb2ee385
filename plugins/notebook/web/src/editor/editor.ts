//! A cell's editor: CodeMirror with the notebook's keys, completion and inspection from the kernel.

import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, type Completion, type CompletionContext, type CompletionResult, completionStatus, startCompletion } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentLess, indentMore, insertTab, toggleComment } from "@codemirror/commands";
import { bracketMatching, indentOnInput, indentUnit } from "@codemirror/language";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { type ChangeSet, Compartment, EditorState, type Extension, Prec, StateEffect, StateField, Transaction } from "@codemirror/state";
import { drawSelection, EditorView, keymap, lineNumbers, showTooltip, tooltips, type Tooltip } from "@codemirror/view";
import type { Completion as Match } from "../protocol";
import { diff } from "../state/rebase";
import { othersExtension } from "./others";
import { colours, grammar } from "./languages";

/** What the editor needs from its cell. */
export interface EditorHost {
  changed(text: string, how: ChangeSet): void;
  /** The cursor moved; null if the editor lost the focus. */
  cursor(at: { anchor: number; head: number } | null): void;
  /** Up from the first line (-1) or down from the last (1). Returns whether there is a cell to move to. */
  leave(direction: -1 | 1): boolean;
  complete: ((code: string, cursor: number) => Promise<{ matches: Match[]; start: number; end: number } | null>) | null;
  inspect: ((code: string, cursor: number, detail: 0 | 1) => Promise<Node | null>) | null;
}

/** How an editor looks and reads. */
export interface Setting {
  language: string;
  label: string;
  lineNumbers: boolean;
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

const numbers = new Compartment();

/** Creates an editor. An earlier `state` restores its undo history. */
export function makeEditor(parent: HTMLElement, text: string, setting: Setting, owner: EditorHost, state?: EditorState): EditorView {
  const view = new EditorView({ parent, state: state ?? EditorState.create({ doc: text, extensions: extensions(setting, owner) }) });
  if (state !== undefined) {
    showLineNumbers(view, setting.lineNumbers);
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

export function showLineNumbers(view: EditorView, on: boolean): void {
  view.dispatch({ effects: numbers.reconfigure(on ? lineNumbers() : []) });
}

function extensions(setting: Setting, owner: EditorHost): Extension {
  return [
    Prec.high(keymap.of(keys(owner))),
    history(),
    drawSelection(),
    indentUnit.of("    "),
    EditorState.tabSize.of(4),
    EditorState.allowMultipleSelections.of(true),
    EditorState.readOnly.of(setting.readOnly),
    indentOnInput(),
    bracketMatching(),
    setting.language === "markdown" || setting.language === "" ? [] : closeBrackets(),
    highlightSelectionMatches({ minSelectionLength: 3 }),
    EditorView.lineWrapping,
    grammar(setting.language),
    colours,
    numbers.of(setting.lineNumbers ? lineNumbers() : []),
    tip,
    // A cell paints nothing outside itself (`overflow`, `content-visibility`), so lists and help are children of the page.
    tooltips({ parent: document.querySelector("main") ?? document.body, position: "fixed", tooltipSpace }),
    // The list opens only on request, so a key pressed right after is meant for it.
    autocompletion({ activateOnTyping: false, interactionDelay: 0, override: [(context) => completions(context, owner)], icons: false, maxRenderedOptions: 200 }),
    keymap.of([...closeBracketsKeymap, ...searchKeymap.filter((binding) => binding.key !== "Mod-f"), ...historyKeymap, ...defaultKeymap.filter((binding) => binding.key !== "Mod-Enter" && binding.key !== "Escape")]),
    EditorView.contentAttributes.of({ "aria-label": setting.label, spellcheck: setting.language === "markdown" ? "true" : "false" }),
    othersExtension(),
    EditorView.updateListener.of((update) => {
      const { anchor, head } = update.state.selection.main;
      if (update.focusChanged && !update.view.hasFocus) owner.cursor(null);
      else if (update.view.hasFocus && (update.focusChanged || update.selectionSet || update.docChanged)) owner.cursor({ anchor, head });
      if (!update.docChanged || update.transactions.some((one) => one.effects.some((effect) => effect.is(remote)))) return;
      owner.changed(update.state.doc.toString(), update.changes);
    }),
  ];
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

async function completions(context: CompletionContext, owner: EditorHost): Promise<CompletionResult | null> {
  const found = await owner.complete?.(context.state.doc.toString(), context.pos);
  if (found === null || found === undefined || found.matches.length === 0 || context.aborted) return null;
  const { start, end } = found;
  const only = found.matches[0];
  if (found.matches.length === 1 && only !== undefined && context.view !== undefined) {
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
  if (view.state.selection.main.head !== pos) return;
  const box = document.createElement("div");
  box.className = "inspection";
  box.setAttribute("role", "tooltip");
  box.tabIndex = 0;
  if (content === null || content === undefined) box.textContent = "The kernel has no help on this name.";
  else box.append(content);
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
