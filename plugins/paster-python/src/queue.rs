//! The queue of requests for the threads of the application.
//!
//! Only one thread runs Python code at a time. So while requests are short, the running thread takes the next ones too, and no
//! other thread is woken, because it would only wait for the interpreter lock. If a request takes longer, the [`Flusher`]
//! wakes other threads after a moment.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::exchange::Exchange;
use crate::flusher::Flusher;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// Maximum duration of a short request, in microseconds.
const SHORT_US: u64 = 500;

/// How often a thread gives way to others before it waits. Under load, the next requests arrive meanwhile, and nobody needs to
/// wake it.
const YIELDS: u32 = 4;

/// A request that no thread has taken yet.
pub(crate) struct Job {
    pub(crate) exchange: Arc<Exchange>,
    /// Its head, as `Pairs`.
    pub(crate) head: Bytes,
}

/// The queue in front of the threads.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// The number of waiting requests.
    length: AtomicUsize,
    /// The average duration of a request, in microseconds.
    took_us: AtomicU64,
    flusher: Arc<Flusher>,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    /// The number of waiting threads.
    idle: usize,
    /// The number of threads that were woken and have not taken a request yet. They may be waiting for the interpreter lock.
    woken: usize,
    /// The number of threads that run requests.
    running: usize,
    /// The flusher takes care of the waiting requests.
    watched: bool,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock()
    }

    /// Whether requests wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.length.load(Ordering::Relaxed) > 0
    }

    /// Adds requests, and wakes threads for them.
    pub(crate) fn add(self: &Arc<Self>, jobs: &mut Vec<Job>) {
        let mut state = self.lock();
        state.jobs.extend(jobs.drain(..));
        self.length.store(state.jobs.len(), Ordering::Relaxed);
        if self.took_us.load(Ordering::Relaxed) > SHORT_US {
            return self.wake(state, usize::MAX);
        }
        let watch = !std::mem::replace(&mut state.watched, true);
        let enough = usize::from(state.running + state.woken == 0);
        self.wake(state, enough);
        if watch {
            self.flusher.look_after(self.clone());
        }
    }

    /// Wakes threads for the waiting requests. The flusher calls this.
    pub(crate) fn wake_waiting(&self) {
        let mut state = self.lock();
        state.watched = false;
        self.wake(state, usize::MAX);
    }

    /// Wakes one idle thread per waiting request, at most so many.
    fn wake(&self, mut state: MutexGuard<'_, QueueState>, most: usize) {
        let wake = state.jobs.len().saturating_sub(state.woken).min(state.idle).min(most);
        state.idle -= wake;
        state.woken += wake;
        drop(state);
        for _ in 0..wake {
            self.changed.notify_one();
        }
    }

    /// Records how long a request took.
    pub(crate) fn ran(&self, time: Duration) {
        let before = self.took_us.load(Ordering::Relaxed);
        let now = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(1_000_000);
        self.took_us.store((before * 7 + now) / 8, Ordering::Relaxed);
    }

    /// The next request, if one waits.
    pub(crate) fn try_next(&self) -> Option<Job> {
        let mut state = self.lock();
        let job = state.jobs.pop_front();
        self.length.store(state.jobs.len(), Ordering::Relaxed);
        job
    }

    /// Waits until there may be a request. Returns `false` once the queue is closed and empty. The thread then calls
    /// [`Queue::woken`].
    pub(crate) fn wait(&self) -> bool {
        for _ in 0..YIELDS {
            if self.is_busy() {
                break;
            }
            std::thread::yield_now();
        }
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
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

    /// Records that a woken thread now has the interpreter lock.
    pub(crate) fn woken(&self) {
        let mut state = self.lock();
        state.woken = state.woken.saturating_sub(1);
        state.running += 1;
    }

    /// Lets the threads end once the queue is empty.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.woken += std::mem::take(&mut state.idle);
        drop(state);
        self.changed.notify_all();
    }
}
