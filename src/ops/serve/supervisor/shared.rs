//! What the supervisor's tasks share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::attempt::Plan;
use super::child::{Child, Name};
use super::event::Event;
use super::events::EventLog;
use super::inbox::Message;
use super::log_buffer::LogChunk;
use super::notify::Notify;
use super::open_files::OpenFiles;
use super::queries::Queries;
use super::scheduler::Scheduler;
use super::side_process::SideProcesses;
use super::totals::Seen;
use crate::config::Purpose;
use crate::ops::sections::log::Log;
use crate::ops::serve::ipc::message::ToWorker;
use crate::ops::serve::ipc::wire::Packet;
use crate::ops::serve::options::Options;
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::orphans::Orphans;
use crate::ops::serve::process::runtime_dir::RuntimeDir;
use crate::server::tickets::Secret;

/// What the supervisor's tasks share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) events: EventLog,
    /// Distinguishes this run from earlier ones.
    pub(super) run: String,
    /// The secret for the keys of this run's TLS session tickets.
    pub(super) tickets: Secret,
    pub(super) folder: RuntimeDir,
    pub(super) notify: Notify,
    pub(super) messages: mpsc::UnboundedSender<Message>,
    pub(super) sides: SideProcesses,
    pub(super) tasks: Scheduler,
    pub(super) queries: Queries,
    pub(super) orphans: Arc<Orphans>,
    /// How many workers were started.
    pub(super) started: AtomicU64,
    /// How often files changed that are served directly.
    pub(super) refreshes: AtomicU64,
    /// The supervisor's own counters.
    pub(super) seen: Seen,
    /// Files that workers of another user may ask for.
    pub(super) open_files: OpenFiles,
    /// The path at which the user should open each app.
    pub(super) announced: Mutex<BTreeMap<String, String>>,
}

impl Shared {
    pub(super) fn emit(&self, event: &Event) {
        self.notify.hear(event);
        self.seen.note(event);
        self.events.emit(event);
    }

    /// Logs events as the table `[log]` of `plan` asks.
    pub(super) fn log_as(&self, plan: &Plan) {
        // The attempt has read the table before, without a fault.
        let log = plan.config.section("log").and_then(|_| Log::read(&plan.config).ok());
        match self.events.follow(log, plan.credentials.owner(), self.options.json) {
            Ok(None) => {}
            Ok(Some(file)) => self.emit(&Event::Logging { file }),
            Err(error) => self.emit(&Event::Warning { message: error.to_string() }),
        }
    }

    /// Lets processes with these credentials reach the copies of libraries and the sockets of side processes.
    pub(super) fn open_to(&self, credentials: &Credentials) {
        if let Some((_, group)) = credentials.owner()
            && let Err(error) = self.folder.open_to(group)
        {
            let message = format!("workers cannot access the runtime directory: {error}");
            self.emit(&Event::Warning { message });
        }
        self.sides.set_credentials(credentials);
    }

    pub(super) fn send(&self, message: Message) {
        let _ = self.messages.send(message); // fails only after the loop has ended
    }

    /// Adds lines that a worker has logged to the log buffer.
    pub(super) fn worker_log(&self, pid: u32, lines: Bytes) {
        self.events.log.push(LogChunk::new(format!("worker {pid}"), lines));
    }

    /// Stores the path at which the user should open an app, until the generation serves.
    pub(super) fn announced(&self, app: String, path: String) {
        self.announced.lock().insert(app, path);
    }

    /// Names a worker before its start.
    pub(super) fn name(&self, generation: u64, index: usize) -> Name {
        Name { id: self.started.fetch_add(1, Ordering::Relaxed) + 1, generation, index }
    }

    /// Opens a file for a worker that runs with `credentials`, and sends the descriptor.
    pub(super) fn open(
        self: &Arc<Self>,
        child: &Child,
        id: u64,
        path: PathBuf,
        purpose: Purpose,
        credentials: &Credentials,
    ) {
        let (reply, shared, owner) = (child.replier(), self.clone(), credentials.owner());
        // A network file system may hang.
        tokio::task::spawn_blocking(move || {
            let opened = match owner {
                Some(owner) => shared.open_files.open(&path, purpose, owner),
                None => Err(std::io::ErrorKind::PermissionDenied.into()), // it has the supervisor's own rights
            };
            let (outcome, fds) = match opened {
                Ok(file) => (Ok(()), vec![file.into()]),
                Err(error) => (Err(error.to_string()), Vec::new()),
            };
            let order = ToWorker::Opened(id, outcome);
            reply.send(Packet { fds, ..Packet::new(&order) });
        });
    }

    /// Answers a worker's request for a side process.
    pub(super) fn side(
        self: &Arc<Self>,
        child: &Child,
        id: u64,
        app: String,
        name: String,
        library: PathBuf,
    ) {
        let reply = child.replier();
        let shared = self.clone();
        tokio::spawn(async move {
            let answer = SideProcesses::ensure(&shared, app, name, library).await;
            reply.send(Packet::new(&ToWorker::Side(id, answer)));
        });
    }
}
