//! The processes of a generation's applications, as data: who holds them keeps them running.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::app::process::ProcessSpec;
use crate::ops::serve::process::credentials::Credentials;

/// The processes of one generation's applications. The last copy ends them.
#[derive(Debug, Clone, Default)]
pub(in crate::ops::serve::supervisor) struct AppProcesses(pub(super) Vec<Arc<AppGroup>>);

/// The processes of one application.
#[derive(Debug)]
pub(super) struct AppGroup {
    pub(super) app: String,
    pub(super) spec: ProcessSpec,
    pub(super) credentials: Credentials,
    pub(super) members: Vec<Arc<Member>>,
    pub(super) sources: Arc<Sources>,
    /// Dropping this ends the processes.
    pub(super) _stop: watch::Sender<()>,
}

/// Source files as they were when the processes have loaded them.
#[derive(Debug, Default)]
pub(super) struct Sources {
    contents: Mutex<BTreeMap<PathBuf, Option<u64>>>,
}

/// One process, and those that replace it.
#[derive(Debug)]
pub(super) struct Member {
    /// Its number in the application.
    pub(super) index: usize,
    pub(super) socket: PathBuf,
    pub(super) listener: OwnedFd,
    pub(super) current: Mutex<CurrentProcess>,
}

/// The current process.
#[derive(Debug)]
pub(super) struct CurrentProcess {
    /// 0 while it restarts.
    pub(super) pid: u32,
    pub(super) since: Instant,
    pub(super) restarts: u64,
    /// A copy of its control socket, for an upgrade.
    pub(super) control: Option<OwnedFd>,
}

/// The processes of one application, for a program that takes over. For each, the descriptors are its listening socket,
/// and its control socket if it runs.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ops::serve::supervisor) struct CarriedApp {
    pub(super) app: String,
    pub(super) spec: ProcessSpec,
    pub(super) credentials: Credentials,
    pub(super) members: Vec<CarriedProcess>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CarriedProcess {
    pub(super) index: usize,
    pub(super) socket: PathBuf,
    /// 0 while it is being restarted.
    pub(super) pid: u32,
    pub(super) since: SystemTime,
    pub(super) restarts: u64,
}

impl AppProcesses {
    /// The sockets at which the processes listen, by app.
    pub(in crate::ops::serve::supervisor) fn sockets(&self) -> BTreeMap<String, Vec<PathBuf>> {
        let of = |group: &Arc<AppGroup>| {
            let sockets = group.members.iter().map(|member| member.socket.clone());
            (group.app.clone(), sockets.collect())
        };
        self.0.iter().map(of).collect()
    }

    /// Whether source files have changed since the processes have loaded them.
    pub(in crate::ops::serve::supervisor) fn have_changed(&self) -> bool {
        self.0.iter().any(|group| group.sources.have_changed())
    }

    /// These and `more`.
    pub(in crate::ops::serve::supervisor) fn extend(&mut self, more: &AppProcesses) {
        self.0.extend(more.0.iter().cloned());
    }
}

impl Sources {
    /// Stores what `paths` contain. What was written after `began` may not be what the process has loaded.
    pub(super) fn record(&self, paths: &[PathBuf], began: SystemTime) {
        let mut contents = self.contents.lock();
        for path in paths.iter().filter(|path| !contents.contains_key(*path)).collect::<Vec<_>>() {
            let written = path.metadata().and_then(|found| found.modified());
            let is_newer = written.is_ok_and(|written| written > began);
            contents.insert(path.clone(), content(path).filter(|_| !is_newer));
        }
    }

    pub(super) fn have_changed(&self) -> bool {
        self.contents.lock().iter().any(|(path, known)| content(path) != *known)
    }
}

/// A hash of a file's content; `None` if it cannot be read.
fn content(path: &Path) -> Option<u64> {
    let mut hash = DefaultHasher::new();
    std::fs::read(path).ok()?.hash(&mut hash);
    Some(hash.finish())
}
