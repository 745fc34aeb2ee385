//! The messages of one kernel, over the gateway's WebSocket.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WebSocketMessage;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::client::{Gateway, GatewayError};
use super::remote::RemoteId;
use crate::kernel::message::{DefaultFrame, Message};
use crate::kernel::transport::{Sink, Transport};
use crate::tls_client::ByteStream;

/// The form of messages that keeps binary buffers apart; older gateways do not have it.
const V1: &str = "v1.kernel.websocket.jupyter.org";
/// The longest message, in bytes.
const MAX_MESSAGE: usize = 256 << 20;
/// How often the connection is tested, and how long it may be silent then.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// The longest pause between two attempts to connect again.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// An open WebSocket.
struct Channels {
    stream: WebSocketStream<Box<dyn ByteStream>>,
    is_v1: bool,
}

/// Connects to the kernel `id` once the gateway has started it. Connects again when the connection is lost; the gateway keeps
/// the messages in between.
pub(in crate::kernel) async fn connect(gateway: Gateway, id: RemoteId, sink: Sink) -> io::Result<Transport> {
    let id = id.started().await.map_err(io::Error::other)?;
    let session = uuid::Uuid::new_v4().simple().to_string();
    let mut channels = open(&gateway, &id, &session).await.map_err(io::Error::other)?;
    let (sender, mut queue) = mpsc::unbounded_channel::<Message>();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut unsent = None;
        loop {
            if channels.carry(&mut queue, &mut unsent, &sink).await.is_break() {
                return;
            }
            let mut pause = Duration::from_millis(100);
            channels = loop {
                match open(&gateway, &id, &session).await {
                    Ok(channels) => break channels,
                    Err(error) => tracing::warn!(%error, "lost the connection to a kernel"),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            };
        }
    });
    Ok(Transport::over_one(sender, tasks))
}

async fn open(gateway: &Gateway, id: &str, session: &str) -> Result<Channels, GatewayError> {
    let failed =
        |cause: &dyn std::fmt::Display| gateway.error(format!("cannot connect to the kernel: {cause}"));
    let path = gateway.path(&format!("/api/kernels/{id}/channels?session_id={session}"));
    // The host of the address is only in `Host`: the connection is made here.
    let mut request = format!("ws://gateway{path}").into_client_request().map_err(|cause| failed(&cause))?;
    gateway.add_headers(request.headers_mut())?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(V1));
    let connection = gateway.connect().await.map_err(|cause| failed(&cause))?;
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let opening = tokio_tungstenite::client_async_with_config(request, connection, Some(config));
    let opened = tokio::time::timeout(SILENCE, opening).await;
    let (stream, response) =
        opened.map_err(|_| failed(&"it does not respond"))?.map_err(|cause| failed(&cause))?;
    let is_v1 = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).is_some_and(|name| name == V1);
    Ok(Channels { stream, is_v1 })
}

impl Channels {
    /// Transfers messages both ways until the connection is lost, or until all senders are gone (break). A message that could
    /// not be sent stays in `unsent`.
    async fn carry(
        &mut self,
        queue: &mut mpsc::UnboundedReceiver<Message>,
        unsent: &mut Option<Message>,
        sink: &Sink,
    ) -> std::ops::ControlFlow<()> {
        let mut ping = tokio::time::interval(PING);
        let mut heard = Instant::now();
        loop {
            if let Some(message) = unsent.as_ref() {
                if self.stream.send(self.encode(message)).await.is_err() {
                    return std::ops::ControlFlow::Continue(());
                }
                *unsent = None;
            }
            tokio::select! {
                message = queue.recv() => match message {
                    Some(message) => *unsent = Some(message),
                    None => return std::ops::ControlFlow::Break(()),
                },
                frame = self.stream.next() => match frame {
                    Some(Ok(frame)) => {
                        heard = Instant::now();
                        take(&frame, self.is_v1, sink);
                    }
                    Some(Err(_)) | None => return std::ops::ControlFlow::Continue(()),
                },
                _ = ping.tick() => {
                    let silent = heard.elapsed() > SILENCE;
                    let ping = WebSocketMessage::Ping(bytes::Bytes::new());
                    if silent || self.stream.send(ping).await.is_err() {
                        return std::ops::ControlFlow::Continue(());
                    }
                }
            }
        }
    }

    fn encode(&self, message: &Message) -> WebSocketMessage {
        if self.is_v1 {
            return WebSocketMessage::Binary(message.encode_v1());
        }
        match message.encode_default() {
            DefaultFrame::Text(text) => WebSocketMessage::text(text),
            DefaultFrame::Binary(bytes) => WebSocketMessage::Binary(bytes),
        }
    }
}

fn take(frame: &WebSocketMessage, is_v1: bool, sink: &Sink) {
    let message = match frame {
        WebSocketMessage::Binary(bytes) if is_v1 => Message::parse_v1(bytes),
        WebSocketMessage::Binary(bytes) => Message::parse_default_binary(bytes),
        WebSocketMessage::Text(text) => Message::parse_default_text(text.as_bytes()),
        _ => return,
    };
    match message {
        Ok(message) => sink(message),
        Err(error) => tracing::warn!(%error, "unreadable message from a kernel gateway"),
    }
}
