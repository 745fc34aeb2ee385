//! Writes files: to a temporary file beside the target, which is synced and renamed over it; then the folder
//! is synced.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::{Facts, FileError, Files, RelativePath};

/// The condition on the target before it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect<'a> {
    /// Nothing.
    Anything,
    /// It does not exist.
    Absent,
    /// It has the content that it had when these facts were read.
    Same(&'a Facts),
}

/// A written file that is not in its place yet.
pub(crate) struct Fresh {
    folder: OwnedFd,
    name: String,
    target: RelativePath,
}

impl Fresh {
    /// Creates it, with the mode of the file that it will replace.
    pub(super) fn create(&self) -> io::Result<File> {
        open_new(&self.folder, &self.name, &self.target)
    }

    pub(crate) fn remove(&self) {
        let _ = rustix::fs::unlinkat(&self.folder, self.name.as_str(), AtFlags::empty());
    }
}

impl Files {
    /// Writes a file completely or not at all. An existing file keeps its mode.
    /// # Errors
    /// [`FileError::NotFound`] if its folder does not exist; [`FileError::Unfit`] if it is a folder itself.
    pub fn write(&self, path: &RelativePath, content: &[u8]) -> Result<Facts, FileError> {
        self.write_expecting(path, content, Expect::Anything)
    }

    /// The same, if `expect` is true.
    /// # Errors
    /// Same as [`Files::write`]; also [`FileError::Changed`] and [`FileError::Exists`].
    pub(crate) fn write_expecting(
        &self,
        path: &RelativePath,
        content: &[u8],
        expect: Expect<'_>,
    ) -> Result<Facts, FileError> {
        self.check(path, expect)?;
        if let Some(replica) = &self.replica {
            return self.write_replicated(replica, path, content, expect);
        }
        let fresh = self.write_beside(path, content)?;
        self.put_in_place(path, &fresh, expect)
    }

    pub(super) fn check(&self, path: &RelativePath, expect: Expect<'_>) -> Result<(), FileError> {
        let present = self.facts(path).ok();
        match (expect, &present) {
            (Expect::Absent, Some(_)) => return Err(FileError::Exists(path.to_string())),
            (Expect::Same(known), Some(present)) if !known.is_same_content(present) => {
                return Err(FileError::Changed(path.to_string()));
            }
            (Expect::Same(_), None) => return Err(FileError::NotFound(path.to_string())),
            _ => {}
        }
        if present.is_some_and(|facts| facts.is_dir) {
            return Err(FileError::Unfit(format!("`{path}` is a folder")));
        }
        if present.is_some_and(|facts| !facts.writable) {
            let error = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err(FileError::Io { what: "write", path: path.to_string(), error });
        }
        Ok(())
    }

    /// A name for a new file beside `path`, or beside what a link leads to.
    pub(super) fn fresh(&self, path: &RelativePath) -> Result<Fresh, FileError> {
        let target = self.behind_link(path);
        let folder = self.open_parent(&target)?;
        let name = format!(".{}.paster-{}", truncated(target.name()), uuid::Uuid::new_v4().simple());
        Ok(Fresh { folder, name, target })
    }

    pub(super) fn write_beside(&self, path: &RelativePath, content: &[u8]) -> Result<Fresh, FileError> {
        let fresh = self.fresh(path)?;
        self.write_temporary(&fresh.folder, &fresh.name, &fresh.target, content).map_err(|error| {
            fresh.remove();
            FileError::Io { what: "write", path: path.to_string(), error }
        })?;
        Ok(fresh)
    }

    pub(super) fn put_in_place(
        &self,
        path: &RelativePath,
        fresh: &Fresh,
        expect: Expect<'_>,
    ) -> Result<Facts, FileError> {
        let Fresh { folder, name, target } = fresh;
        // Another program may have written the file in the meantime.
        let placed = self.check(path, expect).and_then(|()| {
            let placed = match expect {
                // A hard link never replaces a file that was created in between.
                Expect::Absent => {
                    rustix::fs::linkat(folder, name.as_str(), folder, target.name(), AtFlags::empty())
                        .and_then(|()| rustix::fs::unlinkat(folder, name.as_str(), AtFlags::empty()))
                }
                _ => rustix::fs::renameat(folder, name.as_str(), folder, target.name()),
            };
            placed.map_err(|errno| match io::Error::from(errno) {
                error if error.kind() == io::ErrorKind::AlreadyExists => FileError::Exists(path.to_string()),
                error => FileError::Io { what: "write", path: path.to_string(), error },
            })
        });
        placed.inspect_err(|_| fresh.remove())?;
        // Some file systems cannot sync a folder. The rename is done anyway.
        let _ = rustix::fs::fsync(folder);
        self.facts(path)
    }

    fn write_temporary(
        &self,
        folder: &OwnedFd,
        name: &str,
        target: &RelativePath,
        content: &[u8],
    ) -> io::Result<()> {
        let mut file = open_new(folder, name, target)?;
        file.write_all(content)?;
        file.sync_all()
    }

