//! `/api/contents`: shows and changes the files below the served folder, like Jupyter Server.

mod checkpoints;
mod entry;
mod make;
mod read;
mod save;

use axum::Json;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::checkpoints::{
    CHECKPOINT, list_checkpoints, make_checkpoint, restore_checkpoint, split_checkpoints, trusted,
};
use self::entry::{EntryKind, model};
use self::make::make;
use self::read::{Wanted, read};
use self::save::save;
use super::error::{ApiError, Result, blocking, object};
use super::kernels::optional_text;
use super::location::RequestLocation;
use super::percent::encode;
use crate::access::Level;
use crate::files::{FileError, RelativePath};
use crate::format;
use crate::identity::Principal;
use crate::state::Shared;

#[derive(Deserialize, Default)]
pub(super) struct GetQuery {
    r#type: Option<String>,
    format: Option<String>,
    content: Option<String>,
    hash: Option<String>,
}

/// The path of an entry that a request changes. Jupyter's clients expect 400 for hidden names, not 404.
fn writable(path: &str) -> Result<RelativePath> {
    RelativePath::parse(path).map_err(|error| match error {
        FileError::NotFound(path) => {
            ApiError::bad(format!("`{path}` is hidden: hidden files cannot be changed here"))
        }
        error => error.into(),
    })
}

fn flag(name: &str, value: Option<&str>, default: bool) -> Result<bool> {
    match value {
        None => Ok(default),
        Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(ApiError::bad(format!("`{name}` must be 0 or 1, not `{other}`"))),
    }
}

pub(super) async fn get_root(
    notebook: State<Shared>,
    principal: Principal,
    query: Result<Query<GetQuery>, QueryRejection>,
) -> Result<Response> {
    get(notebook, principal, Path(String::new()), query).await
}

pub(super) async fn get(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    query: std::result::Result<Query<GetQuery>, QueryRejection>,
) -> Result<Response> {
    let Query(query) = query.map_err(|rejection| ApiError::bad(rejection.body_text()))?;
    let (path, checkpoints) = split_checkpoints(&notebook, &path).await?;
    notebook.may(&principal, Level::View, &path)?;
    match checkpoints {
        Some(None) => return list_checkpoints(&notebook, path).await,
        Some(Some(_)) => return Err(ApiError::missing("a checkpoint can be restored or deleted, not read")),
        None => {}
    }
    let wanted = Wanted {
        kind: query.r#type.as_deref().map(EntryKind::parse).transpose()?,
        format: query.format,
        content: flag("content", query.content.as_deref(), true)?,
        hash: flag("hash", query.hash.as_deref(), false)?,
        limit_bytes: notebook.settings.limits.body_bytes,
    };
    // An open document may be newer than its file.
    notebook.documents.flush(&path).await;
    let files = notebook.files.clone();
    let access = notebook.access.clone();
    let shown =
        blocking(move || read(&files, &path, &wanted, |entry| access.level(&principal, entry).is_some()));
    Ok(Json(shown.await?).into_response())
}

pub(super) async fn post_root(
    notebook: State<Shared>,
    principal: Principal,
    place: RequestLocation,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    post(notebook, principal, place, Path(String::new()), body).await
}

/// Creates an entry in a folder, or a checkpoint of a file.
pub(super) async fn post(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    writable(&path)?;
    if trusted(&notebook, &principal, &path).await?.is_some() {
        // Outputs always run in sandboxed frames, so there is nothing to sign.
        return Ok(StatusCode::CREATED.into_response());
    }
    let (path, checkpoints) = split_checkpoints(&notebook, &path).await?;
    notebook.may(&principal, Level::Edit, &path)?;
    match checkpoints {
        Some(None) => return make_checkpoint(&notebook, &place, path).await,
        Some(Some(id)) => return restore_checkpoint(&notebook, path, &id).await,
        None => {}
    }
    let body = object(body)?;
    let copy_from = optional_text(&body, "copy_from")?.map(str::to_owned);
    let ext = optional_text(&body, "ext")?.unwrap_or_default().to_owned();
    if !ext.is_empty() && (!ext.starts_with('.') || ext.contains('/')) {
        return Err(ApiError::bad("`ext` must begin with a dot and must not contain a slash"));
    }
    let kind = match optional_text(&body, "type")? {
        Some(kind) => EntryKind::parse(kind)?,
        None if ext == ".ipynb" => EntryKind::Notebook,
        None => EntryKind::File,
    };
    let source = copy_from.map(|source| writable(&source)).transpose()?;
    if let Some(source) = &source {
        notebook.may_below(&principal, Level::View, source).await?;
        notebook.flush_everywhere(source).await.map_err(ApiError::unavailable)?;
        let bytes = notebook.files.facts(source)?.size;
        notebook.admit_bytes(&path.join("copy")?, usize::try_from(bytes).unwrap_or(usize::MAX)).await?;
    }
    let specs = notebook.kernel_specs.specs().await;
    let empty = format::empty(specs.default.as_ref().and_then(|name| specs.specs.get(name)));
    let (files, limit) = (notebook.files.clone(), notebook.settings.limits.body_bytes);
    let shown = blocking(move || make(&files, &path, source.as_ref(), kind, &ext, &empty, limit)).await?;
    notebook.happened("create", &shown, None).await;
    Ok(created(&place, shown))
}

