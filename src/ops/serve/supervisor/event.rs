//! The events of `paster serve`: for the terminal, for `--json` and for the page of a developer.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;
use crate::ops::build::BuildProgress;

/// Receives events.
pub type EventListener = Box<dyn Fn(&Event) + Send + Sync>;

/// Something that happened. `cli` renders it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The supervisor has started.
    Starting {
        /// Its process id.
        pid: u32,
    },
    /// An app's library is being built.
    Building {
        /// Name of the app.
        app: String,
    },
    /// Progress of a build: the crate or the step that is running.
    Progress {
        /// Name of the app.
        app: String,
        /// What is being done.
        text: String,
        /// Number of finished parts, if known.
        done: Option<u64>,
    },
    /// A build has succeeded.
    Built {
        /// Name of the app.
        app: String,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// A warning that does not prevent the start.
    Warning {
        /// Lower case, no full stop.
        message: String,
    },
    /// A socket listens.
    Listening {
        /// Name of the server.
        server: String,
        /// Where to reach it.
        url: String,
    },
    /// The first generation serves.
    Ready {
        /// Its number.
        generation: u64,
        /// From the program's start, in milliseconds.
        ms: u64,
        /// The address for the user to open. It may contain a token.
        open: Option<String>,
    },
    /// Log lines go to a file from now on.
    Logging {
        /// The file.
        file: PathBuf,
    },
    /// A new generation is starting.
    Reloading {
        /// Why.
        reason: ReloadReason,
        /// What has changed, for people.
        detail: String,
        /// The number that it will have.
        generation: u64,
    },
    /// A new generation serves.
    Reloaded {
        /// Its number.
        generation: u64,
        /// Since the cause of the reload, in milliseconds.
        ms: u64,
        /// The part of it that builds took.
        cargo_ms: u64,
    },
    /// What changed makes no difference: the generation keeps serving, and no new one starts.
    Unchanged {
        /// Number of the generation that serves.
        generation: u64,
    },
    /// A new generation could not start; the old one, if there is one, keeps serving.
    ReloadFailed {
        /// Number of the generation that serves; 0 if none does.
        generation: u64,
        /// The number that the new one would have had; `None` if a new program cannot take over.
        wanted: Option<u64>,
        /// What is wrong.
        errors: Vec<Error>,
    },
    /// Nothing could be served at the start: the program ends.
    Failed {
        /// What is wrong.
        errors: Vec<Error>,
    },
    /// A worker has replaced another one of its generation.
    WorkerReady {
        /// Its generation.
        generation: u64,
        /// Its slot, from 0.
        worker: usize,
        /// Its process id.
        pid: u32,
        /// Why the previous one was replaced.
        reason: Why,
        /// Since the reason to replace it, in milliseconds.
        ms: u64,
        /// How much of it was a pause because workers ended too often, in milliseconds.
        pause_ms: u64,
    },
    /// A worker, or some of its threads, started no work for too long: it is replaced.
    WorkerHung {
        /// Its generation.
        generation: u64,
        /// Its slot, from 0.
        worker: usize,
        /// Its process id.
        pid: u32,
        /// For how long, in milliseconds.
        ms: u64,
        /// The oldest requests without a response, as far as the worker could report them.
        doing: Vec<String>,
    },
    /// A worker process has ended.
    WorkerExit {
        /// Its generation.
        generation: u64,
        /// Its slot, from 0.
        worker: usize,
        /// Its process id.
        pid: u32,
        /// `exit status: 0`, `signal: 9 (SIGKILL)`.
        status: String,
        /// Whether it was asked to end.
        expected: bool,
    },
    /// A side process has ended and is restarted.
    SideExit {
        /// Name of the app.
        app: String,
        /// Name of the side process.
        name: String,
        /// As for a worker.
        status: String,
    },
    /// A process of an application, or a program that serves nothing, has ended.
    AppExit {
        /// Name of the app, or of the table `[program.NAME]`.
        app: String,
        /// Whether it is a program that serves nothing.
        program: bool,
        /// Its number in the app, from 0.
        process: usize,
        /// As for a worker.
        status: String,
        /// Whether it is started again.
        restarts: bool,
    },
    /// A process of an application was replaced.
    AppReplaced {
        /// Name of the app.
        app: String,
        /// Its number in the app, from 0.
        process: usize,
        /// Why.
        reason: String,
    },
    /// A run of a scheduled task has ended.
    TaskEnded {
        /// Name of the task.
        name: String,
        /// Whether it succeeded.
        ok: bool,
        /// How long it took, in milliseconds.
        ms: u64,
        /// Its result, or why it failed.
        text: String,
    },
    /// The supervisor is stopping.
    Stopping {
        /// `TERM`, `INT`, `stop` (the command), or `done`.
        reason: String,
    },
}

