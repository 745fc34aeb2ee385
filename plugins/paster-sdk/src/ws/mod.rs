//! WebSockets that implement all of RFC 6455: the handshake, limits, the origin, fragments of long messages, and the
//! closing handshake.
//!
//! axum's own `WebSocketUpgrade` works too, but leaves all of that to the application.

mod handshake;
mod stream;

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, close_code};

use self::handshake::RequestOrigin;
pub use self::handshake::WebSocketRejection;
use self::stream::{MessageStream, close_code_of};
use crate::Host;

/// How long a client may take to respond to a close.
const GOODBYE: Duration = Duration::from_secs(3);
/// The default limit of a message, in bytes.
const MESSAGE_BYTES: usize = 1 << 20;

/// An extractor for handlers that open a WebSocket.
///
/// It refuses an invalid handshake: 426 for a plain request and for any version other than 13, 400 for a
/// wrong key. By default a browser may connect only from a page of the same origin, because cookies are sent
/// with every WebSocket, from any page; [`allow_origin`](Self::allow_origin) and
/// [`any_origin`](Self::any_origin) change that. Programs, which send no `Origin`, may connect.
///
/// ```
/// use axum::response::Response;
/// use axum::{Router, routing::any};
/// use paster_sdk::ws::{WebSocket, WebSocketUpgrade};
///
/// async fn echo(upgrade: WebSocketUpgrade) -> Response {
///     upgrade.max_message_bytes(64 << 10).on_upgrade(async |mut socket: WebSocket| {
///         while let Some(Ok(message)) = socket.recv().await {
///             if socket.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
/// # let _: Router = Router::new().route("/ws", any(echo));
/// ```
#[derive(Debug)]
#[must_use = "the response of `on_upgrade` opens the WebSocket"]
pub struct WebSocketUpgrade {
    /// Checks the request, and chooses the subprotocol.
    inner: ws::WebSocketUpgrade,
    on_upgrade: OnUpgrade,
    /// The `Sec-WebSocket-Accept` of the response; `None` in HTTP/2.
    accept: Option<HeaderValue>,
    message_bytes: usize,
    host: Option<Host>,
    origin: RequestOrigin,
}

impl<S: Send + Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = WebSocketRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, WebSocketRejection> {
        handshake::check(parts)?;
        let origin = handshake::origin(parts);
        let host = parts.extensions.get::<Host>().cloned();
        let on_upgrade = parts.extensions.get::<OnUpgrade>().cloned();
        let upgrade = ws::WebSocketUpgrade::from_request_parts(parts, state).await;
        let refused = |status| WebSocketRejection::new(status, "this connection cannot be upgraded");
        let inner = upgrade.map_err(|rejection| refused(rejection.into_response().status()))?;
        let on_upgrade = on_upgrade.ok_or_else(|| refused(StatusCode::UPGRADE_REQUIRED))?;
        let key = parts.headers.get(SEC_WEBSOCKET_KEY).filter(|_| parts.version <= Version::HTTP_11);
        let accept = key.and_then(|key| derive_accept_key(key.as_bytes()).try_into().ok());
        Ok(WebSocketUpgrade { inner, on_upgrade, accept, message_bytes: MESSAGE_BYTES, host, origin })
    }
}

impl WebSocketUpgrade {
    /// Sets the limit of a message, in bytes; 1 MiB by default. A longer message ends the WebSocket with
    /// 1009.
    pub fn max_message_bytes(mut self, limit: usize) -> WebSocketUpgrade {
        self.message_bytes = limit;
        self
    }

    /// Allows pages of this origin too: scheme, host, and the port unless it is the scheme's default.
    ///
    /// ```
    /// # use axum::response::Response;
    /// # use paster_sdk::ws::{WebSocket, WebSocketUpgrade, close_code};
    /// async fn news(upgrade: WebSocketUpgrade) -> Response {
    ///     upgrade.allow_origin("https://app.example").on_upgrade(async |mut socket: WebSocket| {
    ///         let _ = socket.send("no news").await;
    ///         socket.close(close_code::NORMAL, "that was all").await;
    ///     })
    /// }
    /// # let _: axum::Router = axum::Router::new().route("/news", axum::routing::any(news));
    /// ```
    pub fn allow_origin(mut self, origin: &str) -> WebSocketUpgrade {
        if matches!(&self.origin, RequestOrigin::Other(other) if other.eq_ignore_ascii_case(origin)) {
            self.origin = RequestOrigin::Allowed;
        }
        self
    }

    /// Allows pages of any origin. Use it only if the WebSocket reveals nothing and does nothing on behalf of
    /// a logged-in user.
    pub fn any_origin(mut self) -> WebSocketUpgrade {
        self.origin = RequestOrigin::Allowed;
        self
    }

    /// Offers subprotocols. The first of these that the client supports is chosen. See
    /// [`WebSocket::protocol`].
    pub fn protocols<I>(mut self, protocols: I) -> WebSocketUpgrade
    where
        I: IntoIterator,
        I::Item: Into<Cow<'static, str>>,
    {
        self.inner = self.inner.protocols(protocols);
        self
    }

