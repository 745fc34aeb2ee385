//! Notebook files: reads nbformat 4 leniently, upgrades older formats, and writes as Jupyter does.
//!
//! Everything unknown is kept: metadata, further keys of cells and of the notebook, further kinds of cells and outputs.
//! Unchanged parts are written back unchanged. The rest is canonical (keys sorted, indented as the file is, strings split
//! into lines), so that a saved notebook differs from the previous version only where it changed.
//!
//! # Source
//! nbformat, "The Notebook file format", sections "Top-level structure", "Cell Types" and "Code cell outputs"; JEP 62 for
//! cell ids.

mod lenient;
mod original;
mod upgrade;
mod write;

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::original::{IdPlace, Original};
use crate::kernel::specs::Spec;
use crate::protocol::{CellType, Object, Output};

/// Outputs of an unknown kind are stored under this type.
const UNKNOWN_OUTPUT: &str = "application/vnd.paster.unknown-output+json";

/// The key, among the unknown ones, of the JSON of a cell that is not understood. It is shown as a raw cell.
pub(crate) const RAW: &str = "\u{10f7ff}cell";

/// Why bytes are not a notebook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(String);

/// A notebook.
#[derive(Debug, Clone, PartialEq)]
pub struct NotebookFile {
    /// Top to bottom.
    pub cells: Vec<FileCell>,
    /// Its metadata.
    pub metadata: Object,
    /// The 5 of nbformat 4.5.
    pub minor: u64,
    /// Unknown keys.
    pub others: Object,
    /// What is not valid in it, for users.
    pub problems: Vec<String>,
    /// What it was read from.
    original: Option<Arc<Original>>,
}

/// The text that a notebook was read from, for what is written again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileOrigin(Option<Arc<Original>>);

impl NotebookFile {
    /// A notebook that is not in a file yet, or was changed since it was read from `origin`.
    pub fn new(
        cells: Vec<FileCell>,
        metadata: Object,
        minor: u64,
        others: Object,
        origin: FileOrigin,
    ) -> NotebookFile {
        NotebookFile { cells, metadata, minor, others, problems: Vec::new(), original: origin.0 }
    }

    /// What it was read from.
    pub fn origin(&self) -> FileOrigin {
        FileOrigin(self.original.clone())
    }
}

/// One cell of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileCell {
    /// Since 4.5.
    pub id: Option<String>,
    /// Its kind.
    pub cell_type: CellType,
    /// Its text.
    pub source: String,
    /// Its metadata.
    pub metadata: Object,
    /// The images of a Markdown cell.
    pub attachments: Option<Object>,
    /// Only in code cells.
    pub outputs: Vec<Output>,
    /// Only in code cells.
    pub execution_count: Option<u32>,
    /// Unknown keys.
    pub others: Object,
}

/// Parses a notebook of any format.
/// # Errors
/// [`FormatError`], with the line.
pub fn parse(bytes: &[u8]) -> Result<NotebookFile, FormatError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return from_json(json!({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}));
    }
    let text = lenient::decode(bytes)?;
    let (value, layout) = lenient::parse(&text)?;
    match value["nbformat"].as_i64() {
        Some(4) => {
            let (mut notebook, ids) = read(value)?;
            // A canonical text need not be remembered.
            if notebook.to_canonical() != text {
                notebook.original = Original::new(&text, layout, &notebook, &ids).map(Arc::new);
            }
            Ok(notebook)
        }
        Some(2 | 3) => from_json(upgrade::to_format_4(value)),
        Some(other) => Err(FormatError(format!("its format {other} is not supported, only 2, 3 and 4 are"))),
        None => Err(FormatError("it has no `nbformat` number".to_owned())),
    }
}

/// Parses a value that is almost JSON: see [`lenient`].
/// # Errors
/// [`FormatError`] with the line and the column.
pub(crate) fn parse_value(bytes: &[u8]) -> Result<Value, FormatError> {
    Ok(lenient::parse(&lenient::decode(bytes)?)?.0)
}

