//! Responses in a resource, which all workers and all machines with this resource share.
//!
//! While the resource is away, nothing is stored, and every request goes to the app. What was to be deleted meanwhile is
//! deleted as soon as the resource is back, before it is used again.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;

use super::entry::{CacheEntry, CacheKey, MOST_VARIANTS, StoredBody, has_validator};
use super::growing::Growing;
use super::head::EntryHead;
use crate::caches::Purge;
use crate::store::{Deletions, NewResponse, ResponseStore, StoreError, StoredHead};

/// How often a resource that is away is tried.
const RETRY: Duration = Duration::from_millis(100);
/// How long a stale response with a validator is kept.
const VALIDATED: Duration = Duration::from_secs(86_400);
/// How many purges are remembered while the resource is away. After more of them, everything is deleted.
const REMEMBERED: usize = 256;
/// How many URLs are read at once.
const BATCH: usize = 256;

/// A store in a resource. Clones share it.
#[derive(Clone)]
pub(super) struct SharedStore(Arc<SharedState>);

struct SharedState {
    responses: Arc<dyn ResponseStore>,
    /// Name of the middleware table.
    name: String,
    /// The same, for keys.
    cache: String,
    outage: Mutex<Outage>,
}

#[derive(Default)]
struct Outage {
    away: bool,
    /// What to delete when the resource is back.
    purges: Vec<Purge>,
}

impl SharedStore {
    pub(super) fn new(name: &str, responses: Arc<dyn ResponseStore>) -> SharedStore {
        let cache = CacheKey { app: "".into(), url: name.into() }.hash()[..16].to_owned();
        SharedStore(Arc::new(SharedState {
            responses,
            name: name.to_owned(),
            cache,
            outage: Mutex::default(),
        }))
    }

    /// See [`CacheStore::find`](super::store::CacheStore::find).
    pub(super) async fn find(&self, key: &CacheKey, request: &HeaderMap) -> Option<CacheEntry> {
        let state = &self.0;
        let url = key.hash();
        let heads = state.used(state.responses.heads(&state.cache, vec![url.clone()])).await?;
        let mut found: Option<(String, String, u64, CacheEntry)> = None;
        for StoredHead { variant, head } in heads.into_iter().flatten() {
            let Some(head) = EntryHead::parse(&head) else { continue };
            let (id, length) = (head.body.clone(), head.length);
            let Some(entry) = head.into_entry() else { continue };
            let newer = found.as_ref().is_none_or(|(.., other)| other.received < entry.received);
            if newer && entry.key == *key && entry.is_selected(request) {
                found = Some((variant, id, length, entry));
            }
        }
        let (variant, id, length, mut entry) = found?;
        let body = state.used(state.responses.body(&state.cache, &url, &variant, &id)).await??;
        entry.body = StoredBody::Memory(Bytes::from(body));
        (entry.length() == Some(length)).then_some(entry)
    }

    /// The deletions so far; `None` while the resource is away.
    pub(super) async fn deletions(&self, key: &CacheKey) -> Option<Deletions> {
        self.0.used(self.0.responses.deletions(&self.0.cache, &key.hash())).await
    }

    /// Stores a response, unless others were deleted since `since`.
    pub(super) async fn put(&self, entry: &CacheEntry, since: Deletions) {
        let StoredBody::Memory(body) = &entry.body else { return };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let head = EntryHead::of(entry, id.clone(), body.len() as u64);
        let Ok(head) = serde_json::to_vec(&head) else { return };
        let (variant, variants) = (entry.variant(), MOST_VARIANTS);
        let expires = kept_until(entry);
        let new = NewResponse { variant, head, id, body: body.clone(), expires, variants };
        self.0.used(self.0.responses.put(&self.0.cache, &entry.key.hash(), new, since)).await;
    }

    /// Deletes responses; returns how many. While the resource is away, that is done later.
    pub(super) async fn purge(&self, purge: Purge) -> u64 {
        if self.0.outage.lock().later(&purge) {
            return 0;
        }
        match self.0.delete(&purge).await {
            Ok(count) => count,
            Err(error) => {
                self.0.failed(&error);
                if !self.0.outage.lock().later(&purge) {
                    // It is back already.
                    return self.0.delete(&purge).await.unwrap_or(0);
                }
                0
            }
        }
    }

