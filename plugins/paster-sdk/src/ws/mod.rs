//! WebSockets that implement all of RFC 6455: the handshake, limits, the origin, and the closing handshake.
//!
//! axum's own `WebSocketUpgrade` works too, but leaves all of that to the application.

mod handshake;

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

pub use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, close_code};

use self::handshake::RequestOrigin;
pub use self::handshake::WebSocketRejection;
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
    inner: ws::WebSocketUpgrade,
    host: Option<Host>,
    origin: RequestOrigin,
}

impl<S: Send + Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = WebSocketRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, WebSocketRejection> {
        handshake::check(parts)?;
        let origin = handshake::origin(parts);
        let host = parts.extensions.get::<Host>().cloned();
        let upgrade = ws::WebSocketUpgrade::from_request_parts(parts, state).await;
        let inner = upgrade.map_err(|rejection| {
            WebSocketRejection::new(rejection.into_response().status(), "this connection cannot be upgraded")
        })?;
        let inner = inner.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES);
        Ok(WebSocketUpgrade { inner, host, origin })
    }
}

impl WebSocketUpgrade {
    /// Sets the limit of a message, in bytes; 1 MiB by default. A longer message ends the WebSocket with
    /// 1009.
    pub fn max_message_bytes(mut self, limit: usize) -> WebSocketUpgrade {
        self.inner = self.inner.max_message_size(limit).max_frame_size(limit);
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
        let host = self.host;
        self.inner.on_upgrade(move |socket| serve(WebSocket { socket: Some(socket), host }))
    }
}

/// An open WebSocket.
///
/// It responds to pings and to the client's close by itself. When the generation ends, it closes with 1012
/// (service restart), so that clients reconnect to the next one. After an error of the client it closes with
/// the matching code.
#[derive(Debug)]
pub struct WebSocket {
    /// `None` once it has ended.
    socket: Option<ws::WebSocket>,
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
                    detached(async move { answer_close(&mut socket).await }).await;
                    return None;
                }
                Some(Ok(message)) => return Some(Ok(message)),
                Some(Err(error)) => {
                    let socket = self.socket.take()?;
                    if let Some((code, reason)) = close_code_of(&error) {
                        detached(goodbye(socket, code, reason)).await;
                    }
                    return Some(Err(error));
                }
                None => {
                    self.socket = None;
                    return None;
                }
            }
        }
    }

    /// Sends a message. Waits while the client does not read.
    /// # Errors
    /// If the WebSocket has ended or the connection is lost.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), axum::Error> {
        match &mut self.socket {
            Some(socket) => socket.send(message.into()).await,
            None => Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::NotConnected))),
        }
    }

    /// The subprotocol that was chosen.
    pub fn protocol(&self) -> Option<&str> {
        self.socket.as_ref()?.protocol()?.to_str().ok()
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
fn goodbye(mut socket: ws::WebSocket, code: u16, reason: &str) -> impl Future<Output = ()> + Send + use<> {
    let close = CloseFrame { code, reason: reason.into() };
    async move { goodbye_to(&mut socket, close).await }
}

/// The same for a borrowed socket.
pub(crate) async fn goodbye_to(socket: &mut ws::WebSocket, close: CloseFrame) {
    let closed = async {
        socket.send(Message::Close(Some(close))).await?;
        // Read what the client sends until it has read the close. Otherwise a reset could overtake it.
        while let Some(message) = socket.recv().await {
            message?;
        }
        Ok::<_, axum::Error>(())
    };
    let _ = tokio::time::timeout(GOODBYE, closed).await;
}

/// Finishes a closing handshake that the client started. The response is ready and is sent with the next
/// read.
/// # Source
/// RFC 6455 section 5.5.1.
pub(crate) async fn answer_close(socket: &mut ws::WebSocket) {
    let _ = tokio::time::timeout(GOODBYE, socket.recv()).await;
}

/// The code for an error of the client (RFC 6455 section 7.4.1); `None` if the connection is lost.
fn close_code_of(error: &axum::Error) -> Option<(u16, &'static str)> {
    // The cause's type belongs to a crate that axum chooses, so its kind is recognized by how its text
    // begins.
    let text = error.to_string();
    if text.starts_with("Space limit exceeded") {
        Some((close_code::SIZE, "the message is too long"))
    } else if text.starts_with("UTF-8 encoding error") {
        Some((close_code::INVALID, "the text is not UTF-8"))
    } else if text.starts_with("WebSocket protocol error") && !text.contains("without closing handshake") {
        Some((close_code::PROTOCOL, "protocol error"))
    } else {
        None
    }
}
