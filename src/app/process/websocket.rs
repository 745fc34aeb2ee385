//! WebSockets: the connection belongs to the worker, and the process gets whole messages.
//!
//! # Source
//! RFC 6455.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use paster_frames::{Kind, WINDOW};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::exchange::{Exchange, ProcessStop, ReadyBody};
use super::link::{BodyPart, ProcessConnection, ProcessStream};
use super::message::read_head;
use crate::body::{Body, Response, text_response};
use crate::error::BoxError;

/// Maximum length of a message, in bytes.
const LONGEST: usize = 16_000_000;

/// Whether a request opens a WebSocket.
pub(super) fn is_opening(parts: &Parts) -> bool {
    let upgrade = parts.headers.get(UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
    parts.method == Method::GET
        && upgrade.eq_ignore_ascii_case(b"websocket")
        && parts.extensions.get::<OnUpgrade>().is_some()
}

/// The value of `Sec-WebSocket-Accept`, or the response to an invalid handshake (RFC 6455 section 4.2.2).
pub(super) fn accept_key(parts: &Parts) -> Result<String, Box<Response>> {
    let version = parts.headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    if version != Some(b"13") {
        let mut response = text_response(
            StatusCode::UPGRADE_REQUIRED,
            "Only version 13 of the WebSocket protocol is supported.\n",
        );
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(Box::new(response));
    }
    match parts.headers.get(SEC_WEBSOCKET_KEY) {
        Some(key) if key.len() == 24 => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(Box::new(text_response(StatusCode::BAD_REQUEST, "`Sec-WebSocket-Key` is not valid.\n"))),
    }
}

/// The protocols that the client offers.
pub(super) fn protocols(parts: &Parts) -> Vec<u8> {
    let offers: Vec<_> =
        parts.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(HeaderValue::as_bytes).collect();
    offers.join(&b","[..])
}

/// Waits for the application's decision. Accepted, the connection is served in the background.
/// # Errors
/// When the application fails.
pub(super) async fn answer(
    mut exchange: Exchange,
    app: &str,
    key: &str,
    client: OnUpgrade,
) -> Result<Response, BoxError> {
    let (response, accepted) = match poll_fn(|cx| exchange.poll_decision(cx)).await {
        Ok(decided) => decided,
        Err(ProcessStop::Client(error)) => return Err(error),
        Err(ProcessStop::Process(failure)) => return failure.into_response(app),
    };
    if !accepted {
        return Ok(response.map(|body| body.unwrap_or_else(|_| Body::empty())));
    }
    let mut response = response.map(|_| Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(key)?);
    tokio::spawn(async move {
        // A client that leaves before the upgrade is not a failure.
        let Ok(client) = client.await else { return };
        let mut config = WebSocketConfig::default();
        (config.max_message_size, config.max_frame_size) = (Some(LONGEST), Some(LONGEST));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, Some(config)).await;
        serve(exchange, socket).await;
    });
    Ok(response)
}

