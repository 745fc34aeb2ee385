//! Notebooks from files of other programs, and back. Nothing here reads or writes files: bytes in, notebooks out.

mod archive;
mod export;
mod html;
mod prompts;
mod sage;
mod sagews;
mod script;
mod sws;

use serde_json::{Value, json};

pub use self::archive::{pack, unpack};
pub use self::export::{ExportFormat, export};
pub use self::sws::sws;
use crate::format::{self, FileOrigin, NotebookFile};
use crate::protocol::{Object, Output};

/// How much an archive may contain, in bytes.
pub const UNPACKED_BYTES: u64 = 1 << 30;
/// How many files an archive may contain.
pub const UNPACKED_FILES: usize = 10_000;

/// Why a file cannot be imported, for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ImportError(String);

impl ImportError {
    fn new(message: impl Into<String>) -> ImportError {
        ImportError(message.into())
    }
}

/// A file that belongs to a notebook or to an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedFile {
    /// Its path below the folder of the import, `/` between names.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// What an import makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The name of the notebook, without an extension, if the file has one.
    pub title: Option<String>,
    /// The notebook.
    pub notebook: NotebookFile,
    /// Its data files.
    pub files: Vec<ImportedFile>,
}

/// Whether a file with this extension (with its dot) can be made a notebook.
pub fn is_known(extension: &str) -> bool {
    matches!(extension, ".sws" | ".sagews" | ".txt" | ".html" | ".htm" | ".rst" | ".py")
}

/// Makes a notebook of a file with this extension.
/// # Errors
/// [`ImportError`].
pub fn import(extension: &str, bytes: &[u8]) -> Result<Imported, ImportError> {
    let text = || match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_start_matches('\u{feff}').replace("\r\n", "\n")),
        Err(error) => Err(ImportError::new(format!("it is not UTF-8 text: {error}"))),
    };
    match extension {
        ".sws" => sage::archive(bytes),
        ".sagews" => Ok(plain(sagews::cells(&text()?))),
        ".py" => Ok(plain(script::cells(&text()?))),
        ".html" | ".htm" => {
            let (title, cells) = html::cells(&text()?);
            Ok(Imported { title, ..plain(cells) })
        }
        ".rst" => Ok(plain(prompts::rst(&text()?))),
        ".txt" => {
            let text = text()?;
            match text.contains("{{{") {
                true => Ok(sage::text(&text)),
                false => Ok(plain(prompts::text(&text))),
            }
        }
        other => Err(ImportError::new(format!(
            "files with the extension `{other}` cannot be converted: use .sws, .sagews, .txt, .html, .rst or .py, or a .zip of them"
        ))),
    }
}

fn plain(cells: Vec<NewCell>) -> Imported {
    Imported { title: None, notebook: notebook(cells), files: Vec::new() }
}

/// A cell of an imported notebook.
#[derive(Debug, Clone, PartialEq)]
struct NewCell {
    is_code: bool,
    source: String,
    metadata: Object,
    outputs: Vec<Output>,
}

impl NewCell {
    fn code(source: impl Into<String>) -> NewCell {
        NewCell { is_code: true, source: source.into(), metadata: Object::new(), outputs: Vec::new() }
    }

    fn markdown(source: impl Into<String>) -> NewCell {
        NewCell { is_code: false, source: source.into(), metadata: Object::new(), outputs: Vec::new() }
    }

    fn printed(mut self, text: &str) -> NewCell {
        let text = text.trim_matches('\n');
        if !text.is_empty() {
            self.outputs.push(Output::Stream { name: "stdout".into(), text: format!("{text}\n") });
        }
        self
    }
}

/// An output of data of one type.
fn display(mime: &str, data: impl Into<Value>) -> Output {
    Output::DisplayData { data: Object::from_iter([(mime.to_owned(), data.into())]), metadata: Object::new() }
}

fn notebook(cells: Vec<NewCell>) -> NotebookFile {
    let cells: Vec<Value> = cells
        .into_iter()
        .map(|cell| {
            let mut json = json!({
                "cell_type": if cell.is_code { "code" } else { "markdown" },
                "id": format::new_cell_id(), "source": cell.source, "metadata": cell.metadata,
            });
            if cell.is_code {
                json["outputs"] = json!(cell.outputs);
                json["execution_count"] = Value::Null;
            }
            json
        })
        .collect();
    let file = json!({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5});
    // It is one by construction.
    let empty = || NotebookFile::new(Vec::new(), Object::new(), 5, Object::new(), FileOrigin::default());
    format::from_json(file).unwrap_or_else(|_| empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cells as `c` or `m` with their sources, and the texts of the outputs after `->`.
    pub(super) fn shown(notebook: &NotebookFile) -> Vec<String> {
        let output = |output: &Output| match output {
            Output::Stream { text, .. } => format!(" -> {}", text.trim_end()),
            Output::DisplayData { data, .. } => format!(" -> {}", data.keys().next().unwrap()),
            other => panic!("{other:?}"),
        };
        notebook
            .cells
            .iter()
            .map(|cell| {
                let kind = if cell.cell_type == crate::protocol::CellType::Code { "c" } else { "m" };
                format!("{kind} {}{}", cell.source, cell.outputs.iter().map(output).collect::<String>())
            })
            .collect()
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        assert!(import(".exe", b"MZ").unwrap_err().to_string().contains(".sagews"));
        assert!(import(".py", b"\xff").unwrap_err().to_string().contains("UTF-8"));
        assert!(import(".sws", b"no archive").is_err());
    }
}
