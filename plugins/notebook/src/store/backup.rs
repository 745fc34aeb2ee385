//! Copies of the database while it is in use, and how they are restored. A copy is a SQLite database, whatever the notebook
//! uses, so that it can be restored into either.

use std::io;
use std::path::{Path, PathBuf};

use super::database::{Backend, DatabaseConnection};
use super::{Store, StoreError, copying};

impl Store {
    /// Copies the database to the new file `target`, and calls `during` at the moment that the copy shows: no change is made
    /// meanwhile.
    /// # Errors
    /// [`StoreError`], also for a failure of `during`.
    pub async fn backup(
        &self,
        target: PathBuf,
        during: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (backend, to) = (self.0.backend.clone(), target.clone());
        // Runs on the thread that makes all changes. What else is in its transaction is not acknowledged yet.
        let begun = self.write(move |_| {
            let begin = || -> Result<Option<DatabaseConnection>, StoreError> {
                let reading = begin(&backend, &to)?;
                during().map_err(|error| StoreError(format!("cannot make a backup: {error}")))?;
                Ok(reading)
            };
            Ok(begin())
        });
        match begun.await?? {
            None => Ok(()),
            Some(reading) => on_a_thread(move || copying::to_file(&reading, &target)).await,
        }
    }

    /// Whether it has accounts or edits.
    /// # Errors
    /// [`StoreError`].
    pub fn in_use(&self) -> Result<bool, StoreError> {
        self.read(copying::in_use)
    }

    /// Replaces what this database has by a copy that [`Store::backup`] has made. False: it has accounts or edits, and stays
    /// as it is.
    /// # Errors
    /// [`StoreError`], also if the copy was made by a newer version.
    pub async fn restore(&self, copy: &Path) -> Result<bool, StoreError> {
        if !copy.is_file() {
            return Err(StoreError(format!("there is no `{}`", copy.display())));
        }
        // An older one is migrated, and a backup does not change.
        let folder = tempfile::tempdir().map_err(|error| StoreError(error.to_string()))?;
        let file = folder.path().join("notebook.db");
        std::fs::copy(copy, &file)
            .map_err(|error| StoreError(format!("cannot copy `{}`: {error}", copy.display())))?;
        drop(Store::open(&file)?);
        let restored = self.write(move |db| match copying::from_file(&file, db) {
            Ok(restored) => Ok(restored),
            // So that nothing of it stays.
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error.into())),
        });
        restored.await
    }
}

/// Copies at once, or begins to read what is to be copied.
fn begin(backend: &Backend, to: &Path) -> Result<Option<DatabaseConnection>, StoreError> {
    let db = backend.connect()?;
    match &db {
        // Unlike a copy of the file, this includes the write-ahead log.
        DatabaseConnection::Sqlite(_) => {
            db.execute("vacuum into ?1", [to.display().to_string()])?;
            Ok(None)
        }
        #[cfg(feature = "postgres")]
        DatabaseConnection::Postgres(_) => {
            db.execute_batch(
                "begin isolation level repeatable read read only; select 1 from documents limit 1",
            )?;
            Ok(Some(db))
        }
    }
}

async fn on_a_thread(
    copy: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let copied = tokio::task::spawn_blocking(copy).await;
    copied.map_err(|error| StoreError(error.to_string()))?
}
