//! A connection as a full server sees it: whether it is idle, and how it is asked to end.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::conn_state::ConnState;
use crate::server::accept::Stage;
use crate::server::eviction::{IdleKind, IdleState, OpenConnection};

impl ConnState {
    /// In which way the connection is idle; `None` if it is not.
    pub(super) fn idle_kind(&self) -> Option<IdleKind> {
        let answering = self.busy.load(Relaxed) > 0;
        if self.ending.load(Relaxed) || (self.closing.load(Relaxed) && !answering) {
            return Some(IdleKind::Ending);
        }
        if answering || !self.is_idle() {
            return None;
        }
        if self.head_bytes.load(Relaxed) > 0 {
            return Some(IdleKind::Head);
        }
        // A connection that was handed over has served requests in another generation.
        let kept = self.served.load(Relaxed) > 0 || self.accepted.get().is_none();
        Some(if kept { IdleKind::Kept } else { IdleKind::Silent })
    }

    /// The last response ended at `now`.
    pub(super) fn rests_since(&self, now: Instant) {
        let time = now.saturating_duration_since(self.opened).as_micros();
        self.rests_after_us.store(u64::try_from(time).unwrap_or(0), Relaxed);
    }

    /// Whether the connection was asked to end because the server is full.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Relaxed)
    }

    /// A request arrived in the meantime: the connection stays.
    pub(super) fn stay(&self) {
        self.evicted.store(false, Relaxed);
    }
}

impl OpenConnection for ConnState {
    fn idle(&self) -> Option<IdleState> {
        let kind = self.idle_kind().filter(|_| !self.is_evicted())?;
        let since = self.opened + Duration::from_micros(self.rests_after_us.load(Relaxed));
        Some(IdleState { kind, since })
    }

    fn evict(&self) {
        self.evicted.store(true, Relaxed);
        self.task.wake();
    }

    fn turned(&self, stage: Stage) {
        match stage {
            Stage::Over => self.abort(),
            _ => self.task.wake(),
        }
    }
}
