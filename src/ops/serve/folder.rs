//! The private folder of one supervisor: copies of libraries, sockets of side processes.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};

/// A folder that only its owner can enter. It goes with the value; one that a killed supervisor left behind goes
/// with the next start.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    // Locked as long as the supervisor lives: that is how another one tells a folder in use from one left behind.
    lock: File,
}

const PREFIX: &str = "paster-";

impl Folder {
    /// Makes the folder, and removes those left behind.
    /// # Errors
    /// When the system's folder for temporary files cannot be written to.
    pub(super) fn new() -> Result<Folder> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let failed = |cause: std::io::Error| {
            Error::new(format!("cannot make a private folder in `{}`", parent.display()))
                .help("set TMPDIR to a folder that can be written to")
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
        Ok(Folder { path: folder.keep(), lock })
    }

    /// Takes charge of one that another supervisor has made in this process, and holds with `lock`.
    pub(super) fn adopt(path: PathBuf, lock: File) -> Folder {
        Folder { path, lock }
    }

    /// Its lock, for a successor.
    pub(super) fn lock(&self) -> &File {
        &self.lock
    }

    /// Where copies of libraries go.
    pub(super) fn libraries(&self) -> PathBuf {
        self.path().join("libraries")
    }

    /// Lets a group enter and read the libraries, but change nothing.
    /// # Errors
    /// When this process may not do that.
    pub(super) fn open_to(&self, group: u32) -> std::io::Result<()> {
        let open = |path: &Path, mode: u32| -> std::io::Result<()> {
            if fs::metadata(path)?.gid() != group {
                std::os::unix::fs::chown(path, None, Some(group))?;
                fs::set_permissions(path, Permissions::from_mode(mode))?;
            }
            Ok(())
        };
        open(self.path(), 0o750)?;
        let libraries = self.libraries();
        if libraries.exists() {
            open(&libraries, 0o750)?;
        }
        for entry in fs::read_dir(&libraries).into_iter().flatten().flatten() {
            open(&entry.path(), 0o640)?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // the next start sweeps what is left
    }
}

/// Removes folders of ours whose supervisor is gone.
fn sweep(parent: &Path) {
    let us = rustix::process::getuid().as_raw();
    let ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
            && fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == us)
    };
    for path in fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()).filter(ours) {
        let Ok(lock) = File::open(path.join("lock")) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&path); // another supervisor may be as quick
        }
    }
}
