//! The messages from the supervisor's tasks to its loop.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::attempt::{AttemptOutcome, ReadyWorker};
use super::child::{News, WorkerHandle};
use super::watch::Scope;
use crate::error::Error;
use crate::metrics::Counts;
use crate::ops::control::ControlCommand;

/// A message from a task to the supervisor's loop.
pub(super) enum Notification {
    /// The attempt with this number has ended.
    Attempted(u64, Box<AttemptOutcome>),
    /// The start with this number, of a worker for this slot, has ended.
    Made { slot: usize, number: u64, result: Result<Box<ReadyWorker>, Vec<Error>> },
    /// Whether a new program can take over.
    PreflightDone(Result<(), Error>),
    /// The attempt with this number knows what to watch and waits until the watch has it. `reload`: whether
    /// the config asks for a watch.
    Loaded { number: u64, scope: Box<Scope>, reload: bool, done: oneshot::Sender<()> },
    /// The attempt with this number makes something new from files that have changed.
    Reloading(u64),
    /// Files have changed: config files, inputs of a generation, or pages that are served directly.
    Changed { paths: Vec<PathBuf>, config: bool, input: bool, page: bool },
    /// An application has reported new source files.
    Sources,
    /// An app or a program needs new processes; why.
    Restart(String, String),
    /// Report the switch to this generation now, even if the old one still accepts.
    Late(u64),
    /// A message from a worker, by its id.
    News(u64, News),
    /// The workers have sent their counts for this round, or are late.
    Counted(u64),
    /// The sum of all counts?
    Sum(oneshot::Sender<Counts>),
    /// A task is due.
    Due(String),
    /// A request from the control socket, which waits for the outcome.
    Control(Box<ControlCommand>, oneshot::Sender<ControlOutcome>),
    /// Asks which workers serve, by their slots.
    Serving(oneshot::Sender<Vec<Option<WorkerHandle>>>),
}

/// The result of a request.
pub(super) type ControlOutcome = Result<serde_json::Value, Vec<Error>>;
