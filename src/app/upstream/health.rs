//! The health of an upstream: its failures, and the result of its last probe.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::options::{HealthOptions, duration};

/// The health of one upstream.
pub(super) struct Health {
    begun: Instant,
    /// Number of failures, and since when they are counted.
    fails: Mutex<(u32, Instant)>,
    /// Whether there are any failures, so that a success costs only one load.
    failed: AtomicBool,
    /// Until when it is not used, in milliseconds after `begun`.
    out_until: AtomicU64,
    /// Whether the last probe failed.
    checked_out: AtomicBool,
    /// Since when it has been used again, in milliseconds after `begun`; 0 if it has never failed and was there from the start.
    again_since: AtomicU64,
}

impl Health {
    pub(super) fn new() -> Health {
        let begun = Instant::now();
        Health {
            begun,
            fails: Mutex::new((0, begun)),
            failed: AtomicBool::new(false),
            out_until: AtomicU64::new(0),
            checked_out: AtomicBool::new(false),
            again_since: AtomicU64::new(0),
        }
    }

    /// Of an upstream that starts slowly, because it is new among others.
    pub(super) fn starting() -> Health {
        let health = Health::new();
        health.again_since.store(1, Relaxed);
        health
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is not used, because of failures or a probe.
    pub(super) fn is_unusable(&self) -> bool {
        self.is_out() || self.is_checked_out()
    }

    /// Whether it is not used because of failures.
    pub(super) fn is_out(&self) -> bool {
        let until = self.out_until.load(Relaxed);
        until > 0 && self.since(Instant::now()) < until
    }

    /// Whether it is not used because of a probe.
    pub(super) fn is_checked_out(&self) -> bool {
        self.checked_out.load(Relaxed)
    }

    /// How much of its share it gets, in percent: after a failure or at its start, that grows from 10 to 100 within `slow_start`.
    pub(super) fn ramp(&self, slow_start: Duration) -> u32 {
        let since = self.again_since.load(Relaxed).max(self.out_until.load(Relaxed));
        if since == 0 || slow_start.is_zero() {
            return 100;
        }
        let passed = self.since(Instant::now()).saturating_sub(since);
        let whole = u64::try_from(slow_start.as_millis()).unwrap_or(u64::MAX).max(1);
        (10 + passed.saturating_mul(90) / whole).min(100) as u32
    }

    pub(super) fn succeeded(&self) {
        if self.failed.load(Relaxed) {
            self.failed.store(false, Relaxed);
            let out_until = self.out_until.swap(0, Relaxed);
            self.again_since.fetch_max(out_until, Relaxed);
            self.fails.lock().0 = 0;
        }
    }

    /// Counts a failure; `true` if this failure took the upstream out of use.
    pub(super) fn fail(&self, options: &HealthOptions) -> bool {
        let now = Instant::now();
        self.failed.store(true, Relaxed);
        let mut fails = self.fails.lock();
        if now.saturating_duration_since(fails.1) > duration(options.window_secs) {
            *fails = (0, now);
        }
        fails.0 += 1;
        if fails.0 < options.max_fails.get() {
            return false;
        }
        let out = duration(options.out_secs);
        // After that, a single failure takes it out of use again.
        *fails = (options.max_fails.get() - 1, now + out);
        let was = self.is_out();
        self.out_until.store(self.since(now + out), Relaxed);
        !was
    }

    /// Takes the result of a probe. The name and the address are for the log.
    pub(super) fn probed(&self, upstream: &str, address: &str, result: Result<(), String>) {
        let was = self.checked_out.swap(result.is_err(), Relaxed);
        match result {
            Err(reason) if !was => tracing::warn!(upstream, address, "health check failed: {reason}"),
            Ok(()) if was => {
                self.succeeded();
                self.again_since.fetch_max(self.since(Instant::now()), Relaxed);
                tracing::info!(upstream, address, "healthy again");
            }
            _ => {}
        }
    }
}
