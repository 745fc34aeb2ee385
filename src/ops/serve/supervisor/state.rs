//! The supervisor's state: the generations that serve, and the one that is being started.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use super::app_process::AppRegistry;
use super::attempt::AttemptProgress;
use super::control_socket::ControlSocket;
use super::event::ReloadReason;
use super::otlp::OtlpExporter;
use super::plan::GenerationPlan;
use super::pool::{Announcing, Worker, WorkerPool};
use super::scheduler::Scheduler;
use super::services::Services;
use super::shared::SupervisorShared;
use super::side_process::SideProcesses;
use super::sockets::Bound;
use super::terminal::Terminal;
use super::totals::Totals;
use super::watch::{FileWatch, Scope};
use crate::error::Error;
use crate::ops::serve::options::LoadedConfig;
use crate::ops::serve::process::orphans::Reaper;
use crate::ops::serve::process::pid_file::PidFile;

/// The time that workers get beyond their own deadline before they are killed.
pub(super) const SLACK: Duration = Duration::from_secs(2);
/// The time that INT gives to requests in flight.
pub(super) const FAST: Duration = Duration::from_millis(300);

pub(super) struct Supervisor {
    pub(super) shared: Arc<SupervisorShared>,
    pub(super) sides: Arc<SideProcesses>,
    /// Processes of applications.
    pub(super) apps: Arc<AppRegistry>,
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) services: Services,
    pub(super) began: Instant,
    /// The sockets of the generation that serves.
    pub(super) bound: Vec<Bound>,
    /// Number of the last generation that was switched to.
    pub(super) generation: u64,
    /// The generation that serves; `None` before the first switch.
    pub(super) pool: Option<WorkerPool>,
    /// The generation before it, for a rollback: its libraries are private copies that still exist.
    pub(super) previous: Option<GenerationPlan>,
    /// Retired workers that still have connections, oldest first.
    pub(super) lingering: Vec<Worker>,
    /// How often workers were retired: the number of the last turn.
    pub(super) turns: u64,
    /// Whether files are watched.
    pub(super) reload: bool,
    /// The config for the first attempt.
    pub(super) loaded: Option<LoadedConfig>,
    pub(super) attempt: Option<Trying>,
    /// How many attempts and worker starts there were.
    pub(super) tasks: u64,
    /// Why another attempt must follow the one that is running.
    pub(super) again: Option<(ReloadReason, String)>,
    /// The faults of the last attempt, if it failed.
    pub(super) faults: Option<Vec<Error>>,
    /// Whether to refresh pages once the attempt has ended.
    pub(super) refresh: bool,
    pub(super) stopping: Option<Stopping>,
    pub(super) announcing: Option<Announcing>,
    pub(super) watch: Option<FileWatch>,
    /// The watched paths, or those that would be watched.
    pub(super) scope: Option<Scope>,
    /// Whether the warning that files cannot be watched was emitted.
    pub(super) unwatched: bool,
    /// A new program is ready to take over.
    pub(super) succeeding: bool,
    pub(super) pid_file: Option<PidFile>,
    /// When the workers were last checked, and when the service manager last got a sign of life.
    pub(super) looked: Instant,
    pub(super) told_alive: Instant,
    pub(super) reaper: Reaper,
    pub(super) totals: Totals,
    /// Sends the log and the metrics to a collector.
    pub(super) exporter: Option<OtlpExporter>,
    /// The control sockets: the default one, and the one that the config names.
    pub(super) endpoints: [Option<ControlSocket>; 2],
    pub(super) terminal: Option<Terminal>,
}

/// A running attempt.
pub(super) struct Trying {
    pub(super) number: u64,
    pub(super) reason: ReloadReason,
    pub(super) _task: AbortOnDropHandle<()>,
    pub(super) since: Instant,
    /// The changes, as text for people.
    pub(super) detail: String,
    /// Whether to make a generation even if nothing is new, because more than a file change has caused the
    /// attempt.
    pub(super) forced: bool,
    pub(super) progress: Arc<AttemptProgress>,
}

pub(super) struct Stopping {
    pub(super) code: u8,
    pub(super) deadline: tokio::time::Instant,
}

impl Supervisor {
    /// All workers, with the retired ones.
    pub(super) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.pool.iter().flat_map(WorkerPool::workers).chain(&self.lingering)
    }

    /// Number of the generation that serves; 0 if none does.
    pub(super) fn serving(&self) -> u64 {
        self.pool.as_ref().map_or(0, |pool| pool.generation)
    }

    /// A new number for a task.
    pub(super) fn next_task(&mut self) -> u64 {
        self.tasks += 1;
        self.tasks
    }

    /// The time that requests in flight get when the server stops on TERM.
    pub(super) fn grace(&self) -> Duration {
        self.pool.as_ref().map_or(FAST, |pool| pool.plan.process.grace())
    }
}
