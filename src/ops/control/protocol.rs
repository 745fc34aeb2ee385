//! The protocol between a command and a supervisor: one JSON object per line, over a Unix socket.
//!
//! The command sends a [`ControlRequest`]; the supervisor answers with [`Reply`]s, the last of them `done` or
//! `failed`. A connection may carry several requests, one after another. Fields and variants are only ever
//! added; a request with an unknown version or kind is refused with a reason.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::caches::Purge;
use crate::error::Error;
use crate::inflight::RequestPhase;

/// Version of the protocol.
pub const VERSION: u32 = 1;

/// One line from a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ControlRequest {
    /// [`VERSION`].
    pub paster: u32,
    /// The request.
    #[serde(flatten)]
    pub ask: ControlCommand,
}

/// The requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ControlCommand {
    /// Identify the server. Answer: [`Hello`].
    Hello,
    /// List the processes. Answer: [`Ps`].
    Ps,
    /// List the requests in flight. Answer: a list of [`RequestInFlight`], oldest first.
    Requests,
    /// List the routes. Answer: [`Routes`](crate::ops::routes::Routes).
    Routes,
    /// Start a new generation from the files. Answer: [`Switched`].
    Reload {
        /// Answer once it serves or has failed.
        wait: bool,
    },
    /// Go back to the previous generation. Answer: [`Switched`].
    Rollback {
        /// As for a reload.
        wait: bool,
    },
    /// Cancel a request in flight. Answer: [`Cancelled`].
    Cancel {
        /// Its id in the list of requests, or the id that `request_id` gave it.
        request: String,
    },
    /// The last lines of the log, each as a [`Reply::Line`], and then `done`.
    Logs {
        /// How many.
        lines: usize,
        /// Keep sending new lines until the command closes the connection.
        follow: bool,
    },
    /// The lines of the logs about one request. Answer: a list of [`LogLine`], oldest first.
    FindLogs {
        /// Which request.
        id: LoggedId,
    },
    /// Start new processes of an app or a program, and then end the old ones. Answer: [`Switched`].
    Restart {
        /// Its name.
        app: String,
        /// As for a reload.
        wait: bool,
    },
    /// Where to attach to the terminal of a program. Answer: [`ProgramTerminal`].
    Attach {
        /// Name of the app or the program.
        app: String,
        /// Number of the process, from 0.
        process: usize,
    },
    /// What the threads of a Python application are doing. Answer: a list of [`ProcessStacks`].
    Stacks {
        /// Name of the app.
        app: String,
    },
    /// Stop. Answer: [`Hello`] at once; the connection closes when the process ends.
    Stop {
        /// Do not wait for requests in flight.
        fast: bool,
    },
    /// List the tasks. Answer: a list of [`TaskInfo`].
    Tasks,
    /// Run a task now. Answer: [`TaskRun`].
    RunTask {
        /// Its name.
        name: String,
        /// Wait for its result.
        wait: bool,
    },
    /// Run a command of a plugin. Answer: what it prints; its failure is a failure of the request.
    RunCommand {
        /// Name of the app.
        app: String,
        /// The words of the command line.
        words: Vec<String>,
    },
    /// Delete cached responses. Answer: [`Purged`].
    PurgeCache {
        /// Which ones.
        purge: Purge,
    },
    /// List cached responses. Answer: a list of [`CachedResponse`](crate::caches::CachedResponse), by URL.
    ListCache {
        /// Maximum number.
        most: usize,
    },
}

/// One line from a supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The result; ends the request.
    Done(serde_json::Value),
    /// The errors; ends the request.
    Failed(Vec<Error>),
    /// A line of the log.
    Line(LogLine),
}

/// Identifies a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of paster.
    pub version: String,
    /// Process id of the supervisor.
    pub pid: u32,
    /// The config file, absolute, with links resolved; `None` if it serves without one.
    pub config: Option<PathBuf>,
}

/// The processes and tasks of a server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ps {
    /// The supervisor.
    pub supervisor: SupervisorInfo,
    /// All workers, with those of the current generation first.
    pub workers: Vec<WorkerInfo>,
    /// Side processes of plugins.
    pub side_processes: Vec<SideInfo>,
    /// Scheduled tasks.
    pub tasks: Vec<TaskInfo>,
    /// The upstreams of the apps that forward requests.
    #[serde(default)]
    pub upstreams: Vec<UpstreamInfo>,
}

/// An upstream of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamInfo {
    /// Name of the app.
    pub app: String,
    /// Its address as in the config; if the app resolves names, with the address of the name.
    pub address: String,
    /// The number of workers that use it.
    pub working: u64,
    /// The number of workers that skip it, after failures or a health check.
    pub failing: u64,
    /// Its connections in use.
    pub in_flight: u64,
}

/// The terminal of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramTerminal {
    /// The abstract name of its Unix socket.
    pub name: String,
    /// Process id of the program.
    pub pid: u32,
}

/// What the threads of a process are doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStacks {
    /// Number of the process, from 0.
    pub process: usize,
    /// Its process id; 0 while it is being started.
    pub pid: u32,
    /// The stack of each thread, as Python's `faulthandler` writes it; `None` if the process has not sent it in time.
    pub stacks: Option<String>,
}

