//! A worker's heartbeats: whether its serving threads start new work, and what it has used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::inflight::{ListedRequest, RequestPhase};
use crate::ops::serve::ipc::message::Heartbeat;
use crate::ops::serve::process::clock::millis;
use crate::server::control::Load;

/// How many requests a heartbeat names when a thread is held.
const NAMED: usize = 3;

/// Checks from its own thread whether the serving threads of a worker respond.
pub(super) struct HeartbeatMonitor {
    threads: Handle,
    /// How many pieces of work were given to the threads, when the last one was, and the number of the last
    /// one that they ran.
    sent: u64,
    since: Instant,
    taken: Arc<AtomicU64>,
    /// For each thread: how often it has parked or unparked, its busy time, and since when neither has
    /// changed.
    held: Vec<(u64, Duration, Instant)>,
}

impl HeartbeatMonitor {
    pub(super) fn new(threads: Handle) -> HeartbeatMonitor {
        HeartbeatMonitor { threads, sent: 0, since: Instant::now(), taken: Arc::default(), held: Vec::new() }
    }

    /// Call this regularly: a sample covers the time since the previous one.
    pub(super) fn sample(&mut self, loads: &[Arc<Load>]) -> Heartbeat {
        let now = Instant::now();
        let silent = match self.taken.load(Relaxed) == self.sent {
            true => {
                (self.sent, self.since) = (self.sent + 1, now);
                let (taken, number) = (self.taken.clone(), self.sent);
                self.threads.spawn(async move { taken.store(number, Relaxed) });
                Duration::ZERO
            }
            false => now - self.since,
        };
        let held = self.held(now);
        let doing = if silent.max(held) > Duration::from_secs(1) { doing(loads) } else { Vec::new() };
        Heartbeat {
            silent_ms: millis(silent),
            held_ms: millis(held),
            requests: loads.iter().map(|load| load.requests()).sum(),
            connections: loads.iter().map(|load| load.connections.load(Relaxed)).sum(),
            memory_kib: memory(),
            doing,
        }
    }

    /// The longest time for which one piece of work has held a thread.
    fn held(&mut self, now: Instant) -> Duration {
        let metrics = self.threads.metrics();
        self.held.resize(metrics.num_workers(), (0, Duration::ZERO, now));
        let mut longest = Duration::ZERO;
        for (index, held) in self.held.iter_mut().enumerate() {
            let parks = metrics.worker_park_unpark_count(index);
            let busy = metrics.worker_total_busy_duration(index);
            let parked = parks % 2 == 1;
            if parked || (parks, busy) != (held.0, held.1) {
                *held = (parks, busy, now);
            }
            longest = longest.max(now - held.2);
        }
        longest
    }
}

/// The oldest requests without a response.
fn doing(loads: &[Arc<Load>]) -> Vec<String> {
    let mut seen: Vec<_> = loads.iter().flat_map(|load| load.table.list()).collect();
    seen.retain(|one| matches!(one.phase, RequestPhase::Answering));
    seen.sort_by_key(|one| one.began);
    seen.truncate(NAMED);
    let name = |one: &ListedRequest| {
        format!("{} {} ({:.1} s)", one.method, one.path, one.began.elapsed().as_secs_f64())
    };
    seen.iter().map(name).collect()
}

/// Resident memory of this process that is not backed by a file, in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
    };
    of("RssAnon:") + of("RssShmem:")
}
