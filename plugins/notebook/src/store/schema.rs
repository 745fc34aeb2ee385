//! The tables, and how an older database becomes a newer one.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Each entry brings the database to the next version. Entries are only ever added.
const MIGRATIONS: &[&str] = &[DOCUMENTS];

const DOCUMENTS: &str = "
    create table documents (
        id text primary key,                -- a UUID; it stays the same when the file is renamed
        path text not null unique,          -- below the served folder
        last integer not null default 0,    -- number of the newest operation
        saved integer not null default 0,   -- the file contains the operations up to this one
        saved_hash blob,                    -- SHA-256 of that file
        writing integer not null default 0, -- the same of a write that was started
        writing_hash blob
    ) strict;
    create table operations (
        document text not null references documents on delete cascade,
        number integer not null,
        at integer not null,                -- milliseconds since 1970
        author text not null,
        operation text not null,            -- JSON
        primary key (document, number)
    ) strict, without rowid;
";

/// Brings the database to the newest version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    // Other processes that start at the same time wait here.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("pragma user_version", [], |row| row.get(0))?;
    let done = usize::try_from(version).ok().filter(|done| *done <= MIGRATIONS.len());
    let Some(done) = done else {
        return Err(StoreError(format!(
            "a newer version of the notebook has written it (its schema is version {version}, this one knows {})",
            MIGRATIONS.len()
        )));
    };
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    Ok(transaction.commit()?)
}
