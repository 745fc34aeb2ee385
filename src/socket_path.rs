//! Paths of Unix sockets that do not fit into a socket's address.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Most bytes of a path in an address: `sun_path` has 108 with its NUL, unix(7).
const LONGEST: usize = 107;

/// A path that fits into a socket's address: the path itself, or one through a descriptor of its folder. It holds as long
/// as the value lives.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl SocketPath {
    /// Makes one that leads to `path`.
    /// # Errors
    /// When the folder cannot be opened, or the name of the file alone is too long.
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
            let message =
                "the name of a socket's file may have 80 bytes where its whole path has more than 107";
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
