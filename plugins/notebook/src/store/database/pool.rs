//! Connections for reads.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Backend, DatabaseConnection};
use crate::store::StoreError;

/// How long reads fail at once after a connection could not be made.
const DOWN: Duration = Duration::from_millis(500);

/// A pool of connections.
pub(in crate::store) struct Pool {
    backend: Backend,
    limit: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<DatabaseConnection>,
    open: usize,
    down: Option<(Instant, StoreError)>,
}

impl Pool {
    pub(in crate::store) fn new(backend: Backend) -> Pool {
        let limit = backend.readers();
        Pool { backend, limit, state: Mutex::default(), returned: Condvar::new() }
    }

    /// Calls `use_it` with a connection. Waits while all connections are in use.
    pub(in crate::store) fn with<T>(
        &self,
        use_it: impl FnOnce(&DatabaseConnection) -> super::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.take()?;
        // A panic in `use_it` must not take the connection with it.
        let returning = Returning { pool: self, connection: Some(connection) };
        let connection = returning.connection.as_ref().expect("it is returned on drop only");
        Ok(use_it(connection)?)
    }

    fn take(&self) -> Result<DatabaseConnection, StoreError> {
        let mut state = self.state.lock();
        loop {
            while let Some(connection) = state.idle.pop() {
                if !connection.is_lost() {
                    return Ok(connection);
                }
                state.open -= 1;
            }
            if state.open < self.limit {
                break;
            }
            self.returned.wait(&mut state);
        }
        if let Some((at, error)) = &state.down
            && at.elapsed() < DOWN
        {
            return Err(error.clone());
        }
        state.open += 1;
        drop(state);
        let connected = self.backend.connect();
        let mut state = self.state.lock();
        state.down = connected.as_ref().err().map(|error| (Instant::now(), error.clone()));
        if connected.is_err() {
            state.open -= 1;
            self.returned.notify_one();
        }
        connected
    }
}

struct Returning<'a> {
    pool: &'a Pool,
    connection: Option<DatabaseConnection>,
}

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        match self.connection.take() {
            Some(connection) if !connection.is_lost() => state.idle.push(connection),
            _ => state.open -= 1,
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}
