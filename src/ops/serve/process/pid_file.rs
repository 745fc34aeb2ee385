//! The file with the supervisor's process id: locked while it runs, removed at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::error::Error;

/// How often another process may replace the file while this one takes it.
const TRIES: u32 = 100;

/// A locked pid file. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct PidFile {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

impl PidFile {
    /// Creates and locks `path`. Replaces a file that no running server has locked.
    /// # Errors
    /// When a running server has locked it, or it cannot be written. Symbolic links are not followed: anyone
    /// who can write in the directory could otherwise make the server overwrite any of its own files.
    pub(crate) fn take(path: &Path) -> Result<PidFile, Error> {
        let failed = |cause: io::Error| {
            let linked = cause.raw_os_error() == Some(Errno::LOOP.raw_os_error());
            let error = Error::new(format!("cannot write the pid file `{}`", path.display())).because(cause);
            error.help(if linked {
                "the path is a symbolic link: remove it, or set `pid_file` in `[process]` to its target"
            } else {
                "create its directory, or correct `pid_file` in `[process]`"
            })
        };
        for _ in 0..TRIES {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o644);
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let mut file = options.open(path).map_err(failed)?;
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder); // if this fails, the message has no process id
                return Err(Error::new(format!(
                    "another server has locked the pid file `{}` (process {})",
                    path.display(),
                    holder.trim()
                ))
                .help("stop it, or set another `pid_file` in `[process]`"));
            }
            // The other server may have removed it between opening and locking.
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
        Err(failed(io::Error::other("other processes keep removing it")))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path); // it may be gone already
        }
    }
}

/// Whether `path` still names the open file.
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