/// Reads the JSON of a notebook in format 4.
/// # Errors
/// Same as [`parse`].
pub fn from_json(value: Value) -> Result<NotebookFile, FormatError> {
    Ok(read(value)?.0)
}

fn read(value: Value) -> Result<(NotebookFile, Vec<IdPlace>), FormatError> {
    let Value::Object(mut others) = value else { return Err(FormatError("it is not an object".to_owned())) };
    if others.shift_remove("nbformat").and_then(|number| number.as_u64()) != Some(4) {
        return Err(FormatError("`nbformat` must be 4".to_owned()));
    }
    let minor = others.shift_remove("nbformat_minor").and_then(|number| number.as_u64());
    let metadata = object_of(others.shift_remove("metadata"), "the notebook's `metadata`")?;
    let Some(Value::Array(values)) = others.shift_remove("cells") else {
        return Err(FormatError("it has no list of `cells`".to_owned()));
    };
    let (mut cells, mut problems) = (Vec::new(), Vec::new());
    for (at, value) in values.into_iter().enumerate() {
        let raw = value.clone();
        cells.push(read_cell(value).unwrap_or_else(|FormatError(what)| {
            problems.push(format!("cell {}: {what}", at + 1));
            raw_cell(raw)
        }));
    }
    let ids = give_ids(&mut cells);
    Ok((NotebookFile { cells, metadata, minor: minor.unwrap_or(0), others, problems, original: None }, ids))
}

/// Replaces ids that are missing, invalid or not unique. The new ids are the same each time a file is read.
fn give_ids(cells: &mut [FileCell]) -> Vec<IdPlace> {
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    for (at, cell) in cells.iter_mut().enumerate() {
        let own = cell.id.clone().filter(|id| is_cell_id(id) && seen.insert(id.clone()));
        ids.push(match (&own, &cell.id) {
            _ if cell.others.contains_key(RAW) => IdPlace::Text,
            (Some(_), _) => IdPlace::Text,
            (None, None) if !cell.others.contains_key("id") => IdPlace::Missing,
            (None, _) => IdPlace::Replaced,
        });
        // A value that is not a string.
        cell.others.shift_remove("id");
        let mut attempt = 0;
        cell.id = own.or_else(|| {
            loop {
                let id = derived_id(at, attempt, &cell.source);
                attempt += 1;
                if seen.insert(id.clone()) {
                    break Some(id);
                }
            }
        });
    }
    ids
}

fn derived_id(at: usize, attempt: u32, source: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(format!("{at} {attempt} {source}"));
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is a valid cell id in nbformat 4.5.
pub(crate) fn is_cell_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// An unknown cell, whose JSON is shown.
fn raw_cell(value: Value) -> FileCell {
    FileCell {
        id: value.get("id").and_then(Value::as_str).map(str::to_owned),
        cell_type: CellType::Raw,
        source: write::raw_source(&value),
        metadata: Object::new(),
        attachments: None,
        outputs: Vec::new(),
        execution_count: None,
        others: Object::from_iter([(RAW.to_owned(), value)]),
    }
}

fn object_of(value: Option<Value>, what: &str) -> Result<Object, FormatError> {
    match value {
        None | Some(Value::Null) => Ok(Object::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(FormatError(format!("{what} must be an object"))),
    }
}

/// A string, or a list of its lines.
fn joined(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(lines) => {
            lines.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|lines| lines.concat())
        }
        _ => None,
    }
}

