//! The private directory of ACME's state.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::FlockOperation;

/// Directory of the responses to challenges.
pub(super) const CHALLENGES: &str = "challenges";

/// Locks the directory for one order, until the file is closed.
pub(super) fn lock(folder: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Creates the private directory.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(CHALLENGES))
}

/// Writes a private file completely or not at all.
pub(super) fn keep(file: &Path, content: &[u8]) -> io::Result<()> {
    let draft = file.with_file_name(format!(".{}.draft", uuid::Uuid::new_v4()));
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = out.write_all(content).and_then(|()| out.sync_all());
    written.and_then(|()| std::fs::rename(&draft, file)).inspect_err(|_| {
        let _ = std::fs::remove_file(&draft); // the first error is the one to report
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_orders() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).is_err());
        drop(first);
        lock(folder.path()).unwrap();
    }
}
