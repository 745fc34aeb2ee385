//! Documents and their operations.

use serde::{Deserialize, Serialize};

use super::database::{DatabaseConnection, OptionalExtension, Result, params};
use super::leases::{NOT_TAKEN, taken};
use super::{Store, StoreError, now};
use crate::files::RelativePath;
use crate::protocol::Operation;

/// How long operations that the file contains are kept, in milliseconds, and how many per document.
const KEPT_MS: i64 = 30 * 24 * 3600 * 1000;
const KEPT_OPERATIONS: i64 = 10_000;

/// A document as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// Its UUID.
    pub id: String,
    /// The number of its newest operation.
    pub last: i64,
    /// The number of the newest operation that the file contains.
    pub saved: i64,
}

/// An operation and the text that it was based on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoggedOperation {
    /// The operation. An insertion has the id of its cell.
    pub operation: Operation,
    /// SHA-256 of the cell's source before, in hexadecimal, if the operation replaces or deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// The author and time of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationAuthor {
    /// The login name.
    pub name: String,
    /// In milliseconds since 1970.
    pub at: i64,
}

impl Store {
    /// The document at `path`, which is added if it is new. `hash` is the hash of the file: if it equals that of an unfinished
    /// write, the write is recorded as finished.
    /// # Errors
    /// [`StoreError`].
    pub async fn document(&self, path: &RelativePath, hash: [u8; 32]) -> Result<StoredDocument, StoreError> {
        let path = path.to_string();
        self.write(move |connection| {
            let id = id_of(connection, &path)?;
            connection.execute(
                "update documents set saved = writing, saved_hash = writing_hash where id = ?1 and writing_hash = ?2 and writing > saved",
                params![id, hash],
            )?;
            connection.query_row("select last, saved from documents where id = ?1", [&id], |row| {
                Ok(StoredDocument { id: id.clone(), last: row.get(0)?, saved: row.get(1)? })
            })
        })
        .await
    }

    /// The path of a document.
    /// # Errors
    /// [`StoreError`].
    pub fn path_of(&self, id: &str) -> Result<Option<RelativePath>, StoreError> {
        let path = self.read(|connection| {
            connection
                .query_row("select path from documents where id = ?1", [id], |row| row.get::<String>(0))
                .optional()
        })?;
        Ok(path.and_then(|path| RelativePath::parse(&path).ok()))
    }

    /// Whether the file of the document at `path` lacks acknowledged operations, as far as it is known.
    /// # Errors
    /// [`StoreError`].
    pub fn is_unwritten(&self, path: &RelativePath) -> Result<bool, StoreError> {
        let sql = "select 1 from documents where path = ?1 and last > saved";
        self.read(|connection| connection.prepare_cached(sql)?.exists([path.as_str()]))
    }

    /// The paths of such documents at and below `path`.
    /// # Errors
    /// [`StoreError`].
    pub fn unwritten_below(&self, path: &RelativePath) -> Result<Vec<RelativePath>, StoreError> {
        let sql = "select path from documents where last > saved \
                   and (path = ?1 or ?1 = '' or substr(path, 1, length(?1) + 1) = ?1 || '/')";
        let paths: Vec<String> = self.read(|connection| {
            connection.prepare_cached(sql)?.query_map([path.as_str()], |row| row.get(0))?.collect()
        })?;
        // Not those in the trash.
        Ok(paths.iter().filter_map(|path| RelativePath::parse(path).ok()).collect())
    }