    /// See [`CacheStore::list`](super::store::CacheStore::list). The bodies are not read.
    pub(super) async fn list(&self, app: &str, most: usize) -> Vec<CacheEntry> {
        let mut own = Vec::new();
        let all = self.0.used(self.0.all_heads()).await.unwrap_or_default();
        for (_, StoredHead { head, .. }) in all {
            let Some(head) = EntryHead::parse(&head).filter(|head| head.app == app) else { continue };
            let length = head.length;
            if let Some(mut entry) = head.into_entry() {
                entry.body = StoredBody::Growing(Growing::new(Some(length), None));
                own.push(entry);
            }
        }
        own.sort_by(|a, b| a.key.url.cmp(&b.key.url));
        own.truncate(most);
        own
    }
}

impl SharedState {
    /// The result of an operation; `None` while the resource is away.
    async fn used<T>(self: &Arc<Self>, operation: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        if self.outage.lock().away {
            return None;
        }
        operation.await.inspect_err(|error| self.failed(error)).ok()
    }

    /// The resource is away: logs it, and waits for its return in the background.
    fn failed(self: &Arc<Self>, error: &StoreError) {
        if std::mem::replace(&mut self.outage.lock().away, true) {
            return;
        }
        let cache = &*self.name;
        tracing::error!(cache, %error, "the resource failed: responses are not cached until it is back");
        tokio::spawn(return_of(Arc::downgrade(self)));
    }

    /// Tries to use the resource again; deletes first what was to be deleted meanwhile.
    async fn try_again(self: &Arc<Self>) -> bool {
        loop {
            let Some(purge) = self.outage.lock().purges.first().cloned() else {
                if self.responses.deletions(&self.cache, "").await.is_err() {
                    return false;
                }
                let mut outage = self.outage.lock();
                if outage.purges.is_empty() {
                    outage.away = false;
                    return true;
                }
                continue;
            };
            if self.delete(&purge).await.is_err() {
                return false;
            }
            self.outage.lock().purges.retain(|one| *one != purge);
        }
    }

    /// Deletes responses in the resource.
    async fn delete(&self, purge: &Purge) -> Result<u64, StoreError> {
        let found = match purge {
            Purge::Url { app, url } => {
                let url = CacheKey { app: app.as_str().into(), url: url.as_str().into() }.hash();
                self.responses.count_deletion(&self.cache, Some(&url)).await?;
                let heads = self.responses.heads(&self.cache, vec![url.clone()]).await?;
                heads.into_iter().flatten().map(|head| (url.clone(), head)).collect()
            }
            _ => {
                self.responses.count_deletion(&self.cache, None).await?;
                self.all_heads().await?
            }
        };
        let mut count = 0;
        for (url, StoredHead { variant, head }) in found {
            let named =
                EntryHead::parse(&head).is_none_or(|head| purge.matches(&head.app, &head.url, &head.tags));
            if named {
                count += self.responses.delete(&self.cache, &url, vec![variant]).await?;
            }
        }
        Ok(count)
    }

    /// All heads, with the keys of their URLs.
    async fn all_heads(&self) -> Result<Vec<(String, StoredHead)>, StoreError> {
        let urls = self.responses.urls(&self.cache).await?;
        let mut all = Vec::new();
        for some in urls.chunks(BATCH) {
            let heads = self.responses.heads(&self.cache, some.to_vec()).await?;
            for (url, heads) in some.iter().zip(heads) {
                all.extend(heads.into_iter().map(|head| (url.clone(), head)));
            }
        }
        Ok(all)
    }
}

impl Outage {
    /// Remembers a purge if the resource is away.
    fn later(&mut self, purge: &Purge) -> bool {
        if self.away && !self.purges.contains(purge) {
            self.purges.push(purge.clone());
            if self.purges.len() > REMEMBERED {
                self.purges = vec![Purge::All];
            }
        }
        self.away
    }
}

/// Waits until the resource can be used again, or is no longer needed.
async fn return_of(state: Weak<SharedState>) {
    loop {
        tokio::time::sleep(RETRY).await;
        let Some(state) = state.upgrade() else { return };
        if state.try_again().await {
            tracing::info!(cache = &*state.name, "the resource can be used again: responses are cached");
            return;
        }
    }
}

/// How long a response is of use: while it is fresh, while it may be used stale, and while it can be validated.
fn kept_until(entry: &CacheEntry) -> SystemTime {
    let fresh = Duration::from_secs(entry.freshness.lifetime).saturating_sub(entry.initial_age);
    let stale = Duration::from_secs(entry.freshness.while_revalidate.max(entry.freshness.if_error));
    let stale = if has_validator(&entry.headers) { stale.max(VALIDATED) } else { stale };
    let kept = (fresh + stale).max(Duration::from_secs(1));
    entry.received.checked_add(kept).unwrap_or(entry.received + VALIDATED)
}
