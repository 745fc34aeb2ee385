//! Responses in the memory of a worker. One lock is enough: what is done under it takes less than a microsecond.

use std::sync::Arc;

use http::HeaderMap;
use lru::LruCache;
use parking_lot::Mutex;

use super::entry::{CacheEntry, CacheKey, MOST_VARIANTS};
use super::store::{Limits, StoreUsage};
use crate::caches::Purge;

pub(super) struct MemoryStore {
    limits: Limits,
    state: Mutex<MemoryState>,
}

struct MemoryState {
    /// The variants of each URL, the latest first.
    urls: LruCache<CacheKey, Vec<Arc<CacheEntry>>>,
    usage: StoreUsage,
}

impl MemoryStore {
    pub(super) fn new(limits: Limits) -> MemoryStore {
        let state = MemoryState { urls: LruCache::unbounded(), usage: StoreUsage::default() };
        MemoryStore { limits, state: Mutex::new(state) }
    }

    /// The latest response that the request selects (RFC 9111, section 4).
    pub(super) fn find(&self, key: &CacheKey, request: &HeaderMap) -> Option<Arc<CacheEntry>> {
        let mut state = self.state.lock();
        state.urls.get(key)?.iter().find(|entry| entry.is_selected(request)).cloned()
    }

    /// Stores a response in place of one for the same requests.
    pub(super) fn put(&self, entry: Arc<CacheEntry>) {
        let mut state = self.state.lock();
        let MemoryState { urls, usage } = &mut *state;
        usage.add(&entry);
        let variants = urls.get_or_insert_mut(entry.key.clone(), Vec::new);
        variants.retain(|old| {
            let stays = old.selecting != entry.selecting;
            if !stays {
                usage.remove(old);
            }
            stays
        });
        variants.insert(0, entry);
        while variants.len() > MOST_VARIANTS {
            variants.pop().iter().for_each(|old| usage.evict(old));
        }
        while usage.is_above(&self.limits) {
            let Some((_, variants)) = urls.pop_lru() else { break };
            variants.iter().for_each(|old| usage.evict(old));
        }
    }

    pub(super) fn purge(&self, purge: &Purge) -> u64 {
        let mut state = self.state.lock();
        let MemoryState { urls, usage } = &mut *state;
        let is_named = |entry: &Arc<CacheEntry>| purge.matches(&entry.key.app, &entry.key.url, &entry.tags);
        let keys: Vec<CacheKey> = match purge {
            Purge::Url { app, url } => {
                vec![CacheKey { app: app.as_str().into(), url: url.as_str().into() }]
            }
            _ => {
                let named = urls.iter().filter(|(_, variants)| variants.iter().any(is_named));
                named.map(|(key, _)| key.clone()).collect()
            }
        };
        let mut count = 0;
        for key in keys {
            let Some(mut variants) = urls.pop(&key) else { continue };
            variants.retain(|entry| {
                let named = is_named(entry);
                if named {
                    usage.remove(entry);
                    count += 1;
                }
                !named
            });
            if !variants.is_empty() {
                urls.put(key, variants);
            }
        }
        count
    }

    /// See [`CacheStore::list`](super::store::CacheStore::list).
    pub(super) fn list(&self, app: &str, most: usize) -> Vec<Arc<CacheEntry>> {
        let state = self.state.lock();
        let all = state.urls.iter().flat_map(|(_, variants)| variants);
        let mut own: Vec<_> = all.filter(|entry| *entry.key.app == *app).cloned().collect();
        drop(state);
        own.sort_by(|a, b| a.key.url.cmp(&b.key.url));
        own.truncate(most);
        own
    }

    pub(super) fn usage(&self) -> StoreUsage {
        self.state.lock().usage
    }
}
