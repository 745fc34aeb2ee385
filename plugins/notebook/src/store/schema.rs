//! The tables, and how an older database becomes a newer one.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Each entry brings the database to the next version. Entries are only ever added.
const MIGRATIONS: &[&str] = &[DOCUMENTS, ACCOUNTS, PUBLICATIONS];

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

/// Times are in milliseconds since 1970. Hashes are SHA-256 of random secrets.
const ACCOUNTS: &str = "
    create table users (
        id integer primary key,
        name text not null unique collate nocase,
        role text not null,
        active integer not null,
        password text not null,             -- argon2id, as a PHC string
        created integer not null
    ) strict;
    create table members (                  -- of groups
        name text not null collate nocase,
        user integer not null references users on delete cascade,
        primary key (name, user)
    ) strict, without rowid;
    create table sessions (
        hash blob not null unique,
        user integer not null references users on delete cascade,
        created integer not null,
        expires integer not null,
        address text not null,
        agent text not null
    ) strict;
    create index sessions_user on sessions (user);
    create table tokens (
        id integer primary key,
        hash blob not null unique,
        user integer not null references users on delete cascade,
        name text not null,
        level text not null,
        created integer not null,
        expires integer not null
    ) strict;
    create table invitations (
        hash blob primary key,
        role text not null,
        user integer references users on delete cascade, -- who gets a new password
        expires integer not null
    ) strict, without rowid;
    create table audit (
        id integer primary key,
        at integer not null,
        user text not null,
        address text not null,
        action text not null,
        target text not null
    ) strict;
    create table rights (
        document text not null references documents on delete cascade,
        kind text not null check (kind in ('user', 'group', 'everyone')),
        subject text not null collate nocase,
        level text not null,
        primary key (document, kind, subject)
    ) strict, without rowid;
    create table links (
        hash blob not null unique,
        document text not null references documents on delete cascade,
        level text not null,
        expires integer not null
    ) strict;
";

const PUBLICATIONS: &str = "
    create table publications (
        slug text primary key,
        document text not null unique references documents on delete cascade,
        at integer not null,
        author text not null,
        title text not null,
        content text not null               -- the JSON of a notebook
    ) strict;
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
