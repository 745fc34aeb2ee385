//! Writes an entry, whole or in parts.

use base64::Engine;
use serde_json::{Map, Value};

use super::entry::{EntryKind, model};
use super::read::{BASE64, sha256};
use crate::clock;
use crate::files::{Expect, Facts, FileError, Files, RelativePath};
use crate::format;
use crate::http::error::{ApiError, Result};
use crate::http::kernels::optional_text;

/// Writes what a request contains. Returns the entry, and whether it is new.
pub(super) fn save(
    files: &Files,
    path: &RelativePath,
    body: &Map<String, Value>,
    empty_notebook: &[u8],
    limit: usize,
) -> Result<(Map<String, Value>, bool)> {
    let present = files.facts(path).ok();
    let natural = match present {
        Some(facts) => EntryKind::of(path, &facts),
        None if path.is_notebook() => EntryKind::Notebook,
        None => EntryKind::File,
    };
    let kind = optional_text(body, "type")?.map_or(Ok(natural), EntryKind::parse)?;
    if present.is_some_and(|facts| facts.is_dir != (kind == EntryKind::Directory)) {
        return Err(ApiError::bad(format!("`{path}` already exists and is a {}", natural.name())));
    }
    check_basis(files, path, body, present.as_ref(), limit)?;
    if kind == EntryKind::Directory {
        if present.is_none() {
            files.make_dir(path)?;
        }
        let facts = files.facts(path)?;
        return Ok((model(path, &facts, kind), present.is_none()));
    }
    let content = body.get("content").filter(|content| !content.is_null());
    if content.is_none() && present.is_none() {
        // A PUT without content makes an empty entry, as in Jupyter Server.
        let bytes = if kind == EntryKind::Notebook { empty_notebook } else { b"" };
        let facts = files.write_expecting(path, bytes, Expect::Absent)?;
        return Ok((model(path, &facts, kind), true));
    }
    let content = content.ok_or_else(|| ApiError::bad("`content` is missing"))?;
    let format = optional_text(body, "format")?;
    let bytes = match (kind, content) {
        (EntryKind::Notebook, content @ Value::Object(_)) => {
            let notebook = format::from_json(content.clone())
                .map_err(|error| ApiError::bad(format!("`content` is not a notebook: {error}")))?;
            notebook.to_bytes()
        }
        (EntryKind::Notebook, _) => return Err(ApiError::bad("`content` of a notebook must be an object")),
        (_, Value::String(text)) => match format {
            None | Some("text") => text.clone().into_bytes(),
            Some("base64") => {
                let packed: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
                BASE64
                    .decode(packed)
                    .map_err(|error| ApiError::bad(format!("`content` is not base64: {error}")))?
            }
            Some(other) => {
                return Err(ApiError::bad(format!("`format` must be text or base64, not `{other}`")));
            }
        },
        (_, _) => return Err(ApiError::bad("`content` of a file must be a string")),
    };
    match body.get("chunk") {
        None | Some(Value::Null) => {
            files.write(path, &bytes)?;
        }
        Some(chunk) => {
            let chunk = chunk.as_i64().filter(|chunk| *chunk == -1 || *chunk > 0);
            let chunk = chunk.ok_or_else(|| ApiError::bad("`chunk` must be 1, 2, … and -1 for the last"))?;
            files.add_to_upload(path, &bytes, chunk == 1)?;
            if chunk != -1 {
                let now = std::time::SystemTime::now();
                let facts = Facts {
                    is_dir: false,
                    size: 0,
                    modified: now,
                    changed: now,
                    writable: true,
                    identity: (0, 0),
                };
                return Ok((model(path, &facts, kind), false));
            }
            files.finish_upload(path)?;
        }
    }
    let facts = files.facts(path)?;
    Ok((model(path, &facts, kind), present.is_none()))
}

/// If the client states the version that it knows (`if_last_modified`, `if_hash`), the file must still have that version.
fn check_basis(
    files: &Files,
    path: &RelativePath,
    body: &Map<String, Value>,
    present: Option<&Facts>,
    limit: usize,
) -> Result<()> {
    let changed = || Err(FileError::Changed(path.to_string()).into());
    if let Some(known) = optional_text(body, "if_last_modified")?
        && present.map(|facts| clock::rfc3339(facts.modified)).as_deref() != Some(known)
    {
        return changed();
    }
    if let Some(known) = optional_text(body, "if_hash")? {
        let (bytes, _) = files.read(path, limit)?;
        if sha256(&bytes) != known {
            return changed();
        }
    }
    Ok(())
}
