//! `paster serve`: a supervisor, which runs no plugin code, and the worker processes of each generation.
//!
//! The supervisor binds the listening sockets, watches files, builds libraries, starts workers and switches
//! from one generation to the next. A reload, a changed config and HUP all use the same switch. A worker that
//! ends, hangs or has served long enough is replaced alone. Everything that happens is reported as an
//! [`Event`]; nothing here prints.
//!
//! - `supervisor`: the loop; `switch` to the next generation, `replace_worker`, `replace_program`
//! - `pool`: what the supervisor knows about the workers; `child` and `running`: a worker's process
//! - `attempt`: makes a generation; changes nothing that serves
//! - `worker`: the worker's side, in its own process; `message` and `wire`: the protocol between the two
//! - `control`: the socket of `paster ps` and similar commands; `query`: questions to workers, which
//!   `inspect` answers
//! - `tasks`: scheduled work; `side_process`: processes of plugins; `orphans`: processes that a worker leaves
//!   behind
//! - `upgrade`: a new program in place of this one; `handoff_state`: the counters that it continues;
//!   `log_buffer`: the end of the log

mod attempt;
mod backoff;
mod cgi;
mod child;
mod control;
mod counting;
mod credentials;
mod descriptors;
mod event;
mod events;
mod handoff_state;
mod handover;
mod heartbeat;
mod inspect;
mod live_page;
mod load;
mod log;
mod log_buffer;
mod memory;
mod message;
mod notify;
mod open_files;
mod orphans;
mod pid_file;
mod pool;
mod process;
mod query;
mod running;
mod runtime_dir;
mod servers;
mod side_process;
mod supervisor;
mod tasks;
mod terminal;
mod totals;
mod upgrade;
mod watch;
mod wire;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub use event::{Event, Reason, Why};
pub use log::Log;
pub use process::Process;
pub use side_process::side;
pub use tasks::run::become_program;
pub use tasks::{TaskOptions, check as check_tasks};
pub use upgrade::successor;
pub use worker::worker;

use crate::config::{Config, Purpose, Sources};
use crate::error::{Error, Errors, Result};
use crate::ops::fault::Fault;
use crate::server::tickets::Secret;

/// The arguments of `paster serve`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the config comes from.
    pub sources: Sources,
    /// Serve only these servers of the config; all when empty.
    pub servers: Vec<String>,
    /// Serve this app instead of the servers' own.
    pub app: Option<String>,
    /// Listen here instead of where the config says.
    pub listen: Vec<String>,
    /// `--reload` or `--no-reload`, which override the config.
    pub reload: Option<bool>,
    /// Whether standard output is reserved for events: workers then write to standard error only.
    pub json: bool,
}

/// Checks that the user that the workers run as exists and may open the files of the config. Returns notes on
/// faults that do not prevent a start.
/// # Errors
/// Every fault that does.
pub fn check_user(config: &Config) -> Result<Vec<String>> {
    let Ok(process) = Process::read(config) else { return Ok(Vec::new()) }; // its faults are reported elsewhere
    let (credentials, refused) = credentials::Credentials::check(&process, config)?;
    let (errors, notes) = open_files::check(config, &credentials);
    Errors::check(errors)?;
    Ok(refused.into_iter().chain(notes).collect())
}

/// Receives events.
pub type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// Serves until it is stopped; returns the exit code.
/// # Errors
/// When it could not start serving.
pub fn serve(options: Options, listener: Listener) -> Result<u8> {
    if let Some(config) = cgi::config(&options) {
        return cgi::serve(config);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::new("cannot start the supervisor").because(cause))?;
    let code = runtime.block_on(supervisor::run(options, listener));
    // A build that is still reading the disk must not delay the exit.
    runtime.shutdown_background();
    code
}

/// Saved states of apps: the name and length of each, and their concatenation.
type State = (Vec<(String, usize)>, Bytes);

/// What the supervisor's tasks share.
struct Shared {
    options: Options,
    events: events::EventLog,
    /// Distinguishes this run from earlier ones.
    run: String,
    /// The secret for the keys of this run's TLS session tickets.
    tickets: Secret,
    folder: runtime_dir::RuntimeDir,
    notify: notify::Notify,
    messages: mpsc::UnboundedSender<Message>,
    sides: side_process::SideProcesses,
    tasks: tasks::Scheduler,
    queries: query::Queries,
    orphans: Arc<orphans::Orphans>,
    /// How many workers were started.
    started: AtomicU64,
    /// How often files changed that are served directly.
    refreshes: AtomicU64,
    /// The supervisor's own counters.
    seen: totals::Seen,
    /// Files that workers of another user may ask for.
    open_files: open_files::OpenFiles,
    /// The path at which the user should open each app.
    announced: Mutex<BTreeMap<String, String>>,
}

