//! A request that no application gets, as far as it was read: the facts for an access log.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use http::{HeaderMap, StatusCode, Version};

/// Longest method and target that are kept, in bytes, so that refused requests do not fill the log.
const METHOD_LIMIT: usize = 64;
const TARGET_LIMIT: usize = 1024;

/// A request that the server itself answered. Its texts are as the client sent them: they may contain
/// anything.
#[derive(Debug, Clone)]
pub struct Refused<'a> {
    /// When it arrived.
    pub came: Instant,
    /// The client.
    pub client: Option<IpAddr>,
    /// The part that was read.
    pub head: RefusedHead<'a>,
    /// The status of the response.
    pub status: StatusCode,
    /// Why, in a few words.
    pub reason: &'a str,
    /// Bytes of the response body.
    pub bytes: u64,
}

/// The part of a refused request that was read. If the request line was not read, the method is empty.
#[derive(Debug, Clone, Default)]
pub struct RefusedHead<'a> {
    /// The method.
    pub method: Cow<'a, str>,
    /// The target, with its query.
    pub target: Cow<'a, str>,
    /// The version.
    pub version: Option<Version>,
    /// The fields.
    pub headers: Option<&'a HeaderMap>,
}

impl<'a> RefusedHead<'a> {
    /// Parses the request line at the start of the raw bytes of a head, even if it is malformed.
    pub fn of_bytes(head: &'a [u8]) -> RefusedHead<'a> {
        let head = &head[head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()..];
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default();
        RefusedHead::of_words(word(), word(), word())
    }

    /// A head whose method, target and version (`HTTP/1.1`) are known, each as received.
    pub fn of_words(method: &'a [u8], target: &'a [u8], version: &[u8]) -> RefusedHead<'a> {
        let version = match version {
            b"HTTP/1.0" => Some(Version::HTTP_10),
            b"HTTP/1.1" => Some(Version::HTTP_11),
            b"HTTP/2.0" => Some(Version::HTTP_2),
            b"HTTP/3.0" => Some(Version::HTTP_3),
            _ => None,
        };
        RefusedHead {
            method: cut(String::from_utf8_lossy(&method[..method.len().min(METHOD_LIMIT + 1)]), METHOD_LIMIT),
            target: cut(String::from_utf8_lossy(&target[..target.len().min(TARGET_LIMIT + 1)]), TARGET_LIMIT),
            version,
            headers: None,
        }
    }

    /// The head of a request that was read completely.
    pub fn of_request<B>(request: &'a http::Request<B>) -> RefusedHead<'a> {
        let uri = request.uri();
        let target = match (uri.path_and_query(), uri.authority()) {
            (Some(target), _) => target.as_str(),
            (None, Some(authority)) => authority.as_str(),
            (None, None) => "",
        };
        RefusedHead {
            method: cut(request.method().as_str().into(), METHOD_LIMIT),
            target: cut(target.into(), TARGET_LIMIT),
            version: Some(request.version()),
            headers: Some(request.headers()),
        }
    }
}

/// At most `limit` bytes of `text`; `…` replaces the rest.
fn cut(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return text;
    }
    format!("{}…", &text[..text.floor_char_boundary(limit)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_of_any_bytes() {
        let check = |head: &[u8], method: &str, target: &str, version: Option<Version>| {
            let found = RefusedHead::of_bytes(head);
            assert_eq!((&*found.method, &*found.target, found.version), (method, target, version));
        };
        check(b"", "", "", None);
        check(b"\r\n\r\nGET /a?b HTTP/1.1\r\nHost: a\r\n", "GET", "/a?b", Some(Version::HTTP_11));
        check(b"GET /a", "GET", "/a", None);
        check(b"GET /a HTTP/3.1", "GET", "/a", None);
        check(b"\x16\x03\x01\xff", "\u{16}\u{3}\u{1}\u{fffd}", "", None);
        let long = [&b"G /"[..], &"é".repeat(2000).into_bytes()].concat();
        let found = RefusedHead::of_bytes(&long).target;
        assert!(found.ends_with('…') && found.len() <= TARGET_LIMIT + 3, "{}", found.len());
    }
}
