//! Writes notebooks as Jupyter does.
//!
//! # Source
//! nbformat, "The Notebook file format", and `nbformat/v4/rwbase.py` (`split_lines`), which splits lines in the same way.

use serde_json::Value;

use super::lenient::{ODD_NUMBER, SURROGATES, is_odd_number};
use super::{FileCell, NotebookFile, RAW, UNKNOWN_OUTPUT};
use crate::protocol::{CellType, Object, Output};

/// How values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Style {
    /// What one level is indented by; `None`: everything in one line.
    indent: Option<String>,
}

impl Style {
    /// In one line.
    pub(super) const COMPACT: Style = Style { indent: None };

    /// As Jupyter writes files.
    fn jupyter() -> Style {
        Style { indent: Some(" ".to_owned()) }
    }

    /// The style of a text.
    pub(super) fn of(text: &str) -> Style {
        let inside = text.trim_start().strip_prefix('{').unwrap_or_default();
        let space = &inside[..inside.len() - inside.trim_start().len()];
        Style { indent: space.rsplit_once('\n').map(|(_, indent)| indent.to_owned()) }
    }

    /// A new line on this level; nothing in one line.
    pub(super) fn line(&self, level: usize) -> String {
        self.indent.as_ref().map_or(String::new(), |indent| format!("\n{}", indent.repeat(level)))
    }
}

/// Appends a value as JSON. Marked strings become what they stand for. The level is that of the line.
pub(super) fn put(out: &mut String, value: &Value, style: &Style, level: usize) {
    match value {
        Value::Object(object) if object.is_empty() => out.push_str("{}"),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(object) => {
            let mut before = '{';
            for (key, value) in object {
                out.push(before);
                before = ',';
                out.push_str(&style.line(level + 1));
                put_string(out, key);
                out.push_str(if style.indent.is_some() { ": " } else { ":" });
                put(out, value, style, level + 1);
            }
            out.push_str(&style.line(level));
            out.push('}');
        }
        Value::Array(items) => {
            let mut before = '[';
            for item in items {
                out.push(before);
                before = ',';
                out.push_str(&style.line(level + 1));
                put(out, item, style, level + 1);
            }
            out.push_str(&style.line(level));
            out.push(']');
        }
        Value::String(text) => match text.strip_prefix(ODD_NUMBER).filter(|number| is_odd_number(number)) {
            Some(number) => out.push_str(number),
            None => put_string(out, text),
        },
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Null => out.push_str("null"),
    }
}

fn put_string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            letter if u32::from(letter) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter if u32::from(letter) >= SURROGATES => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter) - SURROGATES + 0xd800));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

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

    /// The notebook as the bytes of a file. What did not change since it was read is written as it was.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.original {
            Some(original) => original.write(self).into_bytes(),
            None => self.to_canonical().into_bytes(),
        }
    }

    /// The notebook as Jupyter writes it.
    pub(super) fn to_canonical(&self) -> String {
        let mut out = String::new();
        put(&mut out, &sorted(self.to_json(true)), &Style::jupyter(), 0);
        out.push('\n');
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

pub(super) fn cell_json(cell: &FileCell, split: bool) -> Value {
    if let Some(raw) = cell.others.get(RAW) {
        return raw_json(raw, &cell.source);
    }
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

/// The JSON of a cell that is not understood. Its user may have edited it as text.
fn raw_json(raw: &Value, source: &str) -> Value {
    if raw_source(raw) == source {
        return raw.clone();
    }
    serde_json::from_str(source).unwrap_or_else(|_| {
        let id = super::new_cell_id();
        serde_json::json!({"cell_type": "raw", "id": id, "metadata": {}, "source": text_json(source, true)})
    })
}

/// What is shown of a cell that is not understood.
pub(super) fn raw_source(raw: &Value) -> String {
    let mut text = String::new();
    put(&mut text, raw, &Style::jupyter(), 0);
    text
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

pub(super) fn sorted(value: Value) -> Value {
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
