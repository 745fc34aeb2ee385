//! The messages between supervisor and worker on the control socket.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::caches::{CachedResponse, Purge};
use crate::config::{Config, Purpose};
use crate::context::ProcessAddress;
use crate::error::Error;
use crate::metrics::Counts;
use crate::ops::control::{RequestInFlight, WorkerLoad as Load};
use crate::ops::sections::log::Log;
use crate::ops::sections::process::Process;
use crate::ops::sections::task::Order;
use crate::ops::serve::process::credentials::Credentials;
use crate::server::tickets::Secret;

/// A message in either direction.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message<Request, Reply, Notice> {
    /// Answer with a reply that has the same id.
    Request { id: u64, body: Request },
    /// The answer to a request.
    Reply { id: u64, body: Reply },
    /// Needs no answer.
    Notice(Notice),
}

/// From the supervisor to a worker.
pub(crate) type ToWorker = Message<WorkerRequest, HostReply, WorkerCommand>;

/// From a worker to the supervisor.
pub(crate) type FromWorker = Message<HostRequest, WorkerReply, Report>;

/// A request of the supervisor to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerRequest {
    /// Save the states of the apps.
    SaveState,
    /// Its metrics.
    Metrics,
    /// The load of the servers.
    Load,
    /// The requests in flight.
    InFlight,
    /// Cancel the requests with this id.
    Cancel(String),
    /// Run a task; the answer comes when it ends.
    RunTask(Box<Order>),
    /// Delete cached responses.
    PurgeCache(Purge),
    /// Up to this many cached responses.
    ListCache(usize),
}

/// The answer to a [`WorkerRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerReply {
    /// Name and length of each app's state among the raw bytes.
    State(Vec<(String, usize)>),
    /// Its counts so far.
    Metrics(Counts),
    /// The load of all servers.
    Load(Load),
    /// All of them.
    InFlight(Vec<RequestInFlight>),
    /// The ids of the cancelled requests.
    Cancelled(Vec<String>),
    /// The result of the task.
    Ran(Result<String, String>),
    /// How many cached responses were deleted.
    Purged(u64),
    /// Cached responses.
    Cached(Vec<CachedResponse>),
}

/// A request of a worker to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HostRequest {
    /// A plugin needs a side process.
    SideProcess {
        /// Name of the app.
        app: String,
        /// Name of the side process.
        name: String,
        /// The plugin's library.
        library: PathBuf,
    },
    /// The worker's user may not open this file, which the config names.
    Open {
        /// The file.
        path: PathBuf,
        /// The purpose.
        purpose: Purpose,
    },
    /// The directory for what all workers keep in memory.
    MemoryDir,
    /// The metrics of all workers together.
    Metrics,
}

/// The answer to a [`HostRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HostReply {
    /// The path of its socket.
    SideProcess(Result<PathBuf, Error>),
    /// Carries the file.
    Opened(Result<(), String>),
    /// The directory.
    MemoryDir(Result<PathBuf, Error>),
    /// The sum.
    Metrics(Counts),
}

/// A notice to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerCommand {
    /// Serve. Each descriptor is a hand-over socket from a worker of an older generation.
    Serve,
    /// A newer generation serves. The descriptor is the hand-over socket to it; a later one replaces it.
    Retire,
    /// End: close what is left after this many milliseconds.
    Drain(u64),
    /// The status for development pages.
    Live(Status),
    /// How often files have changed that are served directly: refresh the development pages that are older.
    Refresh(u64),
    /// Reopen the log files, which were moved. Carries the file of `[log]` if the supervisor opens it.
    Reopen,
}

/// A notice from a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The next step of the start runs a plugin's code: `creating the app …`.
    Starting(String),
    /// Everything is built and healthy.
    Ready,
    /// Sent about once a second.
    Heartbeat(Heartbeat),
    /// The start has failed, or the role was [`Role::Try`]; the process ends.
    Failed(Vec<Error>),
    /// All servers have stopped accepting connections, as [`WorkerCommand::Retire`] has requested.
    Retired,
    /// The path at which the user should open an app. It may contain a token.
    Announce {
        /// Name of the app.
        app: String,
        /// The path, with an optional query.
        path: String,
    },
    /// Source files of an application that the worker runs.
    Sources {
        /// Name of the app.
        app: String,
        /// The files.
        sources: Vec<PathBuf>,
        /// When the application began to load them.
        began: SystemTime,
    },
    /// Cached responses have changed: the other workers delete them.
    Invalidated(Purge),
    /// Its counts so far. What a killed worker has counted since the last report is lost.
    Metrics(Counts),
    /// The raw bytes are lines of the log, which standard error already has.
    Log,
    /// All servers have ended on their own (a console has printed its response). Stop with this exit code.
    Done(u8),
}

