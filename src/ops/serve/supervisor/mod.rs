//! The supervisor's loop: it holds the serving generations and the one that is being started, and decides the next step.
//!
//! The loop:
//! - here: the start, signals, the end; `state`: its state; `shared`: the state shared by its tasks
//! - `messages`: the messages of tasks and workers (`inbox`, `child`)
//! - `attempts`: when a new generation is started; `attempt`: how it is started, without changing the serving ones
//! - `switch`: from one generation to the next, all workers at once or one by one
//! - `replace_worker`: one worker for another of the same generation
//! - `replace_program`: a new program in place of this one; `upgrade` and `handoff_state`: the state that it receives
//! - `health_check`: which worker must be replaced or ended
//! - `control`: the commands of the control socket (`control_socket`)
//!
//! Used by the loop:
//! - `plan`: the input of a generation; `services`: services for workers
//! - `pool`: the workers; `sockets`: where they listen; `totals`: their counts
//! - `watch`: changed files; `open_files`: files that workers may not open themselves
//! - `scheduler`: tasks; `side_process`: processes of plugins; `saved_state`: what plugins pass to the next generation
//! - `event`, `events`, `log`, `log_buffer`, `notify`: reports and their receivers

mod app_process;
mod attempt;
mod attempts;
mod caches;
mod child;
mod control;
mod control_socket;
pub(super) mod event;
mod events;
mod find_logs;
mod handoff_state;
mod health_check;
mod inbox;
mod log;
mod log_buffer;
mod messages;
mod notify;
pub(super) mod open_files;
mod otlp;
mod plan;
mod pool;
mod replace_program;
mod replace_worker;
mod saved_state;
mod scheduler;
mod services;
mod shared;
mod side_process;
mod sockets;
mod state;
mod switch;
mod terminal;
mod totals;
pub(super) mod upgrade;
mod upstreams;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::app_process::AppRegistry;
use self::event::{Event, EventListener, ReloadReason};
use self::events::EventLog;
use self::handoff_state::HandoffState;
use self::inbox::Notification;
use self::notify::Notify;
use self::pool::WorkerPool;
use self::scheduler::Scheduler;
use self::services::Services;
use self::shared::SupervisorShared;
use self::side_process::SideProcesses;
use self::state::{FAST, SLACK, Stopping, Supervisor};
use self::terminal::Terminal;
use self::totals::{EventCounts, Totals};
use super::ipc::message::WorkerCommand;
use super::options::{LoadedConfig, Options};
use super::process::clock::{instant_of, millis};
use super::process::orphans::{Orphans, Reaper};
use super::process::runtime_dir::RuntimeDir;
use crate::error::{Error, Result, exit_code};

/// Runs the supervisor to its end; returns the exit code. `loaded` is the config for the first attempt.
pub(super) async fn run(options: Options, loaded: LoadedConfig, listener: EventListener) -> Result<u8> {
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
                Some(path) => RuntimeDir::adopt(path.clone(), descriptors.next().ok_or_else(lost)?.into()),
                None => RuntimeDir::default(),
            };
            (upgrade_state.run.clone(), upgrade_state.started, folder)
        }
        None => (format!("{}-{now}", std::process::id()), 0, RuntimeDir::default()),
    };
    let handoff_state = inherited
        .as_ref()
        .map(|(upgrade_state, _)| HandoffState::read(&upgrade_state.handoff_state))
        .unwrap_or_default();
    let began = handoff_state.began.map_or(began, instant_of);
    let reload = options.reload.unwrap_or(false);
    let shared = Arc::new(SupervisorShared {
        options,
        events: EventLog::new(listener, handoff_state.totals),
        run,
        tickets: crate::server::tickets::Secret::random(),
        folder,
        notify: Notify::new(),
        messages,
        requests: Default::default(),
        orphans: Default::default(),
        started: AtomicU64::new(started),
        refreshes: AtomicU64::new(0),
        seen: EventCounts::new(handoff_state.began, &handoff_state.seen),
        open_files: Default::default(),
        announced: Default::default(),
    });
    let (sides, scheduler) = (SideProcesses::new(shared.clone()), Scheduler::new(shared.clone()));
    let apps = AppRegistry::new(shared.clone(), sides.clone());
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
        services: Services::new(shared.clone(), sides.clone(), apps.clone()),
        shared: shared.clone(),
        sides,
        apps,
        scheduler,
        began,
        bound: Vec::new(),
        generation: 0,
        pool: None,
        previous: None,
        lingering: Vec::new(),
        turns: 0,
        reload,
        loaded: Some(loaded),
        attempt: None,
        tasks: 0,
        again: None,
        faults: None,
        refresh: false,
        stopping: None,
        announcing: None,
        watch: None,
        scope: None,
        unwatched: false,
        succeeding: false,
        pid_file: None,
        looked: Instant::now(),
        told_alive: Instant::now(),
        reaper: Reaper::default(),
        totals: Totals::default(),
        exporter: None,
        endpoints: [None, None],
        terminal,
    };
    match control_socket::open_default(&shared) {
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
            this.make(ReloadReason::Program, "the program was replaced".into());
            this.refill();
        }
        None => {
            this.shared.emit(&Event::Starting { pid: std::process::id() });
            this.make(ReloadReason::Start, String::new());
        }
    }
    let outcome = loop {
        if this.stopping.is_some() && this.workers().next().is_none() {
            break Ok(());
        }
        if std::mem::take(&mut this.succeeding) {
            let Err(error) = this.succeed(&mut inbox).await;
            this.not_succeeded(error);
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
            let code = exit_code(&errors);
            shared.emit(&Event::Failed { errors });
            Ok(code)
        }
    }
}

async fn sleep_until(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Supervisor {
    /// USR1: reopens the log files, here and in the workers.
    fn reopen(&self) {
        self.shared.events.reopen();
        for worker in self.workers() {
            let serves = |pool: &&WorkerPool| pool.slot_of(worker.id()).is_some();
            let file = self.pool.as_ref().filter(serves).and_then(|pool| pool.plan.log_file());
            let fds = file.into_iter().map(Into::into).collect();
            worker.child.tell_with(WorkerCommand::Reopen, fds);
        }
    }

    /// HUP: stops if the terminal is gone, and reloads otherwise.
    fn hang_up(&mut self) {
        match self.terminal.as_mut().is_some_and(Terminal::has_just_gone) {
            true => self.stop("HUP", self.grace(), 0),
            false => self.make(ReloadReason::Hup, "HUP".into()),
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
        self.scheduler.stop();
        self.pool.iter_mut().flat_map(|pool| &mut pool.slots).for_each(|slot| slot.starting = None);
        self.workers().for_each(|worker| worker.child.tell(WorkerCommand::Drain(millis(grace))));
        self.apps.shut_plugins_down();
        self.unbind();
    }

    fn unbind(&mut self) {
        for bound in std::mem::take(&mut self.bound) {
            sockets::unlink(&bound.socket.listen);
        }
    }

    /// Ends every remaining process and waits for it, including those that are still starting or only known
    /// to the inbox.
    async fn end(mut self, inbox: mpsc::UnboundedReceiver<Notification>) {
        self.unbind();
        self.attempt = None;
        drop(inbox);
        let slots = self.pool.take().into_iter().flat_map(|pool| pool.slots);
        let workers = slots.filter_map(|slot| slot.worker).chain(self.lingering.drain(..));
        let children: Vec<_> = workers.map(|worker| worker.child.kill()).collect();
        futures_util::future::join_all(children).await;
        self.shared.orphans.end().await;
        self.apps.stop().await;
        self.sides.stop().await;
        self.finish_export().await;
    }
}
