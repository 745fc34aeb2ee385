//! The thread that makes all changes of the process.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::StoreError;
use super::database::{Backend, DatabaseConnection, Result};
use super::leases::Leases;

/// Maximum number of changes in one transaction.
const BATCH: usize = 256;
/// How long changes wait for an unreachable server.
const AWAY: Duration = Duration::from_secs(10);
/// How long to wait between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);

/// Makes a change, or gets the error that prevents it. Returns the function to call with the result of the transaction.
pub(super) type StoreChange = Box<dyn FnOnce(Result<&DatabaseConnection, StoreError>) -> Finish + Send>;
/// Gets the result of the transaction.
pub(super) type Finish = Box<dyn FnOnce(Result<(), StoreError>)>;

/// Makes changes.
pub(super) struct Writer {
    connection: DatabaseConnection,
    backend: Backend,
    leases: Leases,
    /// The number of the newest transaction.
    batch: i64,
}

impl Writer {
    pub(super) fn new(connection: DatabaseConnection, backend: Backend, leases: Leases) -> Writer {
        Writer { connection, backend, leases, batch: 0 }
    }

    /// Makes changes until all senders are gone.
    pub(super) fn run(mut self, queue: &mpsc::Receiver<StoreChange>) {
        let mut renewed = Instant::now();
        loop {
            let first = match queue.recv_timeout(self.leases.period()) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut changes: Vec<StoreChange> =
                first.into_iter().chain(queue.try_iter().take(BATCH - 1)).collect();
            if renewed.elapsed() >= self.leases.period() {
                renewed = Instant::now();
                changes.extend(self.leases.renewal());
            }
            if !changes.is_empty() {
                self.make(changes);
            }
        }
    }

    /// Makes changes in one transaction.
    fn make(&mut self, changes: Vec<StoreChange>) {
        let (finish, end): (Vec<Finish>, Result<(), StoreError>) = match self.begin() {
            Ok(()) => {
                let finish = changes.into_iter().map(|change| change(Ok(&self.connection))).collect();
                (finish, self.commit())
            }
            Err(error) => {
                (changes.into_iter().map(|change| change(Err(error.clone()))).collect(), Err(error))
            }
        };
        for finish in finish {
            finish(end.clone());
        }
    }

    /// Begins a transaction. Waits for an unreachable server.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.batch += 1;
        let end = Instant::now() + AWAY;
        loop {
            let begun = match self.connection.is_lost() {
                true => self.reconnect(end).and_then(|()| self.begin_once()),
                false => self.begin_once(),
            };
            if begun.is_ok() || !self.connection.is_lost() || Instant::now() >= end {
                return begun;
            }
        }
    }

    fn begin_once(&self) -> Result<(), StoreError> {
        self.connection.begin()?;
        let marked = self.connection.mark(self.leases.process(), self.batch);
        Ok(marked.inspect_err(|_| self.connection.roll_back())?)
    }

    fn reconnect(&mut self, end: Instant) -> Result<(), StoreError> {
        loop {
            match self.backend.connect() {
                Ok(connection) => {
                    self.connection = connection;
                    return Ok(());
                }
                Err(error) if Instant::now() >= end => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "connecting again");
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let Err(error) = self.connection.commit() else { return Ok(()) };
        if !self.connection.is_lost() {
            return Err(error.into());
        }
        // The server may have committed before the connection was lost.
        self.reconnect(Instant::now() + AWAY)?;
        match self.connection.was_committed(self.leases.process(), self.batch)? {
            true => Ok(()),
            false => Err(error.into()),
        }
    }
}

/// A change that fails must not undo the others of its transaction.
pub(super) fn in_savepoint<T>(
    connection: &DatabaseConnection,
    change: impl FnOnce(&DatabaseConnection) -> Result<T>,
) -> Result<T, StoreError> {
    connection.execute_batch("savepoint change")?;
    let result = change(connection);
    let end = if result.is_ok() { "release change" } else { "rollback to change; release change" };
    connection.execute_batch(end)?;
    Ok(result?)
}
