//! Erases a text from everything that the store has about a document.

use serde_json::Value;

use super::database::{DatabaseConnection, Result, params};
use super::objects::refer;
use super::{Store, StoreError};
use crate::files::RelativePath;

/// The replacement for an erased text.
pub const ERASED: &str = "[erased]";

/// The tables with texts of a document: the key column, the text column, and the condition for the document's rows.
const TEXTS: &[(&str, &str, &str, &str)] = &[
    ("snapshots", "id", "content", "document = ?1"),
    ("publications", "slug", "content", "document = ?1"),
    ("widget_states", "document", "states", "document = ?1"),
    ("runs", "id", "source", "document = ?1"),
    ("threads", "id", "quote", "document = ?1"),
    ("comments", "id", "text", "thread in (select id from threads where document = ?1)"),
    ("notices", "id", "text", "document = ?1"),
    ("schedules", "id", "parameters", "document = ?1"),
    ("scheduled_runs", "id", "message", "schedule in (select id from schedules where document = ?1)"),
    (
        "scheduled_runs",
        "id",
        "content",
        "content is not null and schedule in (select id from schedules where document = ?1)",
    ),
];

/// Replaces `secret` in every string of `value`. Returns the number of replacements.
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
    /// document at `path`, and overwrites the old versions in the database file. Returns the number of changed rows.
    /// # Errors
    /// [`StoreError`].
    pub async fn erase(&self, path: &RelativePath, secret: &str) -> Result<usize, StoreError> {
        let Some((document, _)) = self.document_at(path)? else { return Ok(0) };
        let in_objects = self.erase_in_snapshots(&document, secret).await?;
        let (secret, owner) = (secret.to_owned(), document.clone());
        let changed = self
            .write(move |db| {
                let mut changed = erase_operations(db, &document, &secret)?;
                for text in TEXTS {
                    changed += erase_column(db, *text, &document, &secret)?;
                }
                Ok(changed)
            })
            .await?;
        // Also earlier versions of the file, and outputs that were removed.
        for owner in [&owner, path.as_str()] {
            self.erase_objects(owner).await?;
        }
        // Older versions of the rows are still in the files.
        self.forget_old_rows()?;
        Ok(changed + in_objects)
    }

    /// The same in snapshots whose contents are objects.
    async fn erase_in_snapshots(&self, document: &str, secret: &str) -> Result<usize, StoreError> {
        let rows: Vec<(i64, String)> = self.read(|db| {
            db.prepare("select id, object from snapshots where document = ?1 and object <> ''")?
                .query_map([document], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_>>()
        })?;
        let mut changed = 0;
        for (id, old) in rows {
            let text = self.find_content(String::new(), &old).await?;
            let Some(text) = erase_text(&text, secret) else { continue };
            let (content, object) = self.place_content(document, text).await?;
            let update = self.write(move |db| {
                refer(db, &object)?;
                let sql = "update snapshots set content = ?3, object = ?4 where id = ?1 and object = ?2";
                db.execute(sql, params![id, old, content, object])
            });
            changed += update.await?;
        }
        Ok(changed)
    }
}

fn erase_column(
    db: &DatabaseConnection,
    (table, key, column, condition): (&str, &str, &str, &str),
    document: &str,
    secret: &str,
) -> Result<usize> {
    let rows: Vec<(rusqlite::types::Value, String)> = db
        .prepare(&format!("select {key}, {column} from {table} where {condition}"))?
        .query_map([document], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    let mut changed = 0;
    for (id, text) in rows {
        if let Some(text) = erase_text(&text, secret) {
            let sql = format!("update {table} set {column} = ?2 where {key} = ?1");
            changed += db.execute(&sql, params![id, text])?;
        }
    }
    Ok(changed)
}

fn erase_operations(db: &DatabaseConnection, document: &str, secret: &str) -> Result<usize> {
    let rows: Vec<(i64, String)> = db
        .prepare("select number, operation from operations where document = ?1")?
        .query_map([document], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_>>()?;
    // A short secret could be guessed from a hash, so all hashes are removed.
    let erased: Vec<(i64, String)> =
        rows.iter().filter_map(|(number, text)| Some((*number, erase_text(text, secret)?))).collect();
    if erased.is_empty() {
        return Ok(0);
    }
    let changed = erased.len();
    let unchanged = rows.iter().map(|(number, text)| (*number, text.clone()));
    let mut texts: std::collections::BTreeMap<i64, String> = unchanged.collect();
    texts.extend(erased);
    for (number, text) in texts {
        let sql = "update operations set operation = ?3 where document = ?1 and number = ?2";
        db.execute(sql, params![document, number, without_base(text)])?;
    }
    Ok(changed)
}

/// The JSON of an operation, without the hash of the text that it replaced.
fn without_base(operation: String) -> String {
    match serde_json::from_str::<Value>(&operation) {
        Ok(Value::Object(mut fields)) => {
            fields.remove("base");
            Value::Object(fields).to_string()
        }
        _ => operation,
    }
}
