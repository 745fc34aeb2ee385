//! `paster serve`: a supervisor, which runs no plugin code, and the worker processes of each generation.
//!
//! The supervisor binds the listening sockets, watches files, builds libraries, starts workers and switches from
//! one generation to the next; a reload, a changed config and HUP all take that one path. A worker that ends,
//! hangs or has served long enough is replaced alone. What happens is told as [`Event`]s; nothing here prints.
//!
//! - `supervisor`: the loop; `switch` from one generation to the next, `replace` one worker;
//! - `pool`: what the supervisor knows of the workers; `child` and `running`: a worker's process;
//! - `attempt`: makes a generation; changes nothing that serves;
//! - `worker`: the other side, a process of its own; `message` and `wire`: what the two say to each other;
//! - `control`: the socket of `paster ps` and its like; `query`s to workers and their `inspect`;
//! - `tasks`: work on a schedule; `side`: processes of plugins; `orphans`: those that a worker leaves behind;
//! - `upgrade`: a new program in the place of this one; `handoff_state`: what it goes on from; `log_buffer`: the last of the log.

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
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
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

/// What `paster serve` is asked to do.
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
    /// `--reload` or `--no-reload`, over the config's own word.
    pub reload: Option<bool>,
    /// Whether standard output is kept for events: workers then write to standard error alone.
    pub json: bool,
}

/// Checks what a valid config asks of the user that its workers run as: that the user exists and may open the files.
/// Returns notes on faults that do not stop a start.
/// # Errors
/// Each fault that does.
pub fn check_user(config: &Config) -> Result<Vec<String>> {
    let Ok(process) = Process::read(config) else { return Ok(Vec::new()) }; // its faults are told elsewhere
    let (credentials, refused) = credentials::Credentials::check(&process, config)?;
    let (errors, notes) = open_files::check(config, &credentials);
    Errors::check(errors)?;
    Ok(refused.into_iter().chain(notes).collect())
}

/// Hears of events.
pub type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// Serves until it is told to end; returns the exit code.
/// # Errors
/// When nothing could be served to begin with.
pub fn serve(options: Options, listener: Listener) -> Result<u8> {
    if let Some(config) = cgi::config(&options) {
        return cgi::serve(config);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::new("cannot start the supervisor").because(cause))?;
    let code = runtime.block_on(supervisor::run(options, listener));
    // A build that is still reading the disk must not hold up the end.
    runtime.shutdown_background();
    code
}

/// Saved states of apps: name and length of each, and all of them one after the other.
type State = (Vec<(String, usize)>, Bytes);

/// What the supervisor's tasks share.
struct Shared {
    options: Options,
    events: events::EventLog,
    /// Distinguishes this run from earlier ones.
    run: String,
    /// What TLS session tickets of this run are made of.
    tickets: Secret,
    folder: runtime_dir::RuntimeDir,
    notify: notify::Notify,
    messages: mpsc::UnboundedSender<Message>,
    sides: side_process::SideProcesses,
    tasks: tasks::Scheduler,
    queries: query::Queries,
    orphans: Arc<orphans::Orphans>,
    /// How many workers there were.
    started: AtomicU64,
    /// How often files changed that are served as they are.
    refreshes: AtomicU64,
    /// What the supervisor counts.
    seen: totals::Seen,
    /// Files that workers of another user may ask for.
    open_files: open_files::OpenFiles,
    /// The path at which the user should open each app.
    announced: Mutex<BTreeMap<String, String>>,
}

