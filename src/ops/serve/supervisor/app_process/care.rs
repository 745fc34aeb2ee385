//! When a process of an application must be replaced.

use std::fmt;
use std::time::{Duration, Instant};

use paster_frames::ProcessStatus;

use crate::app::process::ProcessLimits;
use crate::ops::serve::process::memory;

/// How often the memory of a process that is being replaced is checked.
const LOOK: Duration = Duration::from_millis(250);

/// Why a process is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It has served so many requests.
    Requests(u64),
    /// Its memory has grown by so many MiB.
    Growth(u64),
    /// It has done nothing for so many seconds.
    Stuck(u64),
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Due::Requests(count) => write!(f, "it has served {count} requests"),
            Due::Growth(mib) => write!(f, "its memory has grown by {mib} MiB"),
            Due::Stuck(seconds) => write!(f, "it has been hanging for {seconds} s"),
        }
    }
}

/// The state of one process.
pub(super) struct Care {
    limits: ProcessLimits,
    pid: u32,
    /// Its memory at the first check, in KiB.
    first_kib: Option<u64>,
    /// Until then, it is not replaced.
    not_before: Option<Instant>,
}

impl Care {
    pub(super) fn new(limits: ProcessLimits, pid: u32) -> Care {
        Care { limits, pid, first_kib: None, not_before: None }
    }

    /// Why it must be replaced, if it must.
    pub(super) fn due(&mut self, status: ProcessStatus) -> Option<Due> {
        if self.is_paused() {
            return None;
        }
        let ProcessLimits { requests, growth_mb, stuck_secs } = self.limits;
        let stuck = status.stuck_ms / 1000;
        if stuck_secs > 0 && stuck >= stuck_secs {
            return Some(Due::Stuck(stuck));
        }
        // Processes that started together must not be due together.
        let spread = u64::from(self.pid).wrapping_mul(0x9E37_79B9_7F4A_7C15) % (requests / 10 + 1);
        if requests > 0 && status.requests >= requests + spread {
            return Some(Due::Requests(status.requests));
        }
        if growth_mb == 0 {
            return None;
        }
        let now = memory::of(self.pid)? / 1024;
        self.first_kib.get_or_insert(now);
        self.grown().filter(|grown| *grown >= growth_mb).map(Due::Growth)
    }

    /// By how many MiB its memory has grown; `None` before the first check.
    fn grown(&self) -> Option<u64> {
        let first = self.first_kib?;
        Some((memory::of(self.pid)? / 1024).saturating_sub(first) / 1024)
    }

    /// Waits until its memory has grown by twice the limit, although it is being replaced. Returns the growth in MiB.
    pub(super) async fn outgrown(&self) -> u64 {
        loop {
            tokio::time::sleep(LOOK).await;
            let grown = self.grown().filter(|_| self.limits.growth_mb > 0);
            if let Some(grown) = grown.filter(|grown| *grown >= self.limits.growth_mb.saturating_mul(2)) {
                return grown;
            }
        }
    }

    /// Whether it is left alone.
    pub(super) fn is_paused(&self) -> bool {
        self.not_before.is_some_and(|then| Instant::now() < then)
    }

    /// Leaves it alone for a while.
    pub(super) fn pause(&mut self) {
        self.not_before = Some(Instant::now() + Duration::from_secs(30));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_reason() {
        let mut care = Care::new(ProcessLimits { requests: 100, growth_mb: 0, stuck_secs: 5 }, 1);
        let mut due = |requests, stuck_ms| care.due(ProcessStatus { requests, stuck_ms });
        assert_eq!(due(99, 4999), None);
        assert_eq!(due(111, 0), Some(Due::Requests(111)));
        assert_eq!(due(0, 5000), Some(Due::Stuck(5)));
        let mut care = Care::new(ProcessLimits::default(), 1);
        assert_eq!(care.due(ProcessStatus { requests: u64::MAX, stuck_ms: u64::MAX }), None);
    }
}
