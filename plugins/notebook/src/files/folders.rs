//! Copies of files and of whole folders, and a walk through all of them.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{Facts, FileError, Files, RelativePath};

/// The deepest folder that is copied.
const MAX_DEPTH: usize = 64;
/// The deepest folder that a walk visits.
const WALK_DEPTH: usize = 32;
/// Maximum number of entries of a walk.
const WALK_ENTRIES: usize = 100_000;

/// The entries of a folder.
type Entries = Result<Vec<(RelativePath, Facts)>, FileError>;

impl Files {
    /// Visits everything below the served folder. `list` returns the entries of one folder. A walk that reaches the limit logs a
    /// warning, which ends with `consequence`.
    /// # Errors
    /// The first error of `visit`. Folders that cannot be listed are skipped.
    pub(crate) fn walk<E>(
        &self,
        list: impl Fn(&Files, &RelativePath) -> Entries,
        consequence: &str,
        mut visit: impl FnMut(RelativePath, Facts) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut folders = vec![(RelativePath::default(), 0)];
        let mut entries = 0;
        while let Some((folder, depth)) = folders.pop() {
            // A folder may vanish in the meantime.
            for (path, facts) in list(self, &folder).unwrap_or_default() {
                entries += 1;
                if entries > WALK_ENTRIES {
                    tracing::warn!("the served folder has more than {WALK_ENTRIES} entries: {consequence}");
                    return Ok(());
                }
                if facts.is_dir && depth < WALK_DEPTH {
                    folders.push((path.clone(), depth + 1));
                }
                visit(path, facts)?;
            }
        }
        Ok(())
    }

    /// Copies a file to a path that does not exist.
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::Exists`]; errors of the system.
    pub fn copy_file(&self, from: &RelativePath, to: &RelativePath) -> Result<u64, FileError> {
        let (source, _) = self.open_file(from)?;
        match &self.replica {
            Some(replica) => self.copy_replicated(replica, source, to),
            None => self.copy_here(source, to),
        }
    }

    /// The same in this folder alone.
    pub(super) fn copy_here(&self, mut source: File, to: &RelativePath) -> Result<u64, FileError> {
        let folder = self.open_parent(to)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&folder, to.name(), flags, Mode::from_raw_mode(0o666))
            .map_err(|errno| FileError::from_errno("copy to", to, errno))?;
        let copied = io::copy(&mut source, &mut File::from(target));
        copied.map_err(|error| {
            let _ = rustix::fs::unlinkat(&folder, to.name(), AtFlags::empty());
            FileError::Io { what: "copy to", path: to.to_string(), error }
        })
    }

    /// Copies the visible content of a folder to a path that does not exist.
    /// # Errors
    /// The same; [`FileError::Unfit`] if it has more than `limit_bytes`, or contains the copy. What was copied
    /// until then is removed.
    pub fn copy_folder(
        &self,
        from: &RelativePath,
        to: &RelativePath,
        limit_bytes: u64,
    ) -> Result<(), FileError> {
        if to.is_below(from) {
            return Err(FileError::Unfit(format!("`{from}` cannot be copied into itself")));
        }
        self.make_dir(to)?;
        let mut left = limit_bytes;
        self.copy_entries(from, to, &mut left, 0).inspect_err(|_| {
            let _ = std::fs::remove_dir_all(self.absolute(to));
        })
    }

    fn copy_entries(
        &self,
        from: &RelativePath,
        to: &RelativePath,
        left: &mut u64,
        depth: usize,
    ) -> Result<(), FileError> {
        if depth > MAX_DEPTH {
            return Err(FileError::Unfit(format!("the folders in `{from}` are too deep to copy")));
        }
        for (source, facts) in self.list(from)? {
            let target = to.join(source.name())?;
            if facts.is_dir {
                self.make_dir(&target)?;
                self.copy_entries(&source, &target, left, depth + 1)?;
                continue;
            }
            *left = left.checked_sub(facts.size).ok_or_else(|| {
                FileError::Unfit(format!("the folder is too large to copy: `{source}` is over the limit"))
            })?;
            self.copy_file(&source, &target)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    #[test]
    fn folders_are_copied_without_what_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(&folder.path().join("root")).unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        for (name, content) in [("a/1.txt", "one"), ("a/b/2.txt", "two"), ("a/.secret", "no")] {
            std::fs::write(root.join(name), content).unwrap();
        }
        std::fs::write(folder.path().join("outside"), "no").unwrap();
        std::os::unix::fs::symlink(folder.path().join("outside"), root.join("a/out")).unwrap();
        files.copy_folder(&path("a"), &path("c"), 100).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("c/b/2.txt")).unwrap(), "two");
        assert!(!root.join("c/.secret").exists() && !root.join("c/out").exists());
        assert!(matches!(files.copy_folder(&path("a"), &path("c"), 100), Err(FileError::Exists(_))));
        assert!(files.copy_folder(&path("a"), &path("a/d"), 100).is_err());
        assert!(files.copy_folder(&path("a"), &path("e"), 5).is_err());
        assert!(!root.join("e").exists() && !root.join("a/d").exists(), "nothing is left behind");
    }
}
