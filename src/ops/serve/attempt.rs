//! One attempt to make a generation: load, build, bind, start, wait until it is ready. Changes nothing that serves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::child::{Child, Name, News};
use super::event::Event;
use super::log::Log;
use super::message::{Errand, FromWorker, Start, ToWorker};
use super::pid_file::PidFile;
use super::process::Process;
use super::servers::{self, Bound};
use super::standing::Standing;
use super::tasks;
use super::watch::Scope;
use super::wire::Packet;
use super::{Message, Shared, State};
use crate::config::Config;
use crate::error::{Error, Errors};
use crate::ops::build::{self, Speed};
use crate::ops::fault::Fault;

/// How long the start of a worker waits for those before it, where one follows the other.
const TURN: Duration = Duration::from_millis(250);
/// How long the old generation may take to save its state.
const SAVING: Duration = Duration::from_secs(5);

/// What a generation is made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) process: Process,
    pub(super) standing: Standing,
    /// Private copy of each plugin app's library, by the app's name.
    pub(super) libraries: BTreeMap<String, PathBuf>,
}

impl Plan {
    /// How many workers serve it. What listens nowhere (a console) answers once, so one does it.
    pub(super) fn workers(&self, bound: &[Bound]) -> usize {
        if bound.is_empty() { 1 } else { self.process.workers.count() }
    }
}

/// Where an attempt begins.
#[derive(Debug)]
pub(super) enum From {
    /// At the files.
    Files,
    /// At what was built before: it is to serve again.
    Plan(Box<Plan>),
}

/// How an attempt has ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What to watch for the next; `None` when it is not known.
    pub(super) scope: Option<Scope>,
    /// Workers that are ready, or everything that is wrong; the caller's world is as before.
    pub(super) result: Result<Prepared, Vec<Fault>>,
    /// A worker that says what is wrong, where nothing else serves and a mending is waited for.
    pub(super) stand_in: Option<Prepared>,
}

/// Workers that wait for [`ToWorker::Serve`].
#[derive(Debug)]
pub(super) struct Prepared {
    /// Number of the generation; 0 for a stand-in.
    pub(super) generation: u64,
    pub(super) plan: Plan,
    pub(super) bound: Vec<Bound>,
    /// All of the generation, or only the first where the others follow one by one.
    pub(super) workers: Vec<Ready>,
    pub(super) cargo: Duration,
    /// A pid file that was not held before.
    pub(super) pid_file: Option<PidFile>,
}

/// A worker that is ready, and what it will tell.
pub(super) type Ready = (Child, mpsc::UnboundedReceiver<News>);

/// What an attempt works with.
pub(super) struct Attempt {
    pub(super) shared: Arc<Shared>,
    pub(super) from: From,
    pub(super) generation: u64,
    /// The sockets that are bound already.
    pub(super) bound: Vec<Bound>,
    /// How many workers serve, whose states are to be carried on.
    pub(super) carry: usize,
    /// Set while builds run, which a further change may cut off.
    pub(super) building: Arc<AtomicBool>,
    /// The pid file that is held.
    pub(super) pid_file: Option<PathBuf>,
}

impl Attempt {
    /// Runs the attempt to its end.
    pub(super) async fn run(self) -> Outcome {
        let began = Instant::now();
        let mut loaded = match self.from {
            From::Plan(ref plan) => {
                let plan = Plan::clone(plan);
                let bound = servers::bind(&plan.config, &self.bound);
                let taken = bound.and_then(|bound| Ok((bound, self.pid_file(&plan.process)?)));
                let (made, pid_file) = match taken {
                    Ok((bound, pid_file)) => (Ok((plan, bound)), pid_file),
                    Err(errors) => (Err(Fault::list(&errors)), None),
                };
                Loaded { config: None, scope: None, bound: Vec::new(), pid_file, made }
            }
            From::Files => {
                self.building.store(true, Ordering::Relaxed);
                let loaded = self.load().await;
                self.building.store(false, Ordering::Relaxed);
                loaded
            }
        };
        let cargo = if loaded.config.is_some() { began.elapsed() } else { Duration::ZERO };
        let result = match loaded.made {
            Ok((plan, bound)) => self.prepare(plan, bound, cargo, Errand::Serve).await,
            Err(faults) => Err(faults),
        };
        let mut stand_in = None;
        if let (Err(faults), Some((config, process))) = (&result, loaded.config.take())
            && process.reload
            && self.generation == 1
            && !loaded.bound.is_empty()
        {
            let plan = Plan { config, process, standing: Standing::default(), libraries: BTreeMap::new() };
            stand_in = self.prepare(plan, loaded.bound, cargo, Errand::Tell(faults.clone())).await.ok();
        }
        let result = result.map(|prepared| Prepared { pid_file: loaded.pid_file, ..prepared });
        Outcome { scope: loaded.scope, result, stand_in }
    }

