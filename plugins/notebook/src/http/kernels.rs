//! `/api/kernelspecs` and `/api/kernels`.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use super::error::{ApiError, Result, blocking, object};
use super::location::RequestLocation;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::kernel::wire::KernelModel;
use crate::sessions::kernel_json;
use crate::state::Shared;

pub(super) async fn specs(State(notebook): State<Shared>, place: RequestLocation) -> Json<Value> {
    let specs = notebook.kernel_specs.specs().await;
    let shown: Map<String, Value> =
        specs.specs.values().map(|spec| (spec.name.clone(), spec.to_json(&place.base()))).collect();
    Json(json!({"default": specs.default, "kernelspecs": shown, "message": specs.message}))
}

pub(super) async fn spec(
    State(notebook): State<Shared>,
    place: RequestLocation,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    let specs = notebook.kernel_specs.specs().await;
    let spec = specs
        .specs
        .get(&name.to_lowercase())
        .ok_or_else(|| ApiError::missing(format!("there is no kernelspec `{name}`")))?;
    Ok(Json(spec.to_json(&place.base())))
}

pub(super) async fn resource(
    State(notebook): State<Shared>,
    Path((name, file)): Path<(String, String)>,
) -> Result<Response> {
    let specs = notebook.kernel_specs.specs().await;
    let path = specs.specs.get(&name.to_lowercase()).and_then(|spec| spec.resource(&file));
    let path =
        path.ok_or_else(|| ApiError::missing(format!("the kernelspec `{name}` has no file `{file}`")))?;
    let kind = mime_guess::from_path(&file).first_or_octet_stream().to_string();
    let missing = move |error: std::io::Error| ApiError::missing(format!("cannot read `{file}`: {error}"));
    let content = blocking(move || std::fs::read(path).map_err(missing)).await?;
    Ok(([(header::CONTENT_TYPE, kind)], content).into_response())
}

pub(super) async fn list(State(notebook): State<Shared>, principal: Principal) -> Result<Json<Value>> {
    let usable = notebook.usable_kernels(&principal).await?;
    let kernels = notebook.link.list().await?;
    let seen = |kernel: &&KernelModel| usable.as_ref().is_none_or(|usable| usable.contains(&kernel.id));
    Ok(Json(kernels.iter().filter(seen).map(kernel_json).collect()))
}

pub(super) async fn start(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    let body = object(body)?;
    let name = optional_text(&body, "name")?;
    let path = optional_text(&body, "path")?;
    let id = optional_text(&body, "kernel_id")?;
    if let Some(id) = id
        && uuid::Uuid::parse_str(id).is_err()
    {
        return Err(ApiError::bad("`kernel_id` must be a UUID"));
    }
    if let Some(id) = id
        && notebook.link.kernel(id).await.is_ok()
    {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("Kernel already exists: {id}")));
    }
    let path = path.filter(|path| !path.is_empty()).or(principal.home());
    let folder = RelativePath::parse(path.unwrap_or_default())?;
    notebook.may(&principal, Level::Run, &folder)?;
    let kernel = notebook.sessions.start_kernel(name, path, id.map(str::to_owned)).await?;
    notebook.sessions.remember_starter(&principal, &kernel.id).await?;
    notebook.kernel_did("start", &kernel).await;
    let location = format!("{}api/kernels/{}", place.base(), kernel.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(kernel_json(&kernel))).into_response())
}

/// The string `key` of a body. Null counts as absent.
pub(super) fn optional_text<'a>(body: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::bad(format!("`{key}` must be a string"))),
    }
}

pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    notebook.may_use_kernel(&principal, &id).await?;
    Ok(Json(kernel_json(&notebook.link.kernel(&id).await?)))
}

pub(super) async fn shutdown(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    notebook.may_use_kernel(&principal, &id).await?;
    let kernel = notebook.link.kernel(&id).await?;
    notebook.kernel_did("shutdown", &kernel).await;
    notebook.link.shutdown(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn interrupt(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    notebook.may_use_kernel(&principal, &id).await?;
    notebook.link.interrupt(&id).await?;
    notebook.kernel_did("interrupt", &notebook.link.kernel(&id).await?).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn restart(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    notebook.may_use_kernel(&principal, &id).await?;
    let kernel = notebook.link.restart(&id).await?;
    notebook.kernel_did("restart", &kernel).await;
    Ok(Json(kernel_json(&kernel)))
}
