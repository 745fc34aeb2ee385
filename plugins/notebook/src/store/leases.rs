//! Several servers that share a database: which of them has a document open, and which secrets they share.
//!
//! A server has a lease of each document that it has open, and renews its leases once a second. When it dies, they expire. A
//! server that has lost a lease cannot change the document, because the database refuses its operations. A restarted server
//! has its leases at once; a lock of the kernel host separates its own processes. SQLite needs no leases, because only one
//! machine uses it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::database::{DatabaseConnection, OptionalExtension, Result, params};
use super::documents::id_of;
use super::writer::StoreChange;
use super::{Backend, Store, StoreError, now, servers};
use crate::files::RelativePath;

/// How long a lease lasts without a renewal, in milliseconds.
pub(super) const LEASE_MS: i64 = 4000;
/// How often leases are renewed.
pub(super) const RENEWAL: Duration = Duration::from_secs(1);
/// A day in milliseconds.
const DAY_MS: i64 = 24 * 3600 * 1000;
/// How long to wait between two attempts to take a lease.
const RETRY: Duration = Duration::from_millis(250);

/// The names of the secrets that all servers share.
const COOKIE_KEY: &str = "cookie_key";
const RELAY_KEY: &str = "relay_key";

/// The time by the clock of the database, in milliseconds since 1970. Only PostgreSQL has leases.
pub(super) const NOW: &str = "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)";

/// The condition in every statement that changes the document `?1` on behalf of the server `?2`.
pub(super) const NOT_TAKEN: &str =
    "not exists (select 1 from leases where leases.document = ?1 and leases.server <> ?2)";

/// The error for a change that was refused because the document is gone or another server has the lease.
pub(super) fn taken() -> rusqlite::Error {
    let message = "another server has taken the notebook over, or it was deleted: reload the page";
    rusqlite::Error::ToSqlConversionFailure(message.into())
}

impl StoreError {
    /// The error for a document that another server has taken over.
    pub(crate) fn taken() -> StoreError {
        taken().into()
    }
}

/// Why a lease cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The server at this address has the document open.
    #[error("it is open on another server: open it there ({0})")]
    Held(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The leases of a server.
#[derive(Clone)]
pub(super) struct Leases {
    /// The unique name of this server.
    pub(super) server: Arc<str>,
    /// The name of this process.
    process: Arc<str>,
    shared: bool,
    /// Whether this server may have leases to renew.
    any: Arc<AtomicBool>,
    /// Where other servers can reach this one.
    pub(super) address: Arc<OnceLock<Arc<str>>>,
}

impl Leases {
    pub(super) fn new(backend: &Backend, server: &str) -> Leases {
        let shared = !matches!(backend, Backend::Sqlite(_));
        Leases {
            server: server.into(),
            process: uuid::Uuid::new_v4().to_string().into(),
            shared,
            any: Arc::default(),
            address: Arc::default(),
        }
    }

    /// The name of this process.
    pub(super) fn process(&self) -> &str {
        &self.process
    }

    /// How often [`Leases::renewal`] must run.
    pub(super) fn period(&self) -> Duration {
        if self.shared { RENEWAL } else { Duration::MAX }
    }

    /// The change that renews all leases and announces the server, if there is anything to do.
    pub(super) fn renewal(&self) -> Option<StoreChange> {
        let (any, address) = (self.any.load(Ordering::Relaxed), self.address.get().cloned());
        if !any && address.is_none() {
            return None;
        }
        let (process, server) = (self.process.clone(), self.server.clone());
        let sql =
            format!("update leases set expires = {NOW} + {LEASE_MS} where process = ?1 and expires > 0");
        let renew = move |db: &DatabaseConnection| {
            if let Some(address) = address {
                servers::renew(db, &server, &address)?;
            }
            db.execute(&sql, [&*process])
        };
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

/// Creates what all servers of the database share.
pub(super) fn prepare(connection: &DatabaseConnection) -> Result<()> {
    if matches!(connection, DatabaseConnection::Sqlite(_)) {
        return Ok(());
    }
    for name in [COOKIE_KEY, RELAY_KEY] {
        let key = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
        let sql = "insert into secrets (name, value) values (?1, ?2) on conflict do nothing";
        connection.execute(sql, params![name, key])?;
    }
    servers::forget(connection, DAY_MS)?;
    // Rows of processes that ended long ago.
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
        self.secret(COOKIE_KEY)
    }

    /// The key that signs the requests which the servers of a shared database relay to each other.
    /// # Errors
    /// [`StoreError`].
    pub fn relay_key(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.secret(RELAY_KEY)
    }

    fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.is_shared() {
            return Ok(None);
        }
        let sql = "select value from secrets where name = ?1";
        self.read(|db| db.query_row(sql, [name], |row| row.get(0)).optional())
    }

    /// Takes the lease of the document at `path` for this server, whose address is `address`. If the server that has the lease
    /// is gone, waits a few seconds until the lease expires.
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

    /// Returns the address of the server that has the lease, and when the lease ends.
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

    /// Gives back the lease of the document at `path`.
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
