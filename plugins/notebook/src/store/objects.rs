//! The objects outside the database (`crate::objects`): a row for each object, and the columns that refer to objects.
//!
//! To write an object, a process first adds its row, then writes the object, and then refers to it, in a transaction that fails if
//! the row was deleted in the meantime. Unused objects that are older than the time for these three steps are deleted, their rows
//! first. A key is used once, so an object without a row is never needed again.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

use super::database::{DatabaseConnection, OptionalExtension, Result, params};
use super::{Store, StoreError, now};
use crate::objects::{ObjectError, ObjectKey, Objects};

pub(super) const OBJECTS: &str = "
    create table objects (
        key text primary key,               -- begins with the SHA-256 of the content
        owner text not null,                -- a document, or the path of a file
        bytes integer not null,
        at integer not null
    ) strict, without rowid;
    create index objects_owner on objects (owner);
    alter table snapshots add column object text not null default ''; -- the key of its content, if it is not here
    create index snapshots_object on snapshots (object);
    create table outputs (                  -- parts of outputs that are too long for a notebook
        document text not null references documents on delete cascade,
        cell text not null,
        part integer not null,
        bytes integer not null,
        object text not null,
        primary key (document, cell, part)
    ) strict, without rowid;
    create index outputs_object on outputs (object);
    create table files (                    -- what several servers have in their folders
        path text primary key,
        sequence integer not null,          -- of the change that made it so
        kind text not null check (kind in ('file', 'folder', 'gone')),
        object text not null,               -- of a file
        bytes integer not null,
        at integer not null
    ) strict, without rowid;
    create index files_sequence on files (sequence);
    create index files_object on files (object);
";

/// The columns that refer to objects.
pub(super) const REFERENCES: &[(&str, &str)] =
    &[("snapshots", "object"), ("outputs", "object"), ("files", "object")];

/// Contents up to this size stay in the database.
const INLINE_BYTES: usize = 16 << 10;
/// How many objects are deleted together.
const BATCH: i64 = 500;

impl From<ObjectError> for StoreError {
    fn from(error: ObjectError) -> StoreError {
        StoreError(error.to_string())
    }
}

/// Why a database cannot have an object store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The object store or the database cannot be used now.
    #[error(transparent)]
    Unavailable(StoreError),
    /// The object store belongs to another database.
    #[error(
        "the object store {0} belongs to another database, whose objects would be deleted: choose another prefix in `objects`"
    )]
    Foreign(String),
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> ClaimError {
        ClaimError::Unavailable(error)
    }
}

impl From<ClaimError> for StoreError {
    fn from(error: ClaimError) -> StoreError {
        match error {
            ClaimError::Unavailable(error) => error,
            foreign => StoreError(foreign.to_string()),
        }
    }
}

/// The result of [`Store::collect_objects`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of deleted objects that were not in use.
    pub unused: usize,
    /// Number of deleted objects without a row in the database.
    pub unknown: usize,
}

impl Store {
    /// The store of large contents; `None` if they are in the database.
    pub fn objects(&self) -> Option<&Objects> {
        self.0.objects.as_ref()
    }

    /// Claims the object store for this database, and checks that it can be used.
    /// # Errors
    /// If it cannot, or if it is another database's.
    pub async fn claim_objects(&self) -> Result<(), ClaimError> {
        let Some(objects) = self.objects() else { return Ok(()) };
        match objects.claim(&self.name_of_objects()?).await.map_err(StoreError::from)? {
            true => Ok(()),
            false => Err(ClaimError::Foreign(objects.name().to_owned())),
        }
    }

