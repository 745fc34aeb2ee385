//! The SQLite database. Calls run on tokio's threads for blocking work.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use paster_sdk::BoxError;
use rusqlite::{Connection, TransactionBehavior};

/// Changes of the schema, oldest first. Add new ones at the end. Those that have already run on a database are skipped.
const MIGRATIONS: [&str; 2] =
    [include_str!("../migrations/0001_accounts.sql"), include_str!("../migrations/0002_notes.sql")];

/// A connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Database(Arc<Mutex<Connection>>);

impl Database {
    /// Opens the file, creates it if necessary, and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Database, BoxError> {
        let path = path.to_owned();
        let open = move || -> Result<Connection, BoxError> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut connection = Connection::open(&path)?;
            // Other workers, and the previous generation during a reload, use the file too.
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            migrate(&mut connection)?;
            Ok(connection)
        };
        Ok(Database(Arc::new(Mutex::new(tokio::task::spawn_blocking(open).await??))))
    }

    /// Runs `work` with the connection.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let shared = self.0.clone();
        let call = move || work(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(call).await.expect("a database call does not panic")
    }

    /// Whether the database responds: for the health check.
    pub(crate) async fn probe(self) -> Result<(), BoxError> {
        self.call(|connection| connection.query_row("SELECT 1", [], |_| Ok(()))).await?;
        Ok(())
    }
}

/// Runs the missing migrations, all of them or none. SQLite stores their number in the file.
fn migrate(connection: &mut Connection) -> Result<(), BoxError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let Some(missing) = MIGRATIONS.get(done..) else {
        return Err(format!("the database has {done} migrations, and this program knows {}", MIGRATIONS.len()).into());
    };
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len())?;
    transaction.commit()?;
    if !missing.is_empty() {
        tracing::info!(from = done, to = MIGRATIONS.len(), "migrated the database");
    }
    Ok(())
}