fn read_cell(value: Value) -> Result<FileCell, FormatError> {
    let Value::Object(mut others) = value else { return Err(FormatError("it is not an object".to_owned())) };
    let cell_type = match others.shift_remove("cell_type").as_ref().and_then(Value::as_str) {
        Some("code") => CellType::Code,
        Some("markdown") => CellType::Markdown,
        Some("raw") => CellType::Raw,
        // Before 4.0 was final, headings were cells.
        Some("heading") => CellType::Markdown,
        Some(other) => return Err(FormatError(format!("unknown cell_type `{other}`"))),
        None => return Err(FormatError("it has no `cell_type`".to_owned())),
    };
    let source = match others.shift_remove("source") {
        None | Some(Value::Null) => String::new(),
        Some(source) => joined(&source)
            .ok_or_else(|| FormatError("its `source` must be a string or a list of lines".to_owned()))?,
    };
    let metadata = object_of(others.shift_remove("metadata"), "its `metadata`")?;
    let mut attachments = match others.shift_remove("attachments") {
        None | Some(Value::Null) => None,
        Some(value) => Some(object_of(Some(value), "its `attachments`")?),
    };
    for bundle in attachments.iter_mut().flat_map(Object::values_mut) {
        if let Value::Object(bundle) = bundle {
            join_bundle(bundle);
        }
    }
    let id = match others.get("id") {
        Some(Value::String(id)) => Some(id.clone()),
        _ => None,
    };
    if id.is_some() {
        others.shift_remove("id");
    }
    let (mut outputs, mut execution_count) = (Vec::new(), None);
    if cell_type == CellType::Code {
        execution_count = others
            .remove("execution_count")
            .and_then(|count| count.as_u64())
            .and_then(|count| count.try_into().ok());
        match others.shift_remove("outputs") {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => outputs = list.into_iter().map(read_output).collect(),
            Some(_) => return Err(FormatError("its `outputs` must be a list".to_owned())),
        }
    }
    Ok(FileCell { id, cell_type, source, metadata, attachments, outputs, execution_count, others })
}

fn is_json_mime(mime: &str) -> bool {
    mime == "application/json" || (mime.starts_with("application/") && mime.ends_with("+json"))
}

fn join_bundle(bundle: &mut Object) {
    for (mime, value) in bundle.iter_mut() {
        if !is_json_mime(mime)
            && value.is_array()
            && let Some(text) = joined(value)
        {
            *value = text.into();
        }
    }
}

/// Reads an output from a file, or the content of a message. An unknown one is kept unchanged.
pub(crate) fn read_output(value: Value) -> Output {
    fn known(value: &Value) -> Option<Output> {
        let mut data = value.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
        join_bundle(&mut data);
        let metadata = value.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(joined);
        Some(match value.get("output_type")?.as_str()? {
            "stream" => Output::Stream { name: text("name")?, text: text("text")? },
            "display_data" => Output::DisplayData { data, metadata },
            "execute_result" => {
                let execution_count = value
                    .get("execution_count")
                    .and_then(Value::as_u64)
                    .and_then(|count| count.try_into().ok());
                Output::ExecuteResult { execution_count, data, metadata }
            }
            "error" => {
                let lines = value.get("traceback")?.as_array()?;
                let traceback = lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect();
                Output::Error { ename: text("ename")?, evalue: text("evalue")?, traceback }
            }
            _ => return None,
        })
    }
    known(&value).unwrap_or_else(|| {
        let data = Map::from_iter([(UNKNOWN_OUTPUT.to_owned(), value)]);
        Output::DisplayData { data, metadata: Object::new() }
    })
}

/// A new notebook for a kernel, with one empty code cell.
pub fn empty(spec: Option<&Spec>) -> Vec<u8> {
    let mut metadata = Object::new();
    if let Some(spec) = spec {
        metadata.insert("kernelspec".into(), kernelspec_json(spec));
    }
    let cell = FileCell {
        id: Some(new_cell_id()),
        cell_type: CellType::Code,
        source: String::new(),
        metadata: Object::new(),
        attachments: None,
        outputs: Vec::new(),
        execution_count: None,
        others: Object::new(),
    };
    NotebookFile::new(vec![cell], metadata, 5, Object::new(), FileOrigin::default()).to_bytes()
}

/// The `kernelspec` of a notebook's metadata.
pub(crate) fn kernelspec_json(spec: &Spec) -> Value {
    json!({"display_name": spec.display_name, "language": spec.language, "name": spec.name})
}

/// A new cell id.
pub(crate) fn new_cell_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

#[cfg(test)]
mod tests;
