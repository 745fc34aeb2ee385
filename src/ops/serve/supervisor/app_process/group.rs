//! The processes of a generation's applications, as data: who holds them keeps them running.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::app::process::{ControlMessage, PortReservation, ProcessSpec};
use crate::context::ProcessAddress;
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::supervisor::watch::is_ignored;

/// The processes of one generation's applications. The last copy ends them.
#[derive(Debug, Clone, Default)]
pub(in crate::ops::serve::supervisor) struct AppProcesses(pub(super) Vec<Arc<AppGroup>>);

/// The processes of one application, or of a program that serves nothing.
#[derive(Debug)]
pub(super) struct AppGroup {
    pub(super) owner: GroupOwner,
    pub(super) spec: ProcessSpec,
    pub(super) credentials: Credentials,
    pub(super) members: Vec<Arc<ProcessSlot>>,
    pub(super) sources: Arc<LoadedSources>,
    /// Number of the generation that has started them.
    pub(super) generation: u64,
    /// Whether their plugins know that a newer generation serves.
    pub(super) retired: AtomicBool,
    /// What these processes need: it ends after them.
    pub(super) needs: Vec<Arc<AppGroup>>,
    /// Dropping this ends the processes.
    pub(super) _stop: watch::Sender<()>,
}

/// What processes belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupOwner {
    /// Name of the table.
    pub(super) name: String,
    /// Whether it is a table `[program.NAME]`; otherwise `[app.NAME]`.
    pub(super) is_program: bool,
}

impl fmt::Display for GroupOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_program { "program" } else { "app" };
        write!(f, "{kind} `{}`", self.name)
    }
}

/// Source files as they were when the processes have loaded them.
#[derive(Debug, Default)]
pub(super) struct LoadedSources {
    contents: Mutex<BTreeMap<PathBuf, Option<u64>>>,
}

/// One process, and those that replace it.
#[derive(Debug)]
pub(super) struct ProcessSlot {
    /// Its number in the application.
    pub(super) index: usize,
    /// The path of its socket, or of one that it might have: its log is beside it.
    pub(super) socket: PathBuf,
    /// Its address.
    pub(super) address: Option<ProcessAddress>,
    /// The socket that it inherits.
    pub(super) listener: Option<OwnedFd>,
    /// Keeps its port from other servers.
    pub(super) _reservation: Option<PortReservation>,
    pub(super) current: Mutex<CurrentProcess>,
    pub(super) stacks: StacksWanted,
}

/// The callers that wait for the stacks of a process.
#[derive(Debug, Default)]
pub(super) struct StacksWanted {
    waiting: Mutex<Vec<oneshot::Sender<String>>>,
    added: Notify,
}

impl StacksWanted {
    /// Asks for the stacks.
    pub(super) fn ask(&self) -> oneshot::Receiver<String> {
        let (answer, stacks) = oneshot::channel();
        self.waiting.lock().push(answer);
        self.added.notify_one();
        stacks
    }

    /// Waits for a request. Safe to cancel.
    pub(super) async fn wanted(&self) {
        self.added.notified().await;
    }

    /// Answers all who wait.
    pub(super) fn answer(&self, stacks: &str) {
        for waiting in self.waiting.lock().drain(..) {
            let _ = waiting.send(stacks.to_owned()); // it may have given up
        }
    }
}

/// The current process.
#[derive(Debug)]
pub(super) struct CurrentProcess {
    /// 0 while it restarts.
    pub(super) pid: u32,
    /// The process of the program, if another one runs beside it.
    pub(super) program: Option<u32>,
    /// The name of its terminal's socket.
    pub(super) terminal: Option<String>,
    pub(super) since: Instant,
    pub(super) restarts: u64,
    /// A copy of its control socket, for an upgrade.
    pub(super) control: Option<OwnedFd>,
    /// Sends messages to it, if it runs plugins.
    pub(super) messages: Option<mpsc::UnboundedSender<ControlMessage>>,
}

