//! Grammars, and highlighting without an editor.

import { python, pythonLanguage } from "@codemirror/lang-python";
import { defineLanguageFacet, HighlightStyle, Language, syntaxHighlighting } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { classHighlighter, highlightCode, tagHighlighter, tags } from "@lezer/highlight";
import { GFM, parser as markdownParser } from "@lezer/markdown";

// The same classes with and without an editor, so that one style sheet works for both.
const highlighter = tagHighlighter([
  { tag: tags.heading, class: "tok-heading" },
  { tag: tags.emphasis, class: "tok-emphasis" },
  { tag: tags.strong, class: "tok-strong" },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.function(tags.definition(tags.variableName))], class: "tok-function" },
  { tag: [tags.bool, tags.null, tags.self], class: "tok-atom" },
  { tag: tags.meta, class: "tok-meta" },
]);

export const colours: Extension = [
  syntaxHighlighting(HighlightStyle.define([])),
  syntaxHighlighting(classHighlighter),
  syntaxHighlighting(highlighter),
];

// Not @codemirror/lang-markdown, which brings the grammars of HTML, CSS and JavaScript with it.
const markdownLanguage = new Language(defineLanguageFacet(), markdownParser.configure(GFM), [], "markdown");

/** The grammar of an editor. */
export function grammar(language: string): Extension {
  if (language === "markdown") return markdownLanguage;
  if (isPython(language)) return python();
  return [];
}

function isPython(language: string): boolean {
  return /^(?:i?python\d*|py\d*|python-?repl|pycon)$/i.test(language);
}

function parser(language: string): Language | null {
  if (language === "markdown") return markdownLanguage;
  return isPython(language) ? pythonLanguage : null;
}

/** Highlighted code as nodes; plain text if the language is unknown or the text is very long. */
export function highlight(code: string, language: string): DocumentFragment {
  const fragment = document.createDocumentFragment();
  const known = code.length > 100_000 ? null : parser(language);
  if (known === null) {
    fragment.append(code);
    return fragment;
  }
  highlightCode(
    code,
    known.parser.parse(code),
    [classHighlighter, highlighter],
    (text, classes) => {
      if (classes === "") {
        fragment.append(text);
        return;
      }
      const span = document.createElement("span");
      span.className = classes;
      span.textContent = text;
      fragment.append(span);
    },
    () => fragment.append("\n"),
  );
  return fragment;
}
