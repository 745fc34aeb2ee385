//! Sends what connections hold back, if nobody else does soon.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::connection::Connection;

/// How long the end of a response may be held back, twice at most.
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
    started: bool,
    /// The thread waits for work.
    idle: bool,
}

impl Flusher {
    /// `connection` holds something back.
    pub(crate) fn hold(self: &Arc<Self>, connection: Arc<Connection>) {
        let mut state = self.state.lock();
        state.held.push(connection);
        if !state.started {
            let flusher = self.clone();
            let started = std::thread::Builder::new().name("flush".into()).spawn(move || flusher.run());
            state.started = started.is_ok();
            if started.is_err() {
                let held = std::mem::take(&mut state.held);
                drop(state);
                held.iter().for_each(|connection| connection.flush_held());
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
            // It looks again before it waits: under load, there is always something.
            std::thread::sleep(PAUSE);
            let mut state = self.state.lock();
            while state.held.is_empty() {
                state.idle = true;
                self.changed.wait(&mut state);
            }
            let held = std::mem::take(&mut state.held);
            drop(state);
            held.iter().for_each(|connection| connection.flush_held());
        }
    }
}
