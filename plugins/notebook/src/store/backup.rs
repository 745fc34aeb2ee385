//! A copy of the database while it is in use.

use std::io;
use std::path::PathBuf;

use super::database::{Backend, Connection};
use super::{Store, StoreError};

impl Store {
    /// Copies the database to the new file `target`, and calls `during` at the same moment: no change is made meanwhile.
    /// # Errors
    /// [`StoreError`], also for a failure of `during`.
    pub async fn backup(
        &self,
        target: PathBuf,
        during: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let backend = self.0.backend.clone();
        // Runs on the thread that makes all changes. What else is in its transaction is not acknowledged yet.
        let copied = self.write(move |_| Ok(copy(&backend, &target).and_then(|()| during().map_err(failed))));
        copied.await?
    }
}

fn failed(error: io::Error) -> StoreError {
    StoreError(format!("cannot make a backup: {error}"))
}

fn copy(from: &Backend, to: &std::path::Path) -> Result<(), StoreError> {
    match from.connect()? {
        // Unlike a copy of the file, this includes the write-ahead log.
        db @ Connection::Sqlite(_) => db.execute("vacuum into ?1", [to.display().to_string()])?,
        #[cfg(feature = "postgres")]
        Connection::Postgres(_) => {
            return Err(StoreError("back the PostgreSQL database up with `pg_dump`".to_owned()));
        }
    };
    Ok(())
}