/// What its tasks send to the supervisor's loop.
enum Message {
    /// The attempt with this number has ended.
    Attempted(u64, Box<attempt::Outcome>),
    /// The start with this number, of a worker for this slot, has ended.
    Made { slot: usize, number: u64, result: Result<Box<attempt::Ready>, Vec<Fault>> },
    /// Whether a new program can take over.
    PreflightDone(Result<(), Error>),
    /// The attempt with this number knows what to watch and waits until the watch has it. `reload`: whether
    /// the config asks for a watch.
    Loaded { number: u64, scope: Box<watch::Scope>, reload: bool, done: oneshot::Sender<()> },
    /// The attempt with this number makes something new from files that have changed.
    Reloading(u64),
    /// Files have changed: config files, inputs of a generation, or pages that are served directly.
    Changed { paths: Vec<PathBuf>, config: bool, input: bool, page: bool },
    /// Report the switch to this generation now, even if the old one still accepts.
    Late(u64),
    /// A message from a worker, by its id.
    News(u64, child::News),
    /// The wait for the workers' counts of this round is over.
    CountsLate(u64),
    /// A task is due.
    Due(String),
    /// A request from the control socket, which waits for the outcome.
    Control(Box<crate::ops::control::Ask>, oneshot::Sender<control::Outcome>),
    /// Save the state of the worker in this slot, for the next one.
    SaveState(usize, oneshot::Sender<State>),
}

impl Shared {
    fn emit(&self, event: &Event) {
        self.notify.hear(event);
        self.seen.note(event);
        self.events.emit(event);
    }

    /// Logs events as the table `[log]` of `plan` asks.
    fn log_as(&self, plan: &attempt::Plan) {
        // The attempt has read the table before, without a fault.
        let log = plan.config.section("log").and_then(|_| Log::read(&plan.config).ok());
        match self.events.follow(log, plan.credentials.owner(), self.options.json) {
            Ok(None) => {}
            Ok(Some(file)) => self.emit(&Event::Logging { file }),
            Err(error) => self.emit(&Event::Warning { message: error.to_string() }),
        }
    }

    /// Lets processes with these credentials reach the copies of libraries and the sockets of side processes.
    fn open_to(&self, credentials: &credentials::Credentials) {
        if let Some((_, group)) = credentials.owner()
            && let Err(error) = self.folder.open_to(group)
        {
            let message = format!("workers cannot access the runtime directory: {error}");
            self.emit(&Event::Warning { message });
        }
        self.sides.set_credentials(credentials);
    }

    fn send(&self, message: Message) {
        let _ = self.messages.send(message); // fails only after the loop has ended
    }

    /// Adds lines that a worker has logged to the log buffer.
    fn worker_log(&self, pid: u32, lines: Bytes) {
        self.events.log.push(log_buffer::LogChunk::new(format!("worker {pid}"), lines));
    }

    /// Stores the path at which the user should open an app, until the generation serves.
    fn announced(&self, app: String, path: String) {
        self.announced.lock().insert(app, path);
    }

    /// Names a worker before its start.
    fn name(&self, generation: u64, index: usize) -> child::Name {
        child::Name { id: self.started.fetch_add(1, Ordering::Relaxed) + 1, generation, index }
    }

    /// Opens a file for a worker that runs with `credentials`, and sends the descriptor.
    fn open(
        self: &Arc<Self>,
        child: &child::Child,
        id: u64,
        path: PathBuf,
        purpose: Purpose,
        credentials: &credentials::Credentials,
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
            let order = message::ToWorker::Opened(id, outcome);
            reply.send(wire::Packet { fds, ..wire::Packet::new(&order) });
        });
    }

    /// Answers a worker's request for a side process.
    fn side(self: &Arc<Self>, child: &child::Child, id: u64, app: String, name: String, library: PathBuf) {
        let reply = child.replier();
        let shared = self.clone();
        tokio::spawn(async move {
            let answer = side_process::SideProcesses::ensure(&shared, app, name, library).await;
            reply.send(wire::Packet::new(&message::ToWorker::Side(id, answer)));
        });
    }
}
