//! Outputs that are too long for a notebook, in parts, each an object.

use bytes::Bytes;

use super::database::{Result, params};
use super::objects::refer;
use super::{Store, StoreError};

impl StoreError {
    /// Of the file that is a buffer of an output.
    pub(crate) fn of_file(error: std::io::Error) -> StoreError {
        StoreError(format!("cannot read a long output: {error}"))
    }
}

impl Store {
    /// Appends a part to the output of a cell. When this returns, it is durable.
    /// # Errors
    /// [`StoreError`].
    pub async fn add_output(&self, document: &str, cell: &str, text: Bytes) -> Result<(), StoreError> {
        let bytes = i64::try_from(text.len()).unwrap_or(i64::MAX);
        let object = self.put_object(document, text).await?.to_string();
        let (document, cell) = (document.to_owned(), cell.to_owned());
        self.write(move |db| {
            refer(db, &object)?;
            let sql = "insert into outputs (document, cell, part, bytes, object) select ?1, ?2, \
                       (select coalesce(max(part), 0) + 1 from outputs where document = ?1 and cell = ?2), ?3, ?4";
            db.execute(sql, params![document, cell, bytes, object]).map(drop)
        })
        .await
    }

    /// The keys of the parts, in order.
    /// # Errors
    /// [`StoreError`].
    pub fn output_parts(&self, document: &str, cell: &str) -> Result<Vec<String>, StoreError> {
        self.read(|db| {
            db.prepare("select object from outputs where document = ?1 and cell = ?2 order by part")?
                .query_map(params![document, cell], |row| row.get(0))?
                .collect()
        })
    }

    /// Removes the output of a cell, or of all cells. Its objects are deleted later.
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_outputs(&self, document: &str, cell: Option<&str>) -> Result<(), StoreError> {
        let (document, cell) = (document.to_owned(), cell.map(str::to_owned));
        self.write(move |db| {
            let removed = match cell {
                Some(cell) => {
                    db.execute("delete from outputs where document = ?1 and cell = ?2", [document, cell])
                }
                None => db.execute("delete from outputs where document = ?1", [document]),
            };
            removed.map(drop)
        })
        .await
    }
}
