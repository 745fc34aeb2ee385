//! What a command and a supervisor say to each other: one JSON object a line, over a Unix socket.
//!
//! The command sends a [`Request`]; the supervisor answers with [`Reply`]s, the last of them `done` or `failed`. A
//! connection may carry several requests, one after the other. Fields and variants are only ever added; a request of
//! an unknown version or kind is refused with a reason.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::inflight::Phase;
use crate::ops::fault::Fault;

/// Version of the protocol.
pub const VERSION: u32 = 1;

/// One line from a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub paster: u32,
    /// What is asked for.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What may be asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Who is there? Answer: [`Hello`].
    Hello,
    /// What runs? Answer: [`Ps`].
    Ps,
    /// Which requests are in flight? Answer: a list of [`InFlight`], the oldest first.
    Requests,
    /// Which app answers where? Answer: [`Routes`](crate::ops::routes::Routes).
    Routes,
    /// Make a new generation from the files. Answer: [`Switched`].
    Reload {
        /// Answer when it serves, or with what is wrong.
        wait: bool,
    },
    /// Go back to the generation before. Answer: [`Switched`].
    Rollback {
        /// As for a reload.
        wait: bool,
    },
    /// Drop a request in flight. Answer: [`Cancelled`].
    Cancel {
        /// Its id in the list of requests, or the id that `request_id` gave it.
        request: String,
    },
    /// The last lines of the log, each a [`Reply::Line`], and then `done`.
    Logs {
        /// How many.
        lines: usize,
        /// Go on with what comes, until the command closes.
        follow: bool,
    },
    /// End. Answer: [`Hello`] at once; the connection closes when the process ends.
    Stop {
        /// Do not wait for what is in flight.
        fast: bool,
    },
    /// Which tasks are there? Answer: a list of [`TaskInfo`].
    Tasks,
    /// Run a task now. Answer: [`TaskRun`].
    RunTask {
        /// Its name.
        name: String,
        /// Answer with its result.
        wait: bool,
    },
}

/// One line from a supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The answer; the last of the request.
    Done(serde_json::Value),
    /// What is wrong; the last of the request.
    Failed(Vec<Fault>),
    /// A line of the log.
    Line(LogLine),
}

/// Who answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of paster.
    pub version: String,
    /// Process id of the supervisor.
    pub pid: u32,
    /// The config file, absolute, without links; `None` when it serves without one.
    pub config: Option<PathBuf>,
}

/// What a supervisor runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ps {
    /// The supervisor.
    pub supervisor: SupervisorInfo,
    /// All workers, those of the generation that serves first.
    pub workers: Vec<WorkerInfo>,
    /// Side processes of plugins.
    pub side_processes: Vec<SideInfo>,
    /// Scheduled tasks.
    pub tasks: Vec<TaskInfo>,
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
    /// Number of the generation that serves; 0 when none does.
    pub generation: u64,
    /// How long it runs, in seconds.
    pub age_secs: f64,
    /// Its own memory (proportional set size), in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether it watches files and reloads.
    pub reload: bool,
    /// Where it listens, as URLs, with the servers' names.
    pub listening: Vec<(String, String)>,
    /// Generations that were switched to, the first one included.
    pub switches: u64,
    /// Generations that could not be made.
    pub failures: u64,
    /// Workers that ended though they were not asked to.
    pub crashes: u64,
}

/// A worker.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its process id.
    pub pid: u32,
    /// Its generation.
    pub generation: u64,
    /// `serving`, or `lingering`: of an old generation, until its last connection is gone.
    pub state: String,
    /// How long it runs, in seconds.
    pub age_secs: f64,
    /// Its memory (proportional set size), in bytes.
    pub memory_bytes: Option<u64>,
    /// What its servers are busy with; `None` when it did not answer in time.
    pub load: Option<Counts>,
}

/// What the servers of a worker are busy with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Open connections, upgraded ones too.
    pub connections: u64,
    /// Of these, those that were upgraded (WebSocket).
    pub upgraded: u64,
    /// Requests whose response has not ended.
    pub in_flight: u64,
    /// Requests that came so far, refused ones too.
    pub requests: u64,
    /// Requests that the application failed to answer.
    pub failed: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
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
    /// The app that asked for it.
    pub app: String,
    /// Its name.
    pub name: String,
    /// Its process id; `None` while it waits to be started anew.
    pub pid: Option<u32>,
    /// How long it runs, in seconds.
    pub age_secs: f64,
    /// Its memory (proportional set size), in bytes.
    pub memory_bytes: Option<u64>,
    /// How often it was started anew.
    pub restarts: u64,
    /// Its socket.
    pub socket: PathBuf,
}

/// A request in flight.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InFlight {
    /// What `paster cancel` takes: the worker's process id and a number.
    pub id: String,
    /// The id that the middleware `request_id` gave it.
    pub request_id: Option<String>,
    /// How long it is in flight, in milliseconds.
    pub age_ms: u64,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The server that it came by.
    pub server: String,
    /// The app that it was passed to last.
    pub app: Option<String>,
    /// The middleware of that app that it was passed to last; `None` when it is past all of them.
    pub middleware: Option<String>,
    /// Address of the client.
    pub client: Option<String>,
    /// Process id of the worker.
    pub worker: u32,
    /// The worker's generation.
    pub generation: u64,
    /// Where it is.
    pub phase: Phase,
}

/// What became of a request that was to be cancelled.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cancelled {
    /// Ids of the requests that were dropped.
    pub cancelled: Vec<String>,
}

/// What became of a reload or rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Number of the generation that serves.
    pub generation: u64,
    /// How long it took, in milliseconds; `None` when nobody waited for it.
    pub ms: Option<u64>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it came, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who wrote it: `supervisor`, `worker 4711`, `side kernels`.
    pub from: String,
    /// The line, without its end.
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
    /// Runs that go on now.
    pub running: usize,
    /// The last run that has ended.
    pub last: Option<TaskRun>,
    /// Runs that have ended, and those of them that failed.
    pub runs_ended: u64,
    /// Runs that failed.
    pub runs_failed: u64,
    /// Runs that were left out because the one before went on.
    pub skipped: u64,
}

/// One run of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskRun {
    /// Name of the task.
    pub name: String,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// How long it took, in milliseconds; `None` while it goes on.
    pub ms: Option<u64>,
    /// Whether it ended well; `None` while it goes on.
    pub ok: Option<bool>,
    /// Its result, or why it failed; the end of it when it is long.
    pub text: String,
}
