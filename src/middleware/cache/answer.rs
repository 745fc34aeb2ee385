//! Responses from the cache: to conditional and range requests, with `Age` and `Cache-Status`.

use std::fmt::Write;
use std::time::SystemTime;

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES,
    HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, VARY,
};
use http::{HeaderValue, Method, StatusCode};

use super::directives::split;
use super::entry::{CacheEntry, StoredBody};
use super::policy::date;
use crate::body::file::{BodyPiece, FileBody};
use crate::body::{Body, Response};
use crate::codec::range::{self, RangeResponse};

pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How a response came about, for `Cache-Status` (RFC 9211) and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheOutcome {
    /// A stored response, with its remaining lifetime in seconds.
    Hit(i64),
    /// Another request's response.
    Collapsed,
    /// The app validated a stored response.
    Validated,
    /// A stale response in place of an error; the app's status, if it had one.
    StaleOnError(Option<StatusCode>),
    /// The app's response.
    Forwarded {
        /// Why it was asked: `miss`, `stale`, `request`, `method`, `bypass`.
        reason: &'static str,
        stored: bool,
    },
}

impl CacheOutcome {
    /// A member of `Cache-Status`.
    pub(super) fn field(self) -> HeaderValue {
        let mut text = "paster; ".to_owned();
        let _ = match self {
            CacheOutcome::Hit(ttl) => write!(text, "hit; ttl={ttl}"),
            CacheOutcome::Collapsed => write!(text, "fwd=miss; collapsed"),
            CacheOutcome::Validated => write!(text, "fwd=stale; fwd-status=304"),
            CacheOutcome::StaleOnError(Some(status)) => {
                write!(text, "fwd=stale; fwd-status={}", status.as_u16())
            }
            CacheOutcome::StaleOnError(None) => write!(text, "fwd=stale; detail=error"),
            CacheOutcome::Forwarded { reason, stored } => {
                write!(text, "fwd={reason}{}", if stored { "; stored" } else { "" })
            }
        };
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("paster"))
    }
}

/// A request, as far as a stored response depends on it.
pub(super) struct CacheRequest {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
}

impl CacheEntry {
    /// The response from the cache, with its age. `own` are the fields of the app's response to this very request.
    pub(super) fn answer(&self, asked: &CacheRequest, own: Option<HeaderMap>) -> Response {
        let fresh = own.is_some();
        let mut headers = own.unwrap_or_else(|| self.headers.clone());
        if !fresh {
            headers.insert(AGE, self.age(SystemTime::now()).into());
        }
        if self.status == StatusCode::OK && self.is_unchanged(&asked.headers) {
            return not_modified(headers);
        }
        let length = self.length();
        let (status, start, end) = match self.part(asked, length) {
            RangeResponse::Some(parts) if parts.len() == 1 => {
                let content =
                    format!("bytes {}-{}/{}", parts[0].start, parts[0].end - 1, length.unwrap_or(0));
                insert(&mut headers, CONTENT_RANGE, &content);
                headers.insert(CONTENT_LENGTH, (parts[0].end - parts[0].start).into());
                (StatusCode::PARTIAL_CONTENT, parts[0].start, Some(parts[0].end))
            }
            RangeResponse::Unsatisfiable => {
                headers.remove(CONTENT_LENGTH);
                headers.remove(CONTENT_TYPE);
                insert(&mut headers, CONTENT_RANGE, &format!("bytes */{}", length.unwrap_or(0)));
                (StatusCode::RANGE_NOT_SATISFIABLE, 0, Some(0))
            }
            _ => (self.status, 0, length),
        };
        let mut response = Response::new(self.body(start, end));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn body(&self, start: u64, end: Option<u64>) -> Body {
        match &self.body {
            StoredBody::Memory(bytes) => {
                let end = end.unwrap_or(bytes.len() as u64);
                bytes.slice(start as usize..end as usize).into()
            }
            StoredBody::File(file, length) => {
                FileBody::new(file.clone(), [BodyPiece::File(start..end.unwrap_or(*length))]).into()
            }
            StoredBody::Growing(growing) => growing.reader(start, end),
        }
    }

    /// The part that the request asks for (RFC 9110, section 14.2). Several parts are answered with the whole.
    fn part(&self, asked: &CacheRequest, length: Option<u64>) -> RangeResponse {
        let field = asked.headers.get(RANGE).and_then(|value| value.to_str().ok());
        let (Some(field), Some(length)) = (field, length) else { return RangeResponse::Whole };
        let applies = self.status == StatusCode::OK
            && asked.method == Method::GET
            && self.range_applies(&asked.headers);
        if applies { range::parse(field, length) } else { RangeResponse::Whole }
    }

    /// RFC 9110, section 13.1.5: only an exact validator.
    fn range_applies(&self, request: &HeaderMap) -> bool {
        let Some(condition) = request.get(IF_RANGE) else { return true };
        let strong = condition.as_bytes().starts_with(b"\"");
        self.headers.get(if strong { ETAG } else { LAST_MODIFIED }) == Some(condition)
    }

    /// Whether the client has this content already (RFC 9111, section 4.3.2).
    fn is_unchanged(&self, request: &HeaderMap) -> bool {
        if request.contains_key(IF_NONE_MATCH) {
            let own = self.headers.get(ETAG).map(|etag| weak(etag.as_bytes()).to_owned());
            return request.get_all(IF_NONE_MATCH).iter().any(|value| {
                let text = String::from_utf8_lossy(value.as_bytes());
                split(&text).any(|tag| tag == "*" || own.as_deref() == Some(weak(tag.as_bytes())))
                    || own.as_deref() == Some(weak(value.as_bytes()))
            });
        }
        let Some(since) = request.get(IF_MODIFIED_SINCE).and_then(date) else { return false };
        let own = |name: HeaderName| self.headers.get(name).and_then(date);
        own(LAST_MODIFIED).or_else(|| own(DATE)).unwrap_or(self.received) <= since
    }
}

/// A tag without the mark of a weak one (RFC 9110, section 8.8.3.2).
fn weak(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// 304, with the fields of RFC 9110, section 15.4.5.
fn not_modified(all: HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for name in [AGE, CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY] {
        for value in all.get_all(&name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // It has only visible characters.
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
