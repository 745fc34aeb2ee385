//! A copy of the database while it is in use.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{Store, StoreError, connect};

impl Store {
    /// Copies the database to the new file `target`, and calls `during` at the same moment: no change is made meanwhile.
    /// # Errors
    /// [`StoreError`], also for a failure of `during`.
    pub async fn backup(
        &self,
        target: PathBuf,
        during: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let path = self.0.path.clone();
        // Runs on the thread that makes all changes. What else is in its transaction is not acknowledged yet.
        let copied = self.write(move |_| Ok(copy(&path, &target).and_then(|()| during().map_err(failed))));
        copied.await?
    }
}

fn failed(error: io::Error) -> StoreError {
    StoreError(format!("cannot make a backup: {error}"))
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let connection: Connection = connect(from)?;
    // Unlike a copy of the file, this includes the write-ahead log.
    connection.execute("vacuum into ?1", [to.display().to_string()])?;
    Ok(())
}
