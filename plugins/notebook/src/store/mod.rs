//! The notebook's database: SQLite, in a file of `state_dir`, or PostgreSQL. Several processes may have it open.
//!
//! All changes go through one thread per process. It puts all waiting changes into one transaction and syncs it to disk once,
//! before the callers continue. Reads use other connections and do not wait.

mod accounts;
mod apps;
mod backup;
mod comments;
mod copying;
mod database;
mod documents;
mod emails;
mod erase;
mod folders;
mod handover;
mod history;
mod invitations;
mod leases;
mod lists;
mod login_groups;
mod objects;
mod outputs;
mod passkeys;
mod publications;
mod removal;
mod rights;
mod schedules;
mod schema;
mod search;
mod second_factors;
mod servers;
mod values;
mod writer;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use tokio::sync::oneshot;

use self::database::{DatabaseConnection, Pool};
use self::writer::{StoreChange, in_savepoint};
use crate::objects::Objects;

pub use self::accounts::{Account, ApiToken, AuditEntry, LoginSession, SecretHash};
pub use self::comments::{Comment, NewNotice, Notice, Thread};
pub use self::database::Backend;
pub use self::documents::{LoggedOperation, OperationAuthor, StoredDocument};
pub use self::erase::{ERASED, erase_in};
pub use self::folders::{FolderEntry, FolderEntryKind};
pub use self::handover::{AccessRequest, HandoverOffer};
pub use self::history::{Cause, Run, Snapshot};
pub use self::invitations::Invitation;
pub use self::leases::LeaseError;
pub use self::lists::{Marks, MarksChange, Trashed};
pub use self::objects::{ClaimError, Collected};
pub use self::passkeys::Passkey;
pub use self::publications::{Publication, Rating};
pub use self::rights::Subject;
pub use self::schedules::{Schedule, ScheduledRun};
pub use self::search::{FileVersion, Found, IndexedNotebook};
pub use self::second_factors::SecondFactor;
pub use self::servers::Holder;

/// An error of the database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the notebook's store: {0}")]
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
    changes: mpsc::Sender<StoreChange>,
    readers: Pool,
    backend: Backend,
    leases: leases::Leases,
    objects: Option<Objects>,
}

impl Store {
    /// Opens the SQLite database at `path`, and creates or migrates it.
    /// # Errors
    /// If it cannot be used, or if a newer version has written it.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        Store::connect(Backend::Sqlite(path.to_owned()))
    }

    /// Opens a database, and creates or migrates its tables.
    /// # Errors
    /// If it cannot be used, or if a newer version has written it.
    pub fn connect(backend: Backend) -> Result<Store, StoreError> {
        Store::connect_as(backend, &uuid::Uuid::new_v4().to_string())
    }

    /// Like [`Store::open`], for a server with this name. The name must be unique among the servers of the database, and stay
    /// the same across restarts.
    /// # Errors
    /// If it cannot be used, or if a newer version has written it.
    pub fn connect_as(backend: Backend, server: &str) -> Result<Store, StoreError> {
        Store::connect_with(backend, server, None)
    }

    /// The same with large contents in `objects`.
    /// # Errors
    /// If it cannot be used, or if a newer version has written it.
    pub fn connect_with(
        backend: Backend,
        server: &str,
        objects: Option<Objects>,
    ) -> Result<Store, StoreError> {
        let open = || -> Result<DatabaseConnection, StoreError> {
            let connection = backend.connect()?;
            schema::migrate(&connection)?;
            leases::prepare(&connection)?;
            objects::prepare(&connection)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| StoreError(format!("`{}`: {}", backend.name(), error.0)))?;
        let (changes, queue) = mpsc::channel();
        let thread = std::thread::Builder::new().name("notebook-store".to_owned());
        let leases = leases::Leases::new(&backend, server);
        let writer = writer::Writer::new(connection, backend.clone(), leases.clone());
        thread.spawn(move || writer.run(&queue)).map_err(|error| StoreError(error.to_string()))?;
        Ok(Store(Arc::new(Inner { changes, readers: Pool::new(backend.clone()), backend, leases, objects })))
    }

    /// Makes a change. When this returns, the change is on the disk.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&DatabaseConnection) -> database::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let change: StoreChange = Box::new(move |connection| {
            let result = connection.and_then(|connection| in_savepoint(connection, change));
            Box::new(move |committed| {
                let _ = reply.send(committed.and(result));
            })
        });
        let gone = || StoreError("its thread has ended".to_owned());
        self.0.changes.send(change).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Makes a change later, in the order of the calls. Logs a failure.
    fn post(
        &self,
        change: impl FnOnce(&DatabaseConnection) -> database::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let change: StoreChange = Box::new(move |connection| {
            let result = connection.and_then(|connection| in_savepoint(connection, change));
            Box::new(move |committed| {
                if let Err(error) = committed.and(result) {
                    tracing::error!(%error, "a change could not be stored");
                }
            })
        });
        self.0.changes.send(change).map_err(|_| StoreError("its thread has ended".to_owned()))
    }

    /// Overwrites older versions of rows.
    fn forget_old_rows(&self) -> Result<(), StoreError> {
        let mut forgotten = Ok(());
        self.read(|db| {
            forgotten = db.forget_old_rows();
            Ok(())
        })?;
        forgotten
    }

    /// Reads. Queries must be short: they run on the caller's thread.
    fn read<T>(
        &self,
        query: impl FnOnce(&DatabaseConnection) -> database::Result<T>,
    ) -> Result<T, StoreError> {
        self.0.readers.with(query)
    }
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
                connection.query_row("select count(*) from documents", [], |row| row.get::<i64>(0))
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
        rusqlite::Connection::open(&path).unwrap().execute_batch("pragma user_version = 1000").unwrap();
        let error = Store::open(&path).err().unwrap().to_string();
        assert!(error.contains("newer version") && error.contains("/db"), "{error}");
    }
}
