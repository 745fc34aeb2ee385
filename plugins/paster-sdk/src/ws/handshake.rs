//! The opening handshake: whether a request is one, and which origin it has.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{Method, StatusCode, Version};

use crate::Environ;

/// The origin of a request, before any origin is allowed.
#[derive(Debug)]
pub(super) enum RequestOrigin {
    /// Not from a browser, from the same origin, or allowed.
    Allowed,
    /// From another origin.
    Other(String),
}

/// Why a request does not open a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketRejection {
    status: StatusCode,
    reason: Cow<'static, str>,
}

impl WebSocketRejection {
    pub(super) fn new(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> WebSocketRejection {
        WebSocketRejection { status, reason: reason.into() }
    }

    /// The status to respond with.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl std::fmt::Display for WebSocketRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for WebSocketRejection {}

impl IntoResponse for WebSocketRejection {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.reason)).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UPGRADE_REQUIRED => {
                // RFC 9110 section 15.5.22, RFC 6455 section 4.4.
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            _ => {}
        }
        response
    }
}

/// RFC 6455 section 4.2.1. An extended CONNECT in HTTP/2 has no `Connection`, `Upgrade` or key (RFC 8441
/// section 5).
pub(super) fn check(parts: &Parts) -> Result<(), WebSocketRejection> {
    let headers = &parts.headers;
    let http1 = parts.version <= Version::HTTP_11;
    if http1 && !(has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket")) {
        let reason = "this address is a WebSocket: use a WebSocket client";
        return Err(WebSocketRejection::new(StatusCode::UPGRADE_REQUIRED, reason));
    }
    if http1 && parts.method != Method::GET {
        let reason = "a WebSocket must be opened with GET";
        return Err(WebSocketRejection::new(StatusCode::METHOD_NOT_ALLOWED, reason));
    }
    if single(headers, SEC_WEBSOCKET_VERSION) != Some(b"13") {
        let reason = "this server supports only version 13 of the WebSocket protocol";
        return Err(WebSocketRejection::new(StatusCode::UPGRADE_REQUIRED, reason));
    }
    if http1 && !single(headers, SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        let reason = "`Sec-WebSocket-Key` must be a single base64 value of 16 bytes";
        return Err(WebSocketRejection::new(StatusCode::BAD_REQUEST, reason));
    }
    Ok(())
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// The value of a field that may occur only once.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut lines = headers.get_all(name).into_iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    Some(line.as_bytes().trim_ascii())
}

/// Whether `value` is 16 bytes in base64: 22 digits and two `=`.
fn is_key(value: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    value.len() == 24 && value.ends_with(b"==") && value[..22].iter().all(digit)
}

/// RFC 6455 section 10.2.
pub(super) fn origin(parts: &Parts) -> RequestOrigin {
    if !parts.headers.contains_key(ORIGIN) {
        return RequestOrigin::Allowed;
    }
    let origin = single(&parts.headers, ORIGIN).map(String::from_utf8_lossy).unwrap_or_default();
    let same = match parts.extensions.get::<Environ>() {
        Some(environ) => is_same(&origin, environ.host(), environ.port()),
        None => {
            let host =
                single(&parts.headers, HOST).and_then(|host| http::uri::Authority::try_from(host).ok());
            host.is_some_and(|host| is_same(&origin, host.host(), host.port_u16()))
        }
    };
    if same { RequestOrigin::Allowed } else { RequestOrigin::Other(origin.into_owned()) }
}

/// Whether an origin is that of `host`. A proxy in front may terminate TLS, so the scheme only gives the
/// port.
fn is_same(origin: &str, host: &str, port: Option<u16>) -> bool {
    let (default, authority) = match origin.split_once("://") {
        Some(("https", authority)) => (443, authority),
        Some(("http", authority)) => (80, authority),
        _ => return false,
    };
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    let bare = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
    bare(authority.host()) == bare(host)
        && authority.port_u16().unwrap_or(default) == port.unwrap_or(default)
        && !authority.as_str().contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (origin, host, port, same) in [
            ("https://a.example", "a.example", None, true),
            ("https://a.example", "a.example", Some(443), true),
            ("http://a.example:8080", "a.example", Some(8080), true),
            ("http://[::1]:80", "[::1]", None, true),
            ("https://a.example", "a.example", Some(8080), false),
            ("https://a.example:8443", "a.example", None, false),
            ("https://b.example", "a.example", None, false),
            ("https://a.example.b.example", "a.example", None, false),
            ("https://a.example@b.example", "b.example", None, false),
            ("null", "a.example", None, false),
            ("file://", "a.example", None, false),
            ("", "a.example", None, false),
        ] {
            assert_eq!(is_same(origin, host, port), same, "{origin} {host} {port:?}");
        }
    }

    #[test]
    fn keys_are_16_bytes() {
        for (key, right) in [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("dGhlIHNhbXBsZSBub25jZQ", false),
            ("dGhlIHNhbXBsZSBub25jZQ=", false),
            ("dGhlIHNhbXBsZSBub25jZSBh", false),
            ("dGhlIHNhbXBsZSBub25j*A==", false),
            ("x", false),
            ("", false),
        ] {
            assert_eq!(is_key(key.as_bytes()), right, "{key}");
        }
    }
}
