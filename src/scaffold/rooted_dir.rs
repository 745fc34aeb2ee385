//! Open folders: every operation names one plain component and follows no symlink.
//!
//! Nothing that is read or written here can be outside the folder that was opened first, even if the disk
//! changes meanwhile. (`openat2` with `RESOLVE_BENEATH` does the same in one call, but not every kernel and
//! system has it.)

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

type Result<T> = std::io::Result<T>;

/// An open folder.
pub(super) struct Dir(OwnedFd);

/// What an entry of a folder is; a symlink is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DirEntry {
    File,
    Folder,
    Symlink,
    Other,
}

/// A file that was read.
pub(super) struct ReadFile {
    pub(super) bytes: Vec<u8>,
    /// Its permission bits.
    pub(super) mode: u32,
}

impl Dir {
    /// Opens the folder at `path`, which the user named. Symlinks on the way are followed.
    pub(super) fn open(path: &Path) -> Result<Dir> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Dir(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// A second handle of this folder.
    pub(super) fn again(&self) -> Result<Dir> {
        Ok(Dir(self.0.try_clone()?))
    }

    /// Opens the folder `name` in this one.
    pub(super) fn child(&self, name: &str) -> Result<Dir> {
        plain(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Dir(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// What `name` is; `None` if it does not exist.
    pub(super) fn entry(&self, name: &str) -> Result<Option<DirEntry>> {
        plain(name)?;
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(DirEntry::of(FileType::from_raw_mode(stat.st_mode)))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All entries, in order of name.
    /// # Errors
    /// Also a name that is not UTF-8.
    pub(super) fn entries(&self) -> Result<Vec<(String, DirEntry)>> {
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_str().map_err(|_| {
                std::io::Error::other(format!(
                    "the name `{}` is not UTF-8",
                    entry.file_name().to_string_lossy()
                ))
            })?;
            if name == "." || name == ".." {
                continue;
            }
            if let Some(kind) = self.entry(name)? {
                found.push((name.to_owned(), kind));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Reads the plain file `name` of at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<ReadFile> {
        plain(name)?;
        // NONBLOCK: a pipe in place of the file must not block before its type is checked.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(std::io::Error::other("not a plain file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(std::io::Error::other("too large"));
        }
        Ok(ReadFile { bytes, mode: stat.st_mode & 0o777 })
    }

    /// Writes the new file `name`. Fails if anything with that name exists. Without `exact`, the user's umask
    /// applies.
    pub(super) fn create(&self, name: &str, bytes: &[u8], mode: u32, exact: bool) -> Result<()> {
        plain(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let first_mode = if exact { 0o600 } else { mode };
        let file = rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(first_mode))?;
        let written = (|| {
            let mut file = std::fs::File::from(file);
            file.write_all(bytes)?;
            if exact {
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            }
            Ok(())
        })();
        if written.is_err() {
            // The user needs to see the first error.
            let _ = self.remove(name);
        }
        written
    }

    /// Creates the folder `name`.
    pub(super) fn make_folder(&self, name: &str) -> Result<()> {
        plain(name)?;
        Ok(rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777))?)
    }

    /// Renames `from` to `to`, which must not exist.
    pub(super) fn rename_new(&self, from: &str, to: &str) -> Result<()> {
        plain(from)?;
        plain(to)?;
        match rustix::fs::renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                // The file system lacks that flag: a link refuses an existing name too.
                rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(&self.0, from, AtFlags::empty())?)
            }
            other => Ok(other?),
        }
    }

    /// Renames `from` to `to`. A file replaces a file; a folder replaces only an empty folder.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        plain(from)?;
        plain(to)?;
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    /// Gives the file `from` a second name `to`, which must not exist.
    pub(super) fn link(&self, from: &str, to: &str) -> Result<()> {
        plain(from)?;
        plain(to)?;
        Ok(rustix::fs::linkat(&self.0, from, &self.0, to, AtFlags::empty())?)
    }

    /// Removes the file `name`.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        plain(name)?;
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes the empty folder `name`.
    pub(super) fn remove_folder(&self, name: &str) -> Result<()> {
        plain(name)?;
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes the folder `name` with everything in it. Symlinks are removed, not followed.
    pub(super) fn remove_tree(&self, name: &str) -> Result<()> {
        let dir = self.child(name)?;
        for (inner, entry) in dir.entries()? {
            match entry {
                DirEntry::Folder => dir.remove_tree(&inner)?,
                _ => dir.remove(&inner)?,
            }
        }
        self.remove_folder(name)
    }
}

impl DirEntry {
    fn of(kind: FileType) -> DirEntry {
        match kind {
            FileType::RegularFile => DirEntry::File,
            FileType::Directory => DirEntry::Folder,
            FileType::Symlink => DirEntry::Symlink,
            _ => DirEntry::Other,
        }
    }
}

/// The last check, in case a caller made none: refuses a name that could lead elsewhere.
fn plain(name: &str) -> Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(std::io::Error::other(format!("`{}` is not a plain name", name.escape_debug())));
    }
    Ok(())
}
