//! The fields of a request: framing, hop-by-hop fields, and names that are dropped.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};

use super::extended_connect::is_extended;
use super::forwarded;
use super::rejection::{Rejection, bad, refuse};

/// Hop-by-hop fields, RFC 9110 section 7.6.1; `Connection` may name more.
static HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that `Connection` cannot remove: a client could hide them from an inner part that way.
const END_TO_END: [&str; 12] = [
    "authorization",
    "client-cert",
    "client-cert-chain",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "origin",
    "range",
];

/// The result of one pass over the fields.
#[derive(Default)]
pub(super) struct SeenFields {
    pub(super) hosts: u8,
    /// A `Host` equals the known one.
    pub(super) known_host: bool,
    pub(super) connection: bool,
    pub(super) hop: bool,
    pub(super) transfer_encoding: bool,
    pub(super) lengths: u8,
    pub(super) cookies: u8,
    pub(super) forwarded: bool,
    pub(super) dropped: bool,
    /// A field of RFC 9440.
    pub(super) client_cert: bool,
}

/// Fields in which a proxy that terminates TLS forwards the client's certificate (RFC 9440 section 2).
const CLIENT_CERT: [&str; 2] = ["client-cert", "client-cert-chain"];

/// One pass over all fields that changes nothing: most requests need no change.
pub(super) fn look(headers: &HeaderMap, known_host: Option<&HeaderValue>) -> SeenFields {
    let mut seen = SeenFields::default();
    for (name, value) in headers {
        match *name {
            HOST => {
                seen.hosts = seen.hosts.saturating_add(1);
                seen.known_host = known_host.is_some_and(|known| known == value);
            }
            CONNECTION => {
                seen.connection = true;
                seen.hop = true;
            }
            TRANSFER_ENCODING => {
                seen.transfer_encoding = true;
                seen.hop = true;
            }
            TE | UPGRADE => seen.hop = true,
            CONTENT_LENGTH => seen.lengths = seen.lengths.saturating_add(1),
            COOKIE => seen.cookies = seen.cookies.saturating_add(1),
            FORWARDED => seen.forwarded = true,
            _ => {
                let name = name.as_str();
                match name.as_bytes()[0] {
                    b'x' => seen.forwarded |= forwarded::is_x_forwarded(name) || name == "x-real-ip",
                    b'c' => seen.client_cert |= CLIENT_CERT.contains(&name),
                    b'k' => seen.hop |= name == "keep-alive",
                    b'p' => {
                        seen.hop |= name == "proxy-connection";
                        seen.dropped |= name == "proxy";
                    }
                    _ => {}
                }
                seen.dropped |= name.as_bytes().contains(&b'_');
            }
        }
    }
    seen
}

/// RFC 9112 section 6.1: the only supported coding is `chunked`, applied once, and never with a length.
pub(super) fn check_transfer_encoding<B>(request: &Request<B>) -> Result<(), Rejection> {
    let mut lines = request.headers().get_all(TRANSFER_ENCODING).iter();
    let (first, second) = (lines.next(), lines.next());
    let chunked = first.is_some_and(|line| line.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if request.version() != Version::HTTP_11 {
        return bad("Transfer-Encoding is valid in HTTP/1.1 only");
    }
    if second.is_some() || !chunked {
        let codings = || {
            let lines = request.headers().get_all(TRANSFER_ENCODING).iter();
            lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        };
        if codings().all(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked")) {
            return bad("Transfer-Encoding is not exactly `chunked`");
        }
        return refuse(StatusCode::NOT_IMPLEMENTED, "Transfer-Encoding is not exactly `chunked`");
    }
    if request.headers().contains_key(CONTENT_LENGTH) {
        return bad("Content-Length beside Transfer-Encoding");
    }
    Ok(())
}

/// RFC 9112 section 6.3: only digits, and all fields the same; one is kept.
pub(super) fn check_lengths(headers: &mut HeaderMap, count: u8) -> Result<(), Rejection> {
    let first = headers.get(CONTENT_LENGTH).cloned();
    let Some(first) = first else { return Ok(()) };
    if first.is_empty() || !first.as_bytes().iter().all(u8::is_ascii_digit) {
        return bad("Content-Length is not a number");
    }
    if count > 1 {
        if headers.get_all(CONTENT_LENGTH).iter().any(|line| *line != first) {
            return bad("Content-Length fields differ");
        }
        headers.insert(CONTENT_LENGTH, first);
    }
    Ok(())
}

/// Removes hop-by-hop fields. For a request that opens a WebSocket (RFC 6455 section 4.1), keeps exactly
/// `Connection: Upgrade` and `Upgrade: websocket`, and returns true.
pub(super) fn settle_hops<B>(request: &mut Request<B>, connection: bool) -> bool {
    let upgrade = connection && is_websocket(request);
    let headers = request.headers_mut();
    if connection {
        let lines = headers.get_all(CONNECTION).iter();
        let named: Vec<_> = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(|option| HeaderName::from_bytes(option.trim().as_bytes()).ok())
            .filter(|name| *name != UPGRADE && !END_TO_END.contains(&name.as_str()))
            .filter(|name| !forwarded::is_x_forwarded(name.as_str()))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    } else {
        request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    }
    upgrade
}

fn is_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let has = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.split(',').any(|option| option.trim().eq_ignore_ascii_case(token)))
    };
    (request.version() == Version::HTTP_11 || is_extended(request))
        && *request.method() == Method::GET
        && has(CONNECTION, "upgrade")
        && has(UPGRADE, "websocket")
        && !headers.contains_key(TRANSFER_ENCODING)
        && headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0")
}

/// Drops `Proxy`, which CGI would turn into `HTTP_PROXY` (<https://httpoxy.org/>), and names with `_`, which CGI cannot
/// distinguish from those with `-`.
pub(super) fn drop_names(headers: &mut HeaderMap) {
    headers.remove("proxy");
    let names: Vec<_> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Drops certificate fields that a client sent itself: only a proxy that has verified the certificate may set
/// them (RFC 9440 section 2.4).
pub(super) fn drop_client_cert(headers: &mut HeaderMap) {
    for name in CLIENT_CERT {
        headers.remove(name);
    }
}

/// RFC 9113 section 8.2.3: joins cookies that HTTP/2 split into one field.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}