    /// Starts the workers of `plan`; for another errand than to serve, one.
    async fn prepare(
        &self,
        plan: Plan,
        bound: Vec<Bound>,
        cargo: Duration,
        errand: Errand,
    ) -> Result<Prepared, Vec<Fault>> {
        let (generation, wanted) = match errand {
            Errand::Tell(_) | Errand::Try => (0, 1),
            // One by one: the others are made once this one serves.
            Errand::Serve if plan.process.rolling && self.carry > 0 => (self.generation, 1),
            Errand::Serve => (self.generation, plan.workers(&bound)),
        };
        // A worker gets the state of the one before it in its place; those that have no such one, the first's.
        let states =
            join_all((0..wanted.min(self.carry)).map(|index| saved_state(&self.shared, index))).await;
        let state = |index: usize| states.get(index).or(states.first()).cloned().unwrap_or_default();
        // A start keeps a processor busy: as long as something serves, half of them are left to that.
        let at_once =
            if self.carry > 0 { available_parallelism().map_or(1, usize::from).div_ceil(2) } else { wanted };
        let room = Semaphore::new(at_once);
        let start = async |index| {
            // What one that takes longer waits for need not be a processor.
            let longest = TURN * u32::try_from(index / at_once).unwrap_or(u32::MAX);
            let _turn = tokio::time::timeout(longest, room.acquire()).await;
            let name = self.shared.name(generation, index);
            start(&self.shared, &plan, &bound, name, state(index), errand.clone()).await
        };
        let workers = try_join_all((0..wanted).map(start)).await?;
        Ok(Prepared { generation, plan, bound, workers, cargo, pid_file: None })
    }

    /// Loads the config, binds what is new in it, and sees that every library is built and copied. An address that
    /// cannot be had is told before anybody waits for a build.
    async fn load(&self) -> Loaded {
        let shared = &self.shared;
        let config = super::load::load(&shared.options).and_then(|config| {
            let process = Process::read(&config);
            let tasks = tasks::read(&config);
            let log = Log::read(&config);
            match (process, tasks, log) {
                (Ok(process), Ok(_), Ok(_)) => Ok((process, config)),
                (process, tasks, log) => {
                    let faults = process.err().into_iter().chain(tasks.err()).chain(log.err()).flatten();
                    let mut faults: Vec<Error> = faults.collect();
                    config.sort(&mut faults);
                    Err(Errors::check(faults)
                        .err()
                        .unwrap_or_else(|| Error::new("the config is wrong").into()))
                }
            }
        });
        let (mut process, config) = match config {
            Ok(config) => config,
            Err(errors) => {
                let files = Config::files_of(&shared.options.sources);
                let scope = Some(Scope { configs: files.into_iter().collect(), ..Scope::default() });
                let made = Err(Fault::list(&errors));
                return Loaded { config: None, scope, bound: Vec::new(), pid_file: None, made };
            }
        };
        process.reload = shared.options.reload.unwrap_or(process.reload);
        let standing = Standing::of(&process, &config);
        let mut scope = Scope { configs: config.files().iter().cloned().collect(), ..Scope::default() };
        let bound = servers::bind(&config, &self.bound);
        let taken = bound.and_then(|bound| Ok((bound, standing?, self.pid_file(&process)?)));
        let (bound, standing, pid_file) = match taken {
            Ok(taken) => taken,
            Err(errors) => {
                // What was watched goes on to be: saving a file gives no address free.
                let made = Err(Fault::list(&errors));
                let config = Some((config, process));
                return Loaded { config, scope: None, bound: Vec::new(), pid_file: None, made };
            }
        };
        let tell = |app: &str, progress| shared.tell(&Event::of_build(app, progress));
        let speed = if process.reload { Speed::Development } else { Speed::Production };
        let (inputs, libraries) =
            build::libraries(&config, speed, Some(&shared.folder.libraries()), &tell).await;
        scope.inputs = inputs;
        let plan = |libraries| Plan { config: config.clone(), process: process.clone(), standing, libraries };
        let made = match libraries {
            Ok(libraries) => Ok((plan(libraries), bound.clone())),
            Err(build::Failure { mut faults, built }) => {
                self.look_at_the_rest(&plan(built), &mut faults).await;
                Err(faults)
            }
        };
        Loaded { config: Some((config, process)), scope: Some(scope), bound, pid_file, made }
    }

    /// Some libraries could not be built: has a worker say what else is wrong, so that all is told at once.
    async fn look_at_the_rest(&self, plan: &Plan, faults: &mut Vec<Fault>) {
        let name = self.shared.name(self.generation, 0);
        let found = start(&self.shared, plan, &[], name, State::default(), Errand::Try).await;
        for fault in found.err().into_iter().flatten() {
            let same =
                |told: &Fault| *told == fault || (told.origin.is_some() && told.origin == fault.origin);
            if !faults.iter().any(same) {
                faults.push(fault);
            }
        }
    }

