//! Breakpoints in the gutter of an editor, and the line where a program is stopped.

import { Compartment, type EditorState, type Extension, RangeSet, type StateEffectType, StateEffect, StateField, type Text } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, gutter, GutterMarker } from "@codemirror/view";

/** The debugger's state that an editor shows. */
export interface Debugging {
  /** Lines with breakpoints, from 1. */
  breakpoints: readonly number[];
  /** The line where the program is stopped. */
  stopped: number | null;
}

/** The editor's interface to the debugger. */
export interface DebuggingHost {
  toggle(line: number): void;
  /** The text changed, and its breakpoints are elsewhere. */
  moved(lines: readonly number[]): void;
}

class Breakpoint extends GutterMarker {
  override toDOM(): Node {
    const dot = document.createElement("span");
    dot.className = "breakpoint";
    return dot;
  }
}

const breakpoint = new Breakpoint();
const place = new Compartment();
const setBreakpoints: StateEffectType<readonly number[]> = StateEffect.define();
const setStopped: StateEffectType<number | null> = StateEffect.define();

const breakpoints = StateField.define<RangeSet<GutterMarker>>({
  create: () => RangeSet.empty,
  update(value, transaction) {
    value = value.map(transaction.changes);
    for (const effect of transaction.effects) if (effect.is(setBreakpoints)) value = marks(effect.value, transaction.state.doc);
    return value;
  },
});

const stopped = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(value, transaction) {
    value = value.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (!effect.is(setStopped)) continue;
      const line = effect.value;
      value = line === null || line > transaction.state.doc.lines ? Decoration.none : Decoration.set(Decoration.line({ class: "stopped-line" }).range(transaction.state.doc.line(line).from));
    }
    return value;
  },
  provide: (field) => EditorView.decorations.from(field),
});

function marks(lines: readonly number[], doc: Text): RangeSet<GutterMarker> {
  return RangeSet.of(lines.filter((line) => line >= 1 && line <= doc.lines).map((line) => breakpoint.range(doc.line(line).from)), true);
}

function linesOf(state: EditorState): number[] {
  const lines: number[] = [];
  for (const cursor = state.field(breakpoints).iter(); cursor.value !== null; cursor.next()) lines.push(state.doc.lineAt(cursor.from).number);
  return [...new Set(lines)];
}

/** The place of the debugger in an editor; it shows nothing until `showDebugging`. */
export function debuggingExtension(): Extension {
  return place.of([]);
}

/** Shows the debugger; null: it is off. */
export function showDebugging(view: EditorView, debugging: Debugging | null, host: DebuggingHost): void {
  const on = view.state.field(breakpoints, false) !== undefined;
  if (debugging === null) {
    if (on) view.dispatch({ effects: place.reconfigure([]) });
    return;
  }
  if (!on) {
    view.dispatch({
      effects: place.reconfigure([
        breakpoints,
        stopped,
        gutter({
          class: "cm-breakpoints",
          markers: (editor) => editor.state.field(breakpoints),
          initialSpacer: () => breakpoint,
          domEventHandlers: {
            mousedown: (editor, line) => {
              host.toggle(editor.state.doc.lineAt(line.from).number);
              return true;
            },
          },
        }),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          const lines = linesOf(update.state);
          if (lines.join() !== linesOf(update.startState).join()) host.moved(lines);
        }),
      ]),
    });
  }
  view.dispatch({ effects: [setBreakpoints.of(debugging.breakpoints), setStopped.of(debugging.stopped)] });
}