/// A supervisor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SupervisorInfo {
    /// Version of paster.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The config file, absolute.
    pub config: Option<PathBuf>,
    /// `starting`, `serving`, `reloading` or `stopping`.
    pub state: String,
    /// Number of the generation that serves; 0 if none does.
    pub generation: u64,
    /// How long it has been running, in seconds.
    pub age_secs: f64,
    /// Its own memory (proportional set size), in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether it watches files and reloads.
    pub reload: bool,
    /// Where it listens, as URLs, with the servers' names.
    pub listening: Vec<(String, String)>,
    /// How many generations were switched to, including the first.
    pub switches: u64,
    /// How many attempts at a generation failed.
    pub failures: u64,
    /// The number of workers that ended unexpectedly.
    pub crashes: u64,
}

/// A worker.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its process id.
    pub pid: u32,
    /// Its generation.
    pub generation: u64,
    /// `serving`, or `lingering`: of an old generation, until its last connection is closed.
    pub state: String,
    /// How long it has been running, in seconds.
    pub age_secs: f64,
    /// Its memory (proportional set size), in bytes.
    pub memory_bytes: Option<u64>,
    /// The load of its servers; `None` if it did not answer in time.
    pub load: Option<WorkerLoad>,
}

/// The load of the servers of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLoad {
    /// Open connections, including upgraded ones.
    pub connections: u64,
    /// Upgraded connections among them (WebSocket).
    pub upgraded: u64,
    /// Requests whose response has not ended.
    pub in_flight: u64,
    /// Requests so far, including refused ones.
    pub requests: u64,
    /// Requests without a response from the application, because it failed.
    pub failed: u64,
}

impl std::ops::AddAssign for WorkerLoad {
    fn add_assign(&mut self, other: WorkerLoad) {
        self.connections += other.connections;
        self.upgraded += other.upgraded;
        self.in_flight += other.in_flight;
        self.requests += other.requests;
        self.failed += other.failed;
    }
}

/// A side process of a plugin.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SideInfo {
    /// The app that requested it.
    pub app: String,
    /// Its name.
    pub name: String,
    /// Its process id; `None` while it waits to be restarted.
    pub pid: Option<u32>,
    /// How long it has been running, in seconds.
    pub age_secs: f64,
    /// Its memory (proportional set size), in bytes.
    pub memory_bytes: Option<u64>,
    /// How often it was restarted.
    pub restarts: u64,
    /// Its socket.
    pub socket: PathBuf,
}

/// A request in flight.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestInFlight {
    /// The id for `paster cancel`: the worker's process id and a number.
    pub id: String,
    /// The id from the middleware `request_id`.
    pub request_id: Option<String>,
    /// How long it has been in flight, in milliseconds.
    pub age_ms: u64,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The server that received it.
    pub server: String,
    /// The app that it has reached.
    pub app: Option<String>,
    /// The middleware of this app that it has reached; `None` after all of them.
    pub middleware: Option<String>,
    /// Address of the client.
    pub client: Option<String>,
    /// Process id of the worker.
    pub worker: u32,
    /// The worker's generation.
    pub generation: u64,
    /// What is happening to it.
    pub phase: RequestPhase,
}

/// The result of a cancellation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cancelled {
    /// Ids of the cancelled requests.
    pub cancelled: Vec<String>,
}

/// The result of a purge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// How many stored responses were deleted.
    pub purged: u64,
}

/// The result of a reload or rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Number of the generation that serves.
    pub generation: u64,
    /// How long it took, in milliseconds; `None` without `wait`.
    pub ms: Option<u64>,
}

/// What identifies a request in the logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoggedId {
    /// The id that `request_id` gave it.
    Request(String),
    /// Its trace: 32 hexadecimal digits.
    Trace(String),
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it arrived, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who wrote it: `supervisor`, `worker 4711`, `side kernels`.
    pub from: String,
    /// The line, without its line break.
    pub text: String,
}

/// A scheduled task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Its name.
    pub name: String,
    /// When it runs: `every 5m`, `cron 0 3 * * *`, `by hand`.
    pub schedule: String,
    /// What it runs.
    pub runs: String,
    /// When it runs next, in milliseconds since 1970.
    pub next_ms: Option<u64>,
    /// How many runs are in progress.
    pub running: usize,
    /// The last run that has ended.
    pub last: Option<TaskRun>,
    /// How many runs have ended.
    pub runs_ended: u64,
    /// How many of these failed.
    pub runs_failed: u64,
    /// How many runs were skipped because the previous one was still in progress.
    pub skipped: u64,
}

/// One run of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskRun {
    /// Name of the task.
    pub name: String,
    /// When it started, in milliseconds since 1970.
    pub began_ms: u64,
    /// How long it took, in milliseconds; `None` while it is in progress.
    pub ms: Option<u64>,
    /// Whether it succeeded; `None` while it is in progress.
    pub ok: Option<bool>,
    /// Its result, or why it failed; only the end of a long text.
    pub text: String,
}
