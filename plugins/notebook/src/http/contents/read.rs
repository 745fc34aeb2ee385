//! Reads an entry: its facts, its content, its hash.

use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::entry::{EntryKind, model};
use crate::files::{Files, RelativePath};
use crate::format;
use crate::http::error::{ApiError, Result};

/// Base64 in the form of Python's encoders: with line breaks, which are removed first, and with or without padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a client requests.
pub(super) struct Wanted {
    pub(super) kind: Option<EntryKind>,
    pub(super) format: Option<String>,
    pub(super) content: bool,
    pub(super) hash: bool,
    pub(super) limit_bytes: usize,
}

/// Reads the requested parts of an entry. A folder lists only its visible entries.
pub(super) fn read(
    files: &Files,
    path: &RelativePath,
    wanted: &Wanted,
    is_visible: impl Fn(&RelativePath) -> bool,
) -> Result<Map<String, Value>> {
    let facts = files.facts(path)?;
    let natural = EntryKind::of(path, &facts);
    let kind = wanted.kind.unwrap_or(natural);
    if (kind == EntryKind::Directory) != facts.is_dir {
        // Clients show these messages of Jupyter Server.
        let what = if facts.is_dir {
            format!("a directory, not a {}", kind.name())
        } else {
            "not a directory".to_owned()
        };
        return Err(ApiError::bad(format!("{path} is {what}")));
    }
    let mut shown = model(path, &facts, kind);
    if !wanted.content && !wanted.hash {
        return Ok(shown);
    }
    if kind == EntryKind::Directory {
        if wanted.content {
            let entries = files.list(path)?;
            let entries = entries
                .iter()
                .filter(|(path, _)| is_visible(path))
                .map(|(path, facts)| Value::Object(model(path, facts, EntryKind::of(path, facts))));
            shown.insert("content".into(), entries.collect());
            shown.insert("format".into(), "json".into());
        }
        return Ok(shown);
    }
    let (bytes, _) = files.read(path, wanted.limit_bytes)?;
    if wanted.hash {
        shown.insert("hash".into(), sha256(&bytes).into());
        shown.insert("hash_algorithm".into(), "sha256".into());
    }
    if !wanted.content {
        return Ok(shown);
    }
    if kind == EntryKind::Notebook {
        let notebook = format::parse(&bytes)
            .map_err(|error| ApiError::bad(format!("`{path}` is not a notebook: {error}")))?;
        shown.insert("content".into(), notebook.to_joined_json());
        shown.insert("format".into(), "json".into());
        if !notebook.problems.is_empty() {
            let message = format!("Notebook validation failed: {}", notebook.problems.join("; "));
            shown.insert("message".into(), message.into());
        }
        return Ok(shown);
    }
    let (content, format) = match (wanted.format.as_deref(), String::from_utf8(bytes)) {
        (None | Some("text"), Ok(text)) => (text, "text"),
        (Some("text"), Err(_)) => return Err(ApiError::bad(format!("`{path}` is not UTF-8 text"))),
        (Some("base64"), Ok(text)) => (BASE64.encode(text), "base64"),
        (None | Some("base64"), Err(error)) => (BASE64.encode(error.as_bytes()), "base64"),
        (Some(other), _) => {
            return Err(ApiError::bad(format!("`format` must be text or base64, not `{other}`")));
        }
    };
    shown.insert("content".into(), content.into());
    shown.insert("format".into(), format.into());
    if shown["mimetype"].is_null() {
        let mimetype = if format == "text" { "text/plain" } else { "application/octet-stream" };
        shown.insert("mimetype".into(), mimetype.into());
    }
    Ok(shown)
}

/// The hash of `Contents` in Jupyter Server, in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
