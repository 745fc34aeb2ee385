//! The supervisor's loop: it holds what serves and what is being started, and decides what happens next.
//!
//! - here: the start, signals, the end;
//! - `messages`: what tasks and workers send;
//! - `attempts`: when a new generation is started;
//! - `switch`: from one generation to the next, all workers at once or one by one;
//! - `replace_worker`: one worker for another of the same generation;
//! - `replace_program`: a new program in place of this one;
//! - `health_check`: which worker must be replaced or ended;
//! - `control`: what the control socket asks for.

mod attempts;
mod control;
mod health_check;
mod messages;
mod replace_program;
mod replace_worker;
mod switch;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::attempt::{Plan, Progress};
use super::control::Endpoint;
use super::event::{Event, Reason};
use super::events::EventLog;
use super::handoff_state::{HandoffState, instant_of};
use super::message::ToWorker;
use super::notify::Notify;
use super::orphans::{Orphans, Reaper};
use super::pid_file::PidFile;
use super::pool::{Announcing, Worker, WorkerPool};
use super::servers::Bound;
use super::terminal::Terminal;
use super::totals::Totals;
use super::watch::Watch;
use super::wire::Packet;
use super::{
    Listener, Message, Options, Shared, control as endpoint, runtime_dir, side_process, totals, upgrade,
};
use crate::error::{Error, Result};
use crate::ops::fault::Fault;

/// The time that workers get beyond their own deadline before they are killed.
const SLACK: Duration = Duration::from_secs(2);
/// The time that INT gives to requests in flight.
const FAST: Duration = Duration::from_millis(300);

struct Supervisor {
    shared: Arc<Shared>,
    began: Instant,
    /// The sockets of the generation that serves.
    bound: Vec<Bound>,
    /// Number of the last generation that was switched to.
    generation: u64,
    /// The generation that serves; `None` before the first switch.
    pool: Option<WorkerPool>,
    /// The generation before it, for a rollback: its libraries are private copies that still exist.
    previous: Option<Plan>,
    /// Retired workers that still have connections, oldest first.
    lingering: Vec<Worker>,
    /// How often workers were retired: the number of the last turn.
    turns: u64,
    /// Whether files are watched.
    reload: bool,
    attempt: Option<Trying>,
    /// How many attempts and worker starts there were.
    tasks: u64,
    /// Why another attempt must follow the one that is running.
    again: Option<(Reason, String)>,
    /// The faults of the last attempt, if it failed.
    faults: Option<Vec<Fault>>,
    /// Whether to refresh pages once the attempt has ended.
    refresh: bool,
    stopping: Option<Stopping>,
    announcing: Option<Announcing>,
    watch: Option<Watch>,
    /// Whether the warning that files cannot be watched was emitted.
    unwatched: bool,
    /// A new program is ready to take over.
    succeeding: bool,
    pid_file: Option<PidFile>,
    /// When the workers were last checked, and when the service manager last got a sign of life.
    looked: Instant,
    told_alive: Instant,
    reaper: Reaper,
    totals: Totals,
    /// The control sockets: the default one, and the one that the config names.
    endpoints: [Option<Endpoint>; 2],
    terminal: Option<Terminal>,
}

/// A running attempt.
struct Trying {
    number: u64,
    reason: Reason,
    _task: AbortOnDropHandle<()>,
    since: Instant,
    /// What has changed, for people.
    detail: String,
    /// Whether to make a generation even if nothing is new, because more than a file change has caused the
    /// attempt.
    forced: bool,
    progress: Arc<Progress>,
}

struct Stopping {
    code: u8,
    deadline: tokio::time::Instant,
}

