//! Notebook files: reads nbformat 4 leniently, upgrades older formats, and writes as Jupyter does.
//!
//! Everything unknown is kept: metadata, further keys of cells and of the notebook, further kinds of outputs.
//! The output is canonical (keys sorted, indented by one space, strings split into lines, a final line end),
//! so that a saved notebook differs from the previous version only where it changed.
//!
//! # Source
//! nbformat, "The Notebook file format", sections "Top-level structure", "Cell Types" and "Code cell outputs"; JEP 62 for
//! cell ids.

mod write;

use serde_json::{Map, Value, json};

use crate::kernel::specs::Spec;
use crate::protocol::{CellType, Object, Output};

/// Outputs of an unknown kind are stored under this type.
const UNKNOWN_OUTPUT: &str = "application/vnd.paster.unknown-output+json";

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
/// [`FormatError`] tells what is wrong, with the number of the cell.
pub fn parse(bytes: &[u8]) -> Result<NotebookFile, FormatError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return from_json(json!({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}));
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| FormatError(format!("it is not JSON: {error}")))?;
    match value["nbformat"].as_i64() {
        Some(4) => from_json(value),
        Some(3) => {
            let failed = |error: String| FormatError(format!("cannot read the old format 3: {error}"));
            let text = value.to_string();
            let parsed = nbformat::parse_notebook(&text).map_err(|error| failed(error.to_string()))?;
            let nbformat::Notebook::V3(old) = parsed else {
                return Err(failed("it is not a notebook".to_owned()));
            };
            let new = nbformat::upgrade_v3_notebook(old).map_err(|error| failed(error.to_string()))?;
            from_json(serde_json::to_value(new).map_err(|error| failed(error.to_string()))?)
        }
        Some(other) => Err(FormatError(format!("its format {other} is not supported, only 3 and 4 are"))),
        None => Err(FormatError("it has no `nbformat` number".to_owned())),
    }
}