    /// If `path` is a link within the folder, the path that it leads to, so that the link stays a link.
    pub(super) fn behind_link(&self, path: &RelativePath) -> RelativePath {
        let found = || -> Option<RelativePath> {
            let file = self.open_beneath(path, OFlags::PATH, Mode::empty()).ok()?;
            let real =
                std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)))
                    .ok()?;
            RelativePath::parse(real.strip_prefix(self.path()).ok()?.to_str()?).ok()
        };
        found().unwrap_or_else(|| path.clone())
    }

    /// Creates the folder of `checkpoint`.
    pub(crate) fn make_checkpoint_folder(&self, checkpoint: &RelativePath) -> Result<(), FileError> {
        match checkpoint.parent().map(|folder| self.make_dir(&folder)) {
            None | Some(Ok(()) | Err(FileError::Exists(_))) => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    /// Appends to the upload of `path`, or starts it if `first`. It is a hidden file beside `path` until
    /// [`Files::finish_upload`].
    /// # Errors
    /// [`FileError::Unfit`] if a later part comes without a first one.
    pub fn add_to_upload(&self, path: &RelativePath, part: &[u8], first: bool) -> Result<(), FileError> {
        let folder = self.open_parent(path)?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = if first { flags | OFlags::CREATE | OFlags::TRUNC } else { flags };
        let file = rustix::fs::openat(&folder, upload_name(path), flags, Mode::from_raw_mode(0o600));
        let file = file.map_err(|errno| match errno {
            rustix::io::Errno::NOENT => {
                FileError::Unfit(format!("the upload of `{path}` has no first part: send `chunk` 1 first"))
            }
            errno => FileError::from_errno("upload", path, errno),
        })?;
        File::from(file).write_all(part).map_err(|error| FileError::Io {
            what: "upload",
            path: path.to_string(),
            error,
        })
    }

    /// Moves the upload to `path`.
    /// # Errors
    /// Errors of the system.
    pub fn finish_upload(&self, path: &RelativePath) -> Result<(), FileError> {
        let folder = self.open_parent(path)?;
        let failed = |errno| FileError::from_errno("upload", path, errno);
        let file =
            rustix::fs::openat(&folder, upload_name(path), OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())
                .map_err(failed)?;
        let _ = rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644));
        rustix::fs::fsync(&file).map_err(failed)?;
        let place = || {
            rustix::fs::renameat(&folder, upload_name(path), &folder, path.name()).map_err(failed)?;
            let _ = rustix::fs::fsync(&folder);
            self.facts(path)
        };
        match &self.replica {
            Some(replica) => self.place_replicated(replica, path, File::from(file), place),
            None => place().map(drop),
        }
    }
}

/// Creates a new file with the mode of the one that it will replace.
fn open_new(folder: &OwnedFd, name: &str, target: &RelativePath) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?);
    if let Ok(present) = rustix::fs::statat(folder, target.name(), AtFlags::empty()) {
        rustix::fs::fchmod(&file, Mode::from_raw_mode(present.st_mode & 0o7777))?;
    }
    Ok(file)
}

fn upload_name(path: &RelativePath) -> String {
    format!(".{}.paster-upload", truncated(path.name()))
}

/// The beginning of a name, short enough for additions within the 255 bytes of a file name.
fn truncated(name: &str) -> &str {
    let mut end = name.len().min(180);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(&folder.path().join("root")).unwrap();
        (folder, files)
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let (folder, files) = files();
        std::fs::write(folder.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), files.path().join("out")).unwrap();
        std::os::unix::fs::symlink("..", files.path().join("up")).unwrap();
        for name in ["out", "up", "up/secret"] {
            assert!(matches!(files.read(&path(name), 100), Err(FileError::NotFound(_))), "{name}");
        }
        assert!(files.list(&path("")).unwrap().is_empty());
        assert!(files.write(&path("up/new"), b"x").is_err());
        assert!(!folder.path().join("new").exists());
    }

    #[test]
    fn a_link_within_stays_a_link_and_the_mode_stays() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, files) = files();
        files.write(&path("a.txt"), b"1").unwrap();
        std::fs::set_permissions(files.path().join("a.txt"), std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a.txt", files.path().join("b.txt")).unwrap();
        files.write(&path("b.txt"), b"2").unwrap();
        assert!(files.path().join("b.txt").is_symlink());
        assert_eq!(std::fs::read(files.path().join("a.txt")).unwrap(), b"2");
        assert_eq!(
            std::fs::metadata(files.path().join("a.txt")).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn a_changed_file_is_not_overwritten() {
        let (_folder, files) = files();
        let known = files.write(&path("a"), b"1").unwrap();
        files.write(&path("a"), b"22").unwrap();
        let refused = files.write_expecting(&path("a"), b"3", Expect::Same(&known));
        assert!(matches!(refused, Err(FileError::Changed(_))));
        assert!(matches!(files.write_expecting(&path("a"), b"3", Expect::Absent), Err(FileError::Exists(_))));
        assert_eq!(files.read(&path("a"), 10).unwrap().0, b"22");
    }

    #[test]
    fn a_file_that_changes_during_the_write_is_not_overwritten() {
        let (_folder, files) = files();
        let known = files.write(&path("a"), b"1").unwrap();
        let fresh = files.write_beside(&path("a"), b"3").unwrap();
        std::fs::write(files.path().join("a"), "22").unwrap();
        let refused = files.put_in_place(&path("a"), &fresh, Expect::Same(&known));
        assert!(matches!(refused, Err(FileError::Changed(_))));
        assert_eq!(files.read(&path("a"), 10).unwrap().0, b"22");

        let fresh = files.write_beside(&path("a"), b"3").unwrap();
        std::fs::remove_file(files.path().join("a")).unwrap();
        let refused = files.put_in_place(&path("a"), &fresh, Expect::Same(&known));
        assert!(matches!(refused, Err(FileError::NotFound(_))));
        assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0, "no temporary file is left");
    }
}
