//! `/api/sessions`.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde_json::{Map, Value};

use super::error::{ApiError, Result, object};
use super::kernels::optional_text;
use super::location::RequestLocation;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::{Principal, Role};
use crate::kernel::wire::KernelModel;
use crate::sessions::{Session, session_json};
use crate::state::Shared;

pub(super) async fn list(State(notebook): State<Shared>, principal: Principal) -> Result<Json<Value>> {
    let sessions = notebook.sessions.list().await?;
    let seen =
        |(session, _): &&(Session, KernelModel)| notebook.may_session(&principal, Level::View, session);
    Ok(Json(sessions.iter().filter(seen).map(|(session, kernel)| session_json(session, kernel)).collect()))
}

pub(super) async fn open(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    let body = object(body)?;
    let empty = Map::new();
    // Old clients send `notebook.path`.
    let old = body.get("notebook").and_then(Value::as_object);
    let path = optional_text(&body, "path")?.or(old.and_then(|old| old.get("path")?.as_str()));
    let path = path.filter(|path| !path.is_empty()).ok_or_else(|| ApiError::bad("`path` is missing"))?;
    let kind = optional_text(&body, "type")?
        .or(old.map(|_| "notebook"))
        .ok_or_else(|| ApiError::bad("`type` is missing"))?;
    let name = optional_text(&body, "name")?.unwrap_or_default();
    let kernel = match body.get("kernel") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(kernel)) => kernel,
        Some(_) => return Err(ApiError::bad("`kernel` must be an object")),
    };
    let (kernel_name, kernel_id) = (optional_text(kernel, "name")?, optional_text(kernel, "id")?);
    let path = path.trim_matches('/');
    may_open(&notebook, &principal, path)?;
    if let Some(id) = kernel_id
        && notebook.link.kernel(id).await.is_ok()
    {
        notebook.may_use_kernel(&principal, id).await?;
    }
    let (session, kernel) = notebook.sessions.open(path, name, kind, kernel_name, kernel_id).await?;
    let location = format!("{}api/sessions/{}", place.base(), session.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(session_json(&session, &kernel)))
        .into_response())
}

/// Checks that a session may be opened at `path` or moved there.
fn may_open(notebook: &Shared, principal: &Principal, path: &str) -> Result<()> {
    match RelativePath::parse(path) {
        Ok(path) => notebook.may(principal, Level::Run, &path),
        Err(_) if principal.role == Role::Admin => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The session `id`. Checks that `principal` has this level on its document.
async fn find(
    notebook: &Shared,
    principal: &Principal,
    level: Level,
    id: &str,
) -> Result<(Session, KernelModel)> {
    let found = notebook.sessions.find(id).await?;
    let found = found.filter(|(session, _)| notebook.may_session(principal, level, session));
    found.ok_or_else(|| ApiError::missing(format!("there is no session `{id}`")))
}

pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let (session, kernel) = find(&notebook, &principal, Level::View, &id).await?;
    Ok(Json(session_json(&session, &kernel)))
}

pub(super) async fn change(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Value>> {
    let body = object(body)?;
    find(&notebook, &principal, Level::Run, &id).await?;
    let old = body.get("notebook").and_then(|old| old["path"].as_str());
    if let Some(path) = optional_text(&body, "path")?.or(old) {
        may_open(&notebook, &principal, path)?;
    }
    if let Some(kernel) = body.get("kernel").and_then(|kernel| kernel["id"].as_str()) {
        notebook.may_use_kernel(&principal, kernel).await?;
    }
    let (session, kernel) = notebook.sessions.change(&id, &Value::Object(body)).await?;
    Ok(Json(session_json(&session, &kernel)))
}

pub(super) async fn close(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    find(&notebook, &principal, Level::Run, &id).await?;
    notebook.sessions.close(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
