//! Requests that fail before there is a request: a head that does not arrive, or that hyper cannot parse.
//!
//! hyper itself answers what it cannot parse, without a body or a log entry. So the socket holds that
//! response back ([`is_hypers_own`]), and when the connection has ended, its driver sends one that names the
//! reason.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, StatusCode};
use http_body::Body as _;

use super::conn_state::ConnState;
use super::stream::HttpStream;
use super::wait::linger;
use crate::body::{RefusedHead, Response};
use crate::server::gate::{ConnInfo, Rejection};

/// A head did not arrive in time.
pub(super) const HEAD_TOO_SLOW: Rejection =
    Rejection::new(StatusCode::REQUEST_TIMEOUT, "the head arrived too slowly").by("head_timeout_secs");
/// A head is too long.
pub(super) const HEAD_TOO_LONG: Rejection =
    Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too long")
        .by("head_limit_bytes");
/// Plain HTTP on a TLS port.
pub(super) const SPEAKS_HTTPS: Rejection =
    Rejection::new(StatusCode::BAD_REQUEST, "this port speaks HTTPS: use https://");
/// TLS on a plain HTTP port.
const SPEAKS_HTTP: Rejection =
    Rejection::new(StatusCode::BAD_REQUEST, "this port speaks plain HTTP: use http://");

/// First byte of every TLS connection: the content type of a handshake record, RFC 8446 section 5.1.
pub(super) const HANDSHAKE: u8 = 22;

/// Answers, counts and logs a request of which `read` has arrived, and ends the connection. Output that the
/// socket does not take at once is dropped.
pub(super) async fn refuse(
    mut stream: HttpStream,
    conn: &ConnState,
    info: &ConnInfo,
    rejection: Rejection,
    read: &[u8],
) {
    let body = format!("{}: {}\n", rejection.status.canonical_reason().unwrap_or("Error"), rejection.reason);
    let guard = conn.shared.requests.take(std::time::Instant::now());
    let client = info.peer.map(|peer| peer.ip());
    guard.refused(&rejection, client, RefusedHead::of_bytes(read), body.len() as u64);
    drop(guard);
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\ndate: {}\r\n\r\n",
        rejection.status,
        body.len(),
        httpdate::fmt_http_date(SystemTime::now()),
    );
    let _ = stream.try_write((head + &body).as_bytes());
    linger(stream, conn).await;
}

/// The error that hyper found in the head at the start of `read`.
pub(super) fn of_hyper(error: &hyper::Error, read: &[u8], conn: &ConnState) -> Rejection {
    let bad = |reason| Rejection::new(StatusCode::BAD_REQUEST, reason);
    let text = error.to_string();
    if error.is_parse_too_large() {
        return match text.contains("URI") {
            true => Rejection::new(StatusCode::URI_TOO_LONG, "the request target is too long"),
            false if read.len() >= conn.shared.limits.head_bytes => HEAD_TOO_LONG,
            false => Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields")
                .by("fields_limit"),
        };
    }
    if read.first() == Some(&HANDSHAKE) {
        return SPEAKS_HTTP;
    }
    match text {
        text if text.contains("method") => bad("the method is not valid"),
        text if text.contains("URI") => bad("the request target is not valid"),
        text if text.contains("version") => bad("the HTTP version is neither 1.0 nor 1.1"),
        text if text.contains("content-length") => bad("Content-Length is not valid"),
        text if text.contains("transfer-encoding") => bad("Transfer-Encoding is not valid"),
        text if text.contains("header") => bad("a header field is not valid"),
        _ => bad("the request cannot be parsed"),
    }
}

/// How hyper's own responses end.
const END: &[u8] = b" GMT\r\n\r\n";

/// The statuses of hyper's own responses.
const HYPERS: [StatusCode; 3] =
    [StatusCode::BAD_REQUEST, StatusCode::URI_TOO_LONG, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE];

/// The position of hyper's own response in `bytes`, which are about to be written, if they end with one.
pub(super) fn is_hypers_own(bytes: &[u8]) -> Option<usize> {
    /// `Sun, 29 Nov 2026 03:14:31 GMT` and two line ends.
    const DATE: usize = 29 + 4;
    const FIELDS: &[u8] = b"\r\nconnection: close\r\ncontent-length: 0\r\ndate: ";
    if !bytes.ends_with(END) {
        return None;
    }
    let line = bytes[..bytes.len().checked_sub(DATE)?].strip_suffix(FIELDS)?;
    HYPERS.iter().find_map(|status| {
        let line = line.strip_suffix(status.canonical_reason()?.as_bytes())?;
        let line = line.strip_suffix(b" ")?.strip_suffix(status.as_str().as_bytes())?;
        Some(line.strip_suffix(b"HTTP/1.1 ")?.len())
    })
}

/// Whether a body that ends with this frame may end like hyper's own response.
pub(super) fn looks_alike(frame: &[u8]) -> bool {
    match frame.len() < END.len() {
        true => frame.ends_with(b"\n"), // earlier frames may contain the rest
        false => frame.ends_with(END),
    }
}

/// Reorders the fields of an app's empty response with such a status, so that [`is_hypers_own`] can distinguish it.
pub(super) fn mark(response: &mut Response) {
    if !HYPERS.contains(&response.status()) || !response.body().is_end_stream() {
        return;
    }
    let headers = response.headers_mut();
    let closes = headers.remove(CONNECTION);
    headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
    if let Some(closes) = closes {
        headers.insert(CONNECTION, closes);
    }
}

/// The bytes that hyper has read and not used, followed by those that the socket has for it.
pub(super) fn unread(read: &Bytes, before: &Bytes) -> Vec<u8> {
    [&**read, &**before].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hypers_own_answers_are_known() {
        let own = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                   date: Sun, 29 Nov 2026 03:14:31 GMT\r\n\r\n";
        assert_eq!(is_hypers_own(own.as_bytes()), Some(0));
        assert_eq!(is_hypers_own(format!("abc{own}").as_bytes()), Some(3));
        for other in [
            own.replace("400 Bad Request", "200 OK"),
            own.replace("close", "keep-alive"),
            own.replace("400", "404"),
            own.replace("connection: close\r\ncontent-length: 0", "content-length: 0\r\nconnection: close"),
            own[1..].to_owned(),
            String::new(),
            " GMT\r\n\r\n".to_owned(),
        ] {
            assert_eq!(is_hypers_own(other.as_bytes()), None, "{other}");
        }
    }
}
