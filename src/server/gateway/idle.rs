//! A connection as a full server sees it: whether it is idle, and how it is asked to end.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Context;
use std::time::Instant;

use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};

use crate::server::control::PhaseName;
use crate::server::eviction::{IdleKind, IdleState, OpenConnection};

/// State that a connection's task and a full server share.
#[derive(Default)]
pub(super) struct Idling {
    state: Mutex<Option<IdleState>>,
    evicted: AtomicBool,
    task: AtomicWaker,
}

impl Idling {
    fn state(&self) -> MutexGuard<'_, Option<IdleState>> {
        self.state.lock()
    }

    /// Marks the connection as idle in this way; the task is woken when the connection should end.
    pub(super) fn rest(&self, cx: &Context<'_>, kind: IdleKind, since: Instant) {
        self.task.register(cx.waker());
        *self.state() = Some(IdleState { kind, since });
    }

    /// A request arrived: the connection stays.
    pub(super) fn stay(&self) {
        *self.state() = None;
        self.evicted.store(false, Relaxed);
    }

    /// Whether the connection was asked to end because the server is full.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Relaxed)
    }
}

impl OpenConnection for Idling {
    fn idle(&self) -> Option<IdleState> {
        self.state().filter(|_| !self.is_evicted())
    }

    fn evict(&self) {
        self.evicted.store(true, Relaxed);
        self.task.wake();
    }

    fn turned(&self, _: PhaseName) {} // the task waits for that itself
}
