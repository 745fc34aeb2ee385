//! Small pages by request path, kept until their file changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::page::{CachedContent, Encodings};
use super::tree::ContentVersion;

/// Pages for each set of accepted codings, by the request's path as received.
pub(super) struct PageCache {
    pages: [RwLock<HashMap<Box<str>, CachedPage>>; Encodings::COUNT],
    weight: AtomicUsize,
    limit: usize,
    trust_micros: u64,
    start: Instant,
}

struct CachedPage {
    page: Arc<CachedContent>,
    /// When the file was last checked, in microseconds since the cache was created.
    checked: AtomicU64,
}

impl PageCache {
    /// A cache of up to `limit` bytes that trusts a page for the time `trust`.
    pub(super) fn new(limit: usize, trust: Duration) -> PageCache {
        PageCache {
            pages: Default::default(),
            weight: AtomicUsize::new(0),
            limit,
            trust_micros: trust.as_micros() as u64,
            start: Instant::now(),
        }
    }

    /// Whether anything is cached at all.
    pub(super) fn keeps(&self) -> bool {
        self.limit > 0
    }

    /// The page for `path` if its file was checked recently. Once that time is over, one caller gets `None`
    /// and checks the file; until it has done so, the others get the page.
    pub(super) fn fresh(&self, accepted: Encodings, path: &str) -> Option<Arc<CachedContent>> {
        let pages = self.pages[accepted.index()].read();
        let kept = pages.get(path)?;
        let (checked, now) = (kept.checked.load(Ordering::Relaxed), self.now());
        if now.saturating_sub(checked) >= self.trust_micros {
            let mine =
                kept.checked.compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if mine || self.trust_micros == 0 {
                return None;
            }
        }
        Some(kept.page.clone())
    }

    /// The page for `path` if its file still has this version.
    pub(super) fn still(
        &self,
        accepted: Encodings,
        path: &str,
        version: &ContentVersion,
    ) -> Option<Arc<CachedContent>> {
        let pages = self.pages[accepted.index()].read();
        pages.get(path).filter(|kept| kept.page.version == *version).map(|kept| kept.page.clone())
    }

    /// Stores a page whose file was checked just now. If the cache is full, pages are dropped in no
    /// particular order: tracking the least recently used page would cost every hit a write.
    pub(super) fn put(&self, accepted: Encodings, path: &str, page: Arc<CachedContent>) {
        let mut weight = self.weight.load(Ordering::Relaxed);
        let added = page.weight() + path.len();
        if added > self.limit {
            return;
        }
        let mut pages = self.pages[accepted.index()].write();
        let kept = CachedPage { page, checked: AtomicU64::new(self.now()) };
        let mut removed = pages.insert(path.into(), kept).map_or(0, |old| old.page.weight() + path.len());
        weight += added;
        // Other sets of codings keep their pages: this set makes room from its own.
        while weight - removed > self.limit {
            let Some(victim) = pages.keys().find(|key| ***key != *path).cloned() else { break };
            removed += pages.remove(&victim).map_or(0, |old| old.page.weight() + victim.len());
        }
        if weight - removed > self.limit {
            removed += pages.remove(path).map_or(0, |old| old.page.weight() + path.len());
        }
        self.weight.fetch_add(added, Ordering::Relaxed);
        self.weight.fetch_sub(removed, Ordering::Relaxed);
    }

    /// Drops the page for `path`, whose file is gone or must no longer be cached.
    pub(super) fn forget(&self, accepted: Encodings, path: &str) {
        let pages = &self.pages[accepted.index()];
        if !pages.read().contains_key(path) {
            return;
        }
        if let Some(kept) = pages.write().remove(path) {
            self.weight.fetch_sub(kept.page.weight() + path.len(), Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}
