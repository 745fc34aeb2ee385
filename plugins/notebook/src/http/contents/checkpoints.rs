//! Checkpoints: at most one copy per file, to which the file can be reset.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::access::Level;
use crate::clock;
use crate::files::{Facts, FileError, Files, RelativePath};
use crate::http::error::{ApiError, Result, blocking};
use crate::http::location::RequestLocation;
use crate::http::percent::encode;
use crate::identity::Principal;
use crate::state::Shared;

/// A file has at most one checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// `PATH`, `PATH/checkpoints` and `PATH/checkpoints/ID` share one route. The last two apply only if no file
/// has that path.
pub(super) async fn split_checkpoints(
    notebook: &Shared,
    path: &str,
) -> Result<(RelativePath, Option<Option<String>>)> {
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

/// The file of `PATH/trust`, unless a file has that path.
pub(super) async fn trusted(
    notebook: &Shared,
    principal: &Principal,
    path: &str,
) -> Result<Option<RelativePath>> {
    let Some(file) = path.trim_matches('/').strip_suffix("/trust") else { return Ok(None) };
    let (whole, file) = (RelativePath::parse(path)?, RelativePath::parse(file)?);
    let files = notebook.files.clone();
    let itself = blocking(move || Ok::<_, FileError>(files.facts(&whole).is_ok())).await?;
    if itself {
        return Ok(None);
    }
    notebook.may(principal, Level::Edit, &file)?;
    let files = notebook.files.clone();
    blocking(move || {
        if files.facts(&file)?.is_dir || !file.is_notebook() {
            return Err(ApiError::bad(format!("`{file}` is not a notebook: only notebooks are trusted")));
        }
        Ok(Some(file))
    })
    .await
}

fn checkpoint_model(facts: &Facts) -> Value {
    json!({"id": CHECKPOINT, "last_modified": clock::rfc3339(facts.modified)})
}

fn checkpoint_of(files: &Files, path: &RelativePath) -> Result<RelativePath> {
    if files.facts(path)?.is_dir {
        return Err(ApiError::bad("a folder has no checkpoints"));
    }
    path.checkpoint().ok_or_else(|| ApiError::bad("the served folder has no checkpoints"))
}

pub(super) async fn list_checkpoints(notebook: &Shared, path: RelativePath) -> Result<Response> {
    let files = notebook.files.clone();
    let found = blocking(move || {
        let checkpoint = checkpoint_of(&files, &path)?;
        Ok::<_, ApiError>(files.facts(&checkpoint).ok().map(|facts| checkpoint_model(&facts)))
    });
    Ok(Json(found.await?.into_iter().collect::<Vec<_>>()).into_response())
}

pub(super) async fn make_checkpoint(
    notebook: &Shared,
    place: &RequestLocation,
    path: RelativePath,
) -> Result<Response> {
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

pub(super) async fn restore_checkpoint(notebook: &Shared, path: RelativePath, id: &str) -> Result<Response> {
    if id != CHECKPOINT {
        return Err(ApiError::missing(format!("`{path}` has no checkpoint `{id}`")));
    }
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