    /// The name by which an object store shows whose it is.
    pub(crate) fn name_of_objects(&self) -> Result<String, StoreError> {
        let name: Vec<u8> = self.read(|db| {
            db.query_row("select value from secrets where name = 'objects_owner'", [], |row| row.get(0))
        })?;
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    /// Writes an object for `owner`. The caller refers to it at once, with [`refer`].
    pub(crate) async fn put_object(&self, owner: &str, content: Bytes) -> Result<ObjectKey, StoreError> {
        let hash = Sha256::digest(&content).into();
        let (objects, key) = self.new_object(owner, hash, content.len() as u64).await?;
        objects.put(&key, content).await?;
        Ok(key)
    }

    /// The same with the content of a file, which has this size and this SHA-256.
    pub(crate) async fn put_object_file(
        &self,
        owner: &str,
        file: std::fs::File,
        bytes: u64,
        hash: [u8; 32],
    ) -> Result<ObjectKey, StoreError> {
        let (objects, key) = self.new_object(owner, hash, bytes).await?;
        objects.put_file(&key, tokio::fs::File::from_std(file), bytes).await?;
        Ok(key)
    }

    async fn new_object(
        &self,
        owner: &str,
        hash: [u8; 32],
        bytes: u64,
    ) -> Result<(&Objects, ObjectKey), StoreError> {
        let key = ObjectKey::new(hash);
        let (owner, text) = (owner.to_owned(), key.to_string());
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let added = self.write(move |db| {
            let sql = "insert into objects (key, owner, bytes, at) values (?1, ?2, ?3, ?4)";
            db.execute(sql, params![text, owner, bytes, now()])
        });
        added.await?;
        Ok((self.required_objects()?, key))
    }

    fn required_objects(&self) -> Result<&Objects, StoreError> {
        self.objects().ok_or_else(|| {
            StoreError(
                "the database refers to objects, but the setting `objects` is missing: set it to its former value"
                    .to_owned(),
            )
        })
    }

    /// Where a content goes: what stays in the row, and the key of its object.
    pub(super) async fn place_content(
        &self,
        owner: &str,
        content: String,
    ) -> Result<(String, String), StoreError> {
        if self.objects().is_none() || content.len() <= INLINE_BYTES {
            return Ok((content, String::new()));
        }
        let key = self.put_object(owner, content.into()).await?;
        Ok((String::new(), key.to_string()))
    }

    /// The content of a row with this key.
    pub(super) async fn find_content(&self, content: String, object: &str) -> Result<String, StoreError> {
        if object.is_empty() {
            return Ok(content);
        }
        let bytes = self.object(object).await?;
        String::from_utf8(bytes.into()).map_err(|error| StoreError(format!("the object `{object}`: {error}")))
    }

    /// Writes the content of an object to a file.
    pub(crate) async fn object_to(
        &self,
        key: &ObjectKey,
        mut file: tokio::fs::File,
    ) -> Result<(), StoreError> {
        Ok(self.required_objects()?.get_to(key, &mut file).await?)
    }

    /// The content of an object.
    pub(crate) async fn object(&self, key: &str) -> Result<Bytes, StoreError> {
        Ok(self.required_objects()?.get(&parse(key)?).await?)
    }

    /// Deletes objects to which nothing refers and that are older than `grace`, and those that the database does not know.
    /// # Errors
    /// [`StoreError`]. What was not deleted is deleted by the next call.
    pub async fn collect_objects(&self, grace: Duration) -> Result<Collected, StoreError> {
        let Some(objects) = self.objects() else { return Ok(Collected::default()) };
        // In the store of another database, all objects would be unknown.
        self.claim_objects().await?;
        let grace_millis = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let oldest = now().saturating_sub(grace_millis);
        let mut collected = Collected::default();
        loop {
            let unused = self.write(move |db| {
                let sql = format!(
                    "delete from objects where key in (select key from objects where at < ?1 and {} limit {BATCH}) returning key",
                    unreferenced()
                );
                db.prepare(&sql)?.query_map([oldest], |row| row.get(0))?.collect::<Result<Vec<String>>>()
            });
            let unused = unused.await?;
            if unused.is_empty() {
                break;
            }
            collected.unused += unused.len();
            objects.delete(&keys(&unused)).await?;
        }
        let end = SystemTime::now().checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut listed = objects.list(end);
        while let Some(keys) = listed.try_next().await? {
            let unknown = self.unknown_objects(keys)?;
            collected.unknown += unknown.len();
            objects.delete(&unknown).await?;
        }
        Ok(collected)
    }

    fn unknown_objects(&self, listed: Vec<ObjectKey>) -> Result<Vec<ObjectKey>, StoreError> {
        self.read(|db| {
            let mut query = db.prepare_cached("select 1 from objects where key = ?1")?;
            let mut unknown = Vec::new();
            for key in listed {
                if !query.exists([key.as_str()])? {
                    unknown.push(key);
                }
            }
            Ok(unknown)
        })
    }

    /// Deletes at once the objects of `owner` to which nothing refers any more.
    pub(super) async fn erase_objects(&self, owner: &str) -> Result<(), StoreError> {
        let Some(objects) = self.objects() else { return Ok(()) };
        let owner = owner.to_owned();
        let unused = self.write(move |db| {
            let sql = format!("delete from objects where owner = ?1 and {} returning key", unreferenced());
            db.prepare(&sql)?.query_map([owner], |row| row.get(0))?.collect::<Result<Vec<String>>>()
        });
        Ok(objects.delete(&keys(&unused.await?)).await?)
    }
}

/// Gives the database the name by which an object store shows whose it is.
pub(super) fn prepare(db: &DatabaseConnection) -> Result<()> {
    let name = uuid::Uuid::new_v4().to_string().into_bytes();
    let sql = "insert into secrets (name, value) values ('objects_owner', ?1) on conflict (name) do nothing";
    db.execute(sql, params![name]).map(drop)
}

impl StoreError {
    /// The files of other servers cannot be had.
    pub(crate) fn of_files(error: &crate::files::FileError) -> StoreError {
        StoreError(error.to_string())
    }

