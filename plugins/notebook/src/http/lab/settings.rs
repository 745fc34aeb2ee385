//! `/lab/api/settings`: the schemas of JupyterLab's settings, and the user's values.

use std::path::{Path as FilePath, PathBuf};

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::install::{LabInstall, json_file};
use super::installed;
use crate::clock;
use crate::http::error::{ApiError, Result, blocking, object};
use crate::http::kernels::optional_text;
use crate::http::personal::{may_keep, read, write};
use crate::identity::Principal;
use crate::state::Shared;

#[derive(Deserialize)]
pub(super) struct SettingsQuery {
    ids_only: Option<String>,
}

/// A plugin's schema.
struct Schema {
    /// `@jupyterlab/apputils-extension:themes`.
    id: String,
    file: PathBuf,
    /// `package.json` of its package.
    package: PathBuf,
}

/// The schemas of JupyterLab and of the extensions, in the order in which jupyterlab_server sends them.
fn schemas(lab: &LabInstall) -> Vec<Schema> {
    let mut found = Vec::new();
    for (_, folder) in lab.extension_folders() {
        collect(&folder.join("schemas"), &folder.join("package.json"), &mut found);
    }
    collect(&lab.folder.join("schemas"), FilePath::new("package.json.orig"), &mut found);
    found.sort_by(|a: &Schema, b: &Schema| b.id.cmp(&a.id));
    found.dedup_by(|a, b| a.id == b.id);
    found
}

/// Finds `PACKAGE/NAME.json` and `@SCOPE/PACKAGE/NAME.json` below `root`.
fn collect(root: &FilePath, package: &FilePath, found: &mut Vec<Schema>) {
    let entries = |folder: &FilePath| std::fs::read_dir(folder).into_iter().flatten().flatten();
    for first in entries(root) {
        let scoped = first.file_name().to_string_lossy().starts_with('@');
        let packages: Vec<PathBuf> = match scoped {
            true => entries(&first.path()).map(|entry| entry.path()).collect(),
            false => vec![first.path()],
        };
        for folder in packages {
            let Ok(name) = folder.strip_prefix(root) else { continue };
            for entry in entries(&folder) {
                let file = entry.path();
                let Some(stem) = file.file_stem().and_then(|stem| stem.to_str()) else { continue };
                if file.extension().is_some_and(|extension| extension == "json") && stem != "package" {
                    let id = format!("{}:{stem}", name.display());
                    // A relative name is beside the schema.
                    found.push(Schema { id, package: folder.join(package), file: file.clone() });
                }
            }
        }
    }
}

/// The file with the user's values.
fn chosen(notebook: &Shared, principal: &Principal, id: &str) -> Result<PathBuf> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"@/._:-".contains(&byte);
    if !id.contains(':') || id.len() > 200 || !id.bytes().all(valid) {
        return Err(ApiError::missing(format!("`{id}` is not the id of a plugin")));
    }
    let name = id.replace('/', "+");
    Ok(notebook.personal(principal, "lab-settings").join(format!("{name}.json")))
}

fn shown(schema: &Schema, chosen: &FilePath) -> Result<Value> {
    let raw = read(chosen)?;
    let times = std::fs::metadata(chosen).ok();
    let modified = times.and_then(|facts| facts.modified().ok()).map(clock::rfc3339);
    let package = json_file(&schema.package);
    let raw = raw.unwrap_or_else(|| "{}".to_owned());
    // The page itself reads `raw`, which may contain comments.
    let settings: Value = serde_json::from_str(&raw).unwrap_or_else(|_| json!({}));
    Ok(json!({
        "id": schema.id, "schema": json_file(&schema.file), "version": package["version"].as_str().unwrap_or("N/A"),
        "raw": raw, "settings": settings, "warning": null, "last_modified": modified, "created": modified,
    }))
}

pub(super) async fn list(
    State(notebook): State<Shared>,
    principal: Principal,
    Query(query): Query<SettingsQuery>,
) -> Result<Json<Value>> {
    let lab = installed(&notebook).await?;
    let ids_only = query.ids_only.as_deref() == Some("true");
    let settings = blocking(move || {
        schemas(&lab)
            .iter()
            .map(|schema| match ids_only {
                true => Ok(json!({"id": schema.id})),
                false => shown(schema, &chosen(&notebook, &principal, &schema.id)?),
            })
            .collect::<Result<Vec<Value>>>()
    });
    Ok(Json(json!({"settings": settings.await?})))
}

fn find(lab: &LabInstall, id: &str) -> Result<Schema> {
    let found = schemas(lab).into_iter().find(|schema| schema.id == id);
    found.ok_or_else(|| ApiError::missing(format!("there is no schema `{id}`")))
}

pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let lab = installed(&notebook).await?;
    let file = chosen(&notebook, &principal, &id)?;
    Ok(Json(blocking(move || shown(&find(&lab, &id)?, &file)).await?))
}

pub(super) async fn save(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<StatusCode> {
    may_keep(&principal)?;
    let lab = installed(&notebook).await?;
    let file = chosen(&notebook, &principal, &id)?;
    let body = object(body)?;
    let raw = optional_text(&body, "raw")?.ok_or_else(|| ApiError::bad("`raw` is missing"))?.to_owned();
    blocking(move || {
        find(&lab, &id)?;
        write(&file, &raw)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
