//! `/api/contents`: shows and changes the files below the served folder, like Jupyter Server.

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error::{ApiError, Result, blocking, object};
use super::guard::encode;
use super::kernels::optional_text;
use super::location::RequestLocation;
use crate::clock;
use crate::files::{Expect, Facts, FileError, Files, RelativePath};
use crate::format;
use crate::state::Shared;

/// Base64 as Python's encoders write it: with line ends, which are removed first, and with or without
/// padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize, Default)]
pub(super) struct GetQuery {
    r#type: Option<String>,
    format: Option<String>,
    content: Option<String>,
    hash: Option<String>,
}

/// The kind of entry that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Notebook,
    File,
}

impl Kind {
    fn parse(text: &str) -> Result<Kind> {
        Ok(match text {
            "directory" => Kind::Directory,
            "notebook" => Kind::Notebook,
            "file" => Kind::File,
            other => {
                return Err(ApiError::bad(format!(
                    "`type` must be directory, notebook or file, not `{other}`"
                )));
            }
        })
    }

    fn of(path: &RelativePath, facts: &Facts) -> Kind {
        match (facts.is_dir, path.is_notebook()) {
            (true, _) => Kind::Directory,
            (false, true) => Kind::Notebook,
            (false, false) => Kind::File,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Directory => "directory",
            Kind::Notebook => "notebook",
            Kind::File => "file",
        }
    }
}

fn flag(name: &str, value: Option<&str>, default: bool) -> Result<bool> {
    match value {
        None => Ok(default),
        Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(ApiError::bad(format!("`{name}` must be 0 or 1, not `{other}`"))),
    }
}

