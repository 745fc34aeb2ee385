//! `/lab/api/workspaces`: the open panels of JupyterLab.

use std::path::PathBuf;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::http::error::{ApiError, Result, blocking, object};
use crate::http::personal::{self, may_keep, read, write};
use crate::identity::Principal;
use crate::state::Shared;

/// The file of a workspace. The workspace's name may contain any characters.
fn file(notebook: &Shared, principal: &Principal, name: &str) -> PathBuf {
    let hash: String = Sha256::digest(name).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    notebook.personal(principal, "lab-workspaces").join(format!("{hash}.json"))
}

fn load(path: &std::path::Path) -> Result<Option<Value>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let mut workspace: Value = serde_json::from_str(&text).unwrap_or_default();
    let modified = std::fs::metadata(path).and_then(|facts| facts.modified()).map(clock::rfc3339).ok();
    if let Some(metadata) = workspace["metadata"].as_object_mut() {
        metadata.insert("last_modified".to_owned(), modified.clone().into());
        metadata.insert("created".to_owned(), modified.into());
    }
    Ok(Some(workspace))
}

pub(super) async fn list(State(notebook): State<Shared>, principal: Principal) -> Result<Json<Value>> {
    let folder = notebook.personal(&principal, "lab-workspaces");
    let workspaces = blocking(move || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| load(path).transpose()).collect::<Result<Vec<Value>>>()
    });
    let values = workspaces.await?;
    let ids: Vec<&Value> = values.iter().map(|workspace| &workspace["metadata"]["id"]).collect();
    Ok(Json(json!({"workspaces": {"ids": ids, "values": values}})))
}

pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    let path = file(&notebook, &principal, &name);
    let found = blocking(move || load(&path)).await?;
    Ok(Json(found.unwrap_or_else(|| json!({"data": {}, "metadata": {"id": name}}))))
}

pub(super) async fn save(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<StatusCode> {
    may_keep(&principal)?;
    let workspace = Value::Object(object(body)?);
    let id = workspace["metadata"]["id"].as_str().unwrap_or_default();
    if id.trim_start_matches('/') != name.trim_start_matches('/') {
        return Err(ApiError::bad(format!("`metadata.id` is `{id}`, but the address names `{name}`")));
    }
    let path = file(&notebook, &principal, &name);
    blocking(move || write(&path, &workspace.to_string())).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    may_keep(&principal)?;
    let path = file(&notebook, &principal, &name);
    match blocking(move || personal::remove(&path)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::missing(format!("there is no workspace `{name}`"))),
    }
}