/// The first packet for a worker: what it needs to build its generation. Carries the listening sockets in the
/// order of `sockets`, the file of `[log]` if `has_log_file` is set, and the saved states as raw bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Number of the generation.
    pub(crate) generation: u64,
    /// Its slot, from 0.
    pub(crate) worker: usize,
    /// Distinguishes runs of the supervisor, because each counts its generations from 1.
    pub(crate) run: String,
    /// Whether development pages may be shown.
    pub(crate) development: bool,
    /// As in [`WorkerCommand::Refresh`].
    #[serde(default)]
    pub(crate) refreshes: u64,
    /// The secret for the keys of TLS session tickets, the same for every worker of the run.
    pub(crate) tickets: Secret,
    /// The merged config.
    pub(crate) config: Config,
    /// Its process options.
    pub(crate) process: Process,
    /// The user and the limits that it runs with.
    pub(crate) credentials: Credentials,
    /// Private copy of each plugin app's library.
    pub(crate) libraries: BTreeMap<String, PathBuf>,
    /// The addresses of the processes of each app that has some.
    #[serde(default)]
    pub(crate) processes: BTreeMap<String, Vec<ProcessAddress>>,
    /// Name and length of each app's saved state among the raw bytes.
    pub(crate) states: Vec<(String, usize)>,
    /// The server that each socket belongs to, as written in the config.
    pub(crate) sockets: Vec<(String, String)>,
    /// Its log options.
    pub(crate) log: Log,
    /// Whether the packet carries the file of `[log]`.
    pub(crate) has_log_file: bool,
    /// Its tasks.
    pub(crate) tasks: Vec<Order>,
    /// The purpose of the worker.
    pub(crate) role: Role,
}

/// The purpose of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Serve the apps.
    Serve,
    /// Nothing could be built: show this on every server instead of serving the apps.
    Tell(Vec<Error>),
    /// Some libraries could not be built: report the other faults, and end. No app is created.
    Try,
}

/// The status that development pages show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum Status {
    /// All is well.
    Serving,
    /// A new generation is starting.
    Building,
    /// It could not start.
    Failed {
        /// Why.
        errors: Vec<Error>,
    },
}

/// What a worker reports about itself, about once a second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Heartbeat {
    /// For how long no serving thread has started a new piece of work, in milliseconds.
    pub(crate) silent_ms: u64,
    /// For how long one piece of work has held a thread, in milliseconds.
    pub(crate) held_ms: u64,
    /// Requests so far.
    pub(crate) requests: u64,
    /// Open connections.
    pub(crate) connections: usize,
    /// Memory that is not backed by a file, in KiB.
    pub(crate) memory_kib: u64,
    /// The oldest requests without a response, if a thread is held.
    pub(crate) doing: Vec<String>,
}

/// What a process that runs plugins begins with. The saved states follow as raw bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PluginStart {
    /// Number of the generation that starts the process.
    pub(crate) generation: u64,
    /// Name and length of each app's saved state among the raw bytes.
    pub(crate) states: Vec<(String, usize)>,
}

/// Saved states of apps: the name and length of each, and their concatenation.
pub(crate) type SavedStates = (Vec<(String, usize)>, bytes::Bytes);

/// Splits raw bytes by their lengths.
pub(crate) fn split(parts: &[(String, usize)], mut raw: bytes::Bytes) -> BTreeMap<String, Vec<u8>> {
    let take = |(name, length): &(String, usize)| {
        let part = raw.split_to((*length).min(raw.len()));
        (name.clone(), part.to_vec())
    };
    parts.iter().map(take).collect()
}

/// The inverse of [`split`].
pub(crate) fn join(
    parts: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> (Vec<(String, usize)>, bytes::Bytes) {
    let mut raw = Vec::new();
    let lengths = parts.into_iter().map(|(name, part)| {
        raw.extend_from_slice(&part);
        (name, part.len())
    });
    (lengths.collect(), raw.into())
}
