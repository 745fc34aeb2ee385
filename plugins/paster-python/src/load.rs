//! The load of the process: finished requests and current ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use paster_frames::ProcessStatus;

use crate::exchange::Exchange;

/// How often the main thread takes the interpreter lock.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The requests of the process.
#[derive(Default)]
pub(crate) struct Load(Mutex<LoadState>);

#[derive(Default)]
struct LoadState {
    requests: u64,
    /// Requests that occupy a thread, by number.
    running: Vec<(u64, Arc<Exchange>)>,
    /// Since when the event loop has not handled its events.
    unseen: Option<Instant>,
    /// When the main thread last had the interpreter lock.
    alive: Option<Instant>,
}

impl Load {
    /// Records that a thread begins a request. Returns its number.
    pub(crate) fn begin(&self, exchange: &Arc<Exchange>) -> u64 {
        let mut state = self.0.lock();
        state.requests += 1;
        let number = state.requests;
        state.running.push((number, exchange.clone()));
        number
    }

    /// Records that the thread has ended the request.
    pub(crate) fn end(&self, number: u64) {
        self.0.lock().running.retain(|(running, _)| *running != number);
    }

    /// Records an event that the event loop has not handled.
    pub(crate) fn happened(&self) {
        self.0.lock().unseen.get_or_insert_with(Instant::now);
    }

    /// Records that the event loop has handled all events, and begins so many requests.
    pub(crate) fn seen(&self, requests: usize) {
        let mut state = self.0.lock();
        state.unseen = None;
        state.requests += requests as u64;
    }

    /// Records that the main thread has the interpreter lock, which it takes once a second. So a process that hangs is
    /// detected even if it has no requests.
    pub(crate) fn alive(&self) {
        self.0.lock().alive = Some(Instant::now());
    }

    /// The status for the supervisor.
    pub(crate) fn status(&self) -> ProcessStatus {
        let state = self.0.lock();
        let idle = state.running.iter().map(|(_, exchange)| exchange.active());
        let alive = state.alive.map(|alive| alive + LOOK);
        let oldest = idle.chain(state.unseen).chain(alive).min();
        let stuck = oldest.map_or(0, |since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
        ProcessStatus { requests: state.requests, stuck_ms: stuck }
    }
}
