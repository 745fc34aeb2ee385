//! The state shared by the supervisor's tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::child::{Name, WorkerRequests};
use super::event::Event;
use super::events::EventLog;
use super::inbox::Notification;
use super::notify::Notify;
use super::open_files::OpenFiles;
use super::plan::GenerationPlan;
use super::totals::EventCounts;
use crate::ops::serve::options::Options;
use crate::ops::serve::process::orphans::Orphans;
use crate::ops::serve::process::runtime_dir::RuntimeDir;
use crate::server::tickets::Secret;

/// The state shared by the supervisor's tasks.
pub(super) struct SupervisorShared {
    pub(super) options: Options,
    pub(super) events: EventLog,
    /// Distinguishes this run from earlier ones.
    pub(super) run: String,
    /// The secret for the keys of this run's TLS session tickets.
    pub(super) tickets: Secret,
    pub(super) folder: RuntimeDir,
    pub(super) notify: Notify,
    pub(super) messages: mpsc::UnboundedSender<Notification>,
    pub(super) requests: Arc<WorkerRequests>,
    pub(super) orphans: Arc<Orphans>,
    /// How many workers were started.
    pub(super) started: AtomicU64,
    /// How often files changed that are served directly.
    pub(super) refreshes: AtomicU64,
    /// The supervisor's own counters.
    pub(super) seen: EventCounts,
    /// Files that workers of another user may ask for.
    pub(super) open_files: OpenFiles,
    /// The path at which the user should open each app.
    pub(super) announced: Mutex<BTreeMap<String, String>>,
}

impl SupervisorShared {
    pub(super) fn emit(&self, event: &Event) {
        self.notify.hear(event);
        self.seen.note(event);
        self.events.emit(event);
    }

    /// Logs events as the table `[log]` of `plan` asks.
    pub(super) fn log_as(&self, plan: &GenerationPlan) {
        match self.events.follow(plan.log.clone(), plan.credentials.owner(), self.options.json) {
            Ok(None) => {}
            Ok(Some(file)) => self.emit(&Event::Logging { file }),
            Err(error) => self.emit(&Event::Warning { message: error.to_string() }),
        }
    }

    pub(super) fn send(&self, message: Notification) {
        let _ = self.messages.send(message); // fails only after the loop has ended
    }

    /// Names a worker before its start.
    pub(super) fn name(&self, generation: u64, index: usize) -> Name {
        Name { id: self.started.fetch_add(1, Ordering::Relaxed) + 1, generation, index }
    }
}
