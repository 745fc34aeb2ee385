//! The marks of each account on notebooks (stars, archive, tags), and the trash.

use std::collections::HashMap;

use super::database::{OptionalExtension, params};
use super::documents::id_of;
use super::{Store, StoreError, now};
use crate::files::RelativePath;

/// The marks of an account on a notebook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// It is a favourite.
    pub starred: bool,
    /// It is hidden from the usual lists.
    pub archived: bool,
    /// In alphabetical order.
    pub tags: Vec<String>,
}

/// A change of [`Marks`]; `None` leaves a mark unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarksChange {
    /// See [`Marks::starred`].
    pub starred: Option<bool>,
    /// See [`Marks::archived`].
    pub archived: Option<bool>,
    /// All tags.
    pub tags: Option<Vec<String>>,
}

/// A file or folder in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    /// A UUID.
    pub id: String,
    /// Its path before the deletion.
    pub path: String,
    /// The login name of the person who deleted it.
    pub author: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

impl Store {
    /// The marks of an account (0: the single user), by path.
    /// # Errors
    /// [`StoreError`].
    pub fn marks(&self, account: i64) -> Result<HashMap<String, Marks>, StoreError> {
        self.read(|db| {
            let mut marks: HashMap<String, Marks> = HashMap::new();
            let sql = "select path, starred, archived from marks join documents on id = document where account = ?1";
            let mut statement = db.prepare_cached(sql)?;
            for row in statement.query_map([account], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))? {
                let (path, starred, archived) = row?;
                marks.insert(path, Marks { starred, archived, tags: Vec::new() });
            }
            let sql = "select path, tag from tags join documents on id = document where account = ?1 order by tag";
            let mut statement = db.prepare_cached(sql)?;
            for row in statement.query_map([account], |row| Ok((row.get(0)?, row.get(1)?)))? {
                let (path, tag) = row?;
                marks.entry(path).or_default().tags.push(tag);
            }
            Ok(marks)
        })
    }

    /// Changes the marks of an account (0: the single user) on a notebook.
    /// # Errors
    /// [`StoreError`].
    pub async fn set_marks(
        &self,
        account: i64,
        path: &RelativePath,
        change: MarksChange,
    ) -> Result<(), StoreError> {
        let path = path.to_string();
        self.write(move |db| {
            let document = id_of(db, &path)?;
            db.execute(
                "insert into marks (account, document, starred, archived) values (?1, ?2, coalesce(?3, 0), coalesce(?4, 0)) \
                 on conflict (account, document) do update set starred = coalesce(?3, marks.starred), archived = coalesce(?4, marks.archived)",
                params![account, document, change.starred, change.archived],
            )?;
            if let Some(tags) = change.tags {
                db.execute("delete from tags where account = ?1 and document = ?2", params![account, document])?;
                for tag in tags {
                    db.execute(
                        "insert into tags (account, document, tag) values (?1, ?2, ?3) on conflict do nothing",
                        params![account, document, tag],
                    )?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The published notebooks: path and the name of the page.
    /// # Errors
    /// [`StoreError`].
    pub fn published_paths(&self) -> Result<HashMap<String, String>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "select path, slug from publications join documents on documents.id = document",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
        })
    }

    /// Records that the entry at `path` is now in the trash.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_trash(&self, id: &str, path: &RelativePath, author: &str) -> Result<(), StoreError> {
        let (id, path, author) = (id.to_owned(), path.to_string(), author.to_owned());
        self.write(move |db| {
            db.execute(
                "insert into trash (id, path, author, at) values (?1, ?2, ?3, ?4)",
                params![id, path, author, now()],
            )
            .map(drop)
        })
        .await
    }

    /// The entries of the trash, the newest first.
    /// # Errors
    /// [`StoreError`].
    pub fn trash(&self) -> Result<Vec<Trashed>, StoreError> {
        self.read(|db| {
            db.prepare("select id, path, author, at from trash order by at desc, id")?
                .query_map([], |row| {
                    Ok(Trashed { id: row.get(0)?, path: row.get(1)?, author: row.get(2)?, at: row.get(3)? })
                })?
                .collect()
        })
    }

    /// Removes an entry from the list of the trash and returns it.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_trash(&self, id: &str) -> Result<Option<Trashed>, StoreError> {
        let id = id.to_owned();
        self.write(move |db| {
            db.query_row("delete from trash where id = ?1 returning id, path, author, at", [id], |row| {
                Ok(Trashed { id: row.get(0)?, path: row.get(1)?, author: row.get(2)?, at: row.get(3)? })
            })
            .optional()
        })
        .await
    }
}
