//! Does postponed work if no other thread does it soon: sends frames that connections hold back, and wakes threads for waiting
//! requests.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::connection::Connection;
use crate::queue::Queue;

/// How long the end of a response is held back; at most twice this time.
const PAUSE: Duration = Duration::from_millis(1);

/// A thread that runs while responses are held back.
#[derive(Default)]
pub(crate) struct Flusher {
    state: Mutex<FlusherState>,
    changed: Condvar,
}

#[derive(Default)]
struct FlusherState {
    held: Vec<Arc<Connection>>,
    queues: Vec<Arc<Queue>>,
    started: bool,
    /// The thread waits for work.
    idle: bool,
}

impl Flusher {
    /// Records that `connection` holds frames back.
    pub(crate) fn hold(self: &Arc<Self>, connection: Arc<Connection>) {
        self.add(|state| state.held.push(connection));
    }

    /// Records that requests wait in `queue`.
    pub(crate) fn look_after(self: &Arc<Self>, queue: Arc<Queue>) {
        self.add(|state| state.queues.push(queue));
    }

    fn add(self: &Arc<Self>, add: impl FnOnce(&mut FlusherState)) {
        let mut state = self.state.lock();
        add(&mut state);
        if !state.started {
            let flusher = self.clone();
            let started = std::thread::Builder::new().name("flush".into()).spawn(move || flusher.run());
            state.started = started.is_ok();
            if started.is_err() {
                state.take().finish();
            }
            return;
        }
        if std::mem::take(&mut state.idle) {
            drop(state);
            self.changed.notify_one();
        }
    }

    fn run(&self) {
        loop {
            // Check again before waiting, because under load there is always something.
            std::thread::sleep(PAUSE);
            let mut state = self.state.lock();
            while state.held.is_empty() && state.queues.is_empty() {
                state.idle = true;
                self.changed.wait(&mut state);
            }
            let due = state.take();
            drop(state);
            due.finish();
        }
    }
}

/// The postponed work.
struct Due(Vec<Arc<Connection>>, Vec<Arc<Queue>>);

impl FlusherState {
    fn take(&mut self) -> Due {
        Due(std::mem::take(&mut self.held), std::mem::take(&mut self.queues))
    }
}

impl Due {
    fn finish(self) {
        self.0.iter().for_each(|connection| connection.flush_held());
        self.1.iter().for_each(|queue| queue.wake_waiting());
    }
}
