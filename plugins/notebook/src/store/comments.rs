//! Threads of comments at cells, and the notices in people's inboxes.

use super::database::{OptionalExtension, params};
use super::documents::id_of;
use super::{Store, StoreError, now};
use crate::files::RelativePath;

/// How many notices of one account are kept.
const NOTICES: i64 = 1000;

/// A thread of comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub id: i64,
    /// The cell; empty for the whole notebook.
    pub cell: String,
    /// The beginning of the cell's text.
    pub quote: String,
    /// When and by whom it was resolved.
    pub resolved: Option<(i64, String)>,
    /// The oldest first.
    pub comments: Vec<Comment>,
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Its number.
    pub id: i64,
    /// The login name.
    pub author: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// When it was edited last.
    pub edited: Option<i64>,
    /// Its text.
    pub text: String,
}

/// A notice in the inbox of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its number.
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// `mention`, `reply`, `comment`, `offer`, `request` or `granted`.
    pub kind: String,
    /// The login name of the person who caused it.
    pub author: String,
    /// Where.
    pub path: String,
    /// The thread.
    pub thread: Option<i64>,
    /// The comment, or the access that was asked for.
    pub text: String,
    /// Whether it was read.
    pub seen: bool,
}

/// A new [`Notice`].
#[derive(Debug, Clone)]
pub struct NewNotice {
    /// See [`Notice::kind`].
    pub kind: &'static str,
    /// See [`Notice::author`].
    pub author: String,
    /// See [`Notice::thread`].
    pub thread: Option<i64>,
    /// See [`Notice::text`].
    pub text: String,
}

impl Store {
    /// The threads of a document, the oldest first.
    /// # Errors
    /// [`StoreError`].
    pub fn threads(&self, path: &RelativePath) -> Result<Vec<Thread>, StoreError> {
        self.read(|db| {
            let sql = "select threads.id, cell, quote, resolved_at, resolved_by, comments.id, author, at, edited_at, text \
                       from threads join documents on documents.id = document join comments on thread = threads.id \
                       where path = ?1 order by threads.id, comments.id";
            let mut threads: Vec<Thread> = Vec::new();
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([path.as_str()], |row| {
                let resolved = row.get::<Option<i64>>(3)?.zip(row.get::<Option<String>>(4)?);
                let (id, cell, quote) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let comment = Comment {
                    id: row.get(5)?,
                    author: row.get(6)?,
                    at: row.get(7)?,
                    edited: row.get(8)?,
                    text: row.get(9)?,
                };
                Ok((Thread { id, cell, quote, resolved, comments: Vec::new() }, comment))
            })?;
            for row in rows {
                let (thread, comment) = row?;
                if threads.last().is_none_or(|last| last.id != thread.id) {
                    threads.push(thread);
                }
                threads.last_mut().into_iter().for_each(|thread| thread.comments.push(comment.clone()));
            }
            Ok(threads)
        })
    }

