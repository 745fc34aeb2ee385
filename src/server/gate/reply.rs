//! The gate's counterpart for responses: an unambiguous head, and no body where none is allowed.

use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, HeaderName, RETRY_AFTER, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body::Body as _;

use super::{Admitted, Rejection, extended_connect};
use crate::body::{Body, Response, text_response};
use crate::environ::RefusalReason;

/// A short plain-text response from the server itself.
pub fn plain(status: StatusCode, text: &str) -> Response {
    let reason = status.canonical_reason().unwrap_or("Error");
    let text = if text.is_empty() { format!("{reason}\n") } else { format!("{reason}: {text}\n") };
    text_response(status, text)
}

/// The response to a refused request; over HTTP/1 the connection ends with it.
pub fn rejection(rejection: Rejection, version: Version) -> Response {
    let mut response = plain(rejection.status, rejection.reason);
    response.extensions_mut().insert(RefusalReason(rejection.reason));
    let headers = response.headers_mut();
    if rejection.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static(""));
    }
    if version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The refusal if a server has too many requests in flight.
pub(in crate::server) const FULL: Rejection =
    Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests in flight").by("max_in_flight");

/// The response of a server or an app that is full.
pub fn full(reason: &'static str) -> Response {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.extensions_mut().insert(RefusalReason(reason));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Brings a response to the form that may be sent.
///
/// No body for HEAD, 204 and 304 (over HTTP/2 hyper would send one), one Content-Length equal to the body's
/// length, no hop-by-hop fields except `Connection: close` and the `Upgrade` that a 426 needs, a status from
/// 200 to 599. A [`HeaderValue`] cannot contain CR, LF and NUL. The writer of the head adds `Date`.
///
/// `false`: there was no such form, and the response became a 500 that keeps its extensions.
/// # Source
/// RFC 9110 sections 6.4.1, 7.6.1, 8.6; RFC 9112 section 6.
pub fn settle(response: &mut Response, method: &Admitted, version: Version) -> bool {
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS && method.upgrade {
        if version == Version::HTTP_2 {
            extended_connect::settle_response(response);
        }
        return true;
    }
    if !(200..600).contains(&status.as_u16()) {
        tracing::error!(
            status = status.as_u16(),
            "the application sent a status that is not from 200 to 599"
        );
        fail(response, method);
        return false;
    }
    let asked = asked_upgrade(response, version);
    let has_length = strip_hops(response.headers_mut(), version);
    if let Some(protocol) = asked {
        response.headers_mut().append(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol);
    }
    let exact = response.body().size_hint().exact();
    let bodiless = method.head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_length && let Err(reason) = settle_length(response.headers_mut(), status, exact, bodiless) {
        tracing::error!(reason, "the application's response cannot be sent");
        fail(response, method);
        return false;
    }
    if bodiless {
        take_body(response, method);
    }
    true
}

/// Drops the body and keeps the head; for HEAD, the head keeps the body's length.
fn take_body(response: &mut Response, method: &Admitted) {
    if method.head
        && !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        && let Some(length @ 1..) = response.body().size_hint().exact()
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    *response.body_mut() = Body::empty();
}

fn fail(response: &mut Response, method: &Admitted) {
    let extensions = std::mem::take(response.extensions_mut());
    *response = plain(StatusCode::INTERNAL_SERVER_ERROR, "");
    *response.extensions_mut() = extensions;
    if method.head {
        take_body(response, method);
    }
}

/// The protocol that a 426 asks the client to switch to (RFC 9110 section 15.5.22).
fn asked_upgrade(response: &Response, version: Version) -> Option<HeaderValue> {
    let asks = response.status() == StatusCode::UPGRADE_REQUIRED && version == Version::HTTP_11;
    response.headers().get(UPGRADE).filter(|_| asks).cloned()
}

/// Returns whether there is a Content-Length, because it checks all fields anyway.
fn strip_hops(headers: &mut HeaderMap, version: Version) -> bool {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    let (mut close, mut hop, mut has_length) = (false, false, false);
    for (name, value) in &*headers {
        match *name {
            CONNECTION => {
                hop = true;
                let options = value.as_bytes().split(|byte| *byte == b',');
                close |= options.into_iter().any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
            TRANSFER_ENCODING | UPGRADE | TE => hop = true,
            CONTENT_LENGTH => has_length = true,
            _ => hop |= *name == KEEP_ALIVE || *name == PROXY_CONNECTION,
        }
    }
    if hop {
        for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, TE, KEEP_ALIVE, PROXY_CONNECTION] {
            headers.remove(name);
        }
        if close && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    has_length
}

/// `exact` is the length of the body, if known.
fn settle_length(
    headers: &mut HeaderMap,
    status: StatusCode,
    exact: Option<u64>,
    bodiless: bool,
) -> Result<(), &'static str> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return Ok(()) };
    let mut several = false;
    for line in lines {
        several = true;
        if line != first {
            return Err("Content-Length fields differ");
        }
    }
    let claimed = first.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    let first = several.then(|| first.clone());
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH); // RFC 9110 section 8.6: never in a 204
        return Ok(());
    }
    let Some(claimed) = claimed else { return Err("Content-Length is not a number") };
    match exact {
        // A response without a body may state the length that a GET would have.
        Some(exact) if exact != claimed && !bodiless => {
            return Err("Content-Length is not the body's length");
        }
        _ => {}
    }
    if let Some(first) = first {
        headers.insert(CONTENT_LENGTH, first);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, head: bool, fields: &[(&str, &str)], body: &'static str, expected: &str) {
        let mut response = http::Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            response.headers_mut().append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        settle(&mut response, &Admitted { head, upgrade: false }, Version::HTTP_11);
        let lines: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        let length = response.body().size_hint().exact().unwrap();
        assert_eq!(format!("{} [{}] {length}", response.status().as_u16(), lines.join(", ")), expected);
    }

    #[test]
    fn responses() {
        check(200, false, &[], "hello", "200 [] 5");
        check(200, true, &[], "hello", "200 [content-length: 5] 0");
        check(200, true, &[("content-length", "9")], "", "200 [content-length: 9] 0");
        check(204, false, &[("content-length", "5")], "hello", "204 [] 0");
        check(304, false, &[("content-length", "5")], "hello", "304 [content-length: 5] 0");
        check(
            200,
            false,
            &[("content-length", "5"), ("content-length", "5")],
            "hello",
            "200 [content-length: 5] 5",
        );
        check(200, false, &[("transfer-encoding", "chunked"), ("keep-alive", "x")], "hello", "200 [] 5");
        check(200, false, &[("connection", "x, Close")], "hello", "200 [connection: close] 5");
        let failed = "500 [content-type: text/plain; charset=utf-8] 22";
        check(200, false, &[("content-length", "5"), ("content-length", "6")], "hello", failed);
        check(200, false, &[("content-length", "6")], "hello", failed);
        check(200, false, &[("content-length", "5x")], "hello", failed);
        check(103, false, &[], "", failed);
        check(101, false, &[], "", failed);
        check(600, false, &[], "hello", failed);
        check(999, true, &[], "", "500 [content-type: text/plain; charset=utf-8, content-length: 22] 0");
    }
}
