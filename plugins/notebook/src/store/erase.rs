//! Erases a text from everything that the store keeps of a document.

use rusqlite::{Connection, params};
use serde_json::Value;

use super::{Store, StoreError};
use crate::files::RelativePath;

/// Takes the place of what was erased.
pub const ERASED: &str = "[erased]";

/// The tables with texts of a document: the row, the text, and which rows are the document's.
const TEXTS: &[(&str, &str, &str)] = &[
    ("snapshots", "content", "document = ?1"),
    ("publications", "content", "document = ?1"),
    ("runs", "source", "document = ?1"),
    ("threads", "quote", "document = ?1"),
    ("comments", "text", "thread in (select id from threads where document = ?1)"),
    ("notices", "text", "document = ?1"),
    ("schedules", "parameters", "document = ?1"),
    ("scheduled_runs", "message", "schedule in (select id from schedules where document = ?1)"),
    (
        "scheduled_runs",
        "content",
        "content is not null and schedule in (select id from schedules where document = ?1)",
    ),
];

/// Replaces `secret` in every string of `value`. Returns how often.
pub fn erase_in(value: &mut Value, secret: &str) -> usize {
    match value {
        Value::String(text) => {
            let count = text.matches(secret).count();
            if count > 0 {
                *text = text.replace(secret, ERASED);
            }
            count
        }
        Value::Array(values) => values.iter_mut().map(|value| erase_in(value, secret)).sum(),
        Value::Object(values) => values.values_mut().map(|value| erase_in(value, secret)).sum(),
        _ => 0,
    }
}

/// The same in a text, which may be JSON.
fn erase_text(text: &str, secret: &str) -> Option<String> {
    if let Ok(mut value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str::<Value>(text) {
        return (erase_in(&mut value, secret) > 0).then(|| value.to_string());
    }
    text.contains(secret).then(|| text.replace(secret, ERASED))
}

impl Store {
    /// Replaces `secret` in all operations, snapshots, revisions, records of runs, comments and the publication of the
    /// document at `path`, and overwrites what the database file had. Returns how many rows were changed.
    /// # Errors
    /// [`StoreError`].
    pub async fn erase(&self, path: &RelativePath, secret: &str) -> Result<usize, StoreError> {
        let Some((document, _)) = self.document_at(path)? else { return Ok(0) };
        let secret = secret.to_owned();
        let changed = self
            .write(move |db| {
                let mut changed = erase_operations(db, &document, &secret)?;
                for (table, column, condition) in TEXTS {
                    changed += erase_column(db, table, column, condition, &document, &secret)?;
                }
                Ok(changed)
            })
            .await?;
        // Older versions of the rows are still in the write-ahead log.
        self.checkpoint()?;
        Ok(changed)
    }
}

fn erase_column(
    db: &Connection,
    table: &str,
    column: &str,
    condition: &str,
    document: &str,
    secret: &str,
) -> rusqlite::Result<usize> {
    // The tables without a rowid have a primary key of one column.
    let key = match table {
        "runs" => "id",
        _ => "rowid",
    };
    let rows: Vec<(rusqlite::types::Value, String)> = db
        .prepare(&format!("select {key}, {column} from {table} where {condition}"))?
        .query_map([document], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut changed = 0;
    for (id, text) in rows {
        if let Some(text) = erase_text(&text, secret) {
            let sql = format!("update {table} set {column} = ?2 where {key} = ?1");
            changed += db.execute(&sql, params![id, text])?;
        }
    }
    Ok(changed)
}

fn erase_operations(db: &Connection, document: &str, secret: &str) -> rusqlite::Result<usize> {
    let rows: Vec<(i64, String)> = db
        .prepare("select number, operation from operations where document = ?1")?
        .query_map([document], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut changed = 0;
    for (number, text) in rows {
        let Some(text) = erase_text(&text, secret) else { continue };
        let sql = "update operations set operation = ?3 where document = ?1 and number = ?2";
        changed += db.execute(sql, params![document, number, text])?;
    }
    // The hash of a short secret could be guessed.
    let sql = "update operations set operation = json_remove(operation, '$.base') where document = ?1";
    if changed > 0 {
        db.execute(sql, [document])?;
    }
    Ok(changed)
}