/// The processes of one application, for a program that takes over. For each, the descriptors are its listening socket,
/// and its control socket if it runs.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ops::serve::supervisor) struct CarriedApp {
    pub(super) owner: GroupOwner,
    pub(super) spec: ProcessSpec,
    pub(super) credentials: Credentials,
    pub(super) members: Vec<CarriedProcess>,
    /// Number of the generation that has started them.
    #[serde(default)]
    pub(super) generation: u64,
    /// What these processes need: positions among all groups.
    pub(super) needs: Vec<usize>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CarriedProcess {
    pub(super) index: usize,
    pub(super) socket: PathBuf,
    pub(super) address: Option<ProcessAddress>,
    /// Whether it inherits its socket.
    pub(super) inherits: bool,
    /// 0 while it is being restarted.
    pub(super) pid: u32,
    pub(super) program: Option<u32>,
    pub(super) terminal: Option<String>,
    pub(super) since: SystemTime,
    pub(super) restarts: u64,
}

impl AppProcesses {
    /// The addresses at which the processes listen, by app.
    pub(in crate::ops::serve::supervisor) fn addresses(&self) -> BTreeMap<String, Vec<ProcessAddress>> {
        let of = |group: &Arc<AppGroup>| {
            let addresses = group.members.iter().filter_map(|member| member.address.clone());
            (group.owner.name.clone(), addresses.collect())
        };
        self.0.iter().filter(|group| !group.owner.is_program).map(of).collect()
    }

    /// Those that a worker uses. Programs that do not serve requests end when the next generation serves, even if the workers
    /// of this one continue.
    pub(in crate::ops::serve::supervisor) fn of_worker(&self) -> AppProcesses {
        AppProcesses(self.0.iter().filter(|group| !group.owner.is_program).cloned().collect())
    }

    /// Without those of these apps and programs.
    pub(in crate::ops::serve::supervisor) fn without(&self, names: &BTreeSet<String>) -> AppProcesses {
        AppProcesses(self.0.iter().filter(|group| !names.contains(&group.owner.name)).cloned().collect())
    }

    /// Whether these are among them.
    pub(in crate::ops::serve::supervisor) fn have(&self, name: &str) -> bool {
        self.0.iter().any(|group| group.owner.name == name)
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

impl LoadedSources {
    /// Stores what `paths` contain. What was written after `began` may not be what the process has loaded.
    pub(super) fn record(&self, paths: &[PathBuf], began: SystemTime) {
        let mut contents = self.contents.lock();
        for path in paths.iter().filter(|path| !contents.contains_key(*path)).collect::<Vec<_>>() {
            let written = path.metadata().and_then(|found| found.modified());
            let is_newer = written.is_ok_and(|written| written > began) && !path.is_dir();
            contents.insert(path.clone(), content(path).filter(|_| !is_newer));
        }
    }

    pub(super) fn have_changed(&self) -> bool {
        self.contents.lock().iter().any(|(path, known)| content(path) != *known)
    }
}

/// A hash of a file's content, or of the names, sizes and times of the files in a directory, without those that
/// `.gitignore` names; `None` if it cannot be read.
fn content(path: &Path) -> Option<u64> {
    let mut hash = DefaultHasher::new();
    if path.is_dir() {
        let mut walk = ignore::WalkBuilder::new(path);
        walk.sort_by_file_path(Path::cmp).filter_entry(|entry| !is_ignored(entry.file_name()));
        for file in walk.build().flatten().filter(|file| file.file_type().is_some_and(|kind| kind.is_file()))
        {
            let meta = file.metadata().ok();
            let state = meta.map(|meta| (meta.len(), meta.modified().ok()));
            (file.path(), state).hash(&mut hash);
        }
        return Some(hash.finish());
    }
    std::fs::read(path).ok()?.hash(&mut hash);
    Some(hash.finish())
}
