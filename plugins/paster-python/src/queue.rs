//! Requests that wait for a thread of the application.

use std::collections::VecDeque;
use std::sync::Arc;

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
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait.
    idle: usize,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Adds requests. Wakes as many threads as there are requests and idle threads.
    pub(crate) fn add(&self, jobs: &mut Vec<Job>) {
        let mut state = self.lock();
        let wake = state.idle.min(jobs.len());
        state.jobs.extend(jobs.drain(..));
        drop(state);
        for _ in 0..wake {
            self.changed.notify_one();
        }
    }

    /// The next request, if one waits.
    pub(crate) fn try_next(&self) -> Option<Job> {
        self.lock().jobs.pop_front()
    }

    /// Waits for the next request; `None` once the queue is closed and empty.
    pub(crate) fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            self.changed.wait(&mut state);
            state.idle -= 1;
        }
    }

    /// Lets the threads end once nothing waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}
