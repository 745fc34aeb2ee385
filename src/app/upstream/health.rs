//! The health of an upstream: counts its failures, and probes it if configured.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::group::{Group, Member};
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
    /// Whether the last health check failed.
    checked_out: AtomicBool,
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
        }
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is not used because of failures.
    pub(super) fn is_out(&self) -> bool {
        let until = self.out_until.load(Relaxed);
        until > 0 && self.since(Instant::now()) < until
    }

    /// Whether it is not used because of a health check.
    pub(super) fn is_checked_out(&self) -> bool {
        self.checked_out.load(Relaxed)
    }

    pub(super) fn succeeded(&self) {
        if self.failed.load(Relaxed) {
            self.failed.store(false, Relaxed);
            self.out_until.store(0, Relaxed);
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

    fn checked(&self, member: &Member, result: Result<(), String>) {
        let was = self.checked_out.swap(result.is_err(), Relaxed);
        let (upstream, address) = (&*member.name, &*member.address.shown);
        match result {
            Err(reason) if !was => tracing::warn!(upstream, address, "health check failed: {reason}"),
            Ok(()) if was => {
                self.succeeded();
                tracing::info!(upstream, address, "healthy again");
            }
            _ => {}
        }
    }
}

/// One health check of the upstream with that index in the group: an error says what is wrong.
pub(in crate::app) type Question =
    Arc<dyn Fn(Arc<Group>, usize) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Checks every upstream of `group` from now on, until nothing else holds the group. Without a runtime (when
/// a config is only checked) it does nothing.
pub(in crate::app) fn watch(group: &Arc<Group>, question: &Question) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if group.health.path.is_none() {
        return;
    }
    for index in 0..group.members.len() {
        let (group, question) = (Arc::downgrade(group), question.clone());
        runtime.spawn(async move {
            let mut interval = None::<Duration>;
            loop {
                if let Some(interval) = interval {
                    tokio::time::sleep(interval).await;
                }
                let Some(group) = group.upgrade() else { return };
                interval = Some(duration(group.health.interval_secs));
                let member = group.members[index].clone();
                let limit = duration(group.health.timeout_secs);
                let asked = tokio::time::timeout(limit, question(group, index)).await;
                let result = asked.unwrap_or_else(|_| Err("no response in time".to_owned()));
                member.health.checked(&member, result);
            }
        });
    }
}
