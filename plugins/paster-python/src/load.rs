//! What the process has done, and what it is doing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use paster_frames::ProcessStatus;

use crate::exchange::Exchange;

/// How often the main thread takes the interpreter.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The requests of the process.
#[derive(Default)]
pub(crate) struct Load(Mutex<LoadState>);

#[derive(Default)]
struct LoadState {
    requests: u64,
    /// Those that occupy a thread, by number.
    running: BTreeMap<u64, Arc<Exchange>>,
    /// Since when the event loop has not looked at what has happened.
    unseen: Option<Instant>,
    /// When the main thread had the interpreter last.
    alive: Option<Instant>,
}

impl Load {
    /// A thread begins a request. Returns its number.
    pub(crate) fn begin(&self, exchange: &Arc<Exchange>) -> u64 {
        let mut state = self.0.lock();
        state.requests += 1;
        let number = state.requests;
        state.running.insert(number, exchange.clone());
        number
    }

    /// The thread has ended the request.
    pub(crate) fn end(&self, number: u64) {
        self.0.lock().running.remove(&number);
    }

    /// Something has happened that the event loop has not seen.
    pub(crate) fn happened(&self) {
        self.0.lock().unseen.get_or_insert_with(Instant::now);
    }

    /// The event loop has seen everything, and begins so many requests.
    pub(crate) fn seen(&self, requests: usize) {
        let mut state = self.0.lock();
        state.unseen = None;
        state.requests += requests as u64;
    }

    /// The main thread has the interpreter, which it takes once a second: a process that hangs is found even if it has no
    /// request.
    pub(crate) fn alive(&self) {
        self.0.lock().alive = Some(Instant::now());
    }

    /// For the supervisor.
    pub(crate) fn status(&self) -> ProcessStatus {
        let state = self.0.lock();
        let idle = state.running.values().map(|exchange| exchange.active());
        let alive = state.alive.map(|alive| alive + LOOK);
        let oldest = idle.chain(state.unseen).chain(alive).min();
        let stuck = oldest.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
        ProcessStatus { requests: state.requests, stuck_ms: stuck }
    }
}
