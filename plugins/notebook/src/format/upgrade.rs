//! Upgrades notebooks of the formats 2 and 3 to format 4.
//!
//! # Source
//! nbformat, `v3/convert.py`, `v4/convert.py`, `v2/nbbase.py`.

use serde_json::{Map, Value, json};

use super::joined;
use crate::protocol::Object;

/// The names that MIME types had.
const MIMES: [(&str, &str); 8] = [
    ("text", "text/plain"),
    ("html", "text/html"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpeg", "image/jpeg"),
    ("latex", "text/latex"),
    ("json", "application/json"),
    ("javascript", "application/javascript"),
];

/// A notebook of format 2 or 3 as one of format 4. Unknown parts are kept.
pub(super) fn to_format_4(value: Value) -> Value {
    let Value::Object(mut notebook) = value else { return value };
    let old = notebook.shift_remove("nbformat").unwrap_or_default();
    notebook.shift_remove("nbformat_minor");
    let mut metadata = match notebook.shift_remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    metadata.entry("orig_nbformat").or_insert(old);
    let worksheets = match notebook.shift_remove("worksheets") {
        Some(Value::Array(worksheets)) => worksheets,
        _ => Vec::new(),
    };
    let mut cells = Vec::new();
    for worksheet in worksheets {
        let Value::Object(mut worksheet) = worksheet else { continue };
        if let Some(Value::Array(old)) = worksheet.shift_remove("cells") {
            cells.extend(old.into_iter().map(cell));
        }
    }
    notebook.insert("cells".into(), cells.into());
    notebook.insert("metadata".into(), metadata.into());
    notebook.insert("nbformat".into(), 4.into());
    notebook.insert("nbformat_minor".into(), 5.into());
    Value::Object(notebook)
}

fn cell(value: Value) -> Value {
    let Value::Object(mut cell) = value else { return value };
    cell.entry("metadata").or_insert_with(|| json!({}));
    match cell.get("cell_type").and_then(Value::as_str) {
        Some("code") => code(cell),
        Some("heading") => {
            let level = cell.shift_remove("level").and_then(|level| level.as_u64()).unwrap_or(1).clamp(1, 6);
            let source = cell.get("source").and_then(joined).unwrap_or_default();
            let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
            cell.insert("cell_type".into(), "markdown".into());
            cell.insert("source".into(), format!("{} {line}", "#".repeat(level as usize)).into());
            cell.into()
        }
        // Markdown has HTML, and format 2 had plain text.
        Some("html" | "text" | "rst") => {
            let raw = cell.get("cell_type").and_then(Value::as_str) == Some("rst");
            cell.insert("cell_type".into(), if raw { "raw" } else { "markdown" }.into());
            cell.into()
        }
        _ => cell.into(),
    }
}

fn code(mut cell: Object) -> Value {
    cell.shift_remove("language");
    let source = cell.shift_remove("input").unwrap_or_else(|| "".into());
    cell.insert("source".into(), source);
    let number = cell.shift_remove("prompt_number").filter(Value::is_u64).unwrap_or_default();
    cell.insert("execution_count".into(), number);
    let collapsed = cell.shift_remove("collapsed");
    if let (Some(Value::Bool(collapsed)), Some(Value::Object(metadata))) =
        (collapsed, cell.get_mut("metadata"))
    {
        metadata.entry("collapsed").or_insert(collapsed.into());
    }
    let outputs = match cell.shift_remove("outputs") {
        Some(Value::Array(outputs)) => outputs.into_iter().map(output).collect(),
        _ => Vec::new(),
    };
    cell.insert("outputs".into(), Value::Array(outputs));
    cell.into()
}

fn output(value: Value) -> Value {
    let Value::Object(mut output) = value else { return value };
    let kind = output.get("output_type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind.as_str() {
        "pyout" | "display_data" => {
            let (mut data, metadata) = (Map::new(), output.shift_remove("metadata"));
            for (old, mime) in MIMES {
                let content =
                    output.shift_remove(old).or_else(|| output.shift_remove(&format!("output_{old}")));
                if let Some(content) = content {
                    data.insert(mime.into(), content_of(mime, content));
                }
            }
            output.insert("data".into(), data.into());
            output.insert("metadata".into(), renamed(metadata));
            let number = output.shift_remove("prompt_number");
            if kind == "pyout" {
                output.insert("output_type".into(), "execute_result".into());
                output.insert("execution_count".into(), number.filter(Value::is_u64).unwrap_or_default());
            }
        }
        "pyerr" => {
            output.insert("output_type".into(), "error".into());
            let name = output.shift_remove("etype").filter(|_| !output.contains_key("ename"));
            output.entry("ename").or_insert(name.unwrap_or_else(|| "".into()));
            output.entry("evalue").or_insert("".into());
            output.entry("traceback").or_insert(json!([]));
        }
        "stream" => {
            let name = output.shift_remove("stream").unwrap_or_else(|| "stdout".into());
            output.entry("name").or_insert(name);
            if let Some(text) = output.shift_remove("output_text") {
                output.entry("text").or_insert(text);
            }
        }
        _ => {}
    }
    output.into()
}

/// JSON was a string.
fn content_of(mime: &str, content: Value) -> Value {
    if mime == "application/json"
        && let Some(text) = joined(&content)
        && let Ok(value) = serde_json::from_str(&text)
    {
        return value;
    }
    content
}

/// The metadata of an output is by MIME type.
fn renamed(metadata: Option<Value>) -> Value {
    let Some(Value::Object(metadata)) = metadata else { return json!({}) };
    let new = |key: String| match MIMES.iter().find(|(old, _)| *old == key) {
        Some((_, mime)) => (*mime).to_owned(),
        None => key,
    };
    Value::Object(metadata.into_iter().map(|(key, value)| (new(key), value)).collect())
}
