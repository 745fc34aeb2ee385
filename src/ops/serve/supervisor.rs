//! The supervisor's loop: what serves, what is being made, and the switch from one to the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::attempt::{Attempt, From, Outcome, Plan, Prepared};
use super::child::{Child, News};
use super::event::{Event, Reason};
use super::live::Status;
use super::message::{FromWorker, ToWorker};
use super::servers::Bound;
use super::watch::{Scope, Watch};
use super::wire::{self, Packet};
use super::{Listener, Message, Options, Shared, State, folder, side};
use crate::error::{Error, Result};
use crate::ops::fault::Fault;

/// What workers get beyond their own deadline before they are killed.
const SLACK: Duration = Duration::from_secs(2);
/// How long an old generation may take to say that it accepts no more.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time that INT gives to what is in flight.
const FAST: Duration = Duration::from_millis(300);

/// Grows from 100 ms to 10 s while what is started does not last.
#[derive(Debug, Default)]
pub(super) struct Backoff(Option<Duration>);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(10);

    /// The pause before the next start of what has run for `lasted`.
    pub(super) fn next(&mut self, lasted: Duration) -> Duration {
        let pause = match self.0 {
            Some(before) if lasted < Self::LAST => (before * 2).min(Self::LAST),
            _ => Self::FIRST,
        };
        self.0 = Some(pause);
        pause
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    began: Instant,
    plan: Option<Plan>,
    bound: Vec<Bound>,
    /// Number of the last generation that was switched to.
    generation: u64,
    current: Option<(Child, Instant)>,
    /// Whether files are watched.
    reload: bool,
    lingering: Vec<Child>,
    attempt: Option<Running>,
    /// How many attempts there were.
    attempts: u64,
    /// Why another attempt must follow the one that runs.
    again: Option<(Reason, String)>,
    backoff: Backoff,
    state_wanted: Option<oneshot::Sender<State>>,
    stopping: Option<Stopping>,
    announcing: Option<Announcing>,
    watch: Option<Watch>,
}

/// A switch that is told of once the old generation accepts no more: whoever connects then gets the new one.
struct Announcing {
    /// Whether nothing but a stand-in has served before.
    first: bool,
    old: u64,
    generation: u64,
    since: Instant,
    cargo: Duration,
}

struct Running {
    number: u64,
    task: JoinHandle<()>,
    since: Instant,
    building: Arc<AtomicBool>,
}

struct Stopping {
    code: u8,
    deadline: tokio::time::Instant,
}

/// Runs the supervisor to its end; returns the exit code.
pub(super) async fn run(options: Options, listener: Listener) -> Result<u8> {
    let began = Instant::now();
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let run =
        format!("{}-{}", std::process::id(), humantime::format_rfc3339_micros(std::time::SystemTime::now()));
    let folder = folder::Folder::new()?;
    let reload = options.reload.unwrap_or(false);
    let shared = Arc::new(Shared { options, listener, run, folder, messages, sides: side::Sides::new() });
    let failed = |cause: std::io::Error| Error::new("cannot listen for signals").because(cause);
    let mut hup = signal(SignalKind::hangup()).map_err(failed)?;
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;

    let mut this = Supervisor {
        shared: shared.clone(),
        began,
        plan: None,
        bound: Vec::new(),
        generation: 0,
        current: None,
        reload,
        lingering: Vec::new(),
        attempt: None,
        attempts: 0,
        again: None,
        backoff: Backoff::default(),
        state_wanted: None,
        stopping: None,
        announcing: None,
        watch: None,
    };
    this.shared.tell(&Event::Starting { pid: std::process::id() });
    this.make(Reason::Start, String::new());
    let outcome = loop {
        if this.stopping.is_some() && this.current.is_none() && this.lingering.is_empty() {
            break Ok(());
        }
        let deadline = this.stopping.as_ref().map(|stopping| stopping.deadline);
        tokio::select! {
            Some(message) = inbox.recv() => {
                if let Err(faults) = this.hear(message) {
                    break Err(faults);
                }
            }
            _ = hup.recv() => this.make(Reason::Hup, "HUP".into()),
            _ = term.recv() => {
                let grace = this.plan.as_ref().map_or(FAST, |plan| plan.process.grace());
                this.stop("TERM", grace, 0);
            }
            _ = int.recv() => match this.stopping {
                None => this.stop("INT", FAST, 0),
                Some(_) => break Ok(()),
            },
            () = sleep_until(deadline) => break Ok(()),
        }
    };
    let code = this.stopping.as_ref().map_or(0, |stopping| stopping.code);
    this.end().await;
    match outcome {
        Ok(()) => Ok(code),
        Err(errors) => {
            // The command line's fault before the config's before the rest, as `Errors::exit_code` has it.
            let code =
                [2, 78].into_iter().find(|code| errors.iter().any(|fault| fault.code == *code)).unwrap_or(1);
            shared.tell(&Event::Failed { errors });
            Ok(code)
        }
    }
}

