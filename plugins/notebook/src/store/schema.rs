//! The tables and their migrations.

use super::database::DatabaseConnection;
use super::{StoreError, apps, login_groups, objects, passkeys, schedules, search, servers};

/// Each entry brings the database to the next version. Entries are only ever added.
const MIGRATIONS: &[&str] = &[
    DOCUMENTS,
    ACCOUNTS,
    PUBLICATIONS,
    LISTS,
    search::sqlite::TABLES,
    HISTORY,
    COMMENTS,
    SECOND_FACTORS,
    RATINGS,
    EMAILS,
    SERVERS,
    login_groups::LOGIN_GROUPS,
    schedules::SCHEDULES,
    passkeys::PASSKEYS,
    objects::OBJECTS,
    servers::SERVERS,
    apps::APPS,
];

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

/// The marks of accounts on documents, and the trash. The account 0 is the single user.
const LISTS: &str = "
    create table marks (
        account integer not null,
        document text not null references documents on delete cascade,
        starred integer not null default 0,
        archived integer not null default 0,
        primary key (account, document)
    ) strict, without rowid;
    create table tags (
        account integer not null,
        document text not null references documents on delete cascade,
        tag text not null,
        primary key (account, document, tag)
    ) strict, without rowid;
    create table trash (
        id text primary key,                -- a UUID
        path text not null,                 -- where it was
        author text not null,               -- the login name of who deleted it
        at integer not null
    ) strict;
";

/// Snapshots and operations together give every state of a document.
const HISTORY: &str = "
    create table snapshots (
        id integer primary key,
        document text not null references documents on delete cascade,
        number integer not null,            -- it contains the operations up to this one
        at integer not null,
        author text not null,               -- a login name; empty for the server
        cause text not null check (cause in ('periodic', 'disk', 'revision')),
        name text not null,                 -- of a revision
        content text not null               -- the JSON of a notebook without outputs
    ) strict;
    create index snapshots_document on snapshots (document, number, id);
    create table runs (
        id text primary key,                -- of the message to the kernel
        document text not null references documents on delete cascade,
        cell text not null,
        author text not null,
        at integer not null,
        source text not null
    ) strict;
    create index runs_document on runs (document, at);
    create table run_ends (
        run text primary key references runs on delete cascade,
        at integer not null,
        status text not null
    ) strict, without rowid;
";

const COMMENTS: &str = "
    create table threads (
        id integer primary key,
        document text not null references documents on delete cascade,
        cell text not null,                 -- empty: the whole notebook
        quote text not null,                -- what the cell began with
        resolved_at integer,
        resolved_by text
    ) strict;
    create index threads_document on threads (document);
    create table comments (
        id integer primary key,
        thread integer not null references threads on delete cascade,
        author text not null,
        at integer not null,
        edited_at integer,
        text text not null
    ) strict;
    create index comments_thread on comments (thread);
    create table notices (
        id integer primary key,
        account integer not null references users on delete cascade,
        at integer not null,
        kind text not null check (kind in ('mention', 'reply', 'comment', 'offer', 'request', 'granted')),
        author text not null,
        document text not null references documents on delete cascade,
        thread integer references threads on delete cascade,
        text text not null,
        seen integer not null default 0
    ) strict;
    create index notices_account on notices (account, seen);
    create table offers (                   -- of ownership
        document text primary key references documents on delete cascade,
        account integer not null references users on delete cascade,
        author text not null,
        at integer not null
    ) strict, without rowid;
    create table requests (                 -- for access
        document text not null references documents on delete cascade,
        account integer not null references users on delete cascade,
        level text not null,
        text text not null,
        at integer not null,
        primary key (document, account)
    ) strict, without rowid;
";

const SECOND_FACTORS: &str = "
    create table second_factors (
        account integer primary key references users on delete cascade,
        secret blob not null,
        confirmed integer not null,         -- whether it is asked for
        step integer not null               -- of the newest code that was used: each is used once
    ) strict;
    create table recovery_codes (
        hash blob primary key,
        account integer not null references users on delete cascade
    ) strict, without rowid;
";

const RATINGS: &str = "
    alter table publications add column licence text not null default '';
    alter table publications add column republish integer not null default 0; -- with each save
    create table ratings (
        slug text not null references publications on delete cascade,
        account integer not null references users on delete cascade,
        stars integer not null check (stars between 0 and 4),
        text text not null,
        at integer not null,
        primary key (slug, account)
    ) strict, without rowid;
";

const EMAILS: &str = "
    create table emails (
        account integer primary key references users on delete cascade,
        address text not null,              -- confirmed; empty if there is none
        mailed integer not null             -- when a mail with a link was sent last
    ) strict;
    create table email_codes (
        hash blob primary key,
        account integer not null references users on delete cascade,
        address text not null,
        expires integer not null
    ) strict, without rowid;
";

/// For several servers with one database.
const SERVERS: &str = "
    create table leases (                   -- of open documents
        document text primary key references documents on delete cascade,
        server text not null,
        process text not null,
        address text not null,              -- of the server
        expires integer not null
    ) strict, without rowid;
    create table writers (                  -- processes that make changes
        process text primary key,
        batch integer not null,             -- the number of its newest transaction
        at integer not null
    ) strict, without rowid;
    create table secrets (
        name text primary key,
        value blob not null
    ) strict, without rowid;
";

/// Brings the database to the newest version.
pub(super) fn migrate(connection: &DatabaseConnection) -> Result<(), StoreError> {
    // Other processes and servers that start at the same time wait here.
    connection.begin()?;
    match migrate_in(connection) {
        Ok(()) => Ok(connection.commit()?),
        Err(error) => {
            connection.roll_back();
            Err(error)
        }
    }
}

fn migrate_in(connection: &DatabaseConnection) -> Result<(), StoreError> {
    let version = connection.version()?;
    let done = usize::try_from(version).ok().filter(|done| *done <= MIGRATIONS.len());
    let Some(done) = done else {
        return Err(StoreError(format!(
            "a newer version of the notebook has written it (its schema is version {version}, this one knows {})",
            MIGRATIONS.len()
        )));
    };
    for (version, migration) in (1..).zip(MIGRATIONS).skip(done) {
        connection.make_migration(version, migration)?;
    }
    Ok(())
}