/// An entry without its content.
fn model(path: &RelativePath, facts: &Facts, kind: Kind) -> Map<String, Value> {
    let mimetype = (kind == Kind::File)
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

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Wanted {
    kind: Option<Kind>,
    format: Option<String>,
    content: bool,
    hash: bool,
    limit_bytes: usize,
}

fn read(files: &Files, path: &RelativePath, wanted: &Wanted) -> Result<Map<String, Value>> {
    let facts = files.facts(path)?;
    let natural = Kind::of(path, &facts);
    let kind = wanted.kind.unwrap_or(natural);
    if (kind == Kind::Directory) != facts.is_dir {
        let what = if facts.is_dir { "a folder" } else { "not a folder" };
        return Err(ApiError::bad(format!("`{path}` is {what}, so its type is not {}", kind.name())));
    }
    let mut shown = model(path, &facts, kind);
    if !wanted.content && !wanted.hash {
        return Ok(shown);
    }
    if kind == Kind::Directory {
        if wanted.content {
            let entries = files.list(path)?;
            let entries =
                entries.iter().map(|(path, facts)| Value::Object(model(path, facts, Kind::of(path, facts))));
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
    if kind == Kind::Notebook {
        let notebook = format::parse(&bytes)
            .map_err(|error| ApiError::bad(format!("`{path}` is not a notebook: {error}")))?;
        shown.insert("content".into(), notebook.to_joined_json());
        shown.insert("format".into(), "json".into());
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

/// `PATH`, `PATH/checkpoints` and `PATH/checkpoints/ID` share one route. The last two apply only if no file
/// has that path.
async fn split_checkpoints(notebook: &Shared, path: &str) -> Result<(RelativePath, Option<Option<String>>)> {
    let whole = RelativePath::parse(path)?;
    let trimmed = path.trim_matches('/');
    let (file, id) = match trimmed.strip_suffix("/checkpoints") {
        Some(file) => (file, None),
        None => match trimmed.rsplit_once("/checkpoints/") {
            Some((file, id)) if !id.contains('/') => (file, Some(id.to_owned())),
            _ => return Ok((whole, None)),
        },
    };
    let files = notebook.files.clone();
    let looked = whole.clone();
    let itself = blocking(move || Ok::<_, FileError>(files.facts(&looked).is_ok())).await?;
    if itself { Ok((whole, None)) } else { Ok((RelativePath::parse(file)?, Some(id))) }
}

pub(super) async fn get_root(
    notebook: State<Shared>,
    query: Result<Query<GetQuery>, QueryRejection>,
) -> Result<Response> {
    get(notebook, Path(String::new()), query).await
}

pub(super) async fn get(
    State(notebook): State<Shared>,
    Path(path): Path<String>,
    query: std::result::Result<Query<GetQuery>, QueryRejection>,
) -> Result<Response> {
    let Query(query) = query.map_err(|rejection| ApiError::bad(rejection.body_text()))?;
    let (path, checkpoints) = split_checkpoints(&notebook, &path).await?;
    match checkpoints {
        Some(None) => return list_checkpoints(&notebook, path).await,
        Some(Some(_)) => return Err(ApiError::missing("a checkpoint can be restored or deleted, not read")),
        None => {}
    }
    let wanted = Wanted {
        kind: query.r#type.as_deref().map(Kind::parse).transpose()?,
        format: query.format,
        content: flag("content", query.content.as_deref(), true)?,
        hash: flag("hash", query.hash.as_deref(), false)?,
        limit_bytes: notebook.settings.limits.body_bytes,
    };
    // An open document may be newer than its file.
    notebook.documents.flush(&path).await;
    let files = notebook.files.clone();
    Ok(Json(blocking(move || read(&files, &path, &wanted)).await?).into_response())
}

pub(super) async fn post_root(
    notebook: State<Shared>,
    place: RequestLocation,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    post(notebook, place, Path(String::new()), body).await
}

/// Creates an entry in a folder, or a checkpoint of a file.
pub(super) async fn post(
    State(notebook): State<Shared>,
    place: RequestLocation,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    let (path, checkpoints) = split_checkpoints(&notebook, &path).await?;
    match checkpoints {
        Some(None) => return make_checkpoint(&notebook, &place, path).await,
        Some(Some(_)) => return restore_checkpoint(&notebook, path).await,
        None => {}
    }
    let body = object(body)?;
    let copy_from = optional_text(&body, "copy_from")?.map(str::to_owned);
    let ext = optional_text(&body, "ext")?.unwrap_or_default().to_owned();
    if !ext.is_empty() && (!ext.starts_with('.') || ext.contains('/')) {
        return Err(ApiError::bad("`ext` must begin with a dot and must not contain a slash"));
    }
    let kind = match optional_text(&body, "type")? {
        Some(kind) => Kind::parse(kind)?,
        None if ext == ".ipynb" => Kind::Notebook,
        None => Kind::File,
    };
    let source = copy_from.map(|source| RelativePath::parse(&source)).transpose()?;
    if let Some(source) = &source {
        notebook.documents.flush(source).await;
    }
    let specs = notebook.kernel_specs.specs().await;
    let empty = format::empty(specs.default.as_ref().and_then(|name| specs.specs.get(name)));
    let (files, limit) = (notebook.files.clone(), notebook.settings.limits.body_bytes);
    let shown = blocking(move || make(&files, &path, source.as_ref(), kind, &ext, &empty, limit)).await?;
    Ok(created(&place, shown))
}

fn created(place: &RequestLocation, shown: Map<String, Value>) -> Response {
    let path = shown.get("path").and_then(Value::as_str).unwrap_or_default();
    let location = format!("{}api/contents/{}", place.base(), encode(path));
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(shown)).into_response()
}

fn make(
    files: &Files,
    folder: &RelativePath,
    source: Option<&RelativePath>,
    kind: Kind,
    ext: &str,
    empty_notebook: &[u8],
    limit: usize,
) -> Result<Map<String, Value>> {
    if !files.facts(folder)?.is_dir {
        return Err(ApiError::bad(format!("`{folder}` is not a folder")));
    }
    // Somebody else may take the name in the meantime. Then the next one is tried.
    for _ in 0..100 {
        let path = match source {
            Some(source) => {
                let (stem, ext) = source.split_name();
                // A copy of `a-Copy1` is `a-Copy2`.
                let is_copy = |at: &usize| stem[at + 5..].bytes().all(|byte| byte.is_ascii_digit());
                let stem = stem.rfind("-Copy").filter(is_copy).map_or(stem, |at| &stem[..at]);
                files.free_path(folder, |number| format!("{stem}-Copy{}{ext}", number + 1))?
            }
            None => {
                let (stem, between, ext) = match kind {
                    Kind::Directory => ("Untitled Folder", " ", ""),
                    Kind::Notebook => ("Untitled", "", ".ipynb"),
                    Kind::File => ("untitled", "", if ext.is_empty() { ".txt" } else { ext }),
                };
                let name = |number| {
                    if number == 0 { format!("{stem}{ext}") } else { format!("{stem}{between}{number}{ext}") }
                };
                files.free_path(folder, name)?
            }
        };
        let made = match (source, kind) {
            (Some(source), _) => {
                let (bytes, _) = files.read(source, limit)?;
                files.write_expecting(&path, &bytes, Expect::Absent).map(|_| ())
            }
            (None, Kind::Directory) => files.make_dir(&path),
            (None, Kind::Notebook) => {
                files.write_expecting(&path, empty_notebook, Expect::Absent).map(|_| ())
            }
            (None, Kind::File) => files.write_expecting(&path, b"", Expect::Absent).map(|_| ()),
        };
        match made {
            Ok(()) => {
                let facts = files.facts(&path)?;
                return Ok(model(&path, &facts, Kind::of(&path, &facts)));
            }
            Err(FileError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::new(StatusCode::CONFLICT, "found no free name"))
}

/// Writes a whole entry or a part of one.
pub(super) async fn put(
    State(notebook): State<Shared>,
    place: RequestLocation,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    let body = object(body)?;
    if path.is_root() {
        return Err(ApiError::bad("the served folder itself cannot be written"));
    }
    notebook.documents.flush(&path).await;
    let files = notebook.files.clone();
    let limit = notebook.settings.limits.body_bytes;
    let written = path.clone();
    let (shown, new) = blocking(move || save(&files, &written, &body, limit)).await?;
    // Makes an open document check the disk at once.
    notebook.documents.flush(&path).await;
    Ok(if new { created(&place, shown) } else { Json(shown).into_response() })
}

fn save(
    files: &Files,
    path: &RelativePath,
    body: &Map<String, Value>,
    limit: usize,
) -> Result<(Map<String, Value>, bool)> {
    let present = files.facts(path).ok();
    let natural = match present {
        Some(facts) => Kind::of(path, &facts),
        None if path.is_notebook() => Kind::Notebook,
        None => Kind::File,
    };
    let kind = optional_text(body, "type")?.map_or(Ok(natural), Kind::parse)?;
    if present.is_some_and(|facts| facts.is_dir != (kind == Kind::Directory)) {
        return Err(ApiError::bad(format!("`{path}` already exists and is a {}", natural.name())));
    }
    check_basis(files, path, body, present.as_ref(), limit)?;
    if kind == Kind::Directory {
        if present.is_none() {
            files.make_dir(path)?;
        }
        let facts = files.facts(path)?;
        return Ok((model(path, &facts, kind), present.is_none()));
    }
    let content = body
        .get("content")
        .filter(|content| !content.is_null())
        .ok_or_else(|| ApiError::bad("`content` is missing"))?;
    let format = optional_text(body, "format")?;
    let bytes = match (kind, content) {
        (Kind::Notebook, content @ Value::Object(_)) => {
            let notebook = format::from_json(content.clone())
                .map_err(|error| ApiError::bad(format!("`content` is not a notebook: {error}")))?;
            notebook.to_bytes()
        }
        (Kind::Notebook, _) => return Err(ApiError::bad("`content` of a notebook must be an object")),
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

/// If the client states which version it knew (`if_last_modified`, `if_hash`), the file must still be that
/// one.
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

/// Renames an entry.
pub(super) async fn patch(
    State(notebook): State<Shared>,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    let from = RelativePath::parse(&path)?;
    let body = object(body)?;
    let to =
        optional_text(&body, "path")?.ok_or_else(|| ApiError::bad("`path` (the new path) is missing"))?;
    let to = RelativePath::parse(to)?;
    if to.is_root() {
        return Err(ApiError::bad("`path` must not be empty"));
    }
    notebook.documents.rename(&from, &to).await?;
    notebook.sessions.moved(&from, &to).await?;
    let files = notebook.files.clone();
    let shown = blocking(move || {
        let facts = files.facts(&to)?;
        Ok::<_, FileError>(model(&to, &facts, Kind::of(&to, &facts)))
    })
    .await?;
    Ok(Json(shown).into_response())
}

pub(super) async fn delete(State(notebook): State<Shared>, Path(path): Path<String>) -> Result<StatusCode> {
    let (path, checkpoints) = split_checkpoints(&notebook, &path).await?;
    let files = notebook.files.clone();
    match checkpoints {
        Some(Some(id)) if id == CHECKPOINT => {
            let checkpoint =
                path.checkpoint().ok_or_else(|| ApiError::missing("there is no such checkpoint"))?;
            blocking(move || files.remove(&checkpoint)).await?;
        }
        Some(_) => return Err(ApiError::missing("there is no such checkpoint")),
        None => {
            notebook.documents.close(&path, "the notebook was deleted").await;
            let removed = path.clone();
            blocking(move || files.remove(&removed)).await?;
            for (session, _) in notebook.sessions.list().await? {
                if session.path == path.as_str() {
                    notebook.sessions.close(&session.id).await?;
                }
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A file has at most one checkpoint.
const CHECKPOINT: &str = "checkpoint";

fn checkpoint_model(facts: &Facts) -> Value {
    json!({"id": CHECKPOINT, "last_modified": clock::rfc3339(facts.modified)})
}

fn checkpoint_of(files: &Files, path: &RelativePath) -> Result<RelativePath> {
    if files.facts(path)?.is_dir {
        return Err(ApiError::bad("a folder has no checkpoints"));
    }
    path.checkpoint().ok_or_else(|| ApiError::bad("the served folder has no checkpoints"))
}

async fn list_checkpoints(notebook: &Shared, path: RelativePath) -> Result<Response> {
    let files = notebook.files.clone();
    let found = blocking(move || {
        let checkpoint = checkpoint_of(&files, &path)?;
        Ok::<_, ApiError>(files.facts(&checkpoint).ok().map(|facts| checkpoint_model(&facts)))
    });
    Ok(Json(found.await?.into_iter().collect::<Vec<_>>()).into_response())
}

async fn make_checkpoint(notebook: &Shared, place: &RequestLocation, path: RelativePath) -> Result<Response> {
    notebook.documents.flush(&path).await;
    let (files, limit) = (notebook.files.clone(), notebook.settings.limits.body_bytes);
    let location = format!("{}api/contents/{}/checkpoints/{CHECKPOINT}", place.base(), encode(path.as_str()));
    let made = blocking(move || {
        let checkpoint = checkpoint_of(&files, &path)?;
        let (bytes, _) = files.read(&path, limit)?;
        files.make_checkpoint_folder(&checkpoint)?;
        Ok::<_, ApiError>(checkpoint_model(&files.write(&checkpoint, &bytes)?))
    });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made.await?)).into_response())
}

async fn restore_checkpoint(notebook: &Shared, path: RelativePath) -> Result<Response> {
    notebook.documents.flush(&path).await;
    let (files, limit) = (notebook.files.clone(), notebook.settings.limits.body_bytes);
    let restored = path.clone();
    blocking(move || {
        let checkpoint = checkpoint_of(&files, &restored)?;
        let (bytes, _) = files.read(&checkpoint, limit)?;
        files.write(&restored, &bytes).map_err(ApiError::from)
    })
    .await?;
    notebook.documents.flush(&path).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}
