//! `/api/documents/PATH`: the WebSocket of an open notebook.

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use serde::Deserialize;

use super::error::{ApiError, Result};
use crate::documents::{Connection, OpenError, Unreadable};
use crate::files::RelativePath;
use crate::protocol::Request as PageRequest;
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
    Path(path): Path<String>,
    Query(query): Query<OpenQuery>,
    request: Request,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &notebook).await;
    // Refused before the upgrade, so that the page can read why (also with a plain GET).
    let resume = query.instance.zip(query.after);
    let connection = notebook.documents.connect(&path, resume).await?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(_) => {
            return Err(ApiError::new(
                StatusCode::UPGRADE_REQUIRED,
                "this address is a WebSocket: connect to it as one",
            ));
        }
    };
    let limit = notebook.settings.limits.message_bytes;
    let upgrade = upgrade.max_message_size(limit).max_frame_size(limit);
    Ok(upgrade.on_upgrade(move |socket| converse(socket, connection)).into_response())
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
