//! Offers of documents to other owners, and requests for access.

use super::database::{OptionalExtension, params};
use super::documents::id_of;
use super::{Store, StoreError, now};
use crate::access::Level;
use crate::files::RelativePath;

/// An offer of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverOffer {
    /// The path of the document.
    pub path: String,
    /// The login name of the person who offers it.
    pub author: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// A request for access to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    /// The login name.
    pub name: String,
    /// The level that they ask for.
    pub level: Level,
    /// Their message.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

impl Store {
    /// Offers a document to an account, or takes the offer back (`None`).
    /// # Errors
    /// [`StoreError`].
    pub async fn offer(
        &self,
        path: &RelativePath,
        account: Option<i64>,
        author: &str,
    ) -> Result<(), StoreError> {
        let (path, author) = (path.to_string(), author.to_owned());
        self.write(move |db| {
            let document = id_of(db, &path)?;
            db.execute("delete from offers where document = ?1", [&document])?;
            let Some(account) = account else { return Ok(()) };
            let sql = "insert into offers (document, account, author, at) values (?1, ?2, ?3, ?4)";
            db.execute(sql, params![document, account, author, now()]).map(drop)
        })
        .await
    }

    /// The login name of the person to whom a document is offered.
    /// # Errors
    /// [`StoreError`].
    pub fn offered_to(&self, path: &RelativePath) -> Result<Option<String>, StoreError> {
        self.read(|db| {
            let sql = "select name from offers join documents on documents.id = document join users on users.id = account where path = ?1";
            db.query_row(sql, [path.as_str()], |row| row.get(0)).optional()
        })
    }

    /// The documents that are offered to an account.
    /// # Errors
    /// [`StoreError`].
    pub fn offers(&self, account: i64) -> Result<Vec<HandoverOffer>, StoreError> {
        self.read(|db| {
            let sql = "select path, author, at from offers join documents on documents.id = document where account = ?1 order by at";
            db.prepare(sql)?
                .query_map([account], |row| Ok(HandoverOffer { path: row.get(0)?, author: row.get(1)?, at: row.get(2)? }))?
                .collect()
        })
    }

    /// Adds an account's request for access, at most one per document.
    /// # Errors
    /// [`StoreError`].
    pub async fn request_access(
        &self,
        path: &RelativePath,
        account: i64,
        level: Level,
        text: &str,
    ) -> Result<bool, StoreError> {
        let (path, text) = (path.to_string(), text.to_owned());
        self.write(move |db| {
            let sql = "insert into requests (document, account, level, text, at) values (?1, ?2, ?3, ?4, ?5) on conflict do nothing";
            db.execute(sql, params![id_of(db, &path)?, account, level, text, now()]).map(|added| added > 0)
        })
        .await
    }

    /// The requests for access to a document.
    /// # Errors
    /// [`StoreError`].
    pub fn access_requests(&self, path: &RelativePath) -> Result<Vec<AccessRequest>, StoreError> {
        self.read(|db| {
            let sql = "select name, level, text, at from requests join documents on documents.id = document \
                       join users on users.id = account where path = ?1 order by at";
            db.prepare(sql)?
                .query_map([path.as_str()], |row| {
                    Ok(AccessRequest {
                        name: row.get(0)?,
                        level: row.get(1)?,
                        text: row.get(2)?,
                        at: row.get(3)?,
                    })
                })?
                .collect()
        })
    }

    /// Removes a request that was granted or declined.
    /// # Errors
    /// [`StoreError`].
    pub async fn end_request(&self, path: &RelativePath, name: &str) -> Result<bool, StoreError> {
        let (path, name) = (path.to_string(), name.to_owned());
        self.write(move |db| {
            let sql = "delete from requests where document = (select id from documents where path = ?1) \
                       and account = (select id from users where name = ?2)";
            db.execute(sql, params![path, name]).map(|ended| ended > 0)
        })
        .await
    }
}
