//! Counts failed logins, so that passwords cannot be guessed quickly.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Maximum number of keys to remember.
const KEYS: usize = 100_000;

/// The failed logins of a period by key, such as client and name. Each worker counts for itself.
pub(super) struct FailedLogins {
    limit: NonZeroU32,
    period: Duration,
    /// Start of the period, and the failures in it, by the hash of the key.
    counts: Mutex<HashMap<u64, (Instant, u32)>>,
    state: RandomState,
}

impl FailedLogins {
    /// Allows `limit` failures per period and key.
    pub(super) fn new(limit: NonZeroU32, period: Duration) -> FailedLogins {
        FailedLogins { limit, period, counts: Mutex::default(), state: RandomState::new() }
    }

    /// The seconds for which no further login is allowed, if there were too many failures.
    pub(super) fn wait(&self, key: impl Hash) -> Option<u64> {
        let counts = self.counts.lock();
        let (since, failures) = counts.get(&self.state.hash_one(key))?;
        let left = self.period.checked_sub(since.elapsed())?;
        (*failures >= self.limit.get()).then_some(left.as_secs() + 1)
    }

    /// Counts a failed login.
    pub(super) fn count(&self, key: impl Hash) {
        let mut counts = self.counts.lock();
        if counts.len() >= KEYS {
            counts.retain(|_, (since, _)| since.elapsed() < self.period);
            if counts.len() >= KEYS {
                counts.clear(); // bounded memory is worth more than these counts
            }
        }
        let now = Instant::now();
        let (since, failures) = counts.entry(self.state.hash_one(key)).or_insert((now, 0));
        if since.elapsed() >= self.period {
            (*since, *failures) = (now, 0);
        }
        *failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_key() {
        let failed = FailedLogins::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(60));
        failed.count(("a", 1));
        assert_eq!(failed.wait(("a", 1)), None);
        failed.count(("a", 1));
        assert!(failed.wait(("a", 1)).is_some_and(|secs| (1..=61).contains(&secs)));
        assert_eq!(failed.wait(("b", 1)), None);
    }
}
