//! Small pages by the path that they answer, kept until their file changes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::page::{Encodings, Page};
use super::tree::Version;

/// The largest file that is kept, in bytes.
pub(super) const LARGEST: u64 = 64 * 1024;

/// Pages for each set of accepted codings, by the request's path as it came.
pub(super) struct Cache {
    pages: [RwLock<HashMap<Box<str>, Kept>>; Encodings::COUNT],
    weight: AtomicUsize,
    limit: usize,
    trust_micros: u64,
    start: Instant,
}

struct Kept {
    page: Arc<Page>,
    /// When the file was looked at last, in microseconds since the cache's start.
    checked: AtomicU64,
}

impl Cache {
    /// A cache of up to `limit` bytes that believes a page for as long as `trust`.
    pub(super) fn new(limit: usize, trust: Duration) -> Cache {
        Cache {
            pages: Default::default(),
            weight: AtomicUsize::new(0),
            limit,
            trust_micros: trust.as_micros() as u64,
            start: Instant::now(),
        }
    }

    /// Whether anything is kept at all.
    pub(super) fn keeps(&self) -> bool {
        self.limit > 0
    }

    /// The page for `path`, when its file was looked at lately. Once the time is over one caller gets `None` and
    /// looks; until it has looked the others get the page.
    pub(super) fn fresh(&self, accepted: Encodings, path: &str) -> Option<Arc<Page>> {
        let pages = self.pages[accepted.index()].read().unwrap_or_else(PoisonError::into_inner);
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

    /// The page for `path`, when its file is still of this version.
    pub(super) fn still(&self, accepted: Encodings, path: &str, version: &Version) -> Option<Arc<Page>> {
        let pages = self.pages[accepted.index()].read().unwrap_or_else(PoisonError::into_inner);
        pages.get(path).filter(|kept| kept.page.version == *version).map(|kept| kept.page.clone())
    }

    /// Keeps a page whose file was looked at just now. Where it is too much, pages are dropped in no order: to know
    /// the least used one would cost every hit a write.
    pub(super) fn put(&self, accepted: Encodings, path: &str, page: Arc<Page>) {
        let mut weight = self.weight.load(Ordering::Relaxed);
        let added = page.weight() + path.len();
        if added > self.limit {
            return;
        }
        let mut pages = self.pages[accepted.index()].write().unwrap_or_else(PoisonError::into_inner);
        let kept = Kept { page, checked: AtomicU64::new(self.now()) };
        let mut removed = pages.insert(path.into(), kept).map_or(0, |old| old.page.weight() + path.len());
        weight += added;
        // Other sets of codings keep what they have: this one makes room from its own.
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

    /// Drops the page for `path`, whose file is gone or is not to be kept any more.
    pub(super) fn forget(&self, accepted: Encodings, path: &str) {
        let pages = &self.pages[accepted.index()];
        if !pages.read().unwrap_or_else(PoisonError::into_inner).contains_key(path) {
            return;
        }
        if let Some(kept) = pages.write().unwrap_or_else(PoisonError::into_inner).remove(path) {
            self.weight.fetch_sub(kept.page.weight() + path.len(), Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }
}
