//! The head of a response on disk or in a resource, and how it is read.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::entry::{CacheEntry, CacheKey, Freshness, StoredBody};

/// Version of the files.
const VERSION: u32 = 1;

/// What a head contains, as JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct EntryHead {
    version: u32,
    pub(super) app: String,
    pub(super) url: String,
    status: u16,
    /// Bytes as the characters with their numbers.
    headers: Vec<(String, String)>,
    selecting: Vec<(String, Option<String>)>,
    pub(super) tags: Vec<String>,
    received_millis: u64,
    initial_age_secs: u64,
    freshness: Freshness,
    pub(super) body: String,
    pub(super) length: u64,
}

impl EntryHead {
    pub(super) fn of(entry: &CacheEntry, body: String, length: u64) -> EntryHead {
        let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        let millis = entry.received.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        EntryHead {
            version: VERSION,
            app: entry.key.app.to_string(),
            url: entry.key.url.to_string(),
            status: entry.status.as_u16(),
            headers: entry.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            selecting: entry
                .selecting
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            tags: entry.tags.clone(),
            received_millis: u64::try_from(millis).unwrap_or(u64::MAX),
            initial_age_secs: entry.initial_age.as_secs(),
            freshness: entry.freshness,
            body,
            length,
        }
    }

    /// Parses a head; `None` if it is damaged, or of another version.
    pub(super) fn parse(bytes: &[u8]) -> Option<EntryHead> {
        serde_json::from_slice::<EntryHead>(bytes).ok().filter(|head| head.version == VERSION)
    }

    /// The response, without its body; `None` if it is not one that was written here.
    pub(super) fn into_entry(self) -> Option<CacheEntry> {
        let bytes = |text: String| text.chars().map(|c| u8::try_from(c).ok()).collect::<Option<Vec<u8>>>();
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.append(HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(&bytes(value)?).ok()?);
        }
        let selecting =
            self.selecting.into_iter().map(|(name, value)| Some((HeaderName::try_from(name).ok()?, value)));
        Some(CacheEntry {
            key: CacheKey { app: self.app.into(), url: self.url.into() },
            status: StatusCode::from_u16(self.status).ok()?,
            headers,
            selecting: selecting.collect::<Option<_>>()?,
            tags: self.tags,
            received: SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(self.received_millis))?,
            initial_age: Duration::from_secs(self.initial_age_secs),
            freshness: self.freshness,
            body: StoredBody::Memory(bytes::Bytes::new()),
        })
    }
}

/// A response by its head; `None` if it has been deleted, or is damaged.
pub(super) fn read(path: &Path) -> io::Result<Option<CacheEntry>> {
    let Some(head) = read_head(path)? else { return Ok(None) };
    let (body, length) = (path.with_file_name(&head.body), head.length);
    let Some(mut entry) = head.into_entry() else { return Ok(None) };
    let file = match File::open(body) {
        Ok(file) if file.metadata()?.len() == length => file,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    entry.body = StoredBody::File(Arc::new(file), length);
    Ok(Some(entry))
}

pub(super) fn read_head(path: &Path) -> io::Result<Option<EntryHead>> {
    match fs::read(path) {
        Ok(bytes) => {
            // A name with `/` would lead out of the directory.
            Ok(EntryHead::parse(&bytes).filter(|head| !head.body.contains('/')))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
