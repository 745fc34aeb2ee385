//! One attempt at a generation: load, build, bind, start, wait until it is ready. Changes nothing that
//! serves.
//!
//! - here: the state of an attempt, and its steps;
//! - `outcome`: what it ends with;
//! - `load`: the config, its sockets, its libraries;
//! - `start`: the start of one worker.

mod load;
mod outcome;
mod start;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};

use self::load::Loaded;
pub(super) use self::outcome::{AttemptOutcome, PreparedWorkers, ReadyWorker};
pub(super) use self::start::{start, state_of};
use super::app_process::{AppProcesses, AppRegistry};
use super::child::WorkerHandle;
use super::event::{Event, ReloadReason};
use super::inbox::Notification;
use super::plan::GenerationPlan;
use super::services::Services;
use super::shared::SupervisorShared;
use super::sockets::Bound;
use crate::error::Error;
use crate::ops::sections::Sections;
use crate::ops::serve::ipc::message::Role;
use crate::ops::serve::options::LoadedConfig;
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::pid_file::PidFile;

/// The time that the start of a worker waits for earlier ones, if they start one after another.
const TURN: Duration = Duration::from_millis(250);

/// The input of an attempt.
#[derive(Debug)]
pub(super) enum From {
    /// The files; the config of the start is read already.
    Files(Option<Box<LoadedConfig>>),
    /// An earlier plan, to serve again.
    Plan(Box<GenerationPlan>),
}

/// The messages between the supervisor and a running attempt.
#[derive(Debug, Default)]
pub(super) struct AttemptProgress {
    /// Set while builds run, which a further change may cancel.
    building: AtomicBool,
    /// Set once an event has reported this attempt.
    told: AtomicBool,
    changes: AtomicU64,
    changed: Notify,
}

impl AttemptProgress {
    pub(super) fn new(told: bool) -> AttemptProgress {
        AttemptProgress { told: AtomicBool::new(told), ..AttemptProgress::default() }
    }

    pub(super) fn is_building(&self) -> bool {
        self.building.load(Ordering::Relaxed)
    }

