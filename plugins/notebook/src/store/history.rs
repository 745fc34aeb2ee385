//! The history of documents: snapshots, from which every state can be computed with the operations, and records of runs.

use super::database::{DatabaseConnection, OptionalExtension, Result, Row, params};
use super::objects::refer;
use super::{LoggedOperation, OperationAuthor, Store, StoreError, now};
use crate::files::RelativePath;

/// How long records of runs are kept, in milliseconds.
const RUNS_KEPT_MS: i64 = 400 * 24 * 3600 * 1000;

/// Why a snapshot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Made regularly, so that every state is close to a snapshot.
    Periodic,
    /// Another program wrote the file.
    Disk,
    /// A user named this state.
    Revision,
}

impl Cause {
    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Periodic => "periodic",
            Cause::Disk => "disk",
            Cause::Revision => "revision",
        }
    }

    fn parse(name: &str) -> Cause {
        match name {
            "disk" => Cause::Disk,
            "revision" => Cause::Revision,
            _ => Cause::Periodic,
        }
    }
}

/// A snapshot without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub id: i64,
    /// The newest operation that it contains.
    pub number: i64,
    /// When it was made, in milliseconds since 1970.
    pub at: i64,
    /// The login name of the person who named it; empty for the server.
    pub author: String,
    /// Why it was made.
    pub cause: Cause,
    /// The name of a revision.
    pub name: String,
}

/// A run of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The cell.
    pub cell: String,
    /// The login name of the person who started it.
    pub author: String,
    /// When it was sent to the kernel, in milliseconds since 1970.
    pub at: i64,
    /// The source that was run.
    pub source: String,
    /// When it ended, in milliseconds since 1970.
    pub ended: Option<i64>,
    /// `ok`, `error`, `aborted`, or `lost` if its kernel ended first.
    pub status: Option<String>,
}

const SNAPSHOT: &str = "select id, number, at, author, cause, name from snapshots";

const WITH_CONTENT: &str = "select id, number, at, author, cause, name, content, object from snapshots";

/// A snapshot with its content or the key of its object.
type StoredSnapshot = (Snapshot, String, String);

fn with_content(row: &Row<'_>) -> Result<StoredSnapshot> {
    Ok((snapshot(row)?, row.get(6)?, row.get(7)?))
}

fn snapshot(row: &Row<'_>) -> Result<Snapshot> {
    Ok(Snapshot {
        id: row.get(0)?,
        number: row.get(1)?,
        at: row.get(2)?,
        author: row.get(3)?,
        cause: Cause::parse(&row.get::<String>(4)?),
        name: row.get(5)?,
    })
}

