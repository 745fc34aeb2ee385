//! `/api/documents/PATH`: the WebSocket of an open notebook.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use serde::Deserialize;

use super::error::{ApiError, Result};
use crate::documents::{Connection, OpenError, Unreadable};
use crate::files::RelativePath;
use crate::protocol::{Request as PageRequest, ServerFrame};
use crate::state::Shared;

/// How long a refused page may take to close its side.
const CLOSING: Duration = Duration::from_secs(5);

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
    Path(path): Path<String>,
    Query(query): Query<OpenQuery>,
    request: Request,
) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &notebook).await;
    let connection = connect(&notebook, &path, query.instance.zip(query.after)).await;
    let Ok(upgrade) = upgrade else {
        connection?;
        return Err(ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "this address is a WebSocket: connect to it as one",
        ));
    };
    let limit = notebook.settings.limits.message_bytes;
    let upgrade = upgrade.max_message_size(limit).max_frame_size(limit);
    Ok(match connection {
        Ok(connection) => upgrade.on_upgrade(move |socket| converse(socket, connection)).into_response(),
        // A browser does not show a page the answer to a refused upgrade, so the reason is sent as a frame.
        Err(error) => upgrade.on_upgrade(move |socket| refuse(socket, error)).into_response(),
    })
}

async fn connect(notebook: &Shared, path: &str, resume: Option<(String, u64)>) -> Result<Connection> {
    let path = RelativePath::parse(path)?;
    Ok(notebook.documents.connect(&path, resume).await?)
}

/// Sends the reason why the document cannot be opened, and closes.
async fn refuse(mut socket: WebSocket, error: ApiError) {
    let code = error.status().as_u16();
    let frame = ServerFrame::Error { code, message: error.message().to_owned() };
    let text = serde_json::to_string(&frame).unwrap_or_default();
    if socket.send(Message::Text(text.into())).await.is_err() {
        return;
    }
    // 4000 to 4999 are for private use (RFC 6455, section 7.4.2).
    let reason = error.status().canonical_reason().unwrap_or_default();
    let close = CloseFrame { code: 4000 + code, reason: reason.into() };
    if socket.send(Message::Close(Some(close))).await.is_ok() {
        // Until the page has closed too, so that it reads the frame before the connection ends.
        let _ =
            tokio::time::timeout(CLOSING, async { while socket.recv().await.is_some_and(|m| m.is_ok()) {} })
                .await;
    }
}

async fn converse(socket: WebSocket, mut connection: Connection) {
    let (mut sender, mut receiver) = socket.split();
    loop {
        tokio::select! {
            frame = connection.frames.recv() => match frame {
                Some(frame) => if sender.send(Message::Text(frame)).await.is_err() { return },
                None => {
                    // The document is closed, or this page was too slow: it comes again.
                    let close = CloseFrame { code: close_code::RESTART, reason: "come again".into() };
                    let _ = sender.send(Message::Close(Some(close))).await;
                    return;
                }
            },
            message = receiver.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let request = read_request(&text);
                    connection.request(request);
                }
                Some(Ok(Message::Binary(_))) => {
                    connection.request(Err(Unreadable { id: None, message: "requests are text frames".to_owned() }));
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        }
    }
}

fn read_request(text: &str) -> std::result::Result<PageRequest, Unreadable> {
    serde_json::from_str(text).map_err(|error| {
        let id = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|value| value["id"].as_u64());
        Unreadable {
            id: id.and_then(|id| id.try_into().ok()),
            message: format!("the request cannot be read: {error}"),
        }
    })
}