/// What the supervisor's loop is told by its tasks.
enum Message {
    /// The attempt of that number has ended.
    Attempted(u64, Box<attempt::Outcome>),
    /// The making of that number, of a worker for the post, has ended.
    Made { slot: usize, number: u64, result: Result<Box<attempt::Ready>, Vec<Fault>> },
    /// A new program has shown, or not, that it can take over.
    PreflightDone(Result<(), Error>),
    /// The attempt of that number knows what to watch, and goes on once it is; whether the config wants it watched.
    Loaded { number: u64, scope: Box<watch::Scope>, reload: bool, done: oneshot::Sender<()> },
    /// The attempt of that number makes something new of files that have changed.
    Reloading(u64),
    /// Files have changed: config files, what a generation is made from, pages that are served as they are.
    Changed { paths: Vec<PathBuf>, config: bool, input: bool, page: bool },
    /// The switch to that generation is to be told of, whatever the old one is doing.
    Late(u64),
    /// A worker of that id does something.
    News(u64, child::News),
    /// The workers' counts of that round have been waited for long enough.
    CountsLate(u64),
    /// A task is due.
    Due(String),
    /// The control socket asks for something, and waits for what becomes of it.
    Control(Box<crate::ops::control::Ask>, oneshot::Sender<control::Outcome>),
    /// The state of the worker at that post is wanted for the next one.
    SaveState(usize, oneshot::Sender<State>),
}

impl Shared {
    fn emit(&self, event: &Event) {
        self.notify.hear(event);
        self.seen.note(event);
        self.events.emit(event);
    }

    /// Has events told as the table `[log]` of `plan` says.
    fn log_as(&self, plan: &attempt::Plan) {
        // It was read once already, before anything was made of it.
        let log = plan.config.section("log").and_then(|_| Log::read(&plan.config).ok());
        match self.events.follow(log, plan.credentials.owner(), self.options.json) {
            Ok(None) => {}
            Ok(Some(file)) => self.emit(&Event::Logging { file }),
            Err(error) => self.emit(&Event::Warning { message: error.to_string() }),
        }
    }

    /// Lets processes with these credentials reach what is kept for them: the copies of libraries, and the sockets of side
    /// processes.
    fn open_to(&self, credentials: &credentials::Credentials) {
        if let Some((_, group)) = credentials.owner()
            && let Err(error) = self.folder.open_to(group)
        {
            let message = format!("workers may not reach the private folder: {error}");
            self.emit(&Event::Warning { message });
        }
        self.sides.set_credentials(credentials);
    }

    fn send(&self, message: Message) {
        let _ = self.messages.send(message); // the loop has ended: nothing matters any more
    }

    /// Keeps lines that a worker has logged.
    fn worker_log(&self, pid: u32, lines: Bytes) {
        self.events.log.push(log_buffer::LogChunk::new(format!("worker {pid}"), lines));
    }

    /// Keeps the path at which the user should open an app, until the generation serves.
    fn announced(&self, app: String, path: String) {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner).insert(app, path);
    }

    /// Names a worker that is to be started.
    fn name(&self, generation: u64, index: usize) -> child::Name {
        child::Name { id: self.started.fetch_add(1, Ordering::Relaxed) + 1, generation, index }
    }

    /// Opens a file for a worker that runs with `credentials`, and sends it.
    fn open(
        self: &Arc<Self>,
        child: &child::Child,
        id: u64,
        path: PathBuf,
        purpose: Purpose,
        credentials: &credentials::Credentials,
    ) {
        let (reply, shared, owner) = (child.replier(), self.clone(), credentials.owner());
        // A network folder may hang.
        tokio::task::spawn_blocking(move || {
            let opened = match owner {
                Some(owner) => shared.open_files.open(&path, purpose, owner),
                None => Err(std::io::ErrorKind::PermissionDenied.into()), // it may do what we may
            };
            let (outcome, fds) = match opened {
                Ok(file) => (Ok(()), vec![file.into()]),
                Err(error) => (Err(error.to_string()), Vec::new()),
            };
            let order = message::ToWorker::Opened(id, outcome);
            reply.send(wire::Packet { fds, ..wire::Packet::new(&order) });
        });
    }

    /// Answers a worker that asks for a side process.
    fn side(self: &Arc<Self>, child: &child::Child, id: u64, app: String, name: String, library: PathBuf) {
        let reply = child.replier();
        let shared = self.clone();
        tokio::spawn(async move {
            let answer = side_process::SideProcesses::ensure(&shared, app, name, library).await;
            reply.send(wire::Packet::new(&message::ToWorker::Side(id, answer)));
        });
    }
}