/// Reads the JSON of a notebook in format 4.
/// # Errors
/// Same as [`parse`].
pub fn from_json(value: Value) -> Result<NotebookFile, FormatError> {
    let Value::Object(mut others) = value else { return Err(FormatError("it is not an object".to_owned())) };
    if others.remove("nbformat").and_then(|number| number.as_u64()) != Some(4) {
        return Err(FormatError("`nbformat` must be 4".to_owned()));
    }
    let minor = others.remove("nbformat_minor").and_then(|number| number.as_u64());
    let metadata = object_of(others.remove("metadata"), "the notebook's `metadata`")?;
    let Some(Value::Array(cells)) = others.remove("cells") else {
        return Err(FormatError("it has no list of `cells`".to_owned()));
    };
    let cells: Result<Vec<FileCell>, FormatError> = cells
        .into_iter()
        .enumerate()
        .map(|(at, cell)| {
            read_cell(cell).map_err(|FormatError(what)| FormatError(format!("cell {}: {what}", at + 1)))
        })
        .collect();
    Ok(NotebookFile { cells: cells?, metadata, minor: minor.unwrap_or(0), others })
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
    let cell_type = match others.remove("cell_type").as_ref().and_then(Value::as_str) {
        Some("code") => CellType::Code,
        Some("markdown") => CellType::Markdown,
        Some("raw") => CellType::Raw,
        // Before 4.0 was final, headings were cells.
        Some("heading") => CellType::Markdown,
        _ => return Err(FormatError("its `cell_type` must be code, markdown or raw".to_owned())),
    };
    let source = match others.remove("source") {
        None | Some(Value::Null) => String::new(),
        Some(source) => joined(&source)
            .ok_or_else(|| FormatError("its `source` must be a string or a list of lines".to_owned()))?,
    };
    let metadata = object_of(others.remove("metadata"), "its `metadata`")?;
    let mut attachments = match others.remove("attachments") {
        None | Some(Value::Null) => None,
        Some(value) => Some(object_of(Some(value), "its `attachments`")?),
    };
    for bundle in attachments.iter_mut().flat_map(Object::values_mut) {
        if let Value::Object(bundle) = bundle {
            join_bundle(bundle);
        }
    }
    let id = match others.remove("id") {
        Some(Value::String(id)) if !id.is_empty() => Some(id),
        _ => None,
    };
    let (mut outputs, mut execution_count) = (Vec::new(), None);
    if cell_type == CellType::Code {
        execution_count = others
            .remove("execution_count")
            .and_then(|count| count.as_u64())
            .and_then(|count| count.try_into().ok());
        match others.remove("outputs") {
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

/// Reads an output from a file, or the content of a message. One that is not understood is kept as it is.
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
    NotebookFile { cells: vec![cell], metadata, minor: 5, others: Object::new() }.to_bytes()
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
mod tests {
    use super::*;

    #[test]
    fn a_canonical_file_is_written_back_unchanged() {
        let text = concat!(
            "{\n \"cells\": [\n  {\n   \"attachments\": {\n    \"a.png\": {\n     \"image/png\": \"iVBO\"\n    }\n   },\n",
            "   \"cell_type\": \"markdown\",\n   \"id\": \"a1\",\n   \"metadata\": {},\n   \"source\": [\n    \"# Ü\\n\",\n    \"x\"\n   ]\n  },\n",
            "  {\n   \"cell_type\": \"code\",\n   \"execution_count\": 3,\n   \"future\": 1.5,\n   \"id\": \"b2\",\n   \"metadata\": {\n    \"tags\": [\n     \"t\"\n    ]\n   },\n",
            "   \"outputs\": [\n    {\n     \"data\": {\n      \"application/json\": {\n       \"a\": [\n        1,\n        2\n       ]\n      },\n      \"text/plain\": [\n       \"1\\n\",\n       \"2\"\n      ]\n     },\n     \"execution_count\": 3,\n     \"metadata\": {},\n     \"output_type\": \"execute_result\"\n    },\n",
            "    {\n     \"name\": \"stdout\",\n     \"output_type\": \"stream\",\n     \"text\": [\n      \"hi\\n\"\n     ]\n    },\n    {\n     \"new\": true,\n     \"output_type\": \"hologram\"\n    }\n   ],\n   \"source\": []\n  }\n ],\n",
            " \"metadata\": {\n  \"kernelspec\": {\n   \"name\": \"x\"\n  },\n  \"other\": null\n },\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n",
        );
        let notebook = parse(text.as_bytes()).unwrap();
        assert_eq!(notebook.cells[0].source, "# Ü\nx");
        assert_eq!(String::from_utf8(notebook.to_bytes()).unwrap(), text);
    }

    #[test]
    fn faults_name_the_cell() {
        for (text, what) in [
            ("[]", "it has no `nbformat` number"),
            ("{", "it is not JSON: EOF while parsing an object at line 1 column 1"),
            (r#"{"nbformat": 9}"#, "its format 9 is not supported, only 3 and 4 are"),
            (r#"{"nbformat": 4}"#, "it has no list of `cells`"),
            (r#"{"nbformat": 4, "cells": [{"cell_type": "code"}, 7]}"#, "cell 2: it is not an object"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), what);
        }
    }

    #[test]
    fn format_3_is_upgraded() {
        let old = json!({"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "x"}, "worksheets": [{"metadata": {}, "cells": [
            {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["Title"]},
            {"cell_type": "code", "language": "python", "metadata": {}, "collapsed": false, "prompt_number": 1,
             "input": ["1+1"], "outputs": [{"output_type": "pyout", "prompt_number": 1, "metadata": {}, "text": ["2"]}]},
        ]}]});
        let notebook = parse(old.to_string().as_bytes()).unwrap();
        assert_eq!(notebook.cells[0].source, "## Title");
        assert_eq!((notebook.cells[1].source.as_str(), notebook.cells[1].outputs.len()), ("1+1", 1));
    }
}
