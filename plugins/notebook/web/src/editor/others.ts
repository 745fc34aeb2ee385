//! The cursors of other people in an editor.

import { type Extension, StateEffect, StateField } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, WidgetType } from "@codemirror/view";
import { color } from "../state/people";

/** The cursor and selection of another user, in UTF-16 units. */
export interface OtherCursor {
  name: string;
  anchor: number;
  head: number;
}

const setOthers = StateEffect.define<OtherCursor[]>();

class Caret extends WidgetType {
  private readonly name: string;

  constructor(name: string) {
    super();
    this.name = name;
  }

  override eq(other: Caret): boolean {
    return other.name === this.name;
  }

  toDOM(): HTMLElement {
    const caret = document.createElement("span");
    caret.className = `other-caret person-${color(this.name)}`;
    caret.setAttribute("aria-hidden", "true");
    const label = document.createElement("span");
    label.textContent = this.name;
    caret.append(label);
    return caret;
  }
}

const cursors = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(value, transaction) {
    value = value.map(transaction.changes);
    for (const effect of transaction.effects) if (effect.is(setOthers)) value = decorations(effect.value, transaction.state.doc.length);
    return value;
  },
  provide: (field) => EditorView.decorations.from(field),
});

function decorations(others: readonly OtherCursor[], length: number): DecorationSet {
  const ranges = others.flatMap(({ name, anchor, head }) => {
    // Their text may be a little ahead of ours.
    const at = Math.min(head, length);
    const [from, to] = [Math.min(anchor, at), Math.min(Math.max(anchor, at), length)];
    const caret = Decoration.widget({ widget: new Caret(name), side: 1 }).range(at);
    return from === to ? [caret] : [Decoration.mark({ class: `other-selection person-${color(name)}` }).range(from, to), caret];
  });
  return Decoration.set(ranges, true);
}

/** Shows cursors where `showOthers` puts them. */
export function othersExtension(): Extension {
  return cursors;
}

export function showOthers(view: EditorView, others: OtherCursor[]): void {
  view.dispatch({ effects: setOthers.of(others) });
}
