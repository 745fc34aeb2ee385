//! Paths of Unix sockets that are too long for a socket address.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Maximum bytes of a path in an address: `sun_path` has 108 including its NUL, unix(7).
const LONGEST: usize = 107;

/// A path that fits a socket address: the path itself, or one through a descriptor of its directory. It is
/// valid as long as the value lives.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl SocketPath {
    /// Creates a link to `path`.
    /// # Errors
    /// If the directory cannot be opened, or the file name alone is too long.
    pub fn new(path: &Path) -> io::Result<SocketPath> {
        let (Some(folder), Some(name)) =
            (path.parent().filter(|_| path.as_os_str().len() > LONGEST), path.file_name())
        else {
            return Ok(SocketPath { path: path.to_owned(), _folder: None });
        };
        let folder =
            rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        if short.as_os_str().len() > LONGEST {
            let message = "the file name of a socket may have at most 80 bytes if its path has more than 107";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(SocketPath { path: short, _folder: Some(folder) })
    }
}

impl Deref for SocketPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}
