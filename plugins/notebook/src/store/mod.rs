//! The notebook's database: SQLite, in a file of `state_dir`. Several processes may have it open.
//!
//! All changes go through one thread per process. It takes every change that waits into one transaction and
//! syncs it to disk once; the caller continues after that. Reads use a second connection and wait for
//! nothing.

mod accounts;
mod backup;
mod comments;
mod documents;
mod emails;
mod erase;
mod handover;
mod history;
mod invitations;
mod lists;
mod login_groups;
mod passkeys;
mod publications;
mod removal;
mod rights;
mod schedules;
mod schema;
mod search;
mod second_factors;
mod values;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

pub use self::accounts::{Account, ApiToken, AuditEntry, LoginSession, SecretHash};
pub use self::comments::{Comment, NewNotice, Notice, Thread};
pub use self::documents::{LoggedOperation, OperationAuthor, StoredDocument};
pub use self::erase::{ERASED, erase_in};
pub use self::handover::{AccessRequest, Offer};
pub use self::history::{Cause, Run, Snapshot};
pub use self::invitations::Invitation;
pub use self::lists::{Marks, MarksChange, Trashed};
pub use self::passkeys::Passkey;
pub use self::publications::{Publication, Rating};
pub use self::rights::Subject;
pub use self::schedules::{Schedule, ScheduledRun};
pub use self::search::{FileVersion, Found, IndexedNotebook};
pub use self::second_factors::SecondFactor;

/// How long a change waits for another process.
const BUSY: Duration = Duration::from_secs(10);
/// How many changes one transaction takes.
const BATCH: usize = 256;

/// Why the database could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the notebook's database: {0}")]
pub struct StoreError(String);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        StoreError(error.to_string())
    }
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    changes: mpsc::Sender<Change>,
    reader: Mutex<Connection>,
    path: PathBuf,
}

/// Makes a change, or is told why it cannot be made. Returns what is to be called with the end of the transaction.
type Change = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Finish + Send>;
type Finish = Box<dyn FnOnce(Result<(), StoreError>)>;

impl Store {
    /// Opens the database at `path`, and creates or migrates it.
    /// # Errors
    /// If it cannot be used, or if a newer version has written it.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let context = |error: StoreError| StoreError(format!("`{}`: {}", path.display(), error.0));
        let open = || -> Result<(Connection, Connection), StoreError> {
            let mut writer = connect(path)?;
            schema::migrate(&mut writer)?;
            Ok((writer, connect(path)?))
        };
        let (writer, reader) = open().map_err(context)?;
        let (changes, queue) = mpsc::channel();
        let thread = std::thread::Builder::new().name("notebook-store".to_owned());
        thread.spawn(move || run(writer, &queue)).map_err(|error| StoreError(error.to_string()))?;
        Ok(Store(Arc::new(Inner { changes, reader: Mutex::new(reader), path: path.to_owned() })))
    }

    /// Makes a change. When this returns, the change is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let change: Change = Box::new(move |connection| {
            let result = connection.and_then(|connection| in_savepoint(connection, change));
            Box::new(move |committed| {
                let _ = reply.send(committed.and(result));
            })
        });
        let gone = || StoreError("its thread has ended".to_owned());
        self.0.changes.send(change).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Makes a change later. Changes keep their order. A failure is logged.
    fn post(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let change: Change = Box::new(move |connection| {
            let result = connection.and_then(|connection| in_savepoint(connection, change));
            Box::new(move |committed| {
                if let Err(error) = committed.and(result) {
                    tracing::error!(%error, "a change was not kept");
                }
            })
        });
        self.0.changes.send(change).map_err(|_| StoreError("its thread has ended".to_owned()))
    }

    /// Moves everything from the write-ahead log into the database file, and empties the log.
    fn checkpoint(&self) -> Result<(), StoreError> {
        let busy: i64 =
            self.read(|db| db.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0)))?;
        match busy {
            0 => Ok(()),
            _ => Err(StoreError("its log could not be emptied, because it is in use: try again".to_owned())),
        }
    }

    /// Reads. Queries must be short: they run on the caller's thread.
    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        Ok(query(&self.0.reader.lock())?)
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // A change that was acknowledged must survive a crash of the machine.
    connection.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma secure_delete = on; pragma trusted_schema = off;",
    )?;
    Ok(connection)
}

fn run(mut connection: Connection, queue: &mpsc::Receiver<Change>) {
    while let Ok(first) = queue.recv() {
        let changes: Vec<Change> = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let (finish, end): (Vec<Finish>, Result<(), StoreError>) = match transaction {
            Ok(transaction) => {
                let finish = changes.into_iter().map(|change| change(Ok(&*transaction))).collect();
                (finish, transaction.commit().map_err(Into::into))
            }
            Err(error) => {
                let error = StoreError::from(error);
                (changes.into_iter().map(|change| change(Err(error.clone()))).collect(), Err(error))
            }
        };
        for finish in finish {
            finish(end.clone());
        }
    }
}

/// A change that fails must not undo the others of its transaction.
fn in_savepoint<T>(
    connection: &Connection,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    connection.execute_batch("savepoint change")?;
    let result = change(connection);
    let end = if result.is_ok() { "release change" } else { "rollback to change; release change" };
    connection.execute_batch(end)?;
    Ok(result?)
}

/// The time in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_change_leaves_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).unwrap();
        let insert = |id: &'static str, path: &'static str| {
            store.write(move |connection| {
                connection.execute("insert into documents (id, path) values (?1, ?2)", [id, path])
            })
        };
        let (a, b, c) = tokio::join!(insert("a", "x"), insert("b", "x"), insert("c", "z"));
        assert!(a.is_ok() && b.is_err() && c.is_ok());
        let count = |store: &Store| {
            store.read(|connection| {
                connection.query_row("select count(*) from documents", [], |row| row.get::<_, i64>(0))
            })
        };
        assert_eq!(count(&store), Ok(2));
        // Another process sees the same.
        assert_eq!(count(&Store::open(&folder.path().join("db")).unwrap()), Ok(2));
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        drop(Store::open(&path).unwrap());
        Connection::open(&path).unwrap().execute_batch("pragma user_version = 1000").unwrap();
        let error = Store::open(&path).err().unwrap().to_string();
        assert!(error.contains("newer version") && error.contains("/db"), "{error}");
    }
}
