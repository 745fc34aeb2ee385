//! The result of an attempt.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::error::Error;
use crate::ops::serve::process::pid_file::PidFile;
use crate::ops::serve::supervisor::app_process::AppProcesses;
use crate::ops::serve::supervisor::child::{Child, News};
use crate::ops::serve::supervisor::plan::GenerationPlan;
use crate::ops::serve::supervisor::sockets::Bound;
use crate::ops::serve::supervisor::watch::Scope;

/// The outcome of an attempt.
#[derive(Debug)]
pub(in crate::ops::serve::supervisor) struct AttemptOutcome {
    /// The paths to watch next; `None` if they are not known.
    pub(in crate::ops::serve::supervisor) scope: Option<Scope>,
    /// Ready workers; `None` if the result would be the same as what serves; or every fault. Nothing that
    /// serves has changed.
    pub(in crate::ops::serve::supervisor) result: Result<Option<PreparedWorkers>, Vec<Error>>,
    /// A worker that shows what is wrong, if nothing else serves and the server waits for a fix.
    pub(in crate::ops::serve::supervisor) placeholder: Option<PreparedWorkers>,
    /// How many changes it has taken into account.
    pub(in crate::ops::serve::supervisor) looks: u64,
}

/// Workers that wait for the order to serve.
#[derive(Debug)]
pub(in crate::ops::serve::supervisor) struct PreparedWorkers {
    /// Number of the generation; 0 for a placeholder.
    pub(in crate::ops::serve::supervisor) generation: u64,
    pub(in crate::ops::serve::supervisor) plan: GenerationPlan,
    pub(in crate::ops::serve::supervisor) bound: Vec<Bound>,
    /// The processes of its applications.
    pub(in crate::ops::serve::supervisor) apps: AppProcesses,
    /// All workers of the generation, or only the first if the others follow one by one.
    pub(in crate::ops::serve::supervisor) workers: Vec<ReadyWorker>,
    pub(in crate::ops::serve::supervisor) cargo: Duration,
    /// The pid file, if it was not locked before.
    pub(in crate::ops::serve::supervisor) pid_file: Option<PidFile>,
}

/// A worker that is ready, and its future messages.
pub(in crate::ops::serve::supervisor) type ReadyWorker = (Child, mpsc::UnboundedReceiver<News>);
