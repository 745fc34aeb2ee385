//! Several servers with one database: which of them has a document open, and what they share.
//!
//! A server has a lease of each document that it has open, and renews its leases once a second. When it dies, they end by
//! themselves. Whoever has lost a lease can change nothing: the database refuses its operations. A server that
//! starts again has its leases at once; its own processes are kept apart by a lock of the kernel host. SQLite is used by one machine
//! only, which needs no leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::database::{DatabaseConnection, OptionalExtension, Result, params};
use super::documents::id_of;
use super::writer::StoreChange;
use super::{Backend, Store, StoreError, now};
use crate::files::RelativePath;

/// How long a lease lasts that is not renewed, in milliseconds.
const LEASE_MS: i64 = 4000;
/// How often leases are renewed.
pub(super) const RENEWAL: Duration = Duration::from_secs(1);
/// A day in milliseconds.
const DAY_MS: i64 = 24 * 3600 * 1000;
/// How long to wait between two attempts to take a lease.
const RETRY: Duration = Duration::from_millis(250);

/// The time by the clock of the database, in milliseconds since 1970. Only PostgreSQL has leases.
const NOW: &str = "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)";

/// What a statement requires that changes the document `?1` for the server `?2`.
pub(super) const NOT_TAKEN: &str =
    "not exists (select 1 from leases where leases.document = ?1 and leases.server <> ?2)";

/// Why a change was refused: the document is gone, or the lease is another server's.
pub(super) fn taken() -> rusqlite::Error {
    let message = "another server has taken the notebook over, or it was deleted: reload the page";
    rusqlite::Error::ToSqlConversionFailure(message.into())
}

impl StoreError {
    /// The same.
    pub(crate) fn taken() -> StoreError {
        taken().into()
    }
}

/// Why a lease cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The server at this address has the document open.
    #[error("it is open on another server: open it there ({0})")]
    Held(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The leases of a server.
#[derive(Clone)]
pub(super) struct Leases {
    /// The name of this server, which no other has.
    pub(super) server: Arc<str>,
    /// The name of this process.
    process: Arc<str>,
    shared: bool,
    /// Whether there can be something to renew.
    any: Arc<AtomicBool>,
}

impl Leases {
    pub(super) fn new(backend: &Backend, server: &str) -> Leases {
        let shared = !matches!(backend, Backend::Sqlite(_));
        Leases {
            server: server.into(),
            process: uuid::Uuid::new_v4().to_string().into(),
            shared,
            any: Arc::default(),
        }
    }

    /// The name of this process.
    pub(super) fn process(&self) -> &str {
        &self.process
    }

    /// How often [`Leases::renewal`] must be done.
    pub(super) fn period(&self) -> Duration {
        if self.shared { RENEWAL } else { Duration::MAX }
    }

    /// What renews all leases, if there are any.
    pub(super) fn renewal(&self) -> Option<StoreChange> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let process = self.process.clone();
        let sql =
            format!("update leases set expires = {NOW} + {LEASE_MS} where process = ?1 and expires > 0");
        let renew = move |db: &DatabaseConnection| db.execute(&sql, [&*process]);
        Some(Box::new(move |connection| {
            let result = connection.and_then(|connection| Ok(renew(connection)?));
            Box::new(move |committed| {
                if let Err(error) = committed.and(result) {
                    tracing::warn!(%error, "cannot renew the leases of the open notebooks");
                }
            })
        }))
    }
}

/// What all servers of the database share is made once.
pub(super) fn prepare(connection: &DatabaseConnection) -> Result<()> {
    if matches!(connection, DatabaseConnection::Sqlite(_)) {
        return Ok(());
    }
    let key = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
    let sql = "insert into secrets (name, value) values ('cookie_key', ?1) on conflict do nothing";
    connection.execute(sql, [key])?;
    // Of processes that have ended long ago.
    connection.execute("delete from writers where at < ?1", [now() - DAY_MS]).map(drop)
}

impl Store {
    /// Whether other machines may use the database too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.leases.shared
    }

    /// The key that signs the cookies of all servers of a shared database.
    /// # Errors
    /// [`StoreError`].
    pub fn shared_key(&self) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.is_shared() {
            return Ok(None);
        }
        self.read(|db| {
            db.query_row("select value from secrets where name = 'cookie_key'", [], |row| row.get(0))
                .optional()
        })
    }

    /// Takes the lease of the document at `path` for this server, whose address is `address`. Waits for the end of one whose
    /// server is gone, some seconds at most.
    /// # Errors
    /// [`LeaseError`].
    pub async fn take_lease(&self, path: &RelativePath, address: &str) -> Result<(), LeaseError> {
        if !self.is_shared() {
            return Ok(());
        }
        let mut first = None;
        loop {
            let Some((holder, expires)) = self.try_lease(path, address).await? else { return Ok(()) };
            // A server that renews its lease is alive.
            if *first.get_or_insert(expires) != expires {
                return Err(LeaseError::Held(holder));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Returns the address of the server that has the lease, and when it ends.
    async fn try_lease(
        &self,
        path: &RelativePath,
        address: &str,
    ) -> Result<Option<(String, i64)>, StoreError> {
        let (path, address, leases) = (path.to_string(), address.to_owned(), self.0.leases.clone());
        leases.any.store(true, Ordering::Relaxed);
        self.write(move |db| {
            let document = id_of(db, &path)?;
            let take = format!(
                "insert into leases (document, server, process, address, expires) values (?1, ?2, ?3, ?4, {NOW} + {LEASE_MS}) \
                 on conflict (document) do update set server = excluded.server, process = excluded.process, \
                 address = excluded.address, expires = excluded.expires \
                 where leases.server = excluded.server or leases.expires < {NOW}"
            );
            if db.execute(&take, params![document, &*leases.server, &*leases.process, address])? > 0 {
                return Ok(None);
            }
            let sql = "select address, expires from leases where document = ?1";
            db.query_row(sql, [document], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .await
    }

    /// Gives the lease of the document at `path` back.
    /// # Errors
    /// [`StoreError`].
    pub async fn end_lease(&self, path: &RelativePath) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        let (path, process) = (path.to_string(), self.0.leases.process.clone());
        self.write(move |db| {
            // The row stays, so that a server that had the lease before this one notices it.
            let sql = "update leases set expires = 0 where process = ?2 and document = (select id from documents where path = ?1)";
            db.execute(sql, params![path, &*process]).map(drop)
        })
        .await
    }

    /// Whether another server has taken a document over.
    /// # Errors
    /// [`StoreError`].
    pub fn is_taken(&self, document: &str) -> Result<bool, StoreError> {
        if !self.is_shared() {
            return Ok(false);
        }
        let sql = "select 1 from leases where document = ?1 and server <> ?2";
        self.read(|db| db.prepare_cached(sql)?.exists([document, &*self.0.leases.server]))
    }
}
