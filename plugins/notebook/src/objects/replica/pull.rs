//! Copies the changes of other servers to the folder.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{PausedPull, Replica, failed, failed_at, hash_of, record_of};
use crate::files::{Facts, FileError, Files, RelativePath};
use crate::objects::{ObjectKey, hexadecimal};
use crate::store::{FolderEntry, FolderEntryKind, StoreError};

/// Number of changes to read at once, and of files to copy at the same time.
const CHANGES: i64 = 256;
const COPIES: usize = 8;
/// The pause after a failure.
const DOWN: Duration = Duration::from_millis(500);

impl Replica {
    /// Brings the folder up to date, if it is not. Waits for somebody else who does that.
    pub(crate) async fn catch_up(&self, files: &Files) -> Result<(), FileError> {
        if !self.is_behind()? {
            return Ok(());
        }
        let pulling = self.0.pulling.clone().lock_owned().await;
        if let Some((_, why)) = pulling.as_ref().filter(|(at, _)| at.elapsed() < DOWN) {
            return Err(failed_at("read", "", why.clone()));
        }
        let (replica, files) = (self.clone(), files.clone());
        // It continues if the request is cancelled.
        let pull = tokio::task::spawn_blocking(move || {
            let mut pulling = pulling;
            let pulled = replica.pull(&files);
            *pulling = pulled.as_ref().err().map(|error| (Instant::now(), StoreError::of_files(error)));
            pulled
        });
        pull.await.unwrap_or_else(|error| Err(FileError::Unfit(error.to_string())))
    }

    /// Stops pulls until the value is dropped.
    pub(crate) async fn pause(&self) -> PausedPull {
        PausedPull(self.0.pulling.clone().lock_owned().await)
    }

    /// Whether the folder lacks something.
    fn is_behind(&self) -> Result<bool, FileError> {
        let synced = self.0.synced.load(Ordering::Relaxed);
        let changes = self.0.store.folder_changes(synced, 1).map_err(|error| failed_at("read", "", error))?;
        Ok(!changes.is_empty())
    }

    /// Brings the folder up to date. Blocks.
    fn pull(&self, files: &Files) -> Result<(), FileError> {
        loop {
            let synced = self.0.synced.load(Ordering::Relaxed);
            let read = |error| failed_at("read", "", error);
            let changes = self.0.store.folder_changes(synced, CHANGES).map_err(read)?;
            let Some(last) = changes.last().map(|entry| entry.sequence) else { return Ok(()) };
            // Folders first, then what is in them; what is gone last.
            let (gone, present): (Vec<_>, Vec<_>) =
                changes.iter().partition(|entry| entry.kind == FolderEntryKind::Gone);
            let (folders, present): (Vec<_>, Vec<_>) =
                present.into_iter().partition(|entry| entry.kind == FolderEntryKind::Folder);
            for entry in folders {
                self.settle(files, entry)?;
            }
            for some in present.chunks(COPIES) {
                let settled: Vec<Result<(), FileError>> = std::thread::scope(|scope| {
                    let tasks: Vec<_> =
                        some.iter().map(|entry| scope.spawn(move || self.settle(files, entry))).collect();
                    tasks.into_iter().map(|task| task.join().expect("it does not panic")).collect()
                });
                settled.into_iter().collect::<Result<(), FileError>>()?;
            }
            // What is in a folder before the folder.
            for entry in gone.into_iter().rev() {
                self.settle(files, entry)?;
            }
            self.0.synced.store(last, Ordering::Relaxed);
        }
    }

    /// Brings one file up to date. Blocks.
    pub(crate) fn pull_file(&self, files: &Files, path: &RelativePath) -> Result<(), FileError> {
        match self.0.store.folder_entry(path.as_str()).map_err(|error| failed("read", path, error))? {
            Some(entry) => self.settle(files, &entry),
            None => Ok(()),
        }
    }

