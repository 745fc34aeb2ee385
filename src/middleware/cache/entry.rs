//! A stored response.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderName, VARY};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::directives::{split, unquoted};
use super::growing::Growing;
use crate::middleware::identity::hex;

/// Maximum number of variants of one URL (by `Vary`); the oldest are deleted.
pub(super) const MOST_VARIANTS: usize = 32;

/// Where a response is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    /// Name of the app.
    pub(super) app: Arc<str>,
    /// The URL.
    pub(super) url: Arc<str>,
}

impl CacheKey {
    /// A digest of it in hexadecimal digits.
    pub(super) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.app.as_bytes());
        hash.update([0]);
        hash.update(self.url.as_bytes());
        hex(&hash.finalize())
    }
}

/// A stored response, or one that is being stored.
#[derive(Debug, Clone)]
pub(super) struct CacheEntry {
    pub(super) key: CacheKey,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The fields that `Vary` names, with their values in the request that was answered.
    pub(super) selecting: Vec<(HeaderName, Option<String>)>,
    pub(super) tags: Vec<String>,
    /// When it arrived.
    pub(super) received: SystemTime,
    /// Its age at that time.
    pub(super) initial_age: Duration,
    pub(super) freshness: Freshness,
    pub(super) body: StoredBody,
}

/// How long a response may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Freshness {
    /// Lifetime in seconds.
    pub(super) lifetime: u64,
    /// Never without validation.
    pub(super) no_cache: bool,
    /// Not when it is stale.
    pub(super) must_revalidate: bool,
    /// For how many seconds it may be used after it became stale: while it is validated, and after an error.
    pub(super) while_revalidate: u64,
    pub(super) if_error: u64,
}

/// The body of a stored response.
#[derive(Debug, Clone)]
pub(super) enum StoredBody {
    Memory(Bytes),
    /// A file on disk, and its length.
    File(Arc<File>, u64),
    /// It is still being received.
    Growing(Arc<Growing>),
}

impl CacheEntry {
    /// RFC 9111, section 4.2.3.
    pub(super) fn age(&self, now: SystemTime) -> u64 {
        (self.initial_age + now.duration_since(self.received).unwrap_or_default()).as_secs()
    }

    /// How long it is still fresh, in seconds; negative or zero if it is stale.
    pub(super) fn ttl(&self, now: SystemTime) -> i64 {
        self.freshness.lifetime as i64 - self.age(now) as i64
    }

    /// Whether the request selects it (RFC 9111, section 4.1).
    pub(super) fn is_selected(&self, request: &HeaderMap) -> bool {
        self.selecting.iter().all(|(name, value)| normalized(request, name) == *value)
    }

    /// A digest of the fields that select it.
    pub(super) fn variant(&self) -> String {
        let selecting: Vec<_> = self.selecting.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let text = serde_json::to_vec(&selecting).unwrap_or_default();
        hex(&Sha256::digest(text)[..16])
    }

    /// Length of the body, if known.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.body {
            StoredBody::Memory(bytes) => Some(bytes.len() as u64),
            StoredBody::File(_, length) => Some(*length),
            StoredBody::Growing(growing) => growing.length(),
        }
    }

    /// What it takes of a cache's limit in bytes.
    pub(super) fn size(&self) -> u64 {
        let fields = |headers: &HeaderMap| {
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum::<usize>()
        };
        self.length().unwrap_or(0) + (fields(&self.headers) + self.key.url.len() + 512) as u64
    }
}

/// Whether a response has a validator.
pub(super) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::ETAG) || headers.contains_key(http::header::LAST_MODIFIED)
}

/// The values of the fields that `Vary` names; `None` for `*`, which no request matches.
pub(super) fn selecting(
    response: &HeaderMap,
    request: &HeaderMap,
) -> Option<Vec<(HeaderName, Option<String>)>> {
    let mut named = Vec::new();
    for value in response.get_all(VARY) {
        for name in split(value.to_str().ok()?) {
            let name = HeaderName::try_from(name).ok()?; // also `*`
            if name == "*" {
                return None;
            }
            if !named.iter().any(|(known, _)| *known == name) {
                let value = normalized(request, &name);
                named.push((name, value));
            }
        }
    }
    named.sort_by(|a: &(HeaderName, _), b| a.0.as_str().cmp(b.0.as_str()));
    Some(named)
}

/// All values of a field as one list without optional whitespace; `None` if the field is missing.
fn normalized(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let values: Vec<String> = values
        .flat_map(|value| {
            let text: String = value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
            split(&text).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    Some(values.join(","))
}

/// Fields of one connection, which are not stored (RFC 9111, section 3.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The fields of a response that are stored.
pub(super) fn stored_fields(headers: &HeaderMap, unstored: &[HeaderName]) -> HeaderMap {
    let mut stored = headers.clone();
    for value in headers.get_all(CONNECTION) {
        split(value.to_str().unwrap_or_default()).for_each(|name| drop(stored.remove(name)));
    }
    HOP_BY_HOP.iter().for_each(|name| drop(stored.remove(*name)));
    unstored.iter().for_each(|name| drop(stored.remove(name)));
    stored
}

/// The tags of a response: `Cache-Groups` (RFC 9875, section 2), `Cache-Tag` and `Surrogate-Key`.
pub(super) fn tags(headers: &HeaderMap) -> Vec<String> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let mut tags = Vec::new();
    for name in ["cache-groups", "cache-tag"] {
        for line in headers.get_all(name) {
            tags.extend(split(&text(line)).map(|tag| unquoted(tag).to_owned()));
        }
    }
    for line in headers.get_all("surrogate-key") {
        tags.extend(text(line).split_ascii_whitespace().map(str::to_owned));
    }
    tags.truncate(MOST_TAGS);
    tags
}

/// Maximum number of tags of one response.
const MOST_TAGS: usize = 128;