/// A few of the changed files, as a person would name them.
fn summary(paths: &[PathBuf]) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let names =
        paths.iter().take(2).map(|path| path.strip_prefix(&here).unwrap_or(path).display().to_string());
    let mut text = names.collect::<Vec<_>>().join(", ");
    if paths.len() > 2 {
        text += &format!(" and {} more", paths.len() - 2);
    }
    text
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
    /// Begins to make a generation from the files, or remembers to once the running attempt has ended.
    fn make(&mut self, reason: Reason, detail: String) {
        if self.stopping.is_some() {
            return;
        }
        if let Some(running) = &self.attempt {
            if !running.building.load(Ordering::Relaxed) {
                self.again = Some((reason, detail));
                return;
            }
            // What it builds is out of date already.
            running.task.abort();
            self.attempt = None;
        }
        if reason != Reason::Start {
            self.shared.tell(&Event::Reloading { reason, detail });
            self.live(Status::Building);
        }
        self.attempt(From::Files);
    }

    /// Begins to make a generation from what was built before, after a pause that grows.
    fn replace(&mut self, lasted: Duration) {
        let Some(plan) = &self.plan else { return };
        if self.stopping.is_none() && self.attempt.is_none() {
            let from = From::Plan(Box::new(plan.clone()), self.backoff.next(lasted));
            self.shared.tell(&Event::Reloading { reason: Reason::Crash, detail: "the worker ended".into() });
            self.attempt(from);
        }
    }

    fn attempt(&mut self, from: From) {
        let building = Arc::<AtomicBool>::default();
        let attempt = Attempt {
            shared: self.shared.clone(),
            from,
            generation: self.generation + 1,
            bound: self.bound.clone(),
            carry: self.current.is_some(),
            building: building.clone(),
        };
        self.attempts += 1;
        let (number, shared) = (self.attempts, self.shared.clone());
        let task =
            tokio::spawn(
                async move { shared.send(Message::Attempted(number, Box::new(attempt.run().await))) },
            );
        self.attempt = Some(Running { number, task, since: Instant::now(), building });
    }

    /// # Errors
    /// What ends the supervisor: nothing can be served, and no change is waited for.
    fn hear(&mut self, message: Message) -> Result<(), Vec<Fault>> {
        match message {
            Message::Attempted(number, outcome) => {
                // Of one that was cut off nothing is wanted any more.
                let Some(running) = self.attempt.take_if(|one| one.number == number) else { return Ok(()) };
                let Outcome { scope, result, stand_in } = *outcome;
                let serves = result.as_ref().ok().or(stand_in.as_ref());
                if let Some(serves) = serves {
                    self.reload = serves.plan.process.reload;
                }
                self.follow(scope);
                match result {
                    Ok(prepared) => self.switch(prepared, &running),
                    Err(faults) => self.failed(faults, stand_in, &running)?,
                }
                if let Some((reason, detail)) = self.again.take() {
                    self.make(reason, detail);
                } else if self.current.is_none() {
                    self.replace(Duration::ZERO);
                }
            }
            Message::Changed { paths, config } => {
                let reason = if config { Reason::Config } else { Reason::Files };
                self.make(reason, summary(&paths));
            }
            Message::Late(generation) => {
                if self.announcing.as_ref().is_some_and(|one| one.generation == generation) {
                    self.announce(None);
                }
            }
            Message::News(generation, news) => self.news(generation, news),
            Message::SaveState(wanted) => {
                // Without a worker the sender is dropped, which says that there is no state.
                if let Some((child, _)) = &self.current {
                    child.tell(&ToWorker::SaveState);
                    self.state_wanted = Some(wanted);
                }
            }
        }
        Ok(())
    }

    fn failed(
        &mut self,
        faults: Vec<Fault>,
        stand_in: Option<Prepared>,
        running: &Running,
    ) -> Result<(), Vec<Fault>> {
        if self.stopping.is_some() {
            return Ok(());
        }
        // Without a watch no change could be noticed: an address is taken, say.
        if self.generation == 0 && self.watch.is_none() {
            return Err(faults);
        }
        if let (None, Some(stand_in)) = (&self.current, stand_in) {
            self.switch(stand_in, running);
        }
        self.shared.tell(&Event::ReloadFailed {
            generation: self.current.as_ref().map_or(0, |(child, _)| child.generation),
            errors: faults.clone(),
        });
        self.live(Status::Failed { errors: faults });
        Ok(())
    }

    /// Watches what the last attempt was made from.
    fn follow(&mut self, scope: Option<Scope>) {
        let Some(scope) = scope.filter(|_| self.reload) else { return };
        if self.watch.is_none() {
            match Watch::new(self.shared.clone()) {
                Ok(watch) => self.watch = Some(watch),
                Err(errors) => self.shared.tell(&Event::Warning { message: errors.to_string() }),
            }
        }
        if let Some(watch) = &self.watch {
            watch.set(scope, &self.shared);
        }
    }

    /// Lets the new generation serve and retires the one before.
    fn switch(&mut self, prepared: Prepared, running: &Running) {
        let Prepared { plan, bound, child, news, cargo, .. } = prepared;
        if self.stopping.is_some() {
            return; // dropping the child ends it
        }
        let old = self.current.take().map(|(child, _)| child);
        let before = old.as_ref().map(|old| old.generation);
        self.lingering.extend(old);
        let mut adopt = Vec::new();
        for old in &self.lingering {
            // Without a hand-over the old one keeps its connections until they end.
            let fds = match wire::pair() {
                Ok((out, into)) => {
                    adopt.push(into);
                    vec![out]
                }
                Err(_) => Vec::new(),
            };
            old.send(Packet { fds, ..Packet::new(&ToWorker::Retire) });
        }
        child.send(Packet { fds: adopt, ..Packet::new(&ToWorker::Serve) });
        let excess = self.lingering.len().saturating_sub(plan.process.max_lingering);
        for old in &self.lingering[..excess] {
            old.tell(&ToWorker::Drain(5_000));
        }

        for one in bound.iter().filter(|one| one.new) {
            self.shared.tell(&Event::Listening { server: one.server.clone(), url: one.url() });
        }
        let first = self.generation == 0;
        self.generation = child.generation;
        let gone: Vec<_> = self
            .bound
            .iter()
            .filter(|old| !bound.iter().any(|new| Arc::ptr_eq(&old.socket, &new.socket)))
            .map(|old| old.socket.listen.clone())
            .collect();
        self.bound = bound.into_iter().map(|one| Bound { new: false, ..one }).collect();
        gone.iter().for_each(super::servers::unlink);
        self.plan = (child.generation > 0).then_some(plan);

        let shared = self.shared.clone();
        let (generation, mut news) = (child.generation, news);
        self.current = Some((child, Instant::now()));
        tokio::spawn(async move {
            while let Some(one) = news.recv().await {
                shared.send(Message::News(generation, one));
            }
        });
        if generation == 0 {
            return;
        }
        self.announce(None);
        let old = before.unwrap_or_default();
        let announcing = Announcing { first, old, generation, since: running.since, cargo };
        self.announcing = Some(announcing);
        if before.is_none() {
            return self.announce(None);
        }
        let shared = self.shared.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            shared.send(Message::Late(generation));
        });
    }

    /// Tells of the last switch, when it waits for `old` or is to wait no longer.
    fn announce(&mut self, old: Option<u64>) {
        if let Some(one) = self.announcing.take_if(|one| old.is_none_or(|old| one.old == old)) {
            let generation = one.generation;
            self.shared.tell(&if one.first {
                Event::Ready { generation, ms: millis(self.began.elapsed()) }
            } else {
                let (ms, cargo_ms) = (millis(one.since.elapsed()), millis(one.cargo));
                Event::Reloaded { generation, ms, cargo_ms }
            });
        }
    }

    fn news(&mut self, generation: u64, news: News) {
        let serving = self.current.as_ref().is_some_and(|(child, _)| child.generation == generation);
        let child = match &self.current {
            Some((child, _)) if serving => Some(child),
            _ => self.lingering.iter().find(|child| child.generation == generation),
        };
        let Some(child) = child else { return };
        match news {
            News::Said(FromWorker::State(lengths), raw) => {
                if let Some(wanted) = self.state_wanted.take() {
                    let _ = wanted.send((lengths, raw)); // the attempt has given up
                }
            }
            News::Said(FromWorker::Side { id, app, name, library }, _) => {
                self.shared.side(child, id, app, name, library);
            }
            News::Said(FromWorker::Retired, _) => self.announce(Some(generation)),
            News::Said(FromWorker::Done(code), _) => self.stop("done", FAST, code),
            News::Said(..) => {}
            News::Ended(status) => {
                let expected = !serving || self.stopping.is_some();
                let (pid, status) = (child.pid, status.to_string());
                self.shared.tell(&Event::WorkerExit { generation, pid, status, expected });
                self.lingering.retain(|child| child.generation != generation);
                self.announce(Some(generation));
                if serving {
                    self.state_wanted = None;
                    let lasted = self.current.take().map_or(Duration::ZERO, |(_, since)| since.elapsed());
                    self.replace(lasted);
                }
            }
        }
    }

    fn live(&self, status: Status) {
        if let Some((child, _)) = &self.current {
            child.tell(&ToWorker::Live(status));
        }
    }

    /// Begins the end: no new connections, `grace` for what is in flight.
    fn stop(&mut self, reason: &str, grace: Duration, code: u8) {
        if self.stopping.is_some() {
            return;
        }
        self.shared.tell(&Event::Stopping { reason: reason.into() });
        self.stopping = Some(Stopping { code, deadline: tokio::time::Instant::now() + grace + SLACK });
        if let Some(running) = self.attempt.take() {
            running.task.abort();
        }
        let order = ToWorker::Drain(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
        for child in self.current.iter().map(|(child, _)| child).chain(&self.lingering) {
            child.tell(&order);
        }
        self.unbind();
    }

    fn unbind(&mut self) {
        for bound in std::mem::take(&mut self.bound) {
            super::servers::unlink(&bound.socket.listen);
        }
    }

    /// Ends every process that is left and waits for it.
    async fn end(mut self) {
        self.unbind();
        if let Some(running) = self.attempt.take() {
            running.task.abort();
            let _ = running.task.await; // aborted, as asked
        }
        let children =
            self.current.take().map(|(child, _)| child).into_iter().chain(self.lingering.drain(..));
        for child in children {
            child.kill().await;
        }
        self.shared.sides.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_while_nothing_lasts() {
        let mut backoff = Backoff::default();
        let brief = Duration::from_millis(1);
        let pauses: Vec<_> = (0..9).map(|_| backoff.next(brief).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.next(Duration::from_secs(11)).as_millis(), 100);
    }
}