    /// Takes the pid file, where it is another than the one that is held.
    fn pid_file(&self, process: &Process) -> crate::error::Result<Option<PidFile>> {
        match &process.pid_file {
            Some(path) if self.pid_file.as_deref() != Some(&**path) => Ok(Some(PidFile::take(path)?)),
            _ => Ok(None),
        }
    }
}

/// What the files say.
struct Loaded {
    /// The config, when it could be read.
    config: Option<(Config, Process)>,
    scope: Option<Scope>,
    /// The sockets, whether or not the rest could be made.
    bound: Vec<Bound>,
    /// A pid file that was not held before.
    pid_file: Option<PidFile>,
    made: Result<(Plan, Vec<Bound>), Vec<Fault>>,
}

/// Asks the worker at the post `index` for its state.
pub(super) async fn saved_state(shared: &Shared, index: usize) -> State {
    let (sender, state) = oneshot::channel();
    shared.send(Message::SaveState(index, sender));
    match tokio::time::timeout(SAVING, state).await {
        Ok(Ok(state)) => state,
        Ok(Err(_)) => Default::default(), // it has ended meanwhile
        Err(_) => {
            let message = "an old worker did not save its state in time: the new one begins without";
            shared.tell(&Event::Warning { message: message.into() });
            Default::default()
        }
    }
}

/// Starts a worker and waits until it is ready.
pub(super) async fn start(
    shared: &Arc<Shared>,
    plan: &Plan,
    bound: &[Bound],
    name: Name,
    (states, raw): State,
    errand: Errand,
) -> Result<Ready, Vec<Fault>> {
    let fail = |error: Error| vec![Fault::from(&error)];
    shared.open_to(&plan.standing);
    let (child, mut news) = Child::start(name, &plan.standing, shared.options.json, shared.leavings.clone())
        .map_err(|errors| Fault::list(&errors))?;
    let order = ToWorker::Start(Box::new(Start {
        generation: name.generation,
        worker: name.index,
        run: shared.run.clone(),
        tickets: shared.tickets.clone(),
        development: plan.process.reload,
        config: plan.config.clone(),
        process: plan.process.clone(),
        standing: plan.standing.clone(),
        libraries: plan.libraries.clone(),
        states,
        sockets: bound.iter().map(|one| (one.server.clone(), one.socket.listen.to_string())).collect(),
        errand,
    }));
    let fds = bound.iter().map(|one| one.socket.fd.try_clone()).collect::<Result<_, _>>();
    let fds = fds.map_err(|cause| fail(Error::new("cannot hand a socket to the worker").because(cause)))?;
    child.send(Packet { raw, fds, ..Packet::new(&order) });

    let mut step = None;
    let ready = async {
        loop {
            match news.recv().await {
                Some(News::Said(FromWorker::Starting(next), _)) => step = Some(next),
                Some(News::Said(FromWorker::Ready, _)) => return Ended::Ready,
                Some(News::Said(FromWorker::Failed(faults), _)) => return Ended::Failed(faults),
                Some(News::Said(FromWorker::Log, lines)) => shared.worker_log(child.pid, lines),
                Some(News::Said(FromWorker::Side { id, app, name, library }, _)) => {
                    shared.side(&child, id, app, name, library);
                }
                Some(News::Said(..)) => {}
                Some(News::Ended(status)) => return Ended::Crashed(status.to_string()),
                None => return Ended::Crashed("it is gone".to_owned()),
            }
        }
    };
    let ended = tokio::time::timeout(plan.process.start(), ready).await;
    let last = step.map(|step| format!("the last step was {step}"));
    match ended {
        Ok(Ended::Ready) => Ok((child, news)),
        Ok(Ended::Failed(faults)) => Err(faults),
        Ok(Ended::Crashed(status)) => {
            let error = Error::new(format!("the new worker crashed while starting ({status})"));
            Err(fail(blame(error, last)))
        }
        Err(_) => {
            let seconds = plan.process.start().as_secs();
            let error = Error::new(format!("the new worker was not ready within {seconds} s"));
            let help =
                "a plugin's `create` or health probe takes too long; `start_secs` of `[process]` allows more";
            Err(fail(blame(error, last).help(help)))
        }
    }
}

/// How the start of a worker has ended.
enum Ended {
    Ready,
    Failed(Vec<Fault>),
    Crashed(String),
}

/// Adds the last step that a worker has told of, when it has.
fn blame(error: Error, last: Option<String>) -> Error {
    match last {
        Some(last) => error.because(last),
        None => error,
    }
}
