//! The messages of one WebSocket. A long message is sent in fragments, because tungstenite copies each frame into a buffer
//! that never becomes smaller.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame as WireCloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as WireMessage, error::ProtocolError};

/// A longer message is sent in fragments of this size.
const FRAGMENT_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct MessageStream {
    inner: WebSocketStream<TokioIo<Upgraded>>,
    /// The rest of a message whose first fragments are sent.
    rest: Option<Bytes>,
}

impl MessageStream {
    /// The server's end of an upgraded connection, with a limit for messages of the client.
    pub(super) async fn new(upgraded: Upgraded, limit_bytes: usize) -> MessageStream {
        let config =
            WebSocketConfig::default().max_message_size(Some(limit_bytes)).max_frame_size(Some(limit_bytes));
        let io = TokioIo::new(upgraded);
        let inner = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        MessageStream { inner, rest: None }
    }

    /// The next message. The future may be dropped.
    pub(super) async fn recv(&mut self) -> Option<Result<Message, Error>> {
        loop {
            return Some(match self.inner.next().await? {
                Ok(WireMessage::Text(text)) => {
                    Utf8Bytes::try_from(Bytes::from(text)).map(Message::Text).map_err(Error::from)
                }
                Ok(WireMessage::Binary(bytes)) => Ok(Message::Binary(bytes)),
                Ok(WireMessage::Ping(bytes)) => Ok(Message::Ping(bytes)),
                Ok(WireMessage::Pong(bytes)) => Ok(Message::Pong(bytes)),
                Ok(WireMessage::Close(close)) => Ok(Message::Close(close.map(|close| CloseFrame {
                    code: close.code.into(),
                    reason: close.reason.as_str().into(),
                }))),
                // Reading returns none.
                Ok(WireMessage::Frame(_)) => continue,
                Err(error) => Err(error),
            });
        }
    }

    /// Sends a message. If the future is dropped, the rest of a long message is sent before the next one.
    pub(super) async fn send(&mut self, message: Message) -> Result<(), Error> {
        let (data, payload) = match message {
            Message::Text(text) => (Data::Text, Bytes::from(text)),
            Message::Binary(bytes) => (Data::Binary, bytes),
            // A control frame may be between the fragments of a message (RFC 6455, section 5.4).
            Message::Ping(bytes) => return self.inner.send(WireMessage::Ping(bytes)).await,
            Message::Pong(bytes) => return self.inner.send(WireMessage::Pong(bytes)).await,
            Message::Close(close) => {
                let close = close.map(|CloseFrame { code, reason }| WireCloseFrame {
                    code: code.into(),
                    reason: reason.as_str().into(),
                });
                return self.inner.send(WireMessage::Close(close)).await;
            }
        };
        self.send_rest().await?;
        self.send_fragment(data, payload).await?;
        self.send_rest().await
    }

    async fn send_rest(&mut self) -> Result<(), Error> {
        while let Some(rest) = self.rest.clone() {
            self.send_fragment(Data::Continue, rest).await?;
        }
        Ok(())
    }

    /// Sends the first fragment of `payload`, and keeps the others.
    async fn send_fragment(&mut self, data: Data, mut payload: Bytes) -> Result<(), Error> {
        std::future::poll_fn(|context| self.inner.poll_ready_unpin(context)).await?;
        let rest = payload.split_off(payload.len().min(FRAGMENT_BYTES));
        let is_final = rest.is_empty();
        let frame = Frame::message(payload, OpCode::Data(data), is_final);
        self.inner.start_send_unpin(WireMessage::Frame(frame))?;
        // From here on, the fragment is in the buffer, even if the future is dropped.
        self.rest = (!is_final).then_some(rest);
        self.inner.flush().await
    }
}

/// The code for an error of the client (RFC 6455 section 7.4.1); `None` if the connection is lost.
pub(super) fn close_code_of(error: &Error) -> Option<(u16, &'static str)> {
    use axum::extract::ws::close_code;
    match error {
        Error::Capacity(_) => Some((close_code::SIZE, "the message is too long")),
        Error::Utf8(_) => Some((close_code::INVALID, "the text is not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some((close_code::PROTOCOL, "protocol error")),
        _ => None,
    }
}
