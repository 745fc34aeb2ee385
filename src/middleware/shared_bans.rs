//! Bans that all workers share, in a store.
//!
//! The value of a client is the number of its errors until the end of the period, or `banned` until the end of the ban.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::{Store, StoreError};

/// The value of a client that is banned.
const BANNED: &[u8] = b"banned";
/// How often an error is counted again if another worker counts at the same time.
const ATTEMPTS: usize = 10;

/// The bans of one middleware.
pub(super) struct SharedBans {
    store: Arc<dyn Store>,
    prefix: String,
}

impl SharedBans {
    /// Those of the middleware `name`.
    pub(super) fn new(store: Arc<dyn Store>, name: &str) -> SharedBans {
        SharedBans { store, prefix: format!("ban/{name}/") }
    }

    fn key(&self, client: IpAddr) -> String {
        format!("{}{client}", self.prefix)
    }

    /// How long the client is still banned.
    pub(super) async fn left(&self, client: IpAddr) -> Result<Option<Duration>, StoreError> {
        let found = self.store.load(&self.key(client)).await?.filter(|found| found.value == BANNED);
        Ok(found.and_then(|found| found.expires.duration_since(SystemTime::now()).ok()))
    }

    /// Counts an error. Returns whether the client is banned now.
    pub(super) async fn strike(
        &self,
        client: IpAddr,
        (after, period, ban): (u32, Duration, Duration),
    ) -> Result<bool, StoreError> {
        let key = self.key(client);
        for _ in 0..ATTEMPTS {
            let found = self.store.load(&key).await?;
            if found.as_ref().is_some_and(|found| found.value == BANNED) {
                return Ok(false);
            }
            let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u32>().ok();
            let strikes =
                found.as_ref().and_then(|found| number(&found.value)).unwrap_or(0).saturating_add(1);
            let now = SystemTime::now();
            let banned = strikes >= after;
            let (value, expires) = match (banned, &found) {
                (true, _) => (BANNED.to_vec(), now + ban),
                (false, Some(found)) => (strikes.to_string().into_bytes(), found.expires),
                (false, None) => (strikes.to_string().into_bytes(), now + period),
            };
            if self.store.save(&key, value, expires, found.map(|found| found.version)).await?.is_some() {
                return Ok(banned);
            }
        }
        Ok(false) // others count this client all the time
    }
}