    /// Appends an operation of `author`. Returns its number.
    /// # Errors
    /// [`StoreError`].
    pub async fn append(
        &self,
        document: &str,
        author: &str,
        operation: &LoggedOperation,
    ) -> Result<i64, StoreError> {
        let (document, author, server) =
            (document.to_owned(), author.to_owned(), self.0.leases.server.clone());
        let operation = serde_json::to_string(operation).map_err(|error| StoreError(error.to_string()))?;
        self.write(move |connection| {
            let number: i64 = connection
                .prepare_cached(&format!("update documents set last = last + 1 where id = ?1 and {NOT_TAKEN} returning last"))?
                .query_row([&document, &*server], |row| row.get(0))
                .optional()?
                .ok_or_else(taken)?;
            connection
                .prepare_cached("insert into operations (document, number, at, author, operation) values (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![document, number, now(), author, operation])?;
            Ok(number)
        })
        .await
    }

    /// Records that a write of the file has started. The file will contain the operations up to `number`.
    /// # Errors
    /// [`StoreError`].
    pub async fn writing(&self, document: &str, number: i64, hash: [u8; 32]) -> Result<(), StoreError> {
        let document = document.to_owned();
        let server = self.0.leases.server.clone();
        self.write(move |connection| {
            let sql =
                format!("update documents set writing = ?3, writing_hash = ?4 where id = ?1 and {NOT_TAKEN}");
            match connection.execute(&sql, params![document, &*server, number, hash])? {
                0 => Err(taken()),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Records that the file contains the operations up to `number`, or that they are no longer needed.
    /// # Errors
    /// [`StoreError`].
    pub async fn written(&self, document: &str, number: i64, hash: [u8; 32]) -> Result<(), StoreError> {
        let document = document.to_owned();
        self.write(move |connection| {
            connection
                .prepare_cached("update documents set saved = case when saved < ?2 then ?2 else saved end, saved_hash = ?3 where id = ?1")?
                .execute(params![document, number, hash])?;
            connection
                .prepare_cached(
                    "delete from operations where document = ?1 and number <= ?2 and (at < ?3 or number <= ?2 - ?4)",
                )?
                .execute(params![document, number, now() - KEPT_MS, KEPT_OPERATIONS])?;
            super::history::trim(connection, &document)
        })
        .await
    }

    /// The operations after `number`, in order.
    /// # Errors
    /// [`StoreError`].
    pub fn operations(
        &self,
        document: &str,
        number: i64,
    ) -> Result<Vec<(OperationAuthor, LoggedOperation)>, StoreError> {
        let rows = self.read(|connection| {
            connection
                .prepare_cached(
                    "select author, at, operation from operations where document = ?1 and number > ?2 order by number",
                )?
                .query_map(params![document, number], |row| {
                    Ok((OperationAuthor { name: row.get(0)?, at: row.get(1)? }, row.get::<String>(2)?))
                })?
                .collect::<Result<Vec<_>>>()
        })?;
        let parse = |(author, text): (OperationAuthor, String)| {
            let operation = serde_json::from_str(&text);
            operation.map(|operation| (author, operation)).map_err(|error| StoreError(error.to_string()))
        };
        rows.into_iter().map(parse).collect()
    }

    /// Records that a file or folder was renamed.
    /// # Errors
    /// [`StoreError`].
    pub async fn renamed(&self, from: &RelativePath, to: &RelativePath) -> Result<(), StoreError> {
        if from == to {
            return Ok(());
        }
        let (from, to) = (from.to_string(), to.to_string());
        self.write(move |connection| {
            // Remove the rows of files that used to be at the new path.
            remove_below(connection, &to)?;
            connection.execute(
                "update documents set path = ?2 || substr(path, length(?1) + 1) \
                 where path = ?1 or substr(path, 1, length(?1) + 1) = ?1 || '/'",
                [&from, &to],
            )
        })
        .await
        .map(drop)
    }

    /// Records that a file or folder was deleted.
    /// # Errors
    /// [`StoreError`].
    pub async fn removed(&self, path: &RelativePath) -> Result<(), StoreError> {
        let path = path.to_string();
        self.write(move |connection| remove_below(connection, &path)).await
    }
}

fn remove_below(connection: &DatabaseConnection, path: &str) -> Result<()> {
    connection
        .execute(
            "delete from documents where path = ?1 or substr(path, 1, length(?1) + 1) = ?1 || '/'",
            [path],
        )
        .map(drop)
}

/// The id of the document at `path`, which is added if it is new.
pub(super) fn id_of(connection: &DatabaseConnection, path: &str) -> Result<String> {
    connection.execute(
        "insert into documents (id, path) values (?1, ?2) on conflict (path) do nothing",
        params![uuid::Uuid::new_v4().to_string(), path],
    )?;
    connection.query_row("select id from documents where path = ?1", [path], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_document_keeps_its_id_and_its_operations() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).unwrap();
        let document = store.document(&path("a/n.ipynb"), [0; 32]).await.unwrap();
        assert_eq!((document.last, document.saved), (0, 0));
        let delete = LoggedOperation {
            operation: Operation::DeleteCell { cell_id: "c".into() },
            base: Some("00".into()),
        };
        for number in 1..=3 {
            assert_eq!(store.append(&document.id, "ann", &delete).await, Ok(number));
        }
        store.renamed(&path("a"), &path("b")).await.unwrap();
        assert_eq!(store.path_of(&document.id).unwrap(), Some(path("b/n.ipynb")));
        // A write was started, and its file is found: it has finished.
        store.writing(&document.id, 2, [2; 32]).await.unwrap();
        let unfinished = store.document(&path("b/n.ipynb"), [1; 32]).await.unwrap();
        assert_eq!((&unfinished.id, unfinished.last, unfinished.saved), (&document.id, 3, 0));
        assert_eq!(store.document(&path("b/n.ipynb"), [2; 32]).await.unwrap().saved, 2);
        let left = store.operations(&document.id, 2).unwrap();
        assert_eq!((left.len(), left[0].0.name.as_str()), (1, "ann"));
        store.removed(&path("b")).await.unwrap();
        assert_eq!(store.path_of(&document.id).unwrap(), None);
        assert_eq!(store.operations(&document.id, 0).unwrap().len(), 0);
    }
}