impl Store {
    /// The id of the document at `path`, if the store knows one, and the number of its newest operation.
    /// # Errors
    /// [`StoreError`].
    pub fn document_at(&self, path: &RelativePath) -> Result<Option<(String, i64)>, StoreError> {
        self.read(|db| {
            let sql = "select id, last from documents where path = ?1";
            db.query_row(sql, [path.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
    }

    /// Adds a snapshot. Returns its id.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_snapshot(
        &self,
        document: &str,
        new: Snapshot,
        content: String,
    ) -> Result<i64, StoreError> {
        let (content, object) = self.place_content(document, content).await?;
        let document = document.to_owned();
        self.write(move |db| {
            refer(db, &object)?;
            db.query_row(
                "insert into snapshots (document, number, at, author, cause, name, content, object) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) returning id",
                params![document, new.number, now(), new.author, new.cause.name(), new.name, content, object],
                |row| row.get(0),
            )
        })
        .await
    }

    /// The snapshots of a document, the oldest first.
    /// # Errors
    /// [`StoreError`].
    pub fn snapshots(&self, document: &str) -> Result<Vec<Snapshot>, StoreError> {
        self.read(|db| {
            db.prepare(&format!("{SNAPSHOT} where document = ?1 order by number, id"))?
                .query_map([document], snapshot)?
                .collect()
        })
    }

    /// A snapshot and its content.
    /// # Errors
    /// [`StoreError`].
    pub async fn snapshot(&self, document: &str, id: i64) -> Result<Option<(Snapshot, String)>, StoreError> {
        let found = self.read(|db| {
            let sql = format!("{WITH_CONTENT} where document = ?1 and id = ?2");
            db.query_row(&sql, params![document, id], with_content).optional()
        })?;
        self.content_of(found).await
    }

    /// The newest snapshot from which the state after operation `number` can be computed.
    /// # Errors
    /// [`StoreError`].
    pub async fn snapshot_before(
        &self,
        document: &str,
        number: i64,
    ) -> Result<Option<(Snapshot, String)>, StoreError> {
        // A revision is no base: it may be older than what else has its number. What has this number itself may be
        // newer than the operation.
        let found = self.read(|db| {
            let sql = format!(
                "{WITH_CONTENT} where document = ?1 \
                 and cause <> 'revision' and (number < ?2 or cause = 'periodic' and number = ?2) order by number desc, id desc limit 1"
            );
            db.query_row(&sql, params![document, number], with_content).optional()
        })?;
        self.content_of(found).await
    }

    async fn content_of(
        &self,
        found: Option<StoredSnapshot>,
    ) -> Result<Option<(Snapshot, String)>, StoreError> {
        let Some((snapshot, content, object)) = found else { return Ok(None) };
        Ok(Some((snapshot, self.find_content(content, &object).await?)))
    }

    /// Removes the name of a revision, which deletes the revision.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_revision(&self, document: &str, id: i64) -> Result<bool, StoreError> {
        let document = document.to_owned();
        self.write(move |db| {
            let sql = "delete from snapshots where document = ?1 and id = ?2 and cause = 'revision'";
            db.execute(sql, params![document, id]).map(|removed| removed > 0)
        })
        .await
    }

    /// The operations after `from` up to `to`, in order, with their numbers.
    /// # Errors
    /// [`StoreError`].
    pub fn operations_between(
        &self,
        document: &str,
        from: i64,
        to: i64,
    ) -> Result<Vec<(i64, OperationAuthor, LoggedOperation)>, StoreError> {
        let rows = self.read(|db| {
            db.prepare_cached(
                "select number, author, at, operation from operations where document = ?1 and number > ?2 and number <= ?3 order by number",
            )?
            .query_map(params![document, from, to], |row| {
                let author = OperationAuthor { name: row.get(1)?, at: row.get(2)? };
                Ok((row.get(0)?, author, row.get::<String>(3)?))
            })?
            .collect::<Result<Vec<(i64, OperationAuthor, String)>>>()
        })?;
        let parse = |(number, author, text): (i64, OperationAuthor, String)| {
            let operation = serde_json::from_str(&text).map_err(|error| StoreError(error.to_string()))?;
            Ok((number, author, operation))
        };
        rows.into_iter().map(parse).collect()
    }

    /// Records that a cell was sent to the kernel. Does not wait until the record is on the disk.
    /// # Errors
    /// [`StoreError`].
    pub fn run_queued(
        &self,
        id: &str,
        document: &str,
        cell: &str,
        author: &str,
        source: &str,
    ) -> Result<(), StoreError> {
        let values = [id, document, cell, author, source].map(str::to_owned);
        self.post(move |db| {
            let [id, document, cell, author, source] = &values;
            db.execute(
                "insert into runs (id, document, cell, author, at, source) values (?1, ?2, ?3, ?4, ?5, ?6) on conflict do nothing",
                params![id, document, cell, author, now(), source],
            )?;
            let sql = "delete from runs where document = ?1 and at < ?2";
            db.execute(sql, params![document, now() - RUNS_KEPT_MS]).map(drop)
        })
    }

    /// Records the end of a run, after which its record never changes. Does not wait until it is on the disk.
    /// # Errors
    /// [`StoreError`].
    pub fn run_ended(&self, id: &str, status: &str) -> Result<(), StoreError> {
        let (id, status) = (id.to_owned(), status.to_owned());
        self.post(move |db| {
            // Runs of other clients have no record.
            let sql = "insert into run_ends (run, at, status) select id, ?2, ?3 from runs where id = ?1 on conflict do nothing";
            db.execute(sql, params![id, now(), status]).map(drop)
        })
    }

    /// Who started a run, and whether it has ended. Waits for all changes that were posted before.
    /// # Errors
    /// [`StoreError`].
    pub async fn run_author(&self, id: &str) -> Result<Option<(String, bool)>, StoreError> {
        let id = id.to_owned();
        self.write(move |db| {
            let sql = "select author, run_ends.run is not null from runs left join run_ends on run = id where id = ?1";
            db.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .await
    }

    /// The newest runs of a document, the newest first.
    /// # Errors
    /// [`StoreError`].
    pub fn runs(&self, document: &str, count: u32) -> Result<Vec<Run>, StoreError> {
        self.read(|db| {
            db.prepare(
                "select cell, author, runs.at, source, run_ends.at, status from runs left join run_ends on run = id \
                 where document = ?1 order by runs.at desc, id limit ?2",
            )?
            .query_map(params![document, count], |row| {
                Ok(Run {
                    cell: row.get(0)?,
                    author: row.get(1)?,
                    at: row.get(2)?,
                    source: row.get(3)?,
                    ended: row.get(4)?,
                    status: row.get(5)?,
                })
            })?
            .collect()
        })
    }
}

/// Deletes the server's snapshots that are older than the oldest stored operation.
pub(super) fn trim(db: &DatabaseConnection, document: &str) -> Result<()> {
    db.prepare_cached(
        "delete from snapshots where document = ?1 and cause <> 'revision' and id < (
            select max(id) from snapshots where document = ?1 and cause <> 'revision'
            and number < (select coalesce(min(number), 0) from operations where document = ?1)
        )",
    )?
    .execute([document])
    .map(drop)
}
