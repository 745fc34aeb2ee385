//! Sessions in a store: how one is found, and how the changes of concurrent requests are put together.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::seal::random;
use crate::session::SessionChanges;
use crate::store::{Store, StoreError};

/// How often changes are tried again if other requests change the session at the same time.
const ATTEMPTS: usize = 20;
/// Bytes of an id: 144 bits, too many to guess.
const ID_BYTES: usize = 18;

/// When sessions end.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionLifetime {
    /// Without a request.
    pub(super) idle: Duration,
    /// The absolute limit after the login or the first value.
    pub(super) age: Duration,
}

/// What a session consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    /// When it was begun, in milliseconds since 1970.
    pub(super) created: u64,
    /// The values.
    pub(super) data: Map<String, Value>,
    /// It has got another id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
}

/// Why a session was not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    /// It was ended, or got another id, by another request meanwhile.
    Gone,
    /// It would be longer than this many bytes.
    TooLong(usize),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        WriteError::Store(error)
    }
}

impl SessionRecord {
    pub(super) fn new() -> SessionRecord {
        SessionRecord { created: millis(SystemTime::now()), data: Map::new(), ended: false }
    }

    /// When it ends if no other request comes; `None` if it is over.
    pub(super) fn end(&self, lifetime: SessionLifetime) -> Option<SystemTime> {
        let now = SystemTime::now();
        let oldest =
            UNIX_EPOCH.checked_add(Duration::from_millis(self.created).saturating_add(lifetime.age))?;
        Some(oldest.min(now + lifetime.idle)).filter(|end| *end > now)
    }
}

/// The error for a session that always has changed again.
fn busy() -> WriteError {
    tracing::warn!("a session was changed by {ATTEMPTS} requests at the same time");
    StoreError::Unavailable(format!("the session was changed by other requests {ATTEMPTS} times")).into()
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A session that was found in the store.
#[derive(Debug, Clone)]
pub(super) struct FoundSession {
    pub(super) id: String,
    pub(super) record: SessionRecord,
    version: u64,
    expires: SystemTime,
}

/// The sessions in a store.
pub(super) struct SessionRecords {
    pub(super) store: Arc<dyn Store>,
    pub(super) lifetime: SessionLifetime,
    pub(super) max_bytes: usize,
}

impl SessionRecords {
    pub(super) fn new(store: Arc<dyn Store>, lifetime: SessionLifetime, max_bytes: usize) -> SessionRecords {
        SessionRecords { store, lifetime, max_bytes }
    }

    /// The session with this id.
    pub(super) async fn find(&self, id: &str) -> Result<Option<FoundSession>, StoreError> {
        let Some(stored) = self.store.load(&key(id)).await? else { return Ok(None) };
        let Ok(record) = serde_json::from_slice::<SessionRecord>(&stored.value) else {
            tracing::error!("the store contains a session that is not JSON");
            return Err(StoreError::Unavailable("a session that is not JSON".to_owned()));
        };
        // The options may have become stricter since it was stored.
        if record.ended || record.end(self.lifetime).is_none() {
            return Ok(None);
        }
        Ok(Some(FoundSession { id: id.to_owned(), record, version: stored.version, expires: stored.expires }))
    }

    /// Makes the changes of a request. Returns the id of the session afterwards; `None` if it has ended.
    pub(super) async fn change(
        &self,
        found: Option<FoundSession>,
        changes: &SessionChanges,
    ) -> Result<Option<String>, WriteError> {
        match found {
            Some(found) if changes.end => {
                self.store.remove(&key(&found.id)).await?;
                self.begin(SessionRecord::new(), changes).await
            }
            Some(found) if changes.renew => self.renew(found, changes).await,
            Some(found) => self.update(found, changes).await.map(Some),
            None => self.begin(SessionRecord::new(), changes).await,
        }
    }

    /// Stores a new session, unless it is empty.
    async fn begin(
        &self,
        mut record: SessionRecord,
        changes: &SessionChanges,
    ) -> Result<Option<String>, WriteError> {
        changes.apply_to(&mut record.data);
        if record.data.is_empty() {
            return Ok(None);
        }
        let bytes = random::<ID_BYTES>().map_err(|error| StoreError::Unavailable(error.message))?;
        let id = URL_SAFE_NO_PAD.encode(bytes);
        match self.write(&id, &record, None).await? {
            true => Ok(Some(id)),
            // Someone else has 144 equal random bits.
            false => Err(StoreError::Unavailable("the id already exists".to_owned()).into()),
        }
    }

    /// Moves the session to a new id. Other requests that change it meanwhile come first, or see that it is gone.
    async fn renew(
        &self,
        mut found: FoundSession,
        changes: &SessionChanges,
    ) -> Result<Option<String>, WriteError> {
        for _ in 0..ATTEMPTS {
            let moved = SessionRecord { data: found.record.data, ..SessionRecord::new() };
            let begun = self.begin(moved, changes).await?;
            let ended = SessionRecord { ended: true, ..SessionRecord::new() };
            if self.write(&found.id, &ended, Some(found.version)).await? {
                // If this fails, it expires.
                let _ = self.store.remove(&key(&found.id)).await;
                return Ok(begun);
            }
            if let Some(begun) = begun {
                self.store.remove(&key(&begun)).await?;
            }
            found = self.find(&found.id).await?.ok_or(WriteError::Gone)?;
        }
        Err(busy())
    }

    /// Makes the changes in what the store has, which other requests may have changed since.
    async fn update(&self, mut found: FoundSession, changes: &SessionChanges) -> Result<String, WriteError> {
        for _ in 0..ATTEMPTS {
            changes.apply_to(&mut found.record.data);
            if self.write(&found.id, &found.record, Some(found.version)).await? {
                return Ok(found.id);
            }
            found = self.find(&found.id).await?.ok_or(WriteError::Gone)?;
        }
        Err(busy())
    }

    /// Writes a session; `false` if the store has another version of it.
    async fn write(&self, id: &str, record: &SessionRecord, over: Option<u64>) -> Result<bool, WriteError> {
        let value = serde_json::to_vec(record).unwrap_or_default();
        if value.len() > self.max_bytes {
            return Err(WriteError::TooLong(self.max_bytes));
        }
        let Some(end) = record.end(self.lifetime) else { return Err(WriteError::Gone) };
        Ok(self.store.save(&key(id), value, end, over).await?.is_some())
    }

    /// Moves the end of a session that is used, if a tenth of its idle time is over.
    pub(super) async fn touch(&self, found: &FoundSession) -> bool {
        let Some(end) = found.record.end(self.lifetime) else { return false };
        let gained = end.duration_since(found.expires).unwrap_or_default();
        if gained < self.lifetime.idle / 10 {
            return false;
        }
        // Without success, another request has changed it, or the next one tries again.
        matches!(self.write(&found.id, &found.record, Some(found.version)).await, Ok(true))
    }
}

/// The key of a session. Who reads the store does not learn the ids.
fn key(id: &str) -> String {
    let digest: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("session/{digest}")
}
