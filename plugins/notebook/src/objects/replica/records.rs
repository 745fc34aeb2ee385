//! What the folder of this machine contains: for each file, the change of which it has the content, and the facts by which one sees
//! whether another program has written it since. It is only a note: without it, files are compared by their content.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use crate::files::Facts;
use crate::store::StoreError;

/// What is known of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FolderRecord {
    /// The change of which it has the content.
    pub(super) sequence: i64,
    /// SHA-256 of the content, in hexadecimal; empty for a folder.
    pub(super) hash: String,
    /// Size, time of the last change in nanoseconds, device and inode.
    facts: (i64, i64, i64, i64),
}

impl FolderRecord {
    pub(super) fn new(sequence: i64, hash: &str, facts: &Facts) -> FolderRecord {
        FolderRecord { sequence, hash: hash.to_owned(), facts: numbers(facts) }
    }

    /// Whether the file has not been written since.
    pub(super) fn is_same(&self, facts: &Facts) -> bool {
        self.facts == numbers(facts)
    }
}

fn numbers(facts: &Facts) -> (i64, i64, i64, i64) {
    let since = facts.modified.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    let number = |value: u64| value.cast_signed();
    let nanoseconds = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    (number(facts.size), nanoseconds, number(facts.identity.0), number(facts.identity.1))
}

/// The records of a folder, in a SQLite database that all processes of the machine share.
pub(super) struct FolderRecords(Mutex<Connection>);

const TABLES: &str = "
    pragma journal_mode = wal;
    create table if not exists records (
        path text primary key, sequence integer not null, hash text not null, size integer not null, modified integer not null,
        device integer not null, inode integer not null
    ) strict, without rowid;
    create table if not exists state (name text primary key, value text not null) strict, without rowid;
";

type Result<T, E = StoreError> = std::result::Result<T, E>;

impl FolderRecords {
    /// The records in the file `path` about a database with this name. Those about another one are deleted.
    pub(super) fn open(path: &Path, database: &str) -> Result<FolderRecords> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.execute_batch(TABLES)?;
        let records = FolderRecords(Mutex::new(connection));
        if records.state("database")?.as_deref() != Some(database) {
            records.0.lock().execute_batch("delete from records; delete from state")?;
            records.set_state("database", database)?;
        }
        Ok(records)
    }

    fn state(&self, name: &str) -> Result<Option<String>> {
        let sql = "select value from state where name = ?1";
        Ok(self.0.lock().query_row(sql, [name], |row| row.get(0)).optional()?)
    }

    fn set_state(&self, name: &str, value: &str) -> Result<()> {
        let sql = "insert into state (name, value) values (?1, ?2) on conflict (name) do update set value = excluded.value";
        Ok(self.0.lock().execute(sql, [name, value]).map(drop)?)
    }

    pub(super) fn get(&self, path: &str) -> Result<Option<FolderRecord>> {
        let sql = "select sequence, hash, size, modified, device, inode from records where path = ?1";
        let connection = self.0.lock();
        let found = connection.prepare_cached(sql)?.query_row([path], |row| {
            let facts = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
            Ok(FolderRecord { sequence: row.get(0)?, hash: row.get(1)?, facts })
        });
        Ok(found.optional()?)
    }

    pub(super) fn set(&self, path: &str, record: &FolderRecord) -> Result<()> {
        let FolderRecord { sequence, hash, facts } = record;
        let sql = "insert or replace into records values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values = params![path, sequence, hash, facts.0, facts.1, facts.2, facts.3];
        Ok(self.0.lock().execute(sql, values).map(drop)?)
    }

    pub(super) fn rename_below(&self, from: &str, to: &str) -> Result<()> {
        let sql = "update or replace records set path = ?2 || substr(path, length(?1) + 1) \
                   where path = ?1 or substr(path, 1, length(?1) + 1) = ?1 || '/'";
        Ok(self.0.lock().execute(sql, [from, to]).map(drop)?)
    }

    pub(super) fn remove_below(&self, path: &str) -> Result<()> {
        let sql = "delete from records where path = ?1 or substr(path, 1, length(?1) + 1) = ?1 || '/'";
        Ok(self.0.lock().execute(sql, [path]).map(drop)?)
    }
}
