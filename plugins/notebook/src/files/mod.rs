//! Files below the served folder. They are opened relative to it (`..` and symbolic links cannot lead out of it), hidden names
//! are never shown, and files are written atomically.
//!
//! All functions block; callers run them on tokio's blocking threads.

mod folders;
mod path;
mod replicated;
mod trash;
mod write;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use self::path::RelativePath;
pub(crate) use self::write::Expect;
use crate::objects::replica::Replica;

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Nothing is there, or it is hidden.
    #[error("`{0}` does not exist")]
    NotFound(String),
    /// Something already exists there.
    #[error("`{0}` already exists")]
    Exists(String),
    /// A file where a folder is needed, or the other way round; or a name that is not allowed.
    #[error("{0}")]
    Unfit(String),
    /// The file on disk is not the one that the caller knew.
    #[error("`{0}` was changed on disk since it was read")]
    Changed(String),
    /// Any other error of the system.
    #[error("cannot {what} `{path}`: {error}")]
    Io {
        /// The operation, such as `read`.
        what: &'static str,
        /// The path.
        path: String,
        /// The cause.
        error: io::Error,
    },
}

impl FileError {
    fn from_errno(what: &'static str, path: &RelativePath, errno: Errno) -> FileError {
        match errno {
            // A symbolic link to a place outside of the folder counts as absent.
            Errno::NOENT | Errno::XDEV | Errno::LOOP => FileError::NotFound(path.to_string()),
            Errno::EXIST => FileError::Exists(path.to_string()),
            Errno::NOTDIR => FileError::NotFound(path.to_string()),
            Errno::ISDIR => FileError::Unfit(format!("`{path}` is a folder")),
            Errno::NOTEMPTY => {
                FileError::Unfit(format!("the folder `{path}` is not empty: delete its contents first"))
            }
            Errno::NAMETOOLONG => FileError::Unfit(format!("the name `{}` is too long", path.name())),
            _ => FileError::Io { what, path: path.to_string(), error: errno.into() },
        }
    }
}

/// What the file system knows about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Folder or file.
    pub is_dir: bool,
    /// In bytes.
    pub size: u64,
    /// Last change of the content.
    pub modified: SystemTime,
    /// Last change of anything.
    pub changed: SystemTime,
    /// Whether we may write it.
    pub writable: bool,
    /// Device and inode.
    pub identity: (u64, u64),
}

impl Facts {
    /// Whether the file still has the same content as when these facts were read.
    pub fn is_same_content(&self, other: &Facts) -> bool {
        (self.size, self.modified, self.identity) == (other.size, other.modified, other.identity)
    }
}

/// The served folder.
#[derive(Clone)]
pub struct Files {
    root: Arc<OwnedFd>,
    path: Arc<PathBuf>,
    /// What is written to the folder goes to the other servers too.
    replica: Option<Replica>,
}

