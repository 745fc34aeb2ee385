//! Backups of the database while it is in use, and their restoration. A backup is always a SQLite database, so that it can be
//! restored into SQLite or PostgreSQL.

use std::io;
use std::path::{Path, PathBuf};

use super::database::{Backend, DatabaseConnection};
use super::{Store, StoreError, copying, objects};
use crate::objects::ObjectKey;

impl Store {
    /// Copies the database to the new file `target`. Calls `during` at the moment of the copy, while no changes are made.
    /// # Errors
    /// [`StoreError`], also for a failure of `during`.
    pub async fn backup(
        &self,
        target: PathBuf,
        during: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (backend, to) = (self.0.backend.clone(), target.clone());
        // Runs on the thread that makes all changes. The other changes of its transaction are not acknowledged yet.
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

    /// Copies the objects to which the copy `database` refers to the new folder `target`. Returns how many there are.
    /// # Errors
    /// [`StoreError`].
    pub async fn backup_objects(&self, database: &Path, target: &Path) -> Result<usize, StoreError> {
        let keys = referenced_by(database)?;
        if keys.is_empty() {
            return Ok(0);
        }
        let failed =
            |error: io::Error| StoreError(format!("cannot write to `{}`: {error}", target.display()));
        tokio::fs::create_dir(target).await.map_err(failed)?;
        for key in &keys {
            let file = tokio::fs::File::create(target.join(key.as_str())).await.map_err(failed)?;
            self.object_to(key, file).await?;
        }
        Ok(keys.len())
    }

    /// Brings the objects of a backup to the object store; without one, into the copy of the database, which is then restored.
    async fn restore_objects(&self, database: &Path, source: &Path) -> Result<(), StoreError> {
        let keys = referenced_by(database)?;
        let read = |key: &ObjectKey| {
            let file = source.join(key.as_str());
            std::fs::read(&file)
                .map_err(|error| StoreError(format!("cannot read `{}`: {error}", file.display())))
        };
        let Some(objects) = self.objects() else {
            let copy = Backend::Sqlite(database.to_owned()).connect()?;
            if copy.prepare("select 1 from outputs limit 1")?.exists([])? {
                let why =
                    "the backup has long outputs, which are objects: set `objects` for this notebook too";
                return Err(StoreError(why.to_owned()));
            }
            for key in &keys {
                objects::put_inline(&copy, key, read(key)?)?;
            }
            return Ok(());
        };
        for key in &keys {
            objects.put_checked(key, read(key)?.into()).await?;
        }
        Ok(())
    }

    /// Whether it has accounts or edits.
    /// # Errors
    /// [`StoreError`].
    pub fn in_use(&self) -> Result<bool, StoreError> {
        self.read(copying::in_use)
    }

    /// Replaces what this database has by a copy that [`Store::backup`] has made, with the objects in the folder that
    /// [`Store::backup_objects`] has made. False: it has accounts or edits, and stays
    /// as it is.
    /// # Errors
    /// [`StoreError`], also if the copy was made by a newer version.
    pub async fn restore(&self, copy: &Path, objects: &Path) -> Result<bool, StoreError> {
        if !copy.is_file() {
            return Err(StoreError(format!("there is no `{}`", copy.display())));
        }
        // A backup from an older version is migrated in a copy, so that the backup itself does not change.
        let folder = tempfile::tempdir().map_err(|error| StoreError(error.to_string()))?;
        let file = folder.path().join("notebook.db");
        std::fs::copy(copy, &file)
            .map_err(|error| StoreError(format!("cannot copy `{}`: {error}", copy.display())))?;
        drop(Store::open(&file)?);
        if self.in_use()? {
            return Ok(false);
        }
        self.restore_objects(&file, objects).await?;
        let restored = self.write(move |db| match copying::from_file(&file, db) {
            Ok(restored) => Ok(restored),
            // Leave nothing of the copy on the disk.
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error.into())),
        });
        restored.await
    }
}

/// The keys of the objects to which a copy refers.
fn referenced_by(database: &Path) -> Result<Vec<ObjectKey>, StoreError> {
    let copy = Backend::Sqlite(database.to_owned()).connect()?;
    let texts = objects::referenced(&copy)?;
    Ok(objects::keys(&texts))
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
