//! `/api/events`: a stream of events about files and kernels.
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
use crate::kernel::wire::{Event, KernelModel, Problem};
use crate::state::{Notebook, Shared};

/// The known events, with the required keys of their data.
const CONTENTS: &str = "https://events.jupyter.org/jupyter_server/contents_service/v1";
const KERNELS: &str = "https://events.jupyter.org/jupyter_server/kernel_actions/v1";
const VERSION: &str = "1";
/// The key of an event for the servers alone: the path of the kernel's notebook, and who started the kernel.
const PLACE: &str = "__place__";

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
    /// Publishes an event about an entry. `source` is its previous path.
    pub(super) async fn happened(&self, action: &str, entry: &Map<String, Value>, source: Option<&str>) {
        let mut data = Map::from_iter([
            ("action".to_owned(), action.into()),
            ("path".to_owned(), entry.get("path").cloned().unwrap_or_default()),
        ]);
        if let Some(source) = source {
            data.insert("source_path".to_owned(), source.into());
        }
        // Without a kernel host, there are no subscribers.
        let _ = self.announce(event(CONTENTS, data, None)).await;
    }

    /// Publishes an event to the subscribers of all servers.
    async fn announce(&self, mut event: Value) -> std::result::Result<(), Problem> {
        if event["__schema__"] == KERNELS
            && let Some(id) = event["kernel_id"].as_str()
            && let Some(place) = self.kernel_place(id).await
        {
            event[PLACE] = place;
        }
        if let Some(relay) = &self.relay {
            relay.announce(event.clone());
        }
        self.link.publish(event).await
    }

    /// Whose kernel it is, as [`PLACE`] has it.
    async fn kernel_place(&self, id: &str) -> Option<Value> {
        let sessions = self.sessions.list().await.ok()?;
        let session = sessions.into_iter().find(|(session, _)| session.kernel_id == id);
        let starter = self.sessions.starter(id).await.ok().flatten();
        Some(json!({"path": session.map(|(session, _)| session.path), "starter": starter}))
    }

    /// The same for a kernel of another server.
    fn may_use_elsewhere(&self, principal: &Principal, place: &Value) -> bool {
        let path = place["path"].as_str().and_then(|path| RelativePath::parse(path).ok());
        path.is_some_and(|path| self.access.may(principal, Level::Run, &path).is_ok())
            || (principal.is_known() && place["starter"] == principal.name)
            || self.may_everything(principal)
    }

    /// Publishes an event about a kernel.
    pub(super) async fn kernel_did(&self, action: &str, kernel: &KernelModel) {
        let data = Map::from_iter([
            ("action".to_owned(), action.into()),
            ("msg".to_owned(), format!("Kernel {}: {action}.", kernel.id).into()),
            ("kernel_id".to_owned(), kernel.id.clone().into()),
            ("kernel_name".to_owned(), kernel.name.clone().into()),
            ("status".to_owned(), "success".into()),
        ]);
        let _ = self.announce(event(KERNELS, data, None)).await;
    }

    /// Whether `principal` may see an event.
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
                Some(_) if event[PLACE].is_object() => self.may_use_elsewhere(principal, &event[PLACE]),
                Some(id) => self.may_use_kernel(principal, id).await.is_ok(),
                None => false,
            },
        }
    }
}

/// Publishes an event of a client, of one of the kinds above.
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
        return Err(ApiError::bad(format!("`data` lacks a key that `{schema}` requires")));
    }
    if data.keys().any(|key| key.starts_with("__")) {
        return Err(ApiError::bad("the keys of `data` must not begin with `__`"));
    }
    let event = event(schema, data.clone(), text("timestamp"));
    if !notebook.may_follow(&principal, &event).await {
        return Err(ApiError::bad("the event is about something that does not exist"));
    }
    notebook.announce(event).await?;
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
                    Ok(HostMessage::Event(Event::Published { mut event })) => {
                        let is_seen = notebook.may_follow(&principal, &event).await;
                        if let Some(event) = event.as_object_mut() {
                            event.remove(PLACE);
                        }
                        if is_seen
                            && socket.send(ws::Message::Text(event.to_string().into())).await.is_err()
                        {
                            return;
                        }
                    }
                    // A subscriber that is too slow misses events.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                },
                message = socket.recv() => if matches!(message, Some(Err(_)) | None) { return },
            }
        }
        socket.close(close_code::RESTART, "please reconnect").await;
    }))
}