    /// Makes a path of the folder what the database says.
    fn settle(&self, files: &Files, entry: &FolderEntry) -> Result<(), FileError> {
        // It was written by a server, which checks names; but a name from elsewhere must not lead out.
        let Ok(path) = RelativePath::parse_hidden(&entry.path) else { return Ok(()) };
        if !self.lacks(&path, entry)? && (entry.kind == FolderEntryKind::Gone || files.facts(&path).is_ok()) {
            return Ok(());
        }
        match entry.kind {
            FolderEntryKind::Gone => self.settle_gone(files, &path, entry),
            FolderEntryKind::Folder => {
                files.make_local_dirs(&path)?;
                let facts = files.facts(&path)?;
                self.note_as(path.as_str(), &record_of(entry, &facts));
                Ok(())
            }
            FolderEntryKind::File => match self.settle_file(files, &path, entry) {
                Err(error) if self.is_outdated(entry) => {
                    tracing::debug!(%error, %path, "there is a newer version of a file");
                    Ok(())
                }
                settled => settled,
            },
        }
    }

    /// Whether the folder has an older version.
    fn lacks(&self, path: &RelativePath, entry: &FolderEntry) -> Result<bool, FileError> {
        let record = self.0.records.get(path.as_str()).map_err(|error| failed("read", path, error))?;
        Ok(record.is_none_or(|record| record.sequence < entry.sequence))
    }

    fn is_outdated(&self, entry: &FolderEntry) -> bool {
        let newest = self.0.store.folder_entry(&entry.path);
        newest.is_ok_and(|newest| newest.is_some_and(|newest| newest.sequence > entry.sequence))
    }

    /// Whether another program wrote the file since it was copied here or published.
    fn is_unpublished(&self, path: &RelativePath, present: &Facts) -> bool {
        !self
            .0
            .records
            .get(path.as_str())
            .is_ok_and(|record| record.is_some_and(|record| record.is_same(present)))
    }

    fn settle_gone(&self, files: &Files, path: &RelativePath, entry: &FolderEntry) -> Result<(), FileError> {
        let _lock = self.lock(path)?;
        if !self.lacks(path, entry)? {
            return Ok(());
        }
        match files.facts(path) {
            // It stays if something is in it.
            Ok(facts) if facts.is_dir => drop(files.remove_local(path)),
            // What is not published stays, and is published as a new file.
            Ok(facts) if self.is_unpublished(path, &facts) => {}
            Ok(_) => files.remove_local(path)?,
            Err(_) => {}
        }
        self.forget(path)
    }

    fn settle_file(&self, files: &Files, path: &RelativePath, entry: &FolderEntry) -> Result<(), FileError> {
        let key = ObjectKey::parse(&entry.object)
            .ok_or_else(|| FileError::Unfit(format!("`{path}` has no content in the database")))?;
        if let Ok((file, facts)) = files.open_file(path)
            && facts.size.cast_signed() == entry.bytes
            && hash_of(&file).is_ok_and(|(hash, _)| hexadecimal(&hash) == key.hash())
        {
            let _lock = self.lock(path)?;
            if self.lacks(path, entry)? && files.facts(path).is_ok_and(|now| now.is_same_content(&facts)) {
                self.note_as(path.as_str(), &record_of(entry, &facts));
            }
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            files.make_local_dirs(&folder)?;
        }
        let fresh = files.receive(path, |file| {
            let (store, file) = (self.0.store.clone(), tokio::fs::File::from_std(file));
            let get = async move { store.object_to(&key, file).await };
            self.wait(get).map_err(|error| failed("read", path, error))
        })?;
        let _lock = self.lock(path).inspect_err(|_| fresh.remove())?;
        let present = files.facts(path).ok();
        if !self.lacks(path, entry).inspect_err(|_| fresh.remove())? && present.is_some() {
            fresh.remove();
            return Ok(());
        }
        if present.is_some_and(|facts| facts.is_dir) {
            fresh.remove();
            return Err(FileError::Unfit(format!("`{path}` is a folder here and a file on another server")));
        }
        if present.is_some_and(|facts| self.is_unpublished(path, &facts)) {
            let copy = files.keep_copy(path).inspect_err(|_| fresh.remove())?;
            tracing::warn!(%path, %copy, "another server and a program of this one have written a file: both are kept");
        }
        let facts = files.place(path, &fresh)?;
        self.note_as(path.as_str(), &record_of(entry, &facts));
        Ok(())
    }
}
