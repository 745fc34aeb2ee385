//! The file with the supervisor's process id: locked while it runs, removed at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::error::Error;

/// How often another may take the place of the file while we take it.
const TRIES: u32 = 100;

/// A pid file that is ours. It goes with the value.
#[derive(Debug)]
pub(super) struct PidFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl PidFile {
    /// Takes `path`; one that no running server holds any more is replaced.
    /// # Errors
    /// When a running server holds it, or it cannot be written. A symbolic link is not followed: who may write in its folder
    /// could have any file of ours overwritten.
    pub(super) fn take(path: &Path) -> Result<PidFile, Error> {
        let failed = |cause: io::Error| {
            let linked = cause.raw_os_error() == Some(Errno::LOOP.raw_os_error());
            let error = Error::new(format!("cannot write the pid file `{}`", path.display())).because(cause);
            error.help(if linked {
                "a symbolic link lies there: remove it, or name the file itself as `pid_file` of `[process]`"
            } else {
                "create its folder, or correct `pid_file` of `[process]`"
            })
        };
        for _ in 0..TRIES {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o644);
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let mut file = options.open(path).map_err(failed)?;
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder); // without a number the message says less
                return Err(Error::new(format!(
                    "another server holds the pid file `{}` (process {})",
                    path.display(),
                    holder.trim()
                ))
                .help("stop it, or give this one a `pid_file` of its own in `[process]`"));
            }
            // Its holder may have removed it between the opening and the lock.
            if !is_at(&file, path) {
                continue;
            }
            let written = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| writeln!(file, "{}", std::process::id()));
            written.map_err(failed)?;
            return Ok(PidFile { path: path.to_owned(), file });
        }
        Err(failed(io::Error::other("others remove it again and again")))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path); // somebody may have been tidier
        }
    }
}

/// Whether `path` names the open file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let named = fs::symlink_metadata(path).map(identity).ok();
    named.is_some() && file.metadata().map(identity).ok() == named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_file_is_taken_and_a_held_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pid");
        fs::write(&path, "4294967295, and more").unwrap();
        let held = PidFile::take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        let error = PidFile::take(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        assert!(!path.exists());
        assert!(PidFile::take(&folder.path().join("no/such")).is_err());
    }
}
