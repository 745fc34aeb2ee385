//! An entry of the served folder, in the form for clients.

use serde_json::{Map, Value, json};

use crate::clock;
use crate::files::{Facts, RelativePath};
use crate::http::error::{ApiError, Result};

/// The kind of entry that a client requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Directory,
    Notebook,
    File,
}

impl EntryKind {
    pub(super) fn parse(text: &str) -> Result<EntryKind> {
        Ok(match text {
            "directory" => EntryKind::Directory,
            "notebook" => EntryKind::Notebook,
            "file" => EntryKind::File,
            other => {
                return Err(ApiError::bad(format!(
                    "`type` must be directory, notebook or file, not `{other}`"
                )));
            }
        })
    }

    pub(super) fn of(path: &RelativePath, facts: &Facts) -> EntryKind {
        match (facts.is_dir, path.is_notebook()) {
            (true, _) => EntryKind::Directory,
            (false, true) => EntryKind::Notebook,
            (false, false) => EntryKind::File,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            EntryKind::Directory => "directory",
            EntryKind::Notebook => "notebook",
            EntryKind::File => "file",
        }
    }
}

/// An entry without its content.
pub(super) fn model(path: &RelativePath, facts: &Facts, kind: EntryKind) -> Map<String, Value> {
    let mimetype = (kind == EntryKind::File)
        .then(|| mime_guess::from_path(path.name()).first().map(|mime| mime.to_string()))
        .flatten();
    let Value::Object(model) = json!({
        "name": path.name(),
        "path": path.as_str(),
        "last_modified": clock::rfc3339(facts.modified),
        "created": clock::rfc3339(facts.changed.min(facts.modified)),
        "content": null,
        "format": null,
        "mimetype": mimetype,
        "size": if facts.is_dir { Value::Null } else { facts.size.into() },
        "writable": facts.writable,
        "hash": null,
        "hash_algorithm": null,
        "type": kind.name(),
    }) else {
        return Map::new();
    };
    model
}
