//! A folder with the same content on several servers (`crate::objects::replica`): writes go to the object store and the database
//! first.

use std::fs::File;
use std::io::Seek;

use super::write::Fresh;
use super::{Expect, Facts, FileError, Files, RelativePath};
use crate::objects::replica::{PausedPull, Replaced, Replica};

/// Hidden folders that belong to notebooks.
const SHARED_HIDDEN: &[&str] = &[".trash", ".ipynb_checkpoints"];

impl Files {
    /// Makes this the folder of one of several servers.
    #[must_use]
    pub fn with_replica(mut self, replica: Option<Replica>) -> Files {
        self.replica = replica;
        self
    }

    /// Copies the changes of other servers to the folder.
    /// # Errors
    /// If the database or the object store cannot be used.
    pub async fn catch_up(&self) -> Result<(), FileError> {
        match &self.replica {
            Some(replica) => replica.catch_up(self).await,
            None => Ok(()),
        }
    }

    /// Waits until changes of other servers have been copied, and stops that until the value is dropped.
    pub(crate) async fn pause(&self) -> Option<PausedPull> {
        match &self.replica {
            Some(replica) => Some(replica.pause().await),
            None => None,
        }
    }

    /// Renames what another server has renamed, so that programs that use the folder stay in it. Otherwise, the files are copied.
    /// Blocks.
    pub(crate) fn follow_rename(&self, from: &RelativePath, to: &RelativePath) {
        let Some(replica) = &self.replica else { return };
        let rename = || {
            self.rename_local(from, to)?;
            replica.renamed_here(from, to)?;
            match (from.checkpoint(), to.checkpoint()) {
                (Some(old), Some(new)) => replica.renamed_here(&old, &new),
                _ => Ok(()),
            }
        };
        if let Err(error) = rename() {
            tracing::debug!(%error, "a renamed file is copied");
        }
    }

    /// Copies the newest version of one file to the folder. Blocks.
    /// # Errors
    /// If the database or the object store cannot be used.
    pub fn pull_file(&self, path: &RelativePath) -> Result<(), FileError> {
        self.replica.as_ref().map_or(Ok(()), |replica| replica.pull_file(self, path))
    }

    /// Publishes the changes that kernels and other programs made in the folder. Blocks. Returns the number of files.
    /// # Errors
    /// If the database or the object store cannot be used.
    pub fn publish_changes(&self) -> Result<usize, FileError> {
        self.replica.as_ref().map_or(Ok(0), |replica| replica.scan(self))
    }

    /// Whether several servers have this folder.
    pub fn is_replicated(&self) -> bool {
        self.replica.is_some()
    }

    pub(super) fn write_replicated(
        &self,
        replica: &Replica,
        path: &RelativePath,
        content: &[u8],
        expect: Expect<'_>,
    ) -> Result<Facts, FileError> {
        let target = self.behind_link(path);
        let upload = replica.upload(&target, content)?;
        let fresh = self.write_beside(path, content)?;
        let place = || {
            let _lock = replica.lock(&target)?;
            self.check(path, expect)?;
            let (replaced, refused) = match expect {
                Expect::Anything => (Replaced::Anything, FileError::Changed(path.to_string())),
                Expect::Absent => (Replaced::Nothing, FileError::Exists(path.to_string())),
                Expect::Same(_) => (Replaced::Known, FileError::Changed(path.to_string())),
            };
            let published = replica.publish(upload, replaced)?.ok_or(refused)?;
            let facts = self.put_in_place(path, &fresh, expect)?;
            replica.note(&published, &facts);
            Ok(facts)
        };
        place().inspect_err(|_| fresh.remove())
    }

    /// Publishes the content of a file, which `place` then brings to `path`.
    pub(super) fn place_replicated(
        &self,
        replica: &Replica,
        path: &RelativePath,
        file: File,
        place: impl FnOnce() -> Result<Facts, FileError>,
    ) -> Result<(), FileError> {
        let upload = replica.upload_file(path, &file)?;
        let _lock = replica.lock(path)?;
        let published = replica.publish(upload, Replaced::Anything)?;
        let facts = place()?;
        if let Some(published) = published {
            replica.note(&published, &facts);
        }
        Ok(())
    }

