//! `/api/documents/PATH`: the WebSocket of an open notebook.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use paster_sdk::ws::{Message, Utf8Bytes, WebSocket, WebSocketRejection, WebSocketUpgrade, close_code};
use serde::Deserialize;

use super::error::{ApiError, Result};
use super::rights::RIGHTS;
use crate::access::Level;
use crate::documents::{Connection, OpenError, Unreadable};
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::protocol::{Operation, Reply, Request as PageRequest, ServerFrame};
use crate::state::Shared;

#[derive(Deserialize)]
pub(super) struct OpenQuery {
    instance: Option<String>,
    after: Option<u64>,
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> ApiError {
        match error {
            OpenError::File(error) => error.into(),
            OpenError::Format(..) => ApiError::bad(error.to_string()),
            OpenError::Busy(message) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message),
        }
    }
}

pub(super) async fn open(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    Query(query): Query<OpenQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketRejection>,
) -> Result<Response> {
    let connection = connect(&notebook, &principal, &path, query.instance.zip(query.after)).await;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_bytes(notebook.settings.limits.message_bytes),
        Err(rejection) => {
            connection?;
            return Ok(rejection.into_response());
        }
    };
    // The guard has checked the origin against the settings.
    let upgrade = upgrade.any_origin();
    Ok(match connection {
        Ok(connection) => upgrade.on_upgrade(move |socket| converse(socket, connection)),
        // A browser hides the response to a refused upgrade from the page. So the reason is sent as a frame.
        Err(error) => upgrade.on_upgrade(move |socket| refuse(socket, error)),
    })
}

async fn connect(
    notebook: &Shared,
    principal: &Principal,
    path: &str,
    resume: Option<(String, u64)>,
) -> Result<Connection> {
    let path = RelativePath::parse(path)?;
    notebook.may(principal, Level::View, &path)?;
    Ok(notebook.documents.connect(&path, principal, resume).await?)
}

/// Sends the reason why the document cannot be opened, then closes.
pub(super) async fn refuse(mut socket: WebSocket, error: ApiError) {
    let code = error.status().as_u16();
    let frame = ServerFrame::Error { code, message: error.message().to_owned() };
    if socket.send(Message::Text(encode(&frame))).await.is_err() {
        return;
    }
    // 4000 to 4999 are for private use (RFC 6455, section 7.4.2).
    socket.close(4000 + code, error.status().canonical_reason().unwrap_or_default()).await;
}

async fn converse(mut socket: WebSocket, mut connection: Connection) {
    let mut rights = tokio::time::interval(RIGHTS);
    loop {
        tokio::select! {
            _ = rights.tick() => if !connection.may_view() {
                return socket.close(4000 + StatusCode::FORBIDDEN.as_u16(), "you no longer have access").await;
            },
            frame = connection.frames.recv() => match frame {
                Some(frame) => if socket.send(Message::Text(frame)).await.is_err() { return },
                // The document was closed, or this page was too slow. The page reconnects.
                None => return socket.close(close_code::RESTART, "please reconnect").await,
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => match read_request(&text) {
                    // The document may be busy for a while. The connection is still good.
                    Ok(PageRequest { id, op: Operation::Ping }) => {
                        let reply = ServerFrame::Reply { id, reply: Reply::Done };
                        if socket.send(Message::Text(encode(&reply))).await.is_err() { return }
                    }
                    request => connection.request(request),
                },
                Some(Ok(_)) => {
                    connection.request(Err(Unreadable { id: None, message: "requests must be text frames".to_owned() }));
                },
                Some(Err(_)) | None => return,
            },
        }
    }
}

pub(super) fn encode(frame: &ServerFrame) -> Utf8Bytes {
    // These values can always be serialized as JSON.
    serde_json::to_string(frame).unwrap_or_default().into()
}

pub(super) fn read_request(text: &str) -> std::result::Result<PageRequest, Unreadable> {
    serde_json::from_str(text).map_err(|error| {
        let id = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|value| value["id"].as_u64());
        Unreadable {
            id: id.and_then(|id| id.try_into().ok()),
            message: format!("cannot read the request: {error}"),
        }
    })
}
