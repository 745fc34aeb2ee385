//! SQLite.

use std::path::Path;
use std::time::Duration;

use super::{DatabaseConnection, Result};
use crate::store::StoreError;

/// How long a change waits for another process.
const BUSY: Duration = Duration::from_secs(10);

/// Opens the database in a file, which is created if it does not exist.
pub(super) fn connect(path: &Path) -> Result<DatabaseConnection> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // A change that was acknowledged must survive a crash of the machine.
    connection.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma secure_delete = on; pragma trusted_schema = off;",
    )?;
    Ok(DatabaseConnection::Sqlite(connection))
}

/// Moves everything from the write-ahead log into the database file, and empties the log.
pub(super) fn checkpoint(connection: &rusqlite::Connection) -> std::result::Result<(), StoreError> {
    let busy: i64 = connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))?;
    match busy {
        0 => Ok(()),
        _ => Err(StoreError("its log could not be emptied, because it is in use: try again".to_owned())),
    }
}