impl Files {
    /// Opens the folder at `path`; creates it if needed.
    /// # Errors
    /// Errors of the system, with the path.
    pub fn open(path: &Path) -> io::Result<Files> {
        let context = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot open the folder `{}`: {error}", path.display()))
        };
        std::fs::create_dir_all(path).map_err(context)?;
        let path = path.canonicalize().map_err(context)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| context(errno.into()))?;
        Ok(Files { root: Arc::new(root), path: Arc::new(path), replica: None })
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The absolute path of `path`, used as a kernel's working folder.
    pub fn absolute(&self, path: &RelativePath) -> PathBuf {
        match path.is_root() {
            // Without the slash that an empty name would add.
            true => self.path.to_path_buf(),
            false => self.path.join(path.as_str()),
        }
    }

    fn open_beneath(&self, path: &RelativePath, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let name = if path.is_root() { "." } else { path.as_str() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.root, name, flags | OFlags::CLOEXEC, mode, resolve) {
                // The operating system returns EAGAIN if a rename happened in between.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }

    /// The facts about the entry at `path`.
    /// # Errors
    /// [`FileError::NotFound`].
    pub fn facts(&self, path: &RelativePath) -> Result<Facts, FileError> {
        let failed = |errno| FileError::from_errno("look at", path, errno);
        let file = self.open_beneath(path, OFlags::PATH, Mode::empty()).map_err(failed)?;
        self.facts_of(&file, path)
    }

    fn facts_of(&self, file: &OwnedFd, path: &RelativePath) -> Result<Facts, FileError> {
        let meta = std::fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
        let meta = meta.map_err(|error| FileError::Io { what: "look at", path: path.to_string(), error })?;
        if !(meta.is_dir() || meta.is_file()) {
            return Err(FileError::NotFound(path.to_string()));
        }
        let changed =
            Duration::new(meta.ctime().max(0).cast_unsigned(), meta.ctime_nsec().cast_unsigned() as u32);
        let writable = rustix::fs::accessat(file, "", rustix::fs::Access::WRITE_OK, AtFlags::EMPTY_PATH);
        Ok(Facts {
            is_dir: meta.is_dir(),
            size: meta.len(),
            modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            changed: SystemTime::UNIX_EPOCH + changed,
            // Older Linux kernels do not support EMPTY_PATH here: then the mode decides.
            writable: writable.is_ok() || (writable == Err(Errno::INVAL) && meta.mode() & 0o222 != 0),
            identity: (meta.dev(), meta.ino()),
        })
    }

    /// The visible entries of a folder, by name.
    /// # Errors
    /// [`FileError::NotFound`]; [`FileError::Unfit`] if it is not a folder.
    pub fn list(&self, path: &RelativePath) -> Result<Vec<(RelativePath, Facts)>, FileError> {
        if !self.facts(path)?.is_dir {
            return Err(FileError::Unfit(format!("`{path}` is not a folder")));
        }
        let failed = |errno| FileError::from_errno("list", path, errno);
        let folder =
            self.open_beneath(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).map_err(failed)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::new(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            // Skips hidden names, and entries that vanish or lead out.
            let Ok(child) = path.join(name) else { continue };
            if let Ok(facts) = self.facts(&child) {
                entries.push((child, facts));
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Opens a file for reading.
    /// # Errors
    /// [`FileError::NotFound`]; [`FileError::Unfit`] if it is a folder.
    pub fn open_file(&self, path: &RelativePath) -> Result<(File, Facts), FileError> {
        let facts = self.facts(path)?;
        if facts.is_dir {
            return Err(FileError::Unfit(format!("`{path}` is a folder, not a file")));
        }
        // Do not block on a pipe that was put in the file's place.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = self
            .open_beneath(path, flags, Mode::empty())
            .map_err(|errno| FileError::from_errno("read", path, errno))?;
        let facts = self.facts_of(&file, path)?;
        Ok((File::from(file), facts))
    }

    /// Reads a whole file.
    /// # Errors
    /// Same as [`Files::open_file`]; [`FileError::Unfit`] if it is larger than `limit_bytes`.
    pub fn read(&self, path: &RelativePath, limit_bytes: usize) -> Result<(Vec<u8>, Facts), FileError> {
        let (file, facts) = self.open_file(path)?;
        if facts.size > limit_bytes as u64 {
            let message = format!(
                "`{path}` has {} bytes, more than the {limit_bytes} that can be opened here: download it",
                facts.size
            );
            return Err(FileError::Unfit(message));
        }
        let mut bytes = Vec::with_capacity(facts.size as usize);
        let read = file.take(limit_bytes as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| FileError::Io { what: "read", path: path.to_string(), error })?;
        Ok((bytes, facts))
    }

    /// Creates a folder.
    /// # Errors
    /// [`FileError::Exists`]; [`FileError::NotFound`] if its parent folder does not exist.
    pub fn make_dir(&self, path: &RelativePath) -> Result<(), FileError> {
        self.make_local_dir(path)?;
        match &self.replica {
            Some(replica) => replica.made_folder(path, &self.facts(path)?),
            None => Ok(()),
        }
    }

    fn make_local_dir(&self, path: &RelativePath) -> Result<(), FileError> {
        let folder = self.open_parent(path)?;
        rustix::fs::mkdirat(&folder, path.name(), Mode::from_raw_mode(0o777))
            .map_err(|errno| FileError::from_errno("make the folder", path, errno))
    }

    fn open_parent(&self, path: &RelativePath) -> Result<OwnedFd, FileError> {
        let Some(parent) = path.parent() else {
            return Err(FileError::Unfit("the served folder itself cannot be changed".to_owned()));
        };
        let failed = |errno| FileError::from_errno("open the folder", &parent, errno);
        self.open_beneath(&parent, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).map_err(failed)
    }

    /// Moves an entry to another path.
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::Exists`].
    pub fn rename(&self, from: &RelativePath, to: &RelativePath) -> Result<(), FileError> {
        self.rename_local(from, to)?;
        let Some(replica) = self.replica.as_ref().filter(|_| from != to) else { return Ok(()) };
        let facts = |path: &str| RelativePath::parse_hidden(path).and_then(|path| self.facts(&path)).ok();
        let mut renamed = replica.renamed(from, to, facts);
        if renamed.is_ok()
            && let (Some(old), Some(new)) = (from.checkpoint(), to.checkpoint())
        {
            renamed = replica.renamed(&old, &new, facts);
        }
        renamed.inspect_err(|_| {
            let _ = self.rename_local(to, from);
        })
    }

    fn rename_local(&self, from: &RelativePath, to: &RelativePath) -> Result<(), FileError> {
        self.facts(from)?;
        if from == to {
            return Ok(());
        }
        if to.is_below(from) {
            return Err(FileError::Unfit(format!("`{from}` cannot be moved into itself")));
        }
        let (old, new) = (self.open_parent(from)?, self.open_parent(to)?);
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&old, from.name(), &new, to.name(), flags) {
            // The file system does not support the flag.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if self.facts(to).is_ok() {
                    return Err(FileError::Exists(to.to_string()));
                }
                rustix::fs::renameat(&old, from.name(), &new, to.name())
            }
            other => other,
        }
        .map_err(|errno| match errno {
            Errno::EXIST => FileError::Exists(to.to_string()),
            errno => FileError::from_errno("rename", from, errno),
        })?;
        // A notebook's checkpoint moves with it.
        if let (Some(old), Some(new)) = (from.checkpoint(), to.checkpoint())
            && self.facts(&old).is_ok()
        {
            let _ = self.make_checkpoint_folder(&new);
            if let (Ok(a), Ok(b)) = (self.open_parent(&old), self.open_parent(&new)) {
                let _ = rustix::fs::renameat(&a, old.name(), &b, new.name());
            }
        }
        Ok(())
    }

    /// Deletes a file or an empty folder (one that contains only checkpoints counts as empty).
    /// # Errors
    /// [`FileError::NotFound`]; [`FileError::Unfit`] if a folder is not empty.
    pub fn remove(&self, path: &RelativePath) -> Result<(), FileError> {
        let Some(replica) = &self.replica else { return self.remove_local(path) };
        if self.facts(path)?.is_dir {
            // It may have something in it.
            self.remove_local(path)?;
            return replica.removed(path);
        }
        replica.removed(path)?;
        if let Some(checkpoint) = path.checkpoint() {
            replica.removed(&checkpoint)?;
        }
        self.remove_local(path)
    }

    /// The same in this folder alone.
    pub(crate) fn remove_local(&self, path: &RelativePath) -> Result<(), FileError> {
        let folder = self.open_parent(path)?;
        let is_dir = self.facts(path)?.is_dir;
        if is_dir && let Ok(checkpoints) = path.join_hidden(".ipynb_checkpoints") {
            let others = std::fs::read_dir(self.absolute(path)).is_ok_and(|entries| entries.count() > 1);
            if !others
                && let Ok(entries) =
                    self.open_beneath(&checkpoints, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
            {
                for entry in rustix::fs::Dir::read_from(&entries).into_iter().flatten().flatten() {
                    let _ = rustix::fs::unlinkat(&entries, entry.file_name(), AtFlags::empty());
                }
                if let Ok(parent) = self.open_parent(&checkpoints) {
                    let _ = rustix::fs::unlinkat(&parent, checkpoints.name(), AtFlags::REMOVEDIR);
                }
            }
        }
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&folder, path.name(), flags) {
            // A link to a folder.
            Err(Errno::NOTDIR) => rustix::fs::unlinkat(&folder, path.name(), AtFlags::empty()),
            other => other,
        }
        .map_err(|errno| FileError::from_errno("delete", path, errno))?;
        if let Some(checkpoint) = path.checkpoint().filter(|_| !is_dir)
            && let Ok(folder) = self.open_parent(&checkpoint)
        {
            let _ = rustix::fs::unlinkat(folder.as_fd(), checkpoint.name(), AtFlags::empty());
        }
        Ok(())
    }

    /// The first of the names `name(0)`, `name(1)`, … that does not exist in `folder`.
    /// # Errors
    /// [`FileError::NotFound`] if the folder does not exist.
    pub fn free_path(
        &self,
        folder: &RelativePath,
        name: impl Fn(u32) -> String,
    ) -> Result<RelativePath, FileError> {
        self.facts(folder)?;
        for number in 0..100_000 {
            let path = folder.join(&name(number))?;
            if self.facts(&path).is_err() {
                return Ok(path);
            }
        }
        Err(FileError::Unfit(format!("all names like `{}` are taken in `{folder}`", name(0))))
    }
}
