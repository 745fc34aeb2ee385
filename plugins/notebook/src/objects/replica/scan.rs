//! Publishes the changes that kernels and other programs made in the folder.

use std::time::{Duration, SystemTime};

use super::{FolderRecord, Replaced, Replica, failed, hash_of};
use crate::files::{Facts, FileError, Files, RelativePath};
use crate::objects::hexadecimal;
use crate::store::FolderEntryKind;

/// The time after a change during which a file may be incomplete.
const SETTLED: Duration = Duration::from_secs(3);

impl Replica {
    /// Publishes new and changed files. Blocks. Returns how many there were.
    pub(crate) fn scan(&self, files: &Files) -> Result<usize, FileError> {
        let mut published = 0;
        let visit = |path: RelativePath, facts: Facts| {
            if facts.is_dir {
                self.scan_folder(&path, &facts)?;
            } else if self.scan_file(files, &path, &facts)? {
                published += 1;
            }
            Ok(())
        };
        files.walk(Files::list_published, "not all are on the other servers", visit)?;
        Ok(published)
    }

    fn scan_folder(&self, path: &RelativePath, facts: &Facts) -> Result<(), FileError> {
        let known = self.0.records.get(path.as_str()).map_err(|error| failed("read", path, error))?;
        if known.is_some() {
            return Ok(());
        }
        let entry = self.0.store.folder_entry(path.as_str()).map_err(|error| failed("read", path, error))?;
        // Another server has deleted it or is about to have it as a file: a pull decides.
        if entry.is_some_and(|entry| entry.kind == FolderEntryKind::File) {
            return Ok(());
        }
        self.made_folder(path, facts)
    }

    /// Publishes a file, if another program wrote it, and nobody wrote it on another server.
    fn scan_file(&self, files: &Files, path: &RelativePath, facts: &Facts) -> Result<bool, FileError> {
        let known = self.0.records.get(path.as_str()).map_err(|error| failed("read", path, error))?;
        if known.as_ref().is_some_and(|record| record.is_same(facts))
            || SystemTime::now().duration_since(facts.changed).unwrap_or(SETTLED) < SETTLED
        {
            return Ok(false);
        }
        // It may vanish in the meantime.
        let Ok((file, opened)) = files.open_file(path) else { return Ok(false) };
        let Ok((hash, _)) = hash_of(&file) else { return Ok(false) };
        let hash = hexadecimal(&hash);
        if let Some(record) = known.as_ref().filter(|record| record.hash == hash) {
            self.note_as(path.as_str(), &FolderRecord::new(record.sequence, &hash, &opened));
            return Ok(false);
        }
        let present =
            self.0.store.folder_entry(path.as_str()).map_err(|error| failed("read", path, error))?;
        let is_newest = |sequence: i64| known.as_ref().is_some_and(|record| record.sequence == sequence);
        if present.is_some_and(|entry| entry.kind != FolderEntryKind::Gone && !is_newest(entry.sequence)) {
            // A pull keeps both.
            return Ok(false);
        }
        let upload = self.upload_file(path, &file)?;
        let _lock = self.lock(path)?;
        if !files.facts(path).is_ok_and(|now| now.is_same_content(&opened)) {
            return Ok(false);
        }
        match self.publish(upload, Replaced::Known) {
            Ok(Some(published)) => self.note(&published, &opened),
            Ok(None) => return Ok(false),
            // It is open on another server.
            Err(error) => {
                tracing::warn!(%error, %path, "a file that another program wrote is not on the other servers");
                return Ok(false);
            }
        }
        Ok(true)
    }
}
