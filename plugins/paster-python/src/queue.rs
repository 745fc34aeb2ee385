//! Requests that wait for a thread of the application.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::exchange::Exchange;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// A request that no thread has taken yet.
pub(crate) struct Job {
    pub(crate) exchange: Arc<Exchange>,
    /// Its head, as `Pairs`.
    pub(crate) head: Bytes,
}

/// The queue in front of the threads.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// How many requests wait.
    length: AtomicUsize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait.
    idle: usize,
    /// Threads that were woken and have not looked yet. They may wait for the interpreter.
    woken: usize,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether requests wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.length.load(Ordering::Relaxed) > 0
    }

    /// Adds requests. Wakes as many threads as there are requests and idle threads.
    pub(crate) fn add(&self, jobs: &mut Vec<Job>) {
        let mut state = self.lock();
        state.jobs.extend(jobs.drain(..));
        self.length.store(state.jobs.len(), Ordering::Relaxed);
        let wake = state.jobs.len().saturating_sub(state.woken).min(state.idle);
        state.idle -= wake;
        state.woken += wake;
        drop(state);
        for _ in 0..wake {
            self.changed.notify_one();
        }
    }

    /// The next request, if one waits.
    pub(crate) fn try_next(&self) -> Option<Job> {
        let mut state = self.lock();
        let job = state.jobs.pop_front();
        self.length.store(state.jobs.len(), Ordering::Relaxed);
        job
    }

    /// Waits until a request may be there; `false` once the queue is closed and empty. The thread then calls
    /// [`Queue::woken`].
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.lock();
        if state.jobs.is_empty() {
            if state.closed {
                return false;
            }
            state.idle += 1;
            self.changed.wait(&mut state);
        } else {
            state.woken += 1;
        }
        true
    }

    /// A thread that has waited has the interpreter now.
    pub(crate) fn woken(&self) {
        let mut state = self.lock();
        state.woken = state.woken.saturating_sub(1);
    }

    /// Lets the threads end once nothing waits.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.woken += std::mem::take(&mut state.idle);
        drop(state);
        self.changed.notify_all();
    }
}
