//! Writes notebooks as Jupyter does.
//!
//! # Source
//! nbformat, "The Notebook file format", and `nbformat/v4/rwbase.py` (`split_lines`), which splits lines in the same way.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{FileCell, NotebookFile, UNKNOWN_OUTPUT};
use crate::protocol::{CellType, Object, Output};

/// An output as in nbformat, with strings joined.
fn output_json(output: &Output) -> Value {
    if let Output::DisplayData { data, .. } = output
        && let Some(unknown) = data.get(UNKNOWN_OUTPUT)
    {
        return unknown.clone();
    }
    serde_json::to_value(output).unwrap_or_default()
}

impl NotebookFile {
    /// The notebook as JSON with joined strings, as the interface shows it.
    pub fn to_joined_json(&self) -> Value {
        self.to_json(false)
    }

    /// The notebook as the bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b" "));
        // Writing JSON values to memory cannot fail.
        let _ = sorted(self.to_json(true)).serialize(&mut serializer);
        out.push(b'\n');
        out
    }

    fn to_json(&self, split: bool) -> Value {
        let mut notebook = self.others.clone();
        notebook.insert("cells".into(), self.cells.iter().map(|cell| cell_json(cell, split)).collect());
        notebook.insert("metadata".into(), self.metadata.clone().into());
        notebook.insert("nbformat".into(), 4.into());
        notebook.insert("nbformat_minor".into(), self.minor.into());
        notebook.into()
    }
}

fn cell_json(cell: &FileCell, split: bool) -> Value {
    let mut shown = cell.others.clone();
    let kind = match cell.cell_type {
        CellType::Code => "code",
        CellType::Markdown => "markdown",
        CellType::Raw => "raw",
    };
    shown.insert("cell_type".into(), kind.into());
    if let Some(id) = &cell.id {
        shown.insert("id".into(), id.clone().into());
    }
    shown.insert("metadata".into(), cell.metadata.clone().into());
    shown.insert("source".into(), text_json(&cell.source, split));
    if let Some(attachments) = &cell.attachments {
        let mut attachments = attachments.clone();
        if split {
            attachments.values_mut().filter_map(Value::as_object_mut).for_each(split_bundle);
        }
        shown.insert("attachments".into(), attachments.into());
    }
    if cell.cell_type == CellType::Code {
        shown.insert("execution_count".into(), cell.execution_count.into());
        let outputs = cell.outputs.iter().map(|output| {
            let mut output = output_json(output);
            if split {
                if let Some(data) = output.get_mut("data").and_then(Value::as_object_mut) {
                    split_bundle(data);
                }
                if let Some(text) = output.get_mut("text")
                    && let Some(whole) = text.as_str()
                {
                    *text = text_json(whole, true);
                }
            }
            output
        });
        shown.insert("outputs".into(), outputs.collect());
    }
    shown.into()
}

fn split_bundle(bundle: &mut Object) {
    for (mime, value) in bundle.iter_mut() {
        if (mime.starts_with("text/") || mime == "application/javascript" || mime == "image/svg+xml")
            && let Some(text) = value.as_str()
        {
            *value = text_json(text, true);
        }
    }
}

fn text_json(text: &str, split: bool) -> Value {
    if split { split_lines(text).into_iter().map(Value::from).collect() } else { text.into() }
}

/// Splits like Python's `str.splitlines(True)`.
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let is_end = matches!(
            letter,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        );
        if !is_end {
            continue;
        }
        let mut end = at + letter.len_utf8();
        if letter == '\r' && letters.peek().is_some_and(|(_, next)| *next == '\n') {
            letters.next();
            end += 1;
        }
        lines.push(&text[start..end]);
        start = end;
    }
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_as_pythons() {
        for (text, lines) in [
            ("", vec![]),
            ("a", vec!["a"]),
            ("a\n", vec!["a\n"]),
            ("a\n\nb", vec!["a\n", "\n", "b"]),
            ("a\r\nb\rc", vec!["a\r\n", "b\r", "c"]),
            ("a\u{2028}é\x0cb", vec!["a\u{2028}", "é\x0c", "b"]),
        ] {
            assert_eq!(split_lines(text), lines, "{text:?}");
        }
    }
}
