//! What supervisor and worker tell each other over the control socket.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::heartbeat::Heartbeat;
use super::live_page::Status;
use super::process::Process;
use super::query::{Query, QueryReply};
use crate::config::{Config, Purpose};
use crate::metrics::Counts;
use crate::ops::fault::Fault;
use crate::server::tickets::Secret;

/// From the supervisor to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToWorker {
    /// The first message. Carries the listening sockets in the order of `sockets`, the file of `[log]` if `log` is set, and
    /// the saved states as raw bytes.
    Start(Box<Start>),
    /// Answer with [`FromWorker::State`].
    SaveState,
    /// Serve. Each descriptor is a hand-over socket from an older generation.
    Serve,
    /// A newer generation serves. The descriptor is the hand-over socket to it; a later one replaces it.
    Retire,
    /// End: close what is left after so many milliseconds.
    Drain(u64),
    /// What became of [`FromWorker::Side`].
    Side(u64, Result<PathBuf, Fault>),
    /// What became of [`FromWorker::Open`]. Carries the file.
    Opened(u64, Result<(), String>),
    /// For the pages of developers.
    Live(Status),
    /// So often files have changed that are served as they are: the pages of developers from before are refreshed.
    Refresh(u64),
    /// Reopen the log files, which were moved. Carries that of `[log]` if the supervisor opens it.
    Reopen,
    /// Answer with [`FromWorker::Counted`] and this number.
    Count(u64),
    /// The answer to [`FromWorker::Counts`].
    Counts(u64, Counts),
    /// Answer with [`FromWorker::QueryReply`] of that number.
    Ask(u64, Query),
}

/// What a worker needs to build its generation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// Number of the generation.
    pub(super) generation: u64,
    /// Its place among the workers of the generation, from 0.
    pub(super) worker: usize,
    /// Distinguishes runs of the supervisor, as each counts its generations from 1.
    pub(super) run: String,
    /// Whether pages for developers may be shown.
    pub(super) development: bool,
    /// As in [`ToWorker::Refresh`].
    #[serde(default)]
    pub(super) refreshes: u64,
    /// What TLS session tickets are made of, the same for every worker of the run.
    pub(super) tickets: Secret,
    /// The merged config.
    pub(super) config: Config,
    /// Its process options.
    pub(super) process: Process,
    /// As whom and within which limits it runs.
    pub(super) credentials: Credentials,
    /// Private copy of each plugin app's library.
    pub(super) libraries: BTreeMap<String, PathBuf>,
    /// Name and length of each app's saved state among the raw bytes.
    pub(super) states: Vec<(String, usize)>,
    /// The server that each socket belongs to, as written in the config.
    pub(super) sockets: Vec<(String, String)>,
    /// Whether the message carries the file of `[log]`.
    pub(super) log: bool,
    /// What it is for.
    pub(super) role: Role,
}

/// What a worker is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Role {
    /// Serve the apps.
    Serve,
    /// Nothing could be built: say so on every server instead of serving the apps.
    Tell(Vec<Fault>),
    /// Some libraries could not be built: say what is wrong with the rest, and end. No app is made.
    Try,
}

/// From a worker to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromWorker {
    /// Code of a plugin is to run next in the start: `creating the app …`.
    Starting(String),
    /// Everything is built and healthy.
    Ready,
    /// A sign of life, about once a second.
    Heartbeat(Heartbeat),
    /// It is not, or it was a mere try, and the process ends.
    Failed(Vec<Fault>),
    /// No server accepts connections any more, as [`ToWorker::Retire`] asked.
    Retired,
    /// Name and length of each app's state among the raw bytes.
    State(Vec<(String, usize)>),
    /// A plugin asks for a side process.
    Side {
        /// To be given back with the answer.
        id: u64,
        /// Name of the app.
        app: String,
        /// Name of the side process.
        name: String,
        /// The plugin's library.
        library: PathBuf,
    },
    /// The worker's user may not open a file that the config names.
    Open {
        /// To be given back with the answer.
        id: u64,
        /// The file.
        path: PathBuf,
        /// What for.
        purpose: Purpose,
    },
    /// The path at which the user should open an app. It may contain a token.
    Announce {
        /// Name of the app.
        app: String,
        /// The path, perhaps with a query.
        path: String,
    },
    /// What this worker has counted so far; 0 where it was not asked.
    Counted(u64, Counts),
    /// What all workers have counted is wanted; the number is to be given back.
    Counts(u64),
    /// To [`ToWorker::Ask`] of that number.
    QueryReply(u64, Box<QueryReply>),
    /// The raw bytes are lines of the log, which stand on standard error already.
    Log,
    /// All servers have ended by themselves (a console has printed its response): stop, with this exit code.
    Done(u8),
}

/// Splits raw bytes by the lengths that came with them.
pub(super) fn split(parts: &[(String, usize)], mut raw: bytes::Bytes) -> BTreeMap<String, Vec<u8>> {
    let take = |(name, length): &(String, usize)| {
        let part = raw.split_to((*length).min(raw.len()));
        (name.clone(), part.to_vec())
    };
    parts.iter().map(take).collect()
}

/// The opposite of [`split`].
pub(super) fn join(
    parts: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> (Vec<(String, usize)>, bytes::Bytes) {
    let mut raw = Vec::new();
    let lengths = parts.into_iter().map(|(name, part)| {
        raw.extend_from_slice(&part);
        (name, part.len())
    });
    (lengths.collect(), raw.into())
}
