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
use crate::sessions::session_json;
use crate::state::Shared;

pub(super) async fn list(State(notebook): State<Shared>) -> Result<Json<Value>> {
    let sessions = notebook.sessions.list().await?;
    Ok(Json(sessions.iter().map(|(session, kernel)| session_json(session, kernel)).collect()))
}

pub(super) async fn open(
    State(notebook): State<Shared>,
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
    let (session, kernel) =
        notebook.sessions.open(path.trim_matches('/'), name, kind, kernel_name, kernel_id).await?;
    let location = format!("{}api/sessions/{}", place.base(), session.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(session_json(&session, &kernel)))
        .into_response())
}

pub(super) async fn show(State(notebook): State<Shared>, Path(id): Path<String>) -> Result<Json<Value>> {
    let found = notebook.sessions.find(&id).await?;
    let (session, kernel) = found.ok_or_else(|| ApiError::missing(format!("there is no session `{id}`")))?;
    Ok(Json(session_json(&session, &kernel)))
}

pub(super) async fn change(
    State(notebook): State<Shared>,
    Path(id): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Value>> {
    let body = object(body)?;
    let (session, kernel) = notebook.sessions.change(&id, &Value::Object(body)).await?;
    Ok(Json(session_json(&session, &kernel)))
}

pub(super) async fn close(State(notebook): State<Shared>, Path(id): Path<String>) -> Result<StatusCode> {
    notebook.sessions.close(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
