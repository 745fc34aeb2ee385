//! The runtime directory of one supervisor: copies of libraries, sockets of side processes, what workers keep in memory.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::ops::build::Copies;

/// A directory that only its owner can enter. It is created when something has to be put there, so a config
/// without plugins also serves on a read-only file system. Dropping it removes the directory; the next start
/// removes the directory of a killed supervisor.
#[derive(Debug, Default)]
pub(crate) struct RuntimeDir(OnceLock<Made>);

#[derive(Debug)]
struct Made {
    path: PathBuf,
    // Locked while the supervisor runs, so that other supervisors can check whether the directory is still in use.
    lock: File,
    /// The copies of libraries in the directory.
    copies: Copies,
}

const PREFIX: &str = "paster-";
/// Name of the directory for copies of libraries.
const LIBRARIES: &str = "libraries";
/// Name of the directory for what workers keep in memory.
const MEMORY: &str = "memory";

impl Made {
    fn at(path: PathBuf, lock: File) -> Made {
        let copies = Copies::new(path.join(LIBRARIES));
        Made { path, lock, copies }
    }

    /// Creates the directory, and removes directories of killed supervisors.
    fn new() -> Result<Made> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let failed = |cause: std::io::Error| {
            Error::new(format!("cannot create a runtime directory in `{}`", parent.display()))
                .help("plugins need one: set TMPDIR to a writable directory")
                .because(cause)
        };
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(failed)?;
        let lock = File::create(folder.path().join("lock")).map_err(failed)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|cause| failed(cause.into()))?;
        Ok(Made::at(folder.keep(), lock))
    }
}

impl RuntimeDir {
    /// Takes over the directory of the previous program in this process, which `lock` keeps locked.
    pub(crate) fn adopt(path: PathBuf, lock: File) -> RuntimeDir {
        RuntimeDir(OnceLock::from(Made::at(path, lock)))
    }

    /// Its path and its lock, for an upgrade; `None` if it was never needed.
    pub(crate) fn made(&self) -> Option<(&Path, &File)> {
        self.0.get().map(|made| (&*made.path, &made.lock))
    }

    /// Its path.
    /// # Errors
    /// When it does not exist yet and the system's directory for temporary files is not writable.
    pub(crate) fn path(&self) -> Result<&Path> {
        Ok(&self.make()?.path)
    }

    /// The copies of libraries in the directory.
    /// # Errors
    /// As [`RuntimeDir::path`].
    pub(crate) fn copies(&self) -> Result<&Copies> {
        Ok(&self.make()?.copies)
    }

    /// The directory for what workers keep in memory, which belongs to the user and the group that they run as.
    /// # Errors
    /// As [`RuntimeDir::path`]; when it cannot be given to that user.
    pub(crate) fn memory(&self, owner: Option<(u32, u32)>) -> Result<PathBuf> {
        let folder = self.path()?.join(MEMORY);
        let made =
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).and_then(|()| match owner {
                Some((user, group)) => std::os::unix::fs::lchown(&folder, Some(user), Some(group)),
                None => Ok(()),
            });
        let failed = |cause| Error::new(format!("cannot create `{}`", folder.display())).because(cause);
        made.map_err(failed)?;
        Ok(folder)
    }

    fn make(&self) -> Result<&Made> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let made = Made::new()?;
        Ok(self.0.get_or_init(|| made))
    }

    /// Lets every user enter the directory, but not list it. The sockets in it have their own permissions.
    /// # Errors
    /// When this process may not change the permissions.
    pub(crate) fn open_to_all(&self) -> std::io::Result<()> {
        let Some((path, _)) = self.made() else { return Ok(()) };
        let mode = fs::metadata(path)?.permissions().mode();
        fs::set_permissions(path, Permissions::from_mode(mode | 0o001))
    }

    /// Lets a group enter and read the libraries, but not change anything.
    /// # Errors
    /// When this process may not change the permissions.
    pub(crate) fn open_to(&self, group: u32) -> std::io::Result<()> {
        let open = |path: &Path, mode: u32| -> std::io::Result<()> {
            if fs::metadata(path)?.gid() != group {
                std::os::unix::fs::chown(path, None, Some(group))?;
                fs::set_permissions(path, Permissions::from_mode(mode))?;
            }
            Ok(())
        };
        let Some((path, _)) = self.made() else { return Ok(()) };
        open(path, 0o750)?;
        let libraries = path.join(LIBRARIES);
        if libraries.exists() {
            open(&libraries, 0o750)?;
        }
        for entry in fs::read_dir(&libraries).into_iter().flatten().flatten() {
            open(&entry.path(), 0o640)?;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // the next start removes what is left
    }
}

/// Removes the directories of this user whose supervisor is gone.
fn sweep(parent: &Path) {
    let us = rustix::process::getuid().as_raw();
    let ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
            && fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == us)
    };
    for path in fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()).filter(ours) {
        let Ok(lock) = File::open(path.join("lock")) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&path); // another supervisor may do the same
        }
    }
}