    /// Opens the WebSocket and runs `serve` with it. Responds with 403 to a page of an origin that is not
    /// allowed.
    ///
    /// When `serve` returns, the WebSocket is closed with 1000, or with 1011 after a panic.
    #[must_use = "the handler must return the response"]
    pub fn on_upgrade<F, Fut>(self, serve: F) -> Response
    where
        F: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if let RequestOrigin::Other(origin) = &self.origin {
            let reason = format!("pages from the origin `{}` may not connect here", origin.escape_debug());
            return WebSocketRejection::new(StatusCode::FORBIDDEN, reason).into_response();
        }
        let WebSocketUpgrade { inner, on_upgrade, accept, message_bytes, host, origin: _ } = self;
        let protocol = inner.selected_protocol().cloned();
        let selected = protocol.clone();
        tokio::spawn(async move {
            // It fails if the connection is lost.
            let Ok(upgraded) = on_upgrade.await else { return };
            let socket = MessageStream::new(upgraded, message_bytes).await;
            serve(WebSocket { socket: Some(socket), protocol, host }).await;
        });
        let mut response = Response::default();
        let headers = response.headers_mut();
        if let Some(protocol) = selected {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        // The response to an extended CONNECT is 200 (RFC 8441 section 5).
        if let Some(accept) = accept {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        response
    }
}

/// An open WebSocket.
///
/// It responds to pings and to the client's close automatically. When the generation ends, it closes with 1012
/// (service restart), so that clients reconnect to the next one. After an error of the client it closes with
/// the matching code.
#[derive(Debug)]
pub struct WebSocket {
    /// `None` once it has ended.
    socket: Option<MessageStream>,
    protocol: Option<HeaderValue>,
    host: Option<Host>,
}

impl WebSocket {
    /// The next text or binary message; `None` once the WebSocket has ended. The future may be dropped and
    /// `recv` called again.
    /// # Errors
    /// Errors of the client and of the connection. `None` follows.
    pub async fn recv(&mut self) -> Option<Result<Message, axum::Error>> {
        loop {
            match self.recv_or_pong().await {
                Some(Ok(Message::Pong(_))) => {}
                message => return message,
            }
        }
    }

    /// Like [`recv`](Self::recv), but also returns pongs: the client's responses to the application's pings,
    /// each with the bytes of its ping. A pong shows that the client has read everything that was sent before
    /// the ping.
    /// # Errors
    /// Same as `recv`.
    pub async fn recv_or_pong(&mut self) -> Option<Result<Message, axum::Error>> {
        loop {
            let socket = self.socket.as_mut()?;
            let ends = async {
                match &self.host {
                    Some(host) => host.shutdown().await,
                    None => std::future::pending().await,
                }
            };
            let message = tokio::select! {
                message = socket.recv() => message,
                () = ends => {
                    detached(goodbye(self.socket.take()?, close_code::RESTART, "service restart")).await;
                    return None;
                }
            };
            match message {
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Close(_))) => {
                    let mut socket = self.socket.take()?;
                    // The response is ready and is sent with the next read (RFC 6455 section 5.5.1).
                    detached(async move {
                        let _ = tokio::time::timeout(GOODBYE, socket.recv()).await;
                    })
                    .await;
                    return None;
                }
                Some(Ok(message)) => return Some(Ok(message)),
                Some(Err(error)) => {
                    let socket = self.socket.take()?;
                    if let Some((code, reason)) = close_code_of(&error) {
                        detached(goodbye(socket, code, reason)).await;
                    }
                    return Some(Err(axum::Error::new(error)));
                }
                None => {
                    self.socket = None;
                    return None;
                }
            }
        }
    }

    /// Sends a message, in fragments if it is long. Waits while the client does not read. If the future is dropped,
    /// the message may be sent in part, and the rest follows before the next message.
    /// # Errors
    /// If the WebSocket has ended or the connection is lost.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), axum::Error> {
        match &mut self.socket {
            Some(socket) => socket.send(message.into()).await.map_err(axum::Error::new),
            None => Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::NotConnected))),
        }
    }

    /// The subprotocol that was chosen.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_ref()?.to_str().ok()
    }

    /// Closes with a code ([`close_code`]) and a reason of at most 123 bytes, and waits a short time for the
    /// client's response.
    pub async fn close(mut self, code: u16, reason: &str) {
        if let Some(socket) = self.socket.take() {
            let end = reason.floor_char_boundary(123);
            goodbye(socket, code, &reason[..end]).await;
        }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let (Some(socket), Ok(runtime)) = (self.socket.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (code, reason) = match std::thread::panicking() {
            true => (close_code::ERROR, "internal error"),
            false => (close_code::NORMAL, ""),
        };
        runtime.spawn(goodbye(socket, code, reason));
    }
}

/// Waits for `closing`, which continues if the wait is dropped.
async fn detached(closing: impl Future<Output = ()> + Send + 'static) {
    let _ = tokio::spawn(closing).await;
}

/// Starts the closing handshake and waits for its end.
fn goodbye(mut socket: MessageStream, code: u16, reason: &str) -> impl Future<Output = ()> + Send + use<> {
    let close = CloseFrame { code, reason: reason.into() };
    async move {
        let closed = async {
            socket.send(Message::Close(Some(close))).await?;
            // Read what the client sends until it has read the close. Otherwise a reset could overtake it.
            while let Some(message) = socket.recv().await {
                message?;
            }
            Ok::<_, tokio_tungstenite::tungstenite::Error>(())
        };
        let _ = tokio::time::timeout(GOODBYE, closed).await;
    }
}

/// The same for one of axum's own WebSockets.
pub(crate) async fn goodbye_to(socket: &mut ws::WebSocket, close: CloseFrame) {
    let closed = async {
        socket.send(Message::Close(Some(close))).await?;
        while let Some(message) = socket.recv().await {
            message?;
        }
        Ok::<_, axum::Error>(())
    };
    let _ = tokio::time::timeout(GOODBYE, closed).await;
}

/// Finishes a closing handshake that the client of one of axum's own WebSockets started. The response is ready and is sent
/// with the next read.
/// # Source
/// RFC 6455 section 5.5.1.
pub(crate) async fn answer_close(socket: &mut ws::WebSocket) {
    let _ = tokio::time::timeout(GOODBYE, socket.recv()).await;
}
