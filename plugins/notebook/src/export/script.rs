//! A notebook as a script: code unchanged, text in comments.

use serde_json::Value;

use crate::format::NotebookFile;
use crate::protocol::CellType;

/// Whether the notebook's language is Python.
pub(super) fn is_python(notebook: &NotebookFile) -> bool {
    language(notebook).is_none_or(|language| language == "python")
}

/// The language of the code cells.
pub(super) fn language(notebook: &NotebookFile) -> Option<&str> {
    let of = |key: &str, name: &str| notebook.metadata.get(key)?.get(name)?.as_str();
    of("language_info", "name").or_else(|| of("kernelspec", "language"))
}

/// The extension of scripts in the notebook's language, with the dot.
pub(super) fn extension(notebook: &NotebookFile) -> String {
    let known = notebook.metadata.get("language_info").and_then(|info| info.get("file_extension"));
    let valid = |text: &&str| text.len() < 10 && text.starts_with('.') && !text.contains(['/', '\\']);
    match known.and_then(Value::as_str).filter(valid) {
        Some(known) => known.to_owned(),
        None if is_python(notebook) => ".py".to_owned(),
        None => ".txt".to_owned(),
    }
}

/// The script.
pub(super) fn script(notebook: &NotebookFile, python: bool) -> String {
    let comment = if python { "#" } else { comment(language(notebook).unwrap_or_default()) };
    let mut out = String::new();
    if python {
        out.push_str("#!/usr/bin/env python\n# coding: utf-8\n\n");
    }
    for cell in &notebook.cells {
        match cell.cell_type {
            CellType::Code => {
                let number = cell.execution_count.map_or(" ".to_owned(), |count| count.to_string());
                let source = if python { without_magics(&cell.source) } else { cell.source.clone() };
                out.push_str(&format!("{comment} In[{number}]:\n\n\n{}\n\n\n", source.trim_end()));
            }
            _ => {
                let lines = cell.source.lines().map(|line| format!("{comment} {line}").trim_end().to_owned());
                out.push_str(&lines.collect::<Vec<_>>().join("\n"));
                out.push_str("\n\n");
            }
        }
    }
    format!("{}\n", out.trim_end())
}

/// What begins a comment in a language.
fn comment(language: &str) -> &'static str {
    match language.to_ascii_lowercase().as_str() {
        "javascript" | "typescript" | "java" | "scala" | "kotlin" | "rust" | "go" | "c" | "c++" | "c#"
        | "f#" | "groovy" | "php" | "swift" => "//",
        "haskell" | "sql" | "lua" => "--",
        "matlab" | "octave" | "erlang" | "prolog" => "%",
        "clojure" | "scheme" | "racket" | "common-lisp" => ";;",
        _ => "#",
    }
}

/// Python without IPython's syntax, as nbconvert writes it.
fn without_magics(source: &str) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    if let Some(cell) = source.strip_prefix("%%") {
        let (line, body) = cell.split_once('\n').unwrap_or((cell, ""));
        let (name, arguments) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let (name, arguments, body) = (quoted(name), quoted(arguments), quoted(body));
        return format!("get_ipython().run_cell_magic({name}, {arguments}, {body})");
    }
    let line = |line: &str| {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        if let Some(magic) = code.strip_prefix('%') {
            let (name, arguments) = magic.split_once(' ').unwrap_or((magic, ""));
            // A line of a text or a long expression may begin with the operator.
            if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                return format!(
                    "{indent}get_ipython().run_line_magic({}, {})",
                    quoted(name),
                    quoted(arguments.trim())
                );
            }
        }
        match code.strip_prefix('!') {
            Some(command) if !command.starts_with('=') => {
                format!("{indent}get_ipython().system({})", quoted(command))
            }
            _ => line.to_owned(),
        }
    };
    source.lines().map(line).collect::<Vec<_>>().join("\n")
}
