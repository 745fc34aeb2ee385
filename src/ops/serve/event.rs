//! What `paster serve` tells: events for the terminal, for `--json` and for the page of a developer.

use std::path::PathBuf;

use serde::Serialize;

use crate::ops::build::Progress;
use crate::ops::fault::Fault;

/// Something that happened, in the order in which it did. `cli` renders it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The supervisor has begun.
    Starting {
        /// Its process id.
        pid: u32,
    },
    /// An app's library is being built.
    Building {
        /// Name of the app.
        app: String,
    },
    /// One more line of a build's progress: the crate or the step at work.
    Progress {
        /// Name of the app.
        app: String,
        /// What is being done.
        text: String,
        /// Finished parts, when they can be counted.
        done: Option<u64>,
    },
    /// A build has ended well.
    Built {
        /// Name of the app.
        app: String,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// Something to know that does not stop the start.
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
    /// A new generation is being made.
    Reloading {
        /// Why.
        reason: Reason,
        /// What has changed, for people.
        detail: String,
        /// The number that it is to have.
        generation: u64,
    },
    /// A new generation serves.
    Reloaded {
        /// Its number.
        generation: u64,
        /// From the reason's arrival, in milliseconds.
        ms: u64,
        /// Of these, spent in builds.
        cargo_ms: u64,
    },
    /// What changed makes no difference: the generation serves on, and no new one is made.
    Unchanged {
        /// Number of the generation that serves.
        generation: u64,
    },
    /// A new generation could not be made; the old one, if there is one, serves on.
    ReloadFailed {
        /// Number of the generation that serves; 0 when none does.
        generation: u64,
        /// The number that the new one was to have; `None` when a new program cannot take over.
        wanted: Option<u64>,
        /// What is wrong.
        errors: Vec<Fault>,
    },
    /// Nothing could be served to begin with: the program ends.
    Failed {
        /// What is wrong.
        errors: Vec<Fault>,
    },
    /// A worker serves in the place of another of its generation.
    WorkerReady {
        /// Its generation.
        generation: u64,
        /// Its place among the workers, from 0.
        worker: usize,
        /// Its process id.
        pid: u32,
        /// Why the one before was replaced.
        reason: Why,
        /// From the reason's arrival, in milliseconds.
        ms: u64,
        /// For how long of these it was held back, because the ones before it ended too often, in milliseconds.
        pause_ms: u64,
    },
    /// A worker, or some of its threads, took up no work for too long: it is replaced.
    WorkerHung {
        /// Its generation.
        generation: u64,
        /// Its place among the workers, from 0.
        worker: usize,
        /// Its process id.
        pid: u32,
        /// For how long, in milliseconds.
        ms: u64,
        /// The oldest requests that waited for their answer, as far as it could tell.
        doing: Vec<String>,
    },
    /// A worker process has ended.
    WorkerExit {
        /// Its generation.
        generation: u64,
        /// Its place among the workers, from 0.
        worker: usize,
        /// Its process id.
        pid: u32,
        /// `exit status: 0`, `signal: 9 (SIGKILL)`.
        status: String,
        /// Whether it was meant to end.
        expected: bool,
    },
    /// A side process has ended and is started anew.
    SideExit {
        /// Name of the app.
        app: String,
        /// Name of the side process.
        name: String,
        /// As for a worker.
        status: String,
    },
    /// A run of a scheduled task has ended.
    TaskEnded {
        /// Name of the task.
        name: String,
        /// Whether it ended well.
        ok: bool,
        /// How long it took, in milliseconds.
        ms: u64,
        /// Its result, or why it failed.
        text: String,
    },
    /// The supervisor is ending.
    Stopping {
        /// `TERM`, `INT`, `stop` (the command), or `done`.
        reason: String,
    },
}

impl Event {
    pub(super) fn of_build(app: &str, progress: Progress) -> Event {
        let app = app.to_owned();
        match progress {
            Progress::Begin => Event::Building { app },
            Progress::At { text, done } => Event::Progress { app, text, done },
            Progress::Warning(message) => Event::Warning { message },
            Progress::End { ms } => Event::Built { app, ms },
        }
    }

    /// The event in a line, for the terminal and the log; `None` when it says nothing there. Faults are not in it.
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
                Reason::Files | Reason::Config => format!("reloading: {detail} changed"),
                Reason::Hup => "reloading: asked by HUP".to_owned(),
                Reason::Start | Reason::Rollback | Reason::Command | Reason::Program => {
                    format!("reloading: {detail}")
                }
            },
            Event::Reloaded { generation, ms, cargo_ms } => {
                let build = match cargo_ms {
                    0..=4 => String::new(),
                    ms => format!(", {} of it building", span(*ms)),
                };
                format!("generation {generation} serves after {}{build}", span(*ms))
            }
            Event::Unchanged { generation } => format!("nothing new: generation {generation} serves on"),
            Event::ReloadFailed { generation: 0, .. } => {
                "nothing serves yet: waiting for the next change".to_owned()
            }
            Event::ReloadFailed { generation, .. } => format!("generation {generation} serves on"),
            Event::Failed { .. } => return None,
            Event::WorkerReady { reason: Why::Rolling, .. } => return None,
            Event::WorkerReady { generation, worker, pid, ms, .. } => {
                let time = span(*ms);
                format!("worker {worker} of generation {generation} serves anew after {time} (process {pid})")
            }
            Event::WorkerExit { generation, worker, pid, status, .. } => {
                format!("worker {worker} of generation {generation} (process {pid}) ended: {status}")
            }
            Event::WorkerHung { worker, pid, ms, doing, .. } => {
                let doing = match doing.as_slice() {
                    [] => String::new(),
                    some => format!("; waiting for their answer: {}", some.join(", ")),
                };
                format!("worker {worker} (process {pid}) has hung for {}{doing}", span(*ms))
            }
            Event::SideExit { app, name, status } => {
                format!("the side process {name} of app {app} ended: {status}; starting it anew")
            }
            Event::TaskEnded { name, ok: true, ms, .. } => format!("task {name} ended well in {}", span(*ms)),
            Event::TaskEnded { name, text, .. } => format!("task {name} failed: {text}"),
            Event::Stopping { reason } => match reason.as_str() {
                "TERM" => "ending on TERM: waiting for what is in flight".to_owned(),
                "stop" => "ending, as asked by `paster stop`".to_owned(),
                "INT" => "ending".to_owned(),
                "HUP" => "ending, as the terminal was closed: waiting for what is in flight".to_owned(),
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

/// Why a new generation is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The program's start.
    Start,
    /// Files of an app have changed.
    Files,
    /// A config file has changed.
    Config,
    /// The signal HUP.
    Hup,
    /// The generation before the one that serves was asked for.
    Rollback,
    /// The signal USR2: the program's file was replaced.
    Program,
    /// `paster reload`.
    Command,
}

impl Reason {
    /// Whether it is a change that the watch has seen.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self, Reason::Files | Reason::Config)
    }
}

/// Why one worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It has ended by itself.
    Ended,
    /// It is of an older generation, and its turn has come.
    Rolling,
    /// It took up no work any more.
    Hung,
    /// It has served `max_requests`.
    Requests,
    /// It has grown by `max_growth_mb`.
    Growth,
    /// It has served for `max_age_secs`.
    Age,
}
