//! `/api`, `/api/status`, `/api/me`.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Result};
use crate::access::Level;
use crate::clock;
use crate::identity::{Authentication, Principal};
use crate::kernel::wire::LAST_ACTIVITY;
use crate::state::Shared;

/// The version of Jupyter Server's API that clients may expect.
const VERSION: &str = "2.21.0";

pub(super) async fn version() -> Json<Value> {
    Json(json!({"version": VERSION, "paster": env!("CARGO_PKG_VERSION")}))
}

pub(super) async fn status(State(notebook): State<Shared>) -> Result<Json<Value>> {
    let kernels = notebook.link.list().await?;
    let started = clock::rfc3339(notebook.started);
    let ended = notebook.link.kept(LAST_ACTIVITY).await?;
    let ended = ended.get(LAST_ACTIVITY).and_then(Value::as_str).map(str::to_owned);
    let used = kernels.iter().map(|kernel| kernel.last_activity.clone());
    let terminals = notebook.link.terminals().await?.into_iter().map(|terminal| terminal.last_activity);
    let last = used.chain(terminals).chain(ended).chain([started.clone()]).max();
    let connections = notebook.channels.load(Ordering::Relaxed) + notebook.documents.connections();
    Ok(Json(
        json!({"started": started, "last_activity": last, "kernels": kernels.len(), "connections": connections}),
    ))
}

#[derive(Deserialize)]
pub(super) struct MeQuery {
    permissions: Option<String>,
}

pub(super) async fn me(principal: Principal, Query(query): Query<MeQuery>) -> Result<Json<Value>> {
    let asked: Map<String, Value> = match query.permissions.as_deref() {
        None | Some("") => Map::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| ApiError::bad(format!("permissions should be a JSON dict of lists: {error}")))?,
    };
    let most = match principal.authentication {
        Authentication::ApiToken { level, .. } => level,
        _ => Level::Manage,
    };
    let mut permissions = Map::new();
    for (resource, actions) in asked {
        let known = |action: &&Value| {
            let level = match action.as_str() {
                Some("read") => Level::View,
                Some("execute") => Level::Run,
                Some("write") => Level::Edit,
                _ => return false,
            };
            principal.is_known() && level <= most
        };
        let actions: Vec<Value> = actions
            .as_array()
            .ok_or_else(|| {
                ApiError::bad(format!("`permissions`: the actions of `{resource}` must be a list"))
            })?
            .iter()
            .filter(known)
            .cloned()
            .collect();
        permissions.insert(resource, actions.into());
    }
    let mut shown = principal.name.clone();
    if let Some(first) = shown.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let initials: String = shown.chars().take(1).collect();
    let identity = json!({
        "username": principal.name, "name": shown, "display_name": shown, "initials": initials, "avatar_url": null, "color": null,
    });
    Ok(Json(json!({"identity": identity, "permissions": permissions})))
}
