//! `/api/events`: what happens to files and kernels, for programs that follow it.
//!
//! # Source
//! Jupyter Server, `services/events` and `event_schemas`; jupyter_events, `logger.py`, for the keys that begin with `__`.

use std::time::SystemTime;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use paster_sdk::ws::{self, WebSocket, WebSocketRejection, WebSocketUpgrade, close_code};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::error::{ApiError, Result, object};
use super::personal::may_keep;
use crate::access::Level;
use crate::clock;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::kernel::link::HostMessage;
use crate::kernel::wire::{Event, KernelModel};
use crate::state::{Notebook, Shared};

/// The events that exist, with what their data must have.
const CONTENTS: &str = "https://events.jupyter.org/jupyter_server/contents_service/v1";
const KERNELS: &str = "https://events.jupyter.org/jupyter_server/kernel_actions/v1";
const VERSION: &str = "1";

fn event(schema: &str, data: Map<String, Value>, time: Option<&str>) -> Value {
    let time = time.map_or_else(|| clock::rfc3339(SystemTime::now()), str::to_owned);
    let Value::Object(mut event) = json!({
        "__timestamp__": time, "__schema__": schema, "__schema_version__": VERSION, "__metadata_version__": 1,
    }) else {
        return Value::Null;
    };
    event.extend(data);
    Value::Object(event)
}

impl Notebook {
    /// Tells the followers what happened to an entry. `source` is its path before.
    pub(super) async fn happened(&self, action: &str, entry: &Map<String, Value>, source: Option<&str>) {
        let mut data = Map::from_iter([
            ("action".to_owned(), action.into()),
            ("path".to_owned(), entry.get("path").cloned().unwrap_or_default()),
        ]);
        if let Some(source) = source {
            data.insert("source_path".to_owned(), source.into());
        }
        // Without a kernel host nobody follows.
        let _ = self.link.publish(event(CONTENTS, data, None)).await;
    }

    /// Tells the followers what was done with a kernel.
    pub(super) async fn kernel_did(&self, action: &str, kernel: &KernelModel) {
        let data = Map::from_iter([
            ("action".to_owned(), action.into()),
            ("msg".to_owned(), format!("Kernel {}: {action}.", kernel.id).into()),
            ("kernel_id".to_owned(), kernel.id.clone().into()),
            ("kernel_name".to_owned(), kernel.name.clone().into()),
            ("status".to_owned(), "success".into()),
        ]);
        let _ = self.link.publish(event(KERNELS, data, None)).await;
    }

    /// Whether `principal` may learn of an event.
    async fn may_follow(&self, principal: &Principal, event: &Value) -> bool {
        let visible = |path: &Value| {
            let path = path.as_str().and_then(|path| RelativePath::parse(path).ok());
            path.is_some_and(|path| self.access.may(principal, Level::View, &path).is_ok())
        };
        match event["__schema__"].as_str() {
            Some(CONTENTS) => {
                visible(&event["path"]) && (event["source_path"].is_null() || visible(&event["source_path"]))
            }
            _ => match event["kernel_id"].as_str() {
                Some(id) => self.may_use_kernel(principal, id).await.is_ok(),
                None => false,
            },
        }
    }
}

/// Publishes an event of a client. Only the kinds above exist.
pub(super) async fn publish(
    State(notebook): State<Shared>,
    principal: Principal,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<StatusCode> {
    may_keep(&principal)?;
    let body = object(body)?;
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let missing = |key: &str| ApiError::bad(format!("`{key}` is missing, or it is not a string"));
    let schema = text("schema_id").ok_or_else(|| missing("schema_id"))?;
    let version = text("version").ok_or_else(|| missing("version"))?;
    let Some(Value::Object(data)) = body.get("data") else {
        return Err(ApiError::bad("`data` is missing, or it is not an object"));
    };
    if ![CONTENTS, KERNELS].contains(&schema) || version != VERSION {
        return Err(ApiError::bad(format!("there is no event schema `{schema}` with version `{version}`")));
    }
    let has = |key: &str| data.get(key).is_some_and(Value::is_string);
    if !has("action") || !has(if schema == CONTENTS { "path" } else { "kernel_id" }) {
        return Err(ApiError::bad(format!("`data` does not have what `{schema}` requires")));
    }
    if data.keys().any(|key| key.starts_with("__")) {
        return Err(ApiError::bad("the keys of `data` must not begin with `__`"));
    }
    let event = event(schema, data.clone(), text("timestamp"));
    if !notebook.may_follow(&principal, &event).await {
        return Err(ApiError::bad("the event is about something that does not exist"));
    }
    notebook.link.publish(event).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn subscribe(
    State(notebook): State<Shared>,
    principal: Principal,
    upgrade: Result<WebSocketUpgrade, WebSocketRejection>,
) -> Result<Response> {
    let upgrade = match upgrade {
        // The guard has checked the origin against the settings.
        Ok(upgrade) => upgrade.any_origin(),
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let mut messages = notebook.link.host_messages();
    Ok(upgrade.on_upgrade(async move |mut socket: WebSocket| {
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(HostMessage::Event(Event::Published { event })) => {
                        if notebook.may_follow(&principal, &event).await
                            && socket.send(ws::Message::Text(event.to_string().into())).await.is_err()
                        {
                            return;
                        }
                    }
                    // A follower that is too slow misses events.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                },
                message = socket.recv() => if matches!(message, Some(Err(_)) | None) { return },
            }
        }
        socket.close(close_code::RESTART, "please reconnect").await;
    }))
}
