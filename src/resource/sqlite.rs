//! `sqlite`: an SQLite database. Each worker has one connection; the file may be shared with other programs.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Resource;
use super::time::{blocking, from_millis, to_signed_millis};
use crate::config::{OutputPath, Table};
use crate::context::Context;
use crate::error::Result;
use crate::store::{Store, StoreError, StoreFuture, Stored};

/// Options of a `[resource.NAME]` table with `use = "sqlite"`.
///
/// Values are stored in the table `paster_store`. The database is in WAL mode, so it must be on a local file system.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The database. It is created when it is first used.
    file: OutputPath,
    /// Maximum time to wait for another program that writes.
    #[serde(default = "five")]
    timeout_secs: NonZeroU32,
}

fn five() -> NonZeroU32 {
    const { NonZeroU32::new(5).unwrap() }
}

const CREATE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS paster_store (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, \
    expires INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS paster_store_expires ON paster_store (expires);";

/// Opens nothing yet.
pub(super) fn build(options: Options, _: &Table, _: &Context) -> Result<Resource> {
    let file = options.file.to_path_buf();
    // Four slashes, as SQLAlchemy and Django's packages write an absolute path.
    let url = Some(format!("sqlite:///{}", file.display()));
    let timeout = Duration::from_secs(options.timeout_secs.get().into());
    let store = SqliteStore(Arc::new(SqliteState { file, timeout, connection: Mutex::new(None) }));
    Ok(Resource { store: Arc::new(store), url })
}

#[derive(Clone)]
struct SqliteStore(Arc<SqliteState>);

struct SqliteState {
    file: PathBuf,
    timeout: Duration,
    connection: Mutex<Option<Connection>>,
}

impl SqliteState {
    fn unavailable(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::Unavailable(format!("SQLite: `{}`: {error}", self.file.display()))
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.file)?;
        connection.busy_timeout(self.timeout)?;
        connection.execute_batch(CREATE)?;
        Ok(connection)
    }
}

impl SqliteStore {
    fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let state = self.0.clone();
        Box::pin(blocking(move || {
            let mut connection = state.connection.lock();
            let opened = match connection.take() {
                Some(opened) => opened,
                None => state.open().map_err(|error| state.unavailable(&error))?,
            };
            // After an error it is opened again: the file may have been replaced.
            let done = operation(&opened).map_err(|error| state.unavailable(&error))?;
            *connection = Some(opened);
            Ok(done)
        }))
    }
}

impl Store for SqliteStore {
    fn load(&self, key: &str) -> StoreFuture<Option<Stored>> {
        let key = key.to_owned();
        self.run(move |connection| {
            let sql = "SELECT value, version, expires FROM paster_store WHERE key = ?1 AND expires > ?2";
            let read = |row: &rusqlite::Row<'_>| {
                let (version, expires): (i64, i64) = (row.get(1)?, row.get(2)?);
                Ok(Stored {
                    value: row.get(0)?,
                    version: version.unsigned_abs(),
                    expires: from_millis(expires.unsigned_abs()),
                })
            };
            let now = to_signed_millis(SystemTime::now());
            connection.prepare_cached(sql)?.query_row(params![key, now], read).optional()
        })
    }

    fn save(
        &self,
        key: &str,
        value: Vec<u8>,
        expires: SystemTime,
        over: Option<u64>,
    ) -> StoreFuture<Option<u64>> {
        let key = key.to_owned();
        self.run(move |connection| {
            let (now, expires) = (to_signed_millis(SystemTime::now()), to_signed_millis(expires));
            let version = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            let saved = match over.map(u64::cast_signed) {
                Some(over) => {
                    let sql = "UPDATE paster_store SET value = ?2, version = version + 1, expires = ?3 \
                               WHERE key = ?1 AND version = ?4 AND expires > ?5 RETURNING version";
                    let values = params![key, value, expires, over, now];
                    connection.prepare_cached(sql)?.query_row(values, version).optional()?
                }
                None => {
                    let sql = "INSERT INTO paster_store AS old VALUES (?1, ?2, 1, ?3) ON CONFLICT (key) DO \
                               UPDATE SET value = ?2, version = 1, expires = ?3 WHERE old.expires <= ?4 \
                               RETURNING version";
                    let values = params![key, value, expires, now];
                    connection.prepare_cached(sql)?.query_row(values, version).optional()?
                }
            };
            Ok(saved.map(i64::unsigned_abs))
        })
    }

    fn remove(&self, key: &str) -> StoreFuture<()> {
        let key = key.to_owned();
        self.run(move |connection| {
            connection.prepare_cached("DELETE FROM paster_store WHERE key = ?1")?.execute([key]).map(drop)
        })
    }

    fn sweep(&self) -> StoreFuture<u64> {
        self.run(|connection| {
            let now = to_signed_millis(SystemTime::now());
            let deleted = connection.execute("DELETE FROM paster_store WHERE expires <= ?1", [now])?;
            Ok(deleted as u64)
        })
    }

    fn probe(&self) -> StoreFuture<String> {
        let state = self.0.clone();
        Box::pin(blocking(move || {
            let version = format!("SQLite {}", rusqlite::version());
            if state.file.exists() {
                let opened = Connection::open_with_flags(&state.file, OpenFlags::SQLITE_OPEN_READ_ONLY);
                let read = opened.and_then(|opened| {
                    opened.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
                });
                return read.map(|()| version).map_err(|error| state.unavailable(&error));
            }
            let folder = state.file.parent().unwrap_or(std::path::Path::new("/"));
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            match rustix::fs::access(folder, access) {
                Ok(()) => Ok(format!("{version}; the file will be created")),
                Err(error) => {
                    let message = format!("SQLite: cannot create `{}`: {error}", state.file.display());
                    Err(StoreError::Unavailable(message))
                }
            }
        }))
    }
}
