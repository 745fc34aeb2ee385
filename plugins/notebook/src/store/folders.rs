//! What several servers with one database have in their folders: the newest version of each file, whose content is an object. Each
//! change has a number; a server gets what it lacks by the numbers (`crate::objects::replica`).

use super::database::{DatabaseConnection, OptionalExtension, Result, Row, params};
use super::leases::NOW;
use super::objects::{refer, release};
use super::{Store, StoreError, now};
use crate::objects::ObjectKey;

/// How long it is known that a file was deleted, in milliseconds.
const GONE_KEPT_MS: i64 = 400 * 24 * 3600 * 1000;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderEntryKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// Nothing any more.
    Gone,
}

impl FolderEntryKind {
    fn parse(name: &str) -> FolderEntryKind {
        match name {
            "file" => FolderEntryKind::File,
            "folder" => FolderEntryKind::Folder,
            _ => FolderEntryKind::Gone,
        }
    }
}

/// The newest version of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEntry {
    /// The path below the served folder.
    pub path: String,
    /// The number of the change that made it so.
    pub sequence: i64,
    /// What it is.
    pub kind: FolderEntryKind,
    /// The key of a file's content.
    pub object: String,
    /// The size of a file.
    pub bytes: i64,
}

const ENTRY: &str = "select path, sequence, kind, object, bytes from files";

fn entry(row: &Row<'_>) -> Result<FolderEntry> {
    Ok(FolderEntry {
        path: row.get(0)?,
        sequence: row.get(1)?,
        kind: FolderEntryKind::parse(&row.get::<String>(2)?),
        object: row.get(3)?,
        bytes: row.get(4)?,
    })
}

impl Store {
    /// The newest version of a path.
    /// # Errors
    /// [`StoreError`].
    pub fn folder_entry(&self, path: &str) -> Result<Option<FolderEntry>, StoreError> {
        self.read(|db| db.query_row(&format!("{ENTRY} where path = ?1"), [path], entry).optional())
    }

    /// What was changed after the change `sequence`, in order: `count` entries at most.
    /// # Errors
    /// [`StoreError`].
    pub fn folder_changes(&self, sequence: i64, count: i64) -> Result<Vec<FolderEntry>, StoreError> {
        self.read(|db| {
            db.prepare_cached(&format!("{ENTRY} where sequence > ?1 order by sequence limit ?2"))?
                .query_map(params![sequence, count], entry)?
                .collect()
        })
    }

    /// Who owns the objects of the file at `path`: its document, so that they are found when it has another path.
    pub(crate) fn folder_owner(&self, path: &str) -> Result<String, StoreError> {
        let sql = "select id from documents where path = ?1";
        let found = self.read(|db| db.query_row(sql, [path], |row| row.get(0)).optional())?;
        Ok(found.unwrap_or_else(|| path.to_owned()))
    }

    /// A file has a new content. Returns the number of the change, and the object that it replaced, which the caller deletes; `None`
    /// if there is another version than the `known` one (0: no file). Fails if the notebook is open on another server, or, for a
    /// `known` version, if another one has had it open since.
    /// # Errors
    /// [`StoreError`].
    pub async fn publish_file(
        &self,
        path: &str,
        object: &str,
        bytes: u64,
        known: Option<i64>,
    ) -> Result<Option<(i64, Option<ObjectKey>)>, StoreError> {
        let (path, object, server) = (path.to_owned(), object.to_owned(), self.0.leases.server.clone());
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.write(move |db| {
            let taken = "select 1 from leases join documents on documents.id = leases.document where path = ?1 and server <> ?2";
            let is_open = if known.is_some() { String::new() } else { format!(" and expires > {NOW}") };
            let taken = format!("{taken}{is_open}");
            if db.prepare_cached(&taken)?.exists(params![path, &*server])? {
                return Err(super::leases::taken());
            }
            refer(db, &object)?;
            let sql = format!("{ENTRY} where path = ?1 and kind <> 'gone'");
            let old = db.query_row(&sql, [&path], entry).optional()?;
            if old.as_ref().is_some_and(|old| known.is_some_and(|known| known != old.sequence)) {
                return Ok(None);
            }
            let sequence = put(db, &path, "file", &object, bytes)?;
            // A notebook is saved often: its versions do not wait for the next collection.
            let replaced = old.map(|old| old.object).filter(|old| *old != object);
            let replaced = replaced.map(|old| release(db, &old)).transpose()?.flatten();
            Ok(Some((sequence, replaced)))
        })
        .await
    }

    /// There is a folder. Returns the number of the change.
    /// # Errors
    /// [`StoreError`].
    pub async fn publish_folder(&self, path: &str) -> Result<i64, StoreError> {
        let path = path.to_owned();
        self.write(move |db| {
            let sql = "select sequence from files where path = ?1 and kind = 'folder'";
            match db.query_row(sql, [&path], |row| row.get(0)).optional()? {
                Some(sequence) => Ok(sequence),
                None => put(db, &path, "folder", "", 0),
            }
        })
        .await
    }

    /// A file or folder was renamed. Returns the new versions.
    /// # Errors
    /// [`StoreError`].
    pub async fn move_entries(&self, from: &str, to: &str) -> Result<Vec<FolderEntry>, StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.write(move |db| {
            let mut moved = Vec::new();
            for old in below(db, &from)? {
                let path = format!("{to}{}", &old.path[from.len()..]);
                let kind = if old.kind == FolderEntryKind::File { "file" } else { "folder" };
                put(db, &old.path, "gone", "", 0)?;
                let sequence = put(db, &path, kind, &old.object, old.bytes)?;
                moved.push(FolderEntry { path, sequence, ..old });
            }
            Ok(moved)
        })
        .await
    }

    /// A file or folder was deleted.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_entries(&self, path: &str) -> Result<(), StoreError> {
        let path = path.to_owned();
        self.write(move |db| {
            for old in below(db, &path)? {
                put(db, &old.path, "gone", "", 0)?;
            }
            // The number of the newest change must not be used again.
            let sql = "delete from files where kind = 'gone' and at < ?1 and sequence < (select max(sequence) from files)";
            db.execute(sql, [now() - GONE_KEPT_MS]).map(drop)
        })
        .await
    }
}

/// What is at and below a path.
fn below(db: &DatabaseConnection, path: &str) -> Result<Vec<FolderEntry>> {
    let sql = format!(
        "{ENTRY} where kind <> 'gone' and (path = ?1 or substr(path, 1, length(?1) + 1) = ?1 || '/') order by path"
    );
    db.prepare(&sql)?.query_map([path], entry)?.collect()
}

/// Changes are made one after the other, by all servers, so that their numbers have no gaps that are filled later.
fn put(db: &DatabaseConnection, path: &str, kind: &str, object: &str, bytes: i64) -> Result<i64> {
    let sql = "insert into files (path, sequence, kind, object, bytes, at) \
               select ?1, (select coalesce(max(sequence), 0) + 1 from files), ?2, ?3, ?4, ?5 where true \
               on conflict (path) do update set sequence = excluded.sequence, kind = excluded.kind, object = excluded.object, \
               bytes = excluded.bytes, at = excluded.at returning sequence";
    db.prepare_cached(sql)?.query_row(params![path, kind, object, bytes, now()], |row| row.get(0))
}