    pub(super) fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// How often files have changed since it started.
    pub(super) fn looks(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Records that files have changed while it starts workers.
    pub(super) fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

/// The inputs of an attempt.
pub(super) struct Attempt {
    pub(super) shared: Arc<SupervisorShared>,
    pub(super) services: Services,
    pub(super) from: From,
    pub(super) generation: u64,
    /// The sockets that are already bound.
    pub(super) bound: Vec<Bound>,
    pub(super) registry: Arc<AppRegistry>,
    /// The processes that may be kept, if they would be the same.
    pub(super) apps: AppProcesses,
    /// All processes of the generation that serves: new ones in their place continue with their states.
    pub(super) replaced: AppProcesses,
    pub(super) progress: Arc<AttemptProgress>,
    /// Its number, and why it is made.
    pub(super) number: u64,
    pub(super) reason: ReloadReason,
    pub(super) detail: String,
    /// The serving generation, unless a new one is requested even without changes.
    pub(super) serves: Option<Box<GenerationPlan>>,
    /// The pid file that is locked.
    pub(super) pid_file: Option<PathBuf>,
    /// The pid file, if it was not locked before.
    pub(super) taken: Mutex<Option<PidFile>>,
}

impl Attempt {
    /// Runs the attempt to its end.
    pub(super) async fn run(mut self) -> AttemptOutcome {
        let began = Instant::now();
        let outcome = match std::mem::replace(&mut self.from, From::Files(None)) {
            From::Plan(plan) => self.again(*plan).await,
            From::Files(loaded) => self.anew(began, loaded.map(|loaded| *loaded)).await,
        };
        let taken = self.taken.into_inner();
        let with_pid_file = |prepared: Option<PreparedWorkers>| {
            prepared.map(|one| PreparedWorkers { pid_file: taken, ..one })
        };
        AttemptOutcome { result: outcome.result.map(with_pid_file), ..outcome }
    }

    /// Makes a generation from an earlier plan.
    async fn again(&self, plan: GenerationPlan) -> AttemptOutcome {
        let bound = self.bind(&plan.config, &[]);
        let bound = bound.and_then(|bound| self.take_pid_file(&plan.process).map(|()| bound));
        let result = match bound {
            Ok(bound) => self.prepare(plan, bound, Duration::ZERO, Role::Serve).await.map(Some),
            Err(errors) => Err(errors.into()),
        };
        AttemptOutcome { scope: None, result, placeholder: None, looks: 0 }
    }

    /// Makes a generation from the files. If they change before the workers are ready, cancels the start and
    /// makes one from the changed files, unless they would give the same.
    async fn anew(&self, began: Instant, read: Option<LoadedConfig>) -> AttemptOutcome {
        let mut looks = 0;
        self.progress.building.store(true, Ordering::Relaxed);
        let mut loaded = self.load(read.unwrap_or_else(|| self.shared.options.load()), &[]).await;
        self.progress.building.store(false, Ordering::Relaxed);
        loop {
            self.tell_scope(&loaded).await;
            let cargo = if loaded.config.is_some() { began.elapsed() } else { Duration::ZERO };
            let Ok((plan, bound)) = &loaded.made else { return self.fail(loaded, cargo, looks).await };
            if self.serves.as_ref().is_some_and(|serves| serves.is_same_as(plan)) && !self.apps.have_changed()
            {
                return AttemptOutcome { scope: loaded.scope, result: Ok(None), placeholder: None, looks };
            }
            self.announce();
            let next = tokio::select! {
                result = self.prepare(plan.clone(), bound.clone(), cargo, Role::Serve) => Err(result),
                next = self.newer(plan, &loaded.bound) => Ok(next),
            };
            match next {
                Ok((next, count)) => (loaded, looks) = (next, count),
                Err(Ok(prepared)) => {
                    return AttemptOutcome {
                        scope: loaded.scope,
                        result: Ok(Some(prepared)),
                        placeholder: None,
                        looks,
                    };
                }
                Err(Err(faults)) => {
                    loaded.made = Err(faults);
                    return self.fail(loaded, cargo, looks).await;
                }
            }
        }
    }

    /// Waits until the files differ from `plan`. Returns what was loaded, and how many changes it includes.
    async fn newer(&self, plan: &GenerationPlan, held: &[Bound]) -> (Loaded, u64) {
        self.progress.changed.notified().await;
        loop {
            let looks = self.progress.looks();
            let next = tokio::select! {
                next = self.load(self.shared.options.load(), held) => next,
                () = self.progress.changed.notified() => continue,
            };
            match &next.made {
                Ok((newer, _)) if newer.is_same_as(plan) => self.progress.changed.notified().await,
                _ => return (next, looks),
            }
        }
    }

    /// Gets what was loaded watched before anything is made of it.
    async fn tell_scope(&self, loaded: &Loaded) {
        if let Some(scope) = loaded.scope.clone() {
            let reload = loaded.config.as_ref().is_some_and(|(_, sections)| sections.process.reload);
            let (done, watched) = oneshot::channel();
            self.shared.send(Notification::Loaded {
                number: self.number,
                scope: Box::new(scope),
                reload,
                done,
            });
            let _ = watched.await; // an error means that the server is stopping
        }
    }

    /// Reports, once, that a generation is starting.
    fn announce(&self) {
        if !self.progress.told.swap(true, Ordering::Relaxed) {
            let (reason, detail) = (self.reason, self.detail.clone());
            self.shared.emit(&Event::Reloading { reason, detail, generation: self.generation });
            self.shared.send(Notification::Reloading(self.number));
        }
    }

    /// Ends with faults, and with a worker that shows them if nothing else serves.
    async fn fail(&self, loaded: Loaded, cargo: Duration, looks: u64) -> AttemptOutcome {
        let faults = loaded.made.err().unwrap_or_default();
        let mut placeholder = None;
        if let Some((config, Sections { process, log, .. })) = loaded.config
            && process.reload
            && self.generation == 1
            && !loaded.bound.is_empty()
        {
            let (credentials, libraries) = (Credentials::default(), BTreeMap::new());
            let tasks = Vec::new();
            let plan = GenerationPlan { config, process, log, tasks, credentials, libraries, read: 0 };
            placeholder = self.prepare(plan, loaded.bound, cargo, Role::Tell(faults.clone())).await.ok();
        }
        AttemptOutcome { scope: loaded.scope, result: Err(faults), placeholder, looks }
    }

    /// The workers that serve now, by their slots: the new ones continue their states.
    async fn serving(&self) -> Vec<Option<WorkerHandle>> {
        let (sender, serving) = oneshot::channel();
        self.shared.send(Notification::Serving(sender));
        serving.await.unwrap_or_default() // an error means that the server is stopping
    }

    /// Starts the workers of `plan`; only one if it will not serve.
    async fn prepare(
        &self,
        plan: GenerationPlan,
        bound: Vec<Bound>,
        cargo: Duration,
        role: Role,
    ) -> Result<PreparedWorkers, Vec<Error>> {
        let serving = self.serving().await;
        let (generation, wanted) = match role {
            Role::Tell(_) | Role::Try => (0, 1),
            // One by one: the others start once this one serves.
            Role::Serve if plan.process.rolling && !serving.is_empty() => (self.generation, 1),
            Role::Serve => (self.generation, plan.workers(&bound)),
        };
        self.services.open_to(&plan.credentials);
        let apps = match role {
            Role::Serve => self.registry.start(&plan, generation, &self.apps, &self.replaced).await?,
            Role::Tell(_) | Role::Try => AppProcesses::default(),
        };
        // A start keeps a CPU busy: while something serves, start at most half as many at once as there are
        // CPUs.
        let at_once = match serving.len() {
            0 => wanted,
            _ => available_parallelism().map_or(1, usize::from).div_ceil(2),
        };
        // A worker gets the state of its predecessor in the same slot, or the first worker's if there is
        // none.
        let saving = serving.into_iter().take(wanted).map(|worker| state_of(&self.shared, worker));
        let states = join_all(saving).await;
        let state = |index: usize| states.get(index).or(states.first()).cloned().unwrap_or_default();
        let room = Semaphore::new(at_once);
        let start = async |index| {
            // A start that takes longer probably waits for something other than a CPU.
            let longest = TURN * u32::try_from(index / at_once).unwrap_or(u32::MAX);
            let _turn = tokio::time::timeout(longest, room.acquire()).await;
            let name = self.shared.name(generation, index);
            let plan = (&plan, &apps);
            start(&self.shared, &self.services, plan, &bound, name, state(index), role.clone()).await
        };
        let workers = try_join_all((0..wanted).map(start)).await?;
        Ok(PreparedWorkers { generation, plan, bound, apps, workers, cargo, pid_file: None })
    }
}