    /// Copies a file to a path that does not exist, on all servers.
    pub(super) fn copy_replicated(
        &self,
        replica: &Replica,
        mut source: File,
        to: &RelativePath,
    ) -> Result<u64, FileError> {
        let upload = replica.upload_file(to, &source)?;
        let _lock = replica.lock(to)?;
        self.check(to, Expect::Absent)?;
        let published = replica.publish(upload, Replaced::Nothing)?;
        let published = published.ok_or_else(|| FileError::Exists(to.to_string()))?;
        let failed = |error| FileError::Io { what: "copy to", path: to.to_string(), error };
        source.rewind().map_err(failed)?;
        let bytes = self.copy_here(source, to)?;
        replica.note(&published, &self.facts(to)?);
        Ok(bytes)
    }

    /// The entries of a folder that other servers have too: without links, temporary files, and what is hidden.
    pub(crate) fn list_published(
        &self,
        folder: &RelativePath,
    ) -> Result<Vec<(RelativePath, Facts)>, FileError> {
        let failed = |error| FileError::Io { what: "list", path: folder.to_string(), error };
        let mut entries = Vec::new();
        // Everything in the trash, and in hidden folders in it, is a notebook's.
        let in_trash = folder.as_str().starts_with(SHARED_HIDDEN[0]);
        for entry in std::fs::read_dir(self.absolute(folder)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let hidden = name.starts_with('.') && !SHARED_HIDDEN.contains(&name.as_str()) && !in_trash;
            if hidden || name.contains(".paster-") || entry.file_type().map_err(failed)?.is_symlink() {
                continue;
            }
            let Ok(path) = folder.join_hidden(&name) else { continue };
            if let Ok(facts) = self.facts(&path) {
                entries.push((path, facts));
            }
        }
        Ok(entries)
    }

    /// Makes a folder and those above it, in this folder alone.
    pub(crate) fn make_local_dirs(&self, path: &RelativePath) -> Result<(), FileError> {
        if path.is_root() || self.facts(path).is_ok_and(|facts| facts.is_dir) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_local_dirs(&parent)?;
        }
        match self.make_local_dir(path) {
            Err(FileError::Exists(_)) => Ok(()),
            made => made,
        }
    }

    /// Writes a new file beside `path`, with what `fill` writes to it.
    pub(crate) fn receive(
        &self,
        path: &RelativePath,
        fill: impl FnOnce(File) -> Result<(), FileError>,
    ) -> Result<Fresh, FileError> {
        let fresh = self.fresh(path)?;
        let file =
            fresh.create().map_err(|error| FileError::Io { what: "write", path: path.to_string(), error });
        match file.and_then(fill) {
            Ok(()) => Ok(fresh),
            Err(error) => {
                fresh.remove();
                Err(error)
            }
        }
    }

    /// Brings a new file to its place.
    pub(crate) fn place(&self, path: &RelativePath, fresh: &Fresh) -> Result<Facts, FileError> {
        self.put_in_place(path, fresh, Expect::Anything)
    }

    /// Keeps the file at `path` as a copy beside it, which is published later. Returns its path.
    pub(crate) fn keep_copy(&self, path: &RelativePath) -> Result<RelativePath, FileError> {
        let (stem, ext) = path.split_name();
        let folder = path.parent().unwrap_or_default();
        let name = |number: u32| match number {
            0 => format!("{stem}-conflict{ext}"),
            number => format!("{stem}-conflict{number}{ext}"),
        };
        let copies = (0..10_000).filter_map(|number| folder.join_hidden(&name(number)).ok());
        let copy = copies.into_iter().find(|copy| self.facts(copy).is_err());
        let copy = copy.ok_or_else(|| FileError::Unfit(format!("all names like `{}` are taken", name(0))))?;
        self.rename_local(path, &copy)?;
        Ok(copy)
    }
}
