//! A connection as a full server sees it: whether it is idle, and how it is asked to end.

use std::time::{Duration, Instant};

use super::conn_state::ConnState;
use crate::server::control::PhaseName;
use crate::server::eviction::{IdleKind, IdleState, OpenConnection};

impl ConnState {
    /// In which way the connection is idle; `None` if it is not.
    pub(super) fn idle_kind(&self) -> Option<IdleKind> {
        let answering = self.requests.busy() > 0;
        if self.ending.get() || (self.http2.closing.get() && !answering) {
            return Some(IdleKind::Ending);
        }
        if answering || !self.is_idle() {
            return None;
        }
        if self.socket.has_head() {
            return Some(IdleKind::Head);
        }
        // A connection that was handed over has served requests in another generation.
        let kept = self.requests.served() > 0 || self.accepted.is_none();
        Some(if kept { IdleKind::Kept } else { IdleKind::Silent })
    }

    /// The last response ended at `now`.
    pub(super) fn rests_since(&self, now: Instant) {
        let time = now.saturating_duration_since(self.opened).as_micros();
        self.rests_after_us.set(u64::try_from(time).unwrap_or(0));
    }

    /// A request arrived in the meantime: the connection stays.
    pub(super) fn stay(&self) {
        self.evicted.set(false);
    }
}

impl OpenConnection for ConnState {
    fn idle(&self) -> Option<IdleState> {
        let kind = self.idle_kind().filter(|_| !self.evicted.get())?;
        let since = self.opened + Duration::from_micros(self.rests_after_us.get());
        Some(IdleState { kind, since })
    }

    fn evict(&self) {
        self.evicted.set(true);
        self.task.wake();
    }

    fn turned(&self, stage: PhaseName) {
        match stage {
            PhaseName::Over => {
                self.aborted.set(true);
                self.task.wake();
                self.socket.wake();
            }
            _ => self.task.wake(),
        }
    }
}
