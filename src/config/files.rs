//! Opens the files that a config names for reading and for logs. If the user of this process may not open a
//! file, an [`Opener`] does: a worker that has dropped its rights asks the supervisor.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To read it.
    Read,
    /// To append to it; it is created if it does not exist.
    Append,
}

/// Opens files that this process may not open.
pub trait Opener: Send + Sync {
    /// Opens `path`. May block.
    /// # Errors
    /// If the opener may not open it either, or refuses to.
    fn open(&self, path: &Path, purpose: Purpose) -> io::Result<File>;
}

/// How the files of a config are opened.
#[derive(Clone, Default)]
pub struct Files(Option<Arc<dyn Opener>>);

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

impl Files {
    /// Files are opened by this process or, if it may not, by `opener`.
    pub fn by(opener: Arc<dyn Opener>) -> Files {
        Files(Some(opener))
    }

    /// Opens a file. May block.
    /// # Errors
    /// The error of the last attempt.
    pub fn open(&self, path: &Path, purpose: Purpose) -> io::Result<File> {
        match (open(path, purpose), &self.0) {
            (Err(error), Some(opener)) if error.kind() == io::ErrorKind::PermissionDenied => {
                opener.open(path, purpose)
            }
            (direct, _) => direct,
        }
    }

    /// Checks whether a file could be opened for appending, without creating it.
    /// # Errors
    /// As [`Files::open`].
    pub fn check_append(&self, path: &Path) -> io::Result<()> {
        if path.exists() {
            return self.open(path, Purpose::Append).map(drop);
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        Ok(rustix::fs::access(folder, access)?)
    }

    /// Reads a whole file.
    /// # Errors
    /// As [`Files::open`].
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path, Purpose::Read)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a whole text file, without the byte order mark that some editors write.
    /// # Errors
    /// As [`Files::open`].
    pub fn read_text(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path).map(without_bom)
    }

    /// The metadata of a file. May block.
    /// # Errors
    /// As [`Files::open`].
    pub fn metadata(&self, path: &Path) -> io::Result<std::fs::Metadata> {
        match std::fs::metadata(path) {
            // This process may not search its folder.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.0.is_some() => {
                self.open(path, Purpose::Read)?.metadata()
            }
            direct => direct,
        }
    }
}

/// Opens a file. Only its owner and group may read a new log.
fn open(path: &Path, purpose: Purpose) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    match purpose {
        Purpose::Read => File::open(path),
        Purpose::Append => File::options().append(true).create(true).mode(0o640).open(path),
    }
}

/// `text` without a byte order mark of UTF-8 at its start.
pub fn without_bom(mut text: Vec<u8>) -> Vec<u8> {
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    text
}

/// Help for a file that this process may not open. Names the process's user.
pub fn help_for_denied() -> String {
    let user = nix::unistd::geteuid();
    let name = nix::unistd::User::from_uid(user).ok().flatten().map(|user| user.name);
    let name = name.unwrap_or_else(|| user.to_string());
    format!(
        "the user `{name}` cannot open it: give that user access or, if root starts paster, keep the file in \
         folders that only root can change"
    )
}
