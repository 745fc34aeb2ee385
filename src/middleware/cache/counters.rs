//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::answer::CacheOutcome;
use super::store::StoreUsage;
use crate::metrics::{Counts, Value, families};

const RESULTS: [&str; 7] = ["hit", "stale", "collapsed", "validated", "stale_if_error", "miss", "pass"];

/// The counters of a cache.
#[derive(Debug, Default)]
pub(super) struct Counters {
    results: [AtomicU64; RESULTS.len()],
    bytes: AtomicU64,
}

impl Counters {
    /// Counts a request; `bytes` are those of the stored body that it got.
    pub(super) fn add(&self, outcome: CacheOutcome, bytes: u64) {
        let result = match outcome {
            CacheOutcome::Hit(ttl) if ttl > 0 => 0,
            CacheOutcome::Hit(_) => 1,
            CacheOutcome::Collapsed => 2,
            CacheOutcome::Validated => 3,
            CacheOutcome::StaleOnError(_) => 4,
            CacheOutcome::Forwarded { reason: "method" | "bypass", .. } => 6,
            CacheOutcome::Forwarded { .. } => 5,
        };
        self.results[result].fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Adds the values. Two caches of the same table are one for monitoring.
    pub(super) fn count(&self, name: &str, usage: Option<StoreUsage>, counts: &mut Counts) {
        let cache = ("cache", name);
        for (result, count) in RESULTS.iter().zip(&self.results) {
            let labels = [cache, ("result", result)];
            counts.put(&families::CACHE_REQUESTS, &labels, Value::Count(count.load(Relaxed)));
        }
        counts.put(&families::CACHE_SERVED_BYTES, &[cache], Value::Count(self.bytes.load(Relaxed)));
        if let Some(StoreUsage { bytes, entries, evicted }) = usage {
            counts.put(&families::CACHE_STORED_BYTES, &[cache], Value::Level(bytes.cast_signed()));
            counts.put(&families::CACHE_ENTRIES, &[cache], Value::Level(entries.cast_signed()));
            counts.put(&families::CACHE_EVICTIONS, &[cache], Value::Count(evicted));
        }
    }
}