/// Moves messages both ways until one side closes.
async fn serve(exchange: Exchange, mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
    let messages =
        Messages { id: exchange.id, stream: exchange.stream.clone(), link: exchange.lease.link.clone() };
    loop {
        // A message of the client is taken when there is credit for it.
        let open = messages.has_credit();
        tokio::select! {
            message = socket.next(), if open => match message {
                Some(Ok(Message::Text(text))) => messages.send_message(Kind::Text, text.as_bytes()),
                Some(Ok(Message::Binary(data))) => messages.send_message(Kind::Binary, &data),
                Some(Ok(Message::Close(frame))) => {
                    messages.send_message(Kind::Close, &close_payload(frame));
                    let _ = socket.flush().await; // sends the answer; the client may be gone
                    return exchange.finish();
                }
                // tungstenite answers pings.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(Error::Capacity(_))) => {
                    let _ = socket.close(Some(close_frame(1009, "the message is too long"))).await;
                    messages.send_message(Kind::Close, &[&1009_u16.to_le_bytes()[..], b""].concat());
                    return exchange.finish();
                }
                Some(Err(_)) | None => return, // the process is told
            },
            part = poll_fn(|cx| messages.poll_message(cx)) => match part {
                Some(BodyPart::Message(Kind::Close, payload)) => {
                    let (code, reason) = payload.split_at_checked(2).unwrap_or((&[0xe8, 0x03], b""));
                    let code = u16::from_le_bytes([code[0], code[1]]);
                    let _ = socket.close(Some(close_frame(code, &String::from_utf8_lossy(reason)))).await;
                    // The client's answer, or its end.
                    let end = async { while let Some(Ok(_)) = socket.next().await {} };
                    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), end).await;
                    return exchange.finish();
                }
                Some(BodyPart::Message(kind, payload)) => {
                    let length = payload.len();
                    let message = match kind {
                        Kind::Text => Utf8Bytes::try_from(payload).map(Message::Text).ok(),
                        _ => Some(Message::Binary(payload)),
                    };
                    let Some(message) = message else { continue };
                    if socket.send(message).await.is_err() {
                        return; // the client is gone; the process is told
                    }
                    messages.credit(length);
                }
                Some(_) => {}
                // The process has failed, or ended.
                None => {
                    let _ = socket.close(Some(close_frame(1011, "the application failed"))).await;
                    return exchange.finish();
                }
            },
            () = poll_fn(|cx| messages.poll_credit(cx)), if !open => {}
        }
    }
}

fn close_payload(frame: Option<CloseFrame>) -> Vec<u8> {
    match frame {
        Some(frame) => [&u16::from(frame.code).to_le_bytes()[..], frame.reason.as_bytes()].concat(),
        None => 1005_u16.to_le_bytes().to_vec(),
    }
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    // The reason of a close has at most 123 bytes.
    let end = (0..=reason.len().min(123)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    CloseFrame { code: CloseCode::from(code), reason: reason[..end].into() }
}

impl Exchange {
    /// The application's answer to a handshake, and whether it has accepted.
    fn poll_decision(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Result<(http::Response<ReadyBody>, bool), ProcessStop>> {
        let mut state = self.stream.state.lock();
        state.waker = Some(cx.waker().clone());
        if !state.accepted {
            drop(state);
            return self.poll_head(cx).map_ok(|response| (response, false));
        }
        let head = state.head.take().unwrap_or_default();
        drop(state);
        let answer = read_head(&head).map(|(response, length)| (response.map(|()| Err(length)), true));
        Poll::Ready(answer.map_err(ProcessStop::Process))
    }

    /// Ends the stream without an abort.
    fn finish(mut self) {
        (self.ended, self.body) = (true, None);
    }
}

/// The stream of an accepted WebSocket.
struct Messages {
    id: u32,
    stream: Arc<ProcessStream>,
    link: Arc<ProcessConnection>,
}

impl Messages {
    /// The next message of the application; `None` after its failure.
    fn poll_message(&self, cx: &mut std::task::Context<'_>) -> Poll<Option<BodyPart>> {
        let mut state = self.stream.state.lock();
        if let Some(part) = state.parts.pop_front() {
            return Poll::Ready(Some(part));
        }
        if state.failure.is_some() || state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn has_credit(&self) -> bool {
        self.stream.state.lock().credit >= u64::from(WINDOW) / 2
    }

    fn poll_credit(&self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        if self.has_credit() {
            return Poll::Ready(());
        }
        self.stream.state.lock().waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn send_message(&self, kind: Kind, payload: &[u8]) {
        let mut state = self.stream.state.lock();
        state.credit = state.credit.saturating_sub(payload.len() as u64);
        drop(state);
        self.link.send(|out| out.push(kind, self.id, payload));
    }

    /// Gives credit for a message that was sent to the client.
    fn credit(&self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.link.send(|out| out.push_credit(self.id, length));
    }
}
