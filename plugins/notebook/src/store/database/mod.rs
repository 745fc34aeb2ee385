//! The databases that the store can use, behind the interface of `rusqlite`.
//!
//! The store's SQL is the common subset of SQLite and PostgreSQL: placeholders `?1`, `on conflict (columns)`, `returning`,
//! and integers for booleans (`active = 1`). Where the two differ, `dialect` translates, or the file of each database has its
//! own statements.

mod backend;
mod dialect;
#[cfg(feature = "postgres")]
mod encoding;
mod parameters;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
mod statement;
#[cfg(feature = "postgres")]
mod waiting;

pub(super) use rusqlite::{OptionalExtension, Result, params};

pub use self::backend::Backend;
pub(super) use self::parameters::Params;
pub(super) use self::pool::Pool;
pub(super) use self::statement::{Row, Statement};

use super::StoreError;

/// A connection to a database.
pub(super) enum DatabaseConnection {
    /// A file.
    Sqlite(rusqlite::Connection),
    /// A server.
    #[cfg(feature = "postgres")]
    Postgres(postgres::PostgresSession),
}

impl DatabaseConnection {
    /// Runs a statement. Returns how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    /// Runs statements without parameters.
    pub(super) fn execute_batch(&self, sql: &str) -> Result<()> {
        match self {
            DatabaseConnection::Sqlite(connection) => connection.execute_batch(sql),
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => session.batch(sql),
        }
    }

    /// The first row of a query.
    pub(super) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.prepare_cached(sql)?.query_row(params, map)
    }

    /// A statement that is used more than once.
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        self.prepare_cached(sql)
    }

    /// A statement that the connection remembers.
    pub(super) fn prepare_cached(&self, sql: &str) -> Result<Statement<'_>> {
        Ok(match self {
            DatabaseConnection::Sqlite(connection) => Statement::Sqlite(connection.prepare_cached(sql)?),
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => Statement::Postgres(session, session.prepare(sql)?),
        })
    }

    /// Begins a transaction that makes changes. The transactions of other processes and servers wait until it ends.
    pub(super) fn begin(&self) -> Result<()> {
        match self {
            DatabaseConnection::Sqlite(connection) => connection.execute_batch("begin immediate"),
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => session.begin(),
        }
    }

    /// Marks the transaction as number `batch` of `process`, so that [`DatabaseConnection::was_committed`] can find it. SQLite
    /// needs no mark, because its connection cannot be lost.
    #[cfg_attr(not(feature = "postgres"), allow(unused_variables, reason = "for PostgreSQL"))]
    pub(super) fn mark(&self, process: &str, batch: i64) -> Result<()> {
        match self {
            DatabaseConnection::Sqlite(_) => Ok(()),
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(_) => {
                let sql = "insert into writers (process, batch, at) values (?1, ?2, ?3) \
                           on conflict (process) do update set batch = excluded.batch, at = excluded.at";
                self.execute(sql, params![process, batch, super::now()]).map(drop)
            }
        }
    }

    /// Whether a transaction whose result is unknown was committed. The transaction has ended when this returns.
    pub(super) fn was_committed(&self, process: &str, batch: i64) -> Result<bool> {
        self.begin()?;
        let sql = "select 1 from writers where process = ?1 and batch = ?2";
        let found = self.prepare(sql).and_then(|mut statement| statement.exists(params![process, batch]));
        self.roll_back();
        found
    }

    /// Commits the transaction. When this returns, its changes are on the disk.
    pub(super) fn commit(&self) -> Result<()> {
        self.execute_batch("commit").inspect_err(|_| self.roll_back())
    }

    /// Rolls the transaction back.
    pub(super) fn roll_back(&self) {
        if !self.is_lost() {
            // The transaction may have ended by itself.
            let _ = self.execute_batch("rollback");
        }
    }

    /// Whether the server is gone or has closed the connection.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            DatabaseConnection::Sqlite(_) => false,
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => session.is_lost(),
        }
    }

    /// How many migrations were made.
    pub(super) fn version(&self) -> Result<i64> {
        match self {
            DatabaseConnection::Sqlite(connection) => {
                connection.query_row("pragma user_version", [], |row| row.get(0))
            }
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => {
                session.batch(postgres::VERSION_TABLE)?;
                self.query_row("select coalesce(max(version), 0) from schema_version", [], |row| row.get(0))
            }
        }
    }

    /// Runs a migration and records it.
    pub(super) fn make_migration(&self, version: i64, sql: &str) -> Result<()> {
        match self {
            DatabaseConnection::Sqlite(connection) => {
                connection.execute_batch(sql)?;
                connection.pragma_update(None, "user_version", version)
            }
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => {
                session.batch(&postgres::migration(sql))?;
                self.execute("insert into schema_version (version) values (?1)", [version]).map(drop)
            }
        }
    }

    /// Calls `each` with each row of a query, one after the other.
    pub(super) fn each(&self, sql: &str, mut each: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        match self {
            DatabaseConnection::Sqlite(connection) => {
                let mut statement = connection.prepare(sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    each(&Row::Sqlite(row))?;
                }
                Ok(())
            }
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => session.each(sql, |row| each(&Row::Postgres(row))),
        }
    }

    /// After rows were copied with their ids, makes new rows continue with higher ids.
    #[cfg_attr(not(feature = "postgres"), allow(unused_variables, reason = "for PostgreSQL"))]
    pub(super) fn number_after_rows(&self, table: &str) -> Result<()> {
        match self {
            // SQLite always does this.
            DatabaseConnection::Sqlite(_) => Ok(()),
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => session.batch(&format!(
                "select setval(pg_get_serial_sequence('{table}', 'id'), coalesce((select max(id) from {table}), 0) + 1, false)"
            )),
        }
    }

    /// Overwrites older versions of rows, which could still be read in the files of the database.
    pub(super) fn forget_old_rows(&self) -> Result<(), StoreError> {
        match self {
            DatabaseConnection::Sqlite(connection) => sqlite::checkpoint(connection),
            #[cfg(feature = "postgres")]
            DatabaseConnection::Postgres(session) => Ok(session.batch(postgres::VACUUM)?),
        }
    }
}
