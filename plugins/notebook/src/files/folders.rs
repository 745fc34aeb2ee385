//! Whole folders: copies them, and moves deleted ones to the trash.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{FileError, Files, RelativePath};

/// The hidden folder that deleted folders are moved to. It is on the same file system, so that moving works.
const TRASH: &str = ".trash";
/// How long they are kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The deepest folder that is copied.
const MAX_DEPTH: usize = 64;

impl Files {
    /// Copies a file to a path that does not exist.
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::Exists`]; errors of the system.
    pub fn copy_file(&self, from: &RelativePath, to: &RelativePath) -> Result<u64, FileError> {
        let (mut source, _) = self.open_file(from)?;
        let folder = self.open_parent(to)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&folder, to.name(), flags, Mode::from_raw_mode(0o666))
            .map_err(|errno| FileError::from_errno("copy to", to, errno))?;
        let copied = io::copy(&mut source, &mut std::fs::File::from(target));
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

    /// Whether a folder has entries that clients can see.
    /// # Errors
    /// [`FileError::NotFound`]; [`FileError::Unfit`] if it is not a folder.
    pub fn has_entries(&self, path: &RelativePath) -> Result<bool, FileError> {
        Ok(!self.list(path)?.is_empty())
    }

    /// Moves a file or folder to the trash, the hidden folder `.trash`, which keeps it for 30 days.
    /// # Errors
    /// [`FileError::NotFound`]; errors of the system.
    pub fn move_to_trash(&self, path: &RelativePath) -> Result<(), FileError> {
        let folder = self.open_parent(path)?;
        let trash = RelativePath::default().join_hidden(TRASH)?;
        match self.make_dir(&trash) {
            Ok(()) | Err(FileError::Exists(_)) => {}
            Err(error) => return Err(error),
        }
        let failed = |errno| FileError::from_errno("move to the trash", path, errno);
        // A link in its place would lead elsewhere.
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW;
        let opened = self.open_beneath(&trash, flags, Mode::empty()).map_err(failed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name: String = path.name().chars().take(60).collect();
        let name = format!("{}-{}-{name}", now.as_secs(), uuid::Uuid::new_v4().simple());
        rustix::fs::renameat(&folder, path.name(), opened.as_fd(), name.as_str()).map_err(failed)?;
        self.empty_trash(&trash, now);
        Ok(())
    }

    /// Removes what is older than 30 days. The names begin with the time in seconds.
    fn empty_trash(&self, trash: &RelativePath, now: Duration) {
        let path = self.absolute(trash);
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let moved = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok());
            let is_old = moved.is_some_and(|moved| now.saturating_sub(Duration::from_secs(moved)) > KEPT);
            if is_old && let Err(error) = remove(&entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "cannot empty the trash");
            }
        }
    }
}

fn remove(path: &std::path::Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
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

    #[test]
    fn the_trash_keeps_what_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::create_dir_all(folder.path().join(".trash/1000-x-old/y")).unwrap();
        std::fs::write(folder.path().join(".trash/notes"), "not ours").unwrap();
        files.move_to_trash(&path("a")).unwrap();
        assert!(!folder.path().join("a").exists());
        let mut kept: Vec<_> =
            std::fs::read_dir(folder.path().join(".trash")).unwrap().map(|entry| entry.unwrap()).collect();
        kept.sort_by_key(|entry| entry.file_name());
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(kept[0].path().join("b").is_dir() && kept[0].file_name().to_str().unwrap().ends_with("-a"));
    }
}
