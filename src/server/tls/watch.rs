//! Reloads changed certificate files, without a new generation.
//!
//! The files are polled rather than watched: a renewal may be a rename, a switched symbolic link (certbot,
//! Kubernetes) or a write in place, on any file system, and a poll costs two system calls.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use super::terminator::Terminator;
use crate::config::Files;

/// Time between two polls. A change is loaded once two polls have seen the same state, because certificate
/// and key are rarely replaced at the same time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Device, inode and size; modification time and change time (which covers permissions); `None` if the file
/// does not exist.
pub(super) type Look = Option<([u64; 3], [i64; 4])>;

fn look(path: &Path, opener: &Files) -> Look {
    let found = opener.metadata(path).ok()?;
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    Some(([found.dev(), found.ino(), found.size()], times))
}

/// The current state of `files`.
pub(super) fn looks(files: &[PathBuf], opener: &Files) -> Vec<Look> {
    files.iter().map(|file| look(file, opener)).collect()
}

/// Polls until the terminator is gone; `taken` is the state that was loaded last.
pub(super) async fn watch(terminator: Weak<Terminator>, files: Vec<PathBuf>, mut taken: Vec<Look>) {
    let mut last = taken.clone();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(terminator) = terminator.upgrade() else { return };
        let (files, opener) = (files.clone(), terminator.settings().opener.clone());
        // A hanging network file system must not block requests.
        let Ok(now) = tokio::task::spawn_blocking(move || looks(&files, &opener)).await else { return };
        let settled = std::mem::replace(&mut last, now) == last;
        if !settled || last == taken {
            continue;
        }
        taken.clone_from(&last);
        let settings = terminator.settings().clone();
        let Ok(loaded) = tokio::task::spawn_blocking(move || settings.load()).await else { return };
        let renewed = match loaded {
            Ok(loaded) => terminator.renew(loaded).map_err(|error| vec![error]),
            Err(faults) => Err(faults.into_iter().map(|fault| fault.error).collect()),
        };
        match renewed {
            Ok(()) => tracing::info!("loaded changed certificates"),
            Err(errors) => {
                let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
                tracing::error!(
                    error = text.join("; "),
                    "cannot load changed certificates: the old ones stay in use"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

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
