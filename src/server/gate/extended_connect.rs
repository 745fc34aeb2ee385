//! WebSockets over HTTP/2: an extended CONNECT becomes the request that opens a WebSocket over HTTP/1.1, so that every app
//! can accept it.
//!
//! # Source
//! RFC 8441.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::ext::Protocol;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::body::Response;

/// Changes the request if it is an extended CONNECT for a WebSocket.
pub(super) fn settle_request<B>(request: &mut Request<B>) {
    if *request.method() != Method::CONNECT || !is_extended(request) {
        return;
    }
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    // HTTP/2 has none, and an app or an upstream expects one.
    if let Ok(key) = HeaderValue::try_from(generate_key()) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
}

/// Whether the request is, or was, an extended CONNECT for a WebSocket.
pub(super) fn is_extended<B>(request: &Request<B>) -> bool {
    request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Changes the response that accepts the WebSocket.
pub(super) fn settle_response(response: &mut Response) {
    *response.status_mut() = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
}
