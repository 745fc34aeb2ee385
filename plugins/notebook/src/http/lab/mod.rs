//! JupyterLab's own pages, with `front_end = "lab"`: the files of the installed Python package, and the API that only
//! JupyterLab uses.
//!
//! # Source
//! jupyterlab_server, `handlers.py`, `config.py`, `settings_utils.py`, `workspaces_handler.py`.

mod install;
mod page;
mod settings;
mod workspaces;

use std::path::PathBuf;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use serde_json::json;

use super::error::{ApiError, Result, blocking};
use crate::state::Shared;

pub(super) use self::install::LabInstall;

/// The routes of JupyterLab.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/lab", get(page::show))
        .route("/lab/", get(page::show))
        .route("/lab/tree/{*path}", get(page::tree))
        .route("/lab/workspaces/{workspace}", get(page::workspace))
        .route("/lab/workspaces/{workspace}/tree/{*path}", get(page::workspace_tree))
        .route("/doc", get(page::document))
        .route("/doc/tree/{*path}", get(page::document_tree))
        .route("/static/lab/{*path}", get(file))
        .route("/lab/extensions/{*path}", get(extension))
        .route("/lab/api/themes/{*path}", get(theme))
        .route("/lab/api/settings", get(settings::list))
        .route("/lab/api/settings/", get(settings::list))
        .route("/lab/api/settings/{*id}", get(settings::show).put(settings::save))
        .route("/lab/api/workspaces", get(workspaces::list))
        .route("/lab/api/workspaces/", get(workspaces::list))
        .route(
            "/lab/api/workspaces/{*name}",
            get(workspaces::show).put(workspaces::save).delete(workspaces::remove),
        )
        .route("/lab/api/translations", get(languages))
        .route("/lab/api/translations/", get(languages))
        .route("/lab/api/translations/{locale}", get(language))
        .route("/lab/api/listings/{*path}", get(listings))
}

/// The installed JupyterLab.
async fn installed(notebook: &Shared) -> Result<LabInstall> {
    LabInstall::find(&notebook.kernel_specs.data_folders().await).map_err(ApiError::missing)
}

async fn send(candidates: Vec<PathBuf>, shown: &str) -> Result<Response> {
    let missing = format!("JupyterLab has no file `{shown}`");
    let (path, bytes) = blocking(move || {
        let found = candidates.into_iter().find_map(|path| Some((std::fs::read(&path).ok()?, path)));
        found.map(|(bytes, path)| (path, bytes)).ok_or_else(|| ApiError::missing(missing))
    })
    .await?;
    let kind = mime_guess::from_path(&path).first_or_octet_stream().to_string();
    let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind };
    // The names of the scripts contain the hash of their content.
    let named = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let hashed = named.split('.').any(|part| part.len() >= 16 && part.bytes().all(|b| b.is_ascii_hexdigit()));
    let cache = if hashed { "private, max-age=31536000, immutable" } else { "no-cache" };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache.to_owned())], bytes).into_response())
}

async fn file(State(notebook): State<Shared>, Path(path): Path<String>) -> Result<Response> {
    let lab = installed(&notebook).await?;
    send(lab.below(&[lab.folder.join("static")], &path)?, &path).await
}

async fn extension(State(notebook): State<Shared>, Path(path): Path<String>) -> Result<Response> {
    let lab = installed(&notebook).await?;
    send(lab.below(&lab.extensions, &path)?, &path).await
}

/// A file of a theme of JupyterLab or of an extension.
async fn theme(State(notebook): State<Shared>, Path(path): Path<String>) -> Result<Response> {
    let lab = installed(&notebook).await?;
    let mut candidates = lab.below(&[lab.folder.join("themes")], &path)?;
    for (name, folder) in lab.extension_folders() {
        if let Some(rest) = path.strip_prefix(&format!("{name}/")) {
            candidates.extend(lab.below(&[folder.join("themes").join(&name)], rest)?);
        }
        candidates.extend(lab.below(&[folder.join("themes")], &path)?);
    }
    send(candidates, &path).await
}

async fn languages() -> axum::Json<serde_json::Value> {
    axum::Json(json!({"data": {"en": {"displayName": "English", "nativeName": "English"}}, "message": ""}))
}

async fn language(Path(locale): Path<String>) -> axum::Json<serde_json::Value> {
    let message = match locale.as_str() {
        "en" | "en_US" | "default" => String::new(),
        other => format!("the language pack `{other}` is not supported: only English is"),
    };
    axum::Json(json!({"data": {}, "message": message}))
}

/// The rules for installing extensions. The extension manager here only lists them.
async fn listings() -> axum::Json<serde_json::Value> {
    axum::Json(json!({
        "blocked_extensions_uris": [], "allowed_extensions_uris": [], "blocked_extensions": [], "allowed_extensions": [],
    }))
}
