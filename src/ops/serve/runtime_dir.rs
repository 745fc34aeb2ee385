//! The private folder of one supervisor: copies of libraries, sockets of side processes.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::ops::build::Copies;

/// A folder that only its owner can enter, made when something is to be put there: a config without plugins needs none,
/// and serves where nothing can be written. It goes with the value; one that a killed supervisor left behind goes with the
/// next.
#[derive(Debug, Default)]
pub(super) struct RuntimeDir(OnceLock<Made>);

#[derive(Debug)]
struct Made {
    path: PathBuf,
    // Locked as long as the supervisor lives: that is how another one tells a folder in use from one left behind.
    lock: File,
    /// The copies of libraries in it.
    copies: Copies,
}

const PREFIX: &str = "paster-";
/// Where copies of libraries go.
const LIBRARIES: &str = "libraries";

impl Made {
    fn at(path: PathBuf, lock: File) -> Made {
        let copies = Copies::new(path.join(LIBRARIES));
        Made { path, lock, copies }
    }

    /// Makes the folder, and removes those left behind.
    fn new() -> Result<Made> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let failed = |cause: std::io::Error| {
            Error::new(format!("cannot make a private folder in `{}`", parent.display()))
                .help("plugins need one: set TMPDIR to a folder that can be written to")
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
    /// Takes charge of one that another supervisor has made in this process, and holds with `lock`.
    pub(super) fn adopt(path: PathBuf, lock: File) -> RuntimeDir {
        RuntimeDir(OnceLock::from(Made::at(path, lock)))
    }

    /// Its path and its lock, for a successor; `None` when it was never needed.
    pub(super) fn made(&self) -> Option<(&Path, &File)> {
        self.0.get().map(|made| (&*made.path, &made.lock))
    }

    /// Its path.
    /// # Errors
    /// When it is not there yet and the system's folder for temporary files cannot be written to.
    pub(super) fn path(&self) -> Result<&Path> {
        Ok(&self.make()?.path)
    }

    /// The copies of libraries in it.
    /// # Errors
    /// As [`RuntimeDir::path`].
    pub(super) fn copies(&self) -> Result<&Copies> {
        Ok(&self.make()?.copies)
    }

    fn make(&self) -> Result<&Made> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let made = Made::new()?;
        Ok(self.0.get_or_init(|| made))
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