/// Runs the supervisor to its end; returns the exit code.
pub(super) async fn run(options: Options, listener: Listener) -> Result<u8> {
    let began = Instant::now();
    let (messages, mut inbox) = mpsc::unbounded_channel();
    Orphans::adopt_orphans();
    upgrade::program(); // before anything can change the working directory
    let mut inherited = upgrade::inherited().await?;
    let now = humantime::format_rfc3339_micros(std::time::SystemTime::now());
    let (run, started, folder) = match &mut inherited {
        Some((upgrade_state, descriptors)) => {
            let lost = || Error::new("the previous program passed no lock file");
            let folder = match &upgrade_state.folder {
                Some(path) => {
                    runtime_dir::RuntimeDir::adopt(path.clone(), descriptors.next().ok_or_else(lost)?.into())
                }
                None => runtime_dir::RuntimeDir::default(),
            };
            (upgrade_state.run.clone(), upgrade_state.started, folder)
        }
        None => (format!("{}-{now}", std::process::id()), 0, runtime_dir::RuntimeDir::default()),
    };
    let handoff_state = inherited
        .as_ref()
        .map(|(upgrade_state, _)| HandoffState::read(&upgrade_state.handoff_state))
        .unwrap_or_default();
    let began = handoff_state.began.map_or(began, instant_of);
    let reload = options.reload.unwrap_or(false);
    let shared = Arc::new(Shared {
        options,
        events: EventLog::new(listener, handoff_state.totals),
        run,
        tickets: crate::server::tickets::Secret::random(),
        folder,
        notify: Notify::new(),
        messages,
        sides: side_process::SideProcesses::new(),
        tasks: Default::default(),
        queries: Default::default(),
        orphans: Default::default(),
        started: AtomicU64::new(started),
        refreshes: AtomicU64::new(0),
        seen: totals::Seen::new(handoff_state.began, &handoff_state.seen),
        open_files: Default::default(),
        announced: Default::default(),
    });
    let terminal = Terminal::of_process();
    let failed = |cause: std::io::Error| Error::new("cannot listen for signals").because(cause);
    let mut hup = signal(SignalKind::hangup()).map_err(failed)?;
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut usr1 = signal(SignalKind::user_defined1()).map_err(failed)?;
    let mut usr2 = signal(SignalKind::user_defined2()).map_err(failed)?;
    upgrade::accept_signals();
    let mut looks = tokio::time::interval(
        shared.notify.every().map_or(health_check::EVERY, |every| every.min(health_check::EVERY)),
    );
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let mut this = Supervisor {
        shared: shared.clone(),
        began,
        bound: Vec::new(),
        generation: 0,
        pool: None,
        previous: None,
        lingering: Vec::new(),
        turns: 0,
        reload,
        attempt: None,
        tasks: 0,
        again: None,
        faults: None,
        refresh: false,
        stopping: None,
        announcing: None,
        watch: None,
        unwatched: false,
        succeeding: false,
        pid_file: None,
        looked: Instant::now(),
        told_alive: Instant::now(),
        reaper: Reaper::default(),
        totals: Totals::default(),
        endpoints: [None, None],
        terminal,
    };
    match endpoint::open_default(&shared) {
        Ok(endpoint) => this.endpoints[0] = Some(endpoint),
        Err(errors) => {
            let message = format!(
                "{}: `paster ps` and similar commands will not find this server",
                control::described(&errors)
            );
            shared.emit(&Event::Warning { message });
        }
    }
    match inherited {
        Some((upgrade_state, descriptors)) => {
            this.inherit(upgrade_state, handoff_state, descriptors)?;
            this.make(Reason::Program, "the program was replaced".into());
            this.refill();
        }
        None => {
            this.shared.emit(&Event::Starting { pid: std::process::id() });
            this.make(Reason::Start, String::new());
        }
    }
    let outcome = loop {
        if this.stopping.is_some() && this.workers().next().is_none() {
            break Ok(());
        }
        if std::mem::take(&mut this.succeeding) {
            let Err(error) = this.succeed(&mut inbox).await;
            this.not_succeeded(&error);
        }
        let deadline = this.stopping.as_ref().map(|stopping| stopping.deadline);
        tokio::select! {
            Some(message) = inbox.recv() => {
                if let Err(faults) = this.handle(message) {
                    break Err(faults);
                }
            }
            _ = looks.tick() => this.look(),
            _ = usr2.recv() => this.preflight(),
            _ = usr1.recv() => {
                this.reopen();
            }
            _ = hup.recv() => this.hang_up(),
            _ = term.recv() => this.stop("TERM", this.grace(), 0),
            _ = int.recv() => match this.stopping {
                None => this.stop("INT", FAST, 0),
                Some(_) => break Ok(()),
            },
            () = sleep_until(deadline) => break Ok(()),
        }
    };
    let code = this.stopping.as_ref().map_or(0, |stopping| stopping.code);
    this.end(inbox).await;
    match outcome {
        Ok(()) => Ok(code),
        Err(errors) => {
            // Command line errors come before config errors, and these before others, as in
            // `Errors::exit_code`.
            let code =
                [2, 78].into_iter().find(|code| errors.iter().any(|fault| fault.code == *code)).unwrap_or(1);
            shared.emit(&Event::Failed { errors });
            Ok(code)
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn sleep_until(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Supervisor {
    /// All workers, with the retired ones.
    fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.pool.iter().flat_map(WorkerPool::workers).chain(&self.lingering)
    }

    /// Number of the generation that serves; 0 if none does.
    fn serving(&self) -> u64 {
        self.pool.as_ref().map_or(0, |pool| pool.generation)
    }

    /// A new number for a task.
    fn next_task(&mut self) -> u64 {
        self.tasks += 1;
        self.tasks
    }

    /// The time that requests in flight get when the server stops on TERM.
    fn grace(&self) -> Duration {
        self.pool.as_ref().map_or(FAST, |pool| pool.plan.process.grace())
    }

    /// USR1: reopens the log files, here and in the workers.
    fn reopen(&self) {
        self.shared.events.reopen();
        for worker in self.workers() {
            let serves = |pool: &&WorkerPool| pool.slot_of(worker.id()).is_some();
            let file = self.pool.as_ref().filter(serves).and_then(|pool| pool.plan.log_file());
            let fds = file.into_iter().map(Into::into).collect();
            worker.child.send(Packet { fds, ..Packet::new(&ToWorker::Reopen) });
        }
    }

    /// HUP: stops if the terminal is gone, and reloads otherwise.
    fn hang_up(&mut self) {
        match self.terminal.as_mut().is_some_and(Terminal::has_just_gone) {
            true => self.stop("HUP", self.grace(), 0),
            false => self.make(Reason::Hup, "HUP".into()),
        }
    }

    /// Starts the stop: no new connections, `grace` for requests in flight.
    fn stop(&mut self, reason: &str, grace: Duration, code: u8) {
        if self.stopping.is_some() {
            return;
        }
        self.shared.emit(&Event::Stopping { reason: reason.into() });
        self.stopping = Some(Stopping { code, deadline: tokio::time::Instant::now() + grace + SLACK });
        self.attempt = None;
        self.shared.tasks.stop();
        self.pool.iter_mut().flat_map(|pool| &mut pool.slots).for_each(|slot| slot.starting = None);
        let order = ToWorker::Drain(millis(grace));
        self.workers().for_each(|worker| worker.child.tell(&order));
        self.unbind();
    }

    fn unbind(&mut self) {
        for bound in std::mem::take(&mut self.bound) {
            super::servers::unlink(&bound.socket.listen);
        }
    }

    /// Ends every remaining process and waits for it, including those that are still starting or only known
    /// to the inbox.
    async fn end(mut self, inbox: mpsc::UnboundedReceiver<Message>) {
        self.unbind();
        self.attempt = None;
        drop(inbox);
        let slots = self.pool.take().into_iter().flat_map(|pool| pool.slots);
        let workers = slots.filter_map(|slot| slot.worker).chain(self.lingering.drain(..));
        let children: Vec<_> = workers.map(|worker| worker.child.kill()).collect();
        futures_util::future::join_all(children).await;
        self.shared.orphans.end().await;
        self.shared.sides.stop().await;
    }
}