impl Event {
    pub(super) fn of_build(app: &str, progress: BuildProgress) -> Event {
        let app = app.to_owned();
        match progress {
            BuildProgress::Begin => Event::Building { app },
            BuildProgress::At { text, done } => Event::Progress { app, text, done },
            BuildProgress::Warning(message) => Event::Warning { message },
            BuildProgress::End { ms } => Event::Built { app, ms },
        }
    }

    /// The event as one line for the terminal and the log; `None` if it is not shown there. Faults are not
    /// included.
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Event::Starting { .. } | Event::Progress { .. } | Event::WorkerExit { expected: true, .. } => {
                return None;
            }
            Event::Building { app } => format!("building {app}"),
            Event::Built { app, ms } => format!("built {app} in {}", span(*ms)),
            Event::Warning { message } => format!("warning: {message}"),
            Event::Listening { server, url } => format!("serving {url} ({server})"),
            Event::Ready { ms, .. } => format!("ready in {}", span(*ms)),
            Event::Logging { file } => format!("logging to {}", file.display()),
            Event::Reloading { reason, detail, .. } => match reason {
                ReloadReason::Files | ReloadReason::Config => format!("reloading: {detail} changed"),
                ReloadReason::Hup => "reloading: requested by HUP".to_owned(),
                ReloadReason::Start
                | ReloadReason::Rollback
                | ReloadReason::Command
                | ReloadReason::Program
                | ReloadReason::Restart => {
                    format!("reloading: {detail}")
                }
            },
            Event::Reloaded { generation, ms, cargo_ms } => {
                let build = match cargo_ms {
                    0..=4 => String::new(),
                    ms => format!(", {} of it for builds", span(*ms)),
                };
                format!("generation {generation} is serving after {}{build}", span(*ms))
            }
            Event::Unchanged { generation } => format!("nothing new: generation {generation} keeps serving"),
            Event::ReloadFailed { generation: 0, .. } => {
                "not serving yet: waiting for the next change".to_owned()
            }
            Event::ReloadFailed { generation, .. } => format!("generation {generation} keeps serving"),
            Event::Failed { .. } => return None,
            Event::WorkerReady { reason: Why::Rolling, .. } => return None,
            Event::WorkerReady { generation, worker, pid, ms, .. } => {
                let time = span(*ms);
                format!(
                    "worker {worker} of generation {generation} was replaced after {time} (process {pid})"
                )
            }
            Event::WorkerExit { generation, worker, pid, status, .. } => {
                format!("worker {worker} of generation {generation} (process {pid}) ended: {status}")
            }
            Event::WorkerHung { worker, pid, ms, doing, .. } => {
                let doing = match doing.as_slice() {
                    [] => String::new(),
                    some => format!("; requests without a response: {}", some.join(", ")),
                };
                format!("worker {worker} (process {pid}) has been hanging for {}{doing}", span(*ms))
            }
            Event::SideExit { app, name, status } => {
                format!("the side process {name} of app {app} ended: {status}; restarting it")
            }
            Event::AppExit { app, program, process, status, restarts } => {
                let again = if *restarts { "; restarting it" } else { "" };
                match program {
                    true => format!("the program {app} ended: {status}{again}"),
                    false => format!("process {process} of app {app} ended: {status}{again}"),
                }
            }
            Event::AppReplaced { app, process, reason } => {
                format!("process {process} of app {app} was replaced: {reason}")
            }
            Event::TaskEnded { name, ok: true, ms, .. } => format!("task {name} succeeded in {}", span(*ms)),
            Event::TaskEnded { name, text, .. } => format!("task {name} failed: {text}"),
            Event::Stopping { reason } => match reason.as_str() {
                "TERM" => "stopping on TERM: waiting for requests in flight".to_owned(),
                "stop" => "stopping, as requested by `paster stop`".to_owned(),
                "INT" => "stopping".to_owned(),
                "HUP" => "stopping on HUP (terminal closed): waiting for requests in flight".to_owned(),
                _ => return None,
            },
        })
    }
}

fn span(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        _ => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
    }
}

/// Why a new generation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadReason {
    /// The program's start.
    Start,
    /// Files of an app have changed.
    Files,
    /// A config file has changed.
    Config,
    /// The signal HUP.
    Hup,
    /// `paster rollback`.
    Rollback,
    /// The signal USR2: the program's file was replaced.
    Program,
    /// `paster reload`.
    Command,
    /// `paster restart`, or processes that have grown too large.
    Restart,
}

impl ReloadReason {
    /// Whether the watch has seen a change.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self, ReloadReason::Files | ReloadReason::Config)
    }
}

/// Why one worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It ended on its own.
    Ended,
    /// It is of an older generation, and its turn has come.
    Rolling,
    /// It hangs.
    Hung,
    /// It has served `max_requests`.
    Requests,
    /// It has grown by `max_growth_mib`.
    Growth,
    /// It has served for `max_age_secs`.
    Age,
}