fn created(place: &RequestLocation, shown: Map<String, Value>) -> Response {
    (StatusCode::CREATED, [(header::LOCATION, address(place, &shown))], Json(shown)).into_response()
}

/// Where an entry is.
fn address(place: &RequestLocation, shown: &Map<String, Value>) -> String {
    let path = shown.get("path").and_then(Value::as_str).unwrap_or_default();
    format!("{}api/contents/{}", place.base(), encode(path))
}

/// Writes an entry, whole or in part.
pub(super) async fn put(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    let path = writable(&path)?;
    notebook.may(&principal, Level::Edit, &path)?;
    let body_bytes = body.as_ref().map_or(0, Bytes::len);
    let body = object(body)?;
    if body.get("copy_from").is_some_and(|source| !source.is_null()) {
        return Err(ApiError::bad("a PUT cannot copy: send `copy_from` in a POST to the folder"));
    }
    if let Some(named) = optional_text(&body, "path")? {
        writable(named)?;
    }
    if path.is_root() {
        return Err(ApiError::bad("the served folder itself cannot be written"));
    }
    notebook.admit_bytes(&path, body_bytes).await?;
    notebook.documents.flush(&path).await;
    let files = notebook.files.clone();
    let limit = notebook.settings.limits.body_bytes;
    let written = path.clone();
    let specs = notebook.kernel_specs.specs().await;
    let empty = format::empty(specs.default.as_ref().and_then(|name| specs.specs.get(name)));
    let (shown, new) = blocking(move || save(&files, &written, &body, &empty, limit)).await?;
    // Makes an open document check the disk at once.
    notebook.documents.flush(&path).await;
    notebook.happened("save", &shown, None).await;
    Ok(if new { created(&place, shown) } else { Json(shown).into_response() })
}

/// Renames an entry.
pub(super) async fn patch(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    let from = writable(&path)?;
    notebook.may(&principal, Level::Manage, &from)?;
    let body = object(body)?;
    let to =
        optional_text(&body, "path")?.ok_or_else(|| ApiError::bad("`path` (the new path) is missing"))?;
    let to = writable(to)?;
    if to.is_root() {
        return Err(ApiError::bad("`path` must not be empty"));
    }
    notebook.may(&principal, Level::Edit, &to)?;
    notebook.rename(&from, &to).await?;
    let files = notebook.files.clone();
    let shown = blocking(move || {
        let facts = files.facts(&to)?;
        Ok::<_, FileError>(model(&to, &facts, EntryKind::of(&to, &facts)))
    })
    .await?;
    notebook.happened("rename", &shown, Some(from.as_str())).await;
    Ok(([(header::LOCATION, address(&place, &shown))], Json(shown)).into_response())
}

pub(super) async fn delete(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
) -> Result<StatusCode> {
    writable(&path)?;
    let (path, checkpoints) = split_checkpoints(&notebook, &path).await?;
    notebook.may(&principal, Level::Manage, &path)?;
    let files = notebook.files.clone();
    match checkpoints {
        Some(Some(id)) if id == CHECKPOINT => {
            let checkpoint =
                path.checkpoint().ok_or_else(|| ApiError::missing("there is no such checkpoint"))?;
            blocking(move || files.remove(&checkpoint)).await?;
        }
        Some(_) => return Err(ApiError::missing("there is no such checkpoint")),
        None => {
            if path.is_root() {
                return Err(ApiError::bad("the served folder itself cannot be deleted"));
            }
            let removed = path.clone();
            blocking(move || files.facts(&removed)).await?;
            notebook.move_to_trash(&path, &principal.name).await?;
            let gone = Map::from_iter([("path".to_owned(), path.as_str().into())]);
            notebook.happened("delete", &gone, None).await;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