    /// Begins a thread. Returns its id.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_thread(
        &self,
        path: &RelativePath,
        cell: &str,
        quote: &str,
        author: &str,
        text: &str,
    ) -> Result<i64, StoreError> {
        let values = [path.as_str(), cell, quote, author, text].map(str::to_owned);
        self.write(move |db| {
            let [path, cell, quote, author, text] = &values;
            let sql = "insert into threads (document, cell, quote) values (?1, ?2, ?3) returning id";
            let thread: i64 = db.query_row(sql, params![id_of(db, path)?, cell, quote], |row| row.get(0))?;
            let sql = "insert into comments (thread, author, at, text) values (?1, ?2, ?3, ?4)";
            db.execute(sql, params![thread, author, now(), text])?;
            Ok(thread)
        })
        .await
    }

    /// Adds a comment to a thread of a document, and reopens the thread. Returns false if there is no such thread.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_comment(
        &self,
        path: &RelativePath,
        thread: i64,
        author: &str,
        text: &str,
    ) -> Result<bool, StoreError> {
        let values = [path.as_str(), author, text].map(str::to_owned);
        self.write(move |db| {
            let [path, author, text] = &values;
            let sql = "update threads set resolved_at = null, resolved_by = null \
                       where id = ?1 and document = (select id from documents where path = ?2)";
            if db.execute(sql, params![thread, path])? == 0 {
                return Ok(false);
            }
            let sql = "insert into comments (thread, author, at, text) values (?1, ?2, ?3, ?4)";
            db.execute(sql, params![thread, author, now(), text]).map(|_| true)
        })
        .await
    }

    /// Resolves or reopens a thread of a document. Returns false if there is no such thread.
    /// # Errors
    /// [`StoreError`].
    pub async fn resolve_thread(
        &self,
        path: &RelativePath,
        thread: i64,
        by: Option<&str>,
    ) -> Result<bool, StoreError> {
        let (path, by) = (path.to_string(), by.map(str::to_owned));
        self.write(move |db| {
            let at = by.is_some().then(now);
            let sql = "update threads set resolved_at = ?3, resolved_by = ?4 \
                       where id = ?1 and document = (select id from documents where path = ?2)";
            db.execute(sql, params![thread, path, at, by]).map(|changed| changed > 0)
        })
        .await
    }

    /// Changes the text of a comment, or deletes the comment (`None`). Deleting the last comment of a thread deletes the
    /// thread. With `author`, only that author's comments count. Returns false if there is no such comment.
    /// # Errors
    /// [`StoreError`].
    pub async fn change_comment(
        &self,
        path: &RelativePath,
        comment: i64,
        author: Option<&str>,
        text: Option<&str>,
    ) -> Result<bool, StoreError> {
        let (path, author, text) = (path.to_string(), author.map(str::to_owned), text.map(str::to_owned));
        self.write(move |db| {
            let sql = "select thread from comments where id = ?1 and (author = ?2 or ?2 is null) and thread in \
                       (select threads.id from threads join documents on documents.id = document where path = ?3)";
            let thread: Option<i64> =
                db.query_row(sql, params![comment, author, path], |row| row.get(0)).optional()?;
            let Some(thread) = thread else { return Ok(false) };
            match text {
                Some(text) => {
                    let sql = "update comments set text = ?2, edited_at = ?3 where id = ?1";
                    db.execute(sql, params![comment, text, now()])?;
                }
                None => {
                    db.execute("delete from comments where id = ?1", [comment])?;
                    let sql = "delete from threads where id = ?1 and not exists (select 1 from comments where thread = ?1)";
                    db.execute(sql, [thread])?;
                }
            }
            Ok(true)
        })
        .await
    }

    /// Adds a notice about a document to the inboxes of accounts.
    /// # Errors
    /// [`StoreError`].
    pub async fn notify(
        &self,
        path: &RelativePath,
        accounts: Vec<i64>,
        notice: NewNotice,
    ) -> Result<(), StoreError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let path = path.to_string();
        self.write(move |db| {
            let document = id_of(db, &path)?;
            let NewNotice { kind, author, thread, text } = &notice;
            for account in accounts {
                db.execute(
                    "insert into notices (account, at, kind, author, document, thread, text) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![account, now(), kind, author, document, thread, text],
                )?;
                let sql = "delete from notices where account = ?1 and id <= \
                           (select id from notices where account = ?1 order by id desc limit 1 offset ?2)";
                db.execute(sql, params![account, NOTICES])?;
            }
            Ok(())
        })
        .await
    }

    /// The inbox of an account, the newest notice first.
    /// # Errors
    /// [`StoreError`].
    pub fn notices(&self, account: i64) -> Result<Vec<Notice>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "select notices.id, at, kind, author, path, thread, text, seen from notices \
                 join documents on documents.id = document where account = ?1 order by notices.id desc",
            )?
            .query_map([account], |row| {
                Ok(Notice {
                    id: row.get(0)?,
                    at: row.get(1)?,
                    kind: row.get(2)?,
                    author: row.get(3)?,
                    path: row.get(4)?,
                    thread: row.get(5)?,
                    text: row.get(6)?,
                    seen: row.get(7)?,
                })
            })?
            .collect()
        })
    }

    /// Marks one notice of an account as read, or all of them (`None`).
    /// # Errors
    /// [`StoreError`].
    pub async fn notices_seen(&self, account: i64, notice: Option<i64>) -> Result<(), StoreError> {
        self.write(move |db| {
            let sql = "update notices set seen = 1 where account = ?1 and (id = ?2 or ?2 is null)";
            db.execute(sql, params![account, notice]).map(drop)
        })
        .await
    }
}
