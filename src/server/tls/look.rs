//! The state of a file, to detect changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Files;

/// Device, inode and size; modification time and change time (which covers permissions); `None` if the file
/// does not exist.
pub(super) type FileStamp = Option<([u64; 3], [i64; 4])>;

fn look(path: &Path, opener: &Files) -> FileStamp {
    let found = opener.metadata(path).ok()?;
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    Some(([found.dev(), found.ino(), found.size()], times))
}

/// The current state of `files`.
pub(super) fn looks(files: &[PathBuf], opener: &Files) -> Vec<FileStamp> {
    files.iter().map(|file| look(file, opener)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_key_that_may_be_read_at_last_looks_different() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.pem");
        std::fs::write(&key, "key").unwrap();
        let look = |key: &Path| look(key, &Files::default());
        let before = look(&key);
        let end = Instant::now() + Duration::from_secs(60);
        let mut mode = 0o600;
        // The kernel's clock for files ticks every few milliseconds.
        while look(&key) == before {
            assert!(Instant::now() < end, "a change of the mode is not seen");
            mode ^= 0o040;
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}