    /// A thread ended.
    pub(crate) fn interrupted() -> StoreError {
        StoreError("the notebook ends".to_owned())
    }
}

/// The condition that nothing refers to a row of `objects`.
fn unreferenced() -> String {
    let free = |(table, column): &(&str, &str)| {
        format!("not exists (select 1 from {table} where {table}.{column} = objects.key)")
    };
    REFERENCES.iter().map(free).collect::<Vec<String>>().join(" and ")
}

pub(super) fn keys(texts: &[String]) -> Vec<ObjectKey> {
    texts.iter().filter_map(|text| ObjectKey::parse(text)).collect()
}

fn parse(key: &str) -> Result<ObjectKey, StoreError> {
    ObjectKey::parse(key).ok_or_else(|| StoreError(format!("`{key}` is not the key of an object")))
}

/// Must be called in the transaction that refers to an object: fails if it was deleted because that took too long.
pub(super) fn refer(db: &DatabaseConnection, key: &str) -> Result<()> {
    if key.is_empty() {
        return Ok(());
    }
    let known =
        db.query_row("select at from objects where key = ?1", [key], |row| row.get::<i64>(0)).optional()?;
    known.map(drop).ok_or_else(|| {
        rusqlite::Error::ToSqlConversionFailure(
            "the object was deleted before it could be used: try again".into(),
        )
    })
}

/// Deletes the row of an object, if nothing refers to it. Returns its key: the object is to be deleted.
pub(super) fn release(db: &DatabaseConnection, key: &str) -> Result<Option<ObjectKey>> {
    let deleted = db.execute(&format!("delete from objects where key = ?1 and {}", unreferenced()), [key])?;
    Ok(ObjectKey::parse(key).filter(|_| deleted > 0))
}

/// The keys to which the tables of a database refer, apart from the folders of the servers.
pub(super) fn referenced(db: &DatabaseConnection) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (table, column) in REFERENCES.iter().filter(|(table, _)| *table != "files") {
        let sql = format!("select distinct {column} from {table} where {column} <> ''");
        found.extend(
            db.prepare(&sql)?.query_map([], |row| row.get::<String>(0))?.collect::<Result<Vec<_>>>()?,
        );
    }
    Ok(found)
}

/// Puts the content of an object into the rows that refer to it.
pub(super) fn put_inline(
    db: &DatabaseConnection,
    key: &ObjectKey,
    content: Vec<u8>,
) -> Result<(), StoreError> {
    let text =
        String::from_utf8(content).map_err(|error| StoreError(format!("the object `{key}`: {error}")))?;
    db.execute(
        "update snapshots set content = ?2, object = '' where object = ?1",
        params![key.as_str(), text],
    )?;
    Ok(())
}
