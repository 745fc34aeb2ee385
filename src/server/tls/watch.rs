//! Reloads changed certificate files, without a new generation.
//!
//! The files are polled rather than watched: a renewal may be a rename, a switched symbolic link (certbot,
//! Kubernetes) or a write in place, on any file system, and a poll costs two system calls.

use std::path::PathBuf;
use std::sync::Weak;
use std::time::Duration;

use super::look::{FileStamp, looks};
use super::terminator::Terminator;

/// Time between two polls. A change is loaded once two polls have seen the same state, because certificate
/// and key are rarely replaced at the same time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Polls until the terminator is gone; `taken` is the state that was loaded last.
pub(super) async fn watch(terminator: Weak<Terminator>, files: Vec<PathBuf>, mut taken: Vec<FileStamp>) {
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
                    "cannot load changed certificates: the old ones remain in use"
                );
            }
        }
    }
}
