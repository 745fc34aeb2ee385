//! One attempt to make a generation: load, build, bind, start, wait until it is ready. Changes nothing that serves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::child::{Child, News};
use super::event::Event;
use super::message::{FromWorker, Start, ToWorker};
use super::process::Process;
use super::servers::{self, Bound};
use super::watch::Scope;
use super::wire::Packet;
use super::{Message, Shared, State};
use crate::config::Config;
use crate::error::Error;
use crate::ops::build::{self, Speed};
use crate::ops::fault::Fault;

/// How long the old generation may take to save its state.
const SAVING: Duration = Duration::from_secs(5);

/// What a generation is made from.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) process: Process,
    /// Private copy of each plugin app's library, by the app's name.
    pub(super) libraries: BTreeMap<String, PathBuf>,
}

/// Where an attempt begins.
#[derive(Debug)]
pub(super) enum From {
    /// At the files.
    Files,
    /// At what was built before: its worker has crashed.
    Plan(Box<Plan>, Duration),
}

/// How an attempt has ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What to watch for the next; `None` when it is not known.
    pub(super) scope: Option<Scope>,
    /// A worker that is ready, or everything that is wrong; the caller's world is as before.
    pub(super) result: Result<Prepared, Vec<Fault>>,
    /// A worker that says what is wrong, where nothing else serves and a mending is waited for.
    pub(super) stand_in: Option<Prepared>,
}

/// A worker that waits for [`ToWorker::Serve`].
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) bound: Vec<Bound>,
    pub(super) child: Child,
    pub(super) news: mpsc::UnboundedReceiver<News>,
    pub(super) cargo: Duration,
}

/// What an attempt works with.
pub(super) struct Attempt {
    pub(super) shared: Arc<Shared>,
    pub(super) from: From,
    pub(super) generation: u64,
    /// The sockets that are bound already.
    pub(super) bound: Vec<Bound>,
    /// Whether a generation serves, whose state is to be carried on.
    pub(super) carry: bool,
    /// Set while builds run, which a further change may cut off.
    pub(super) building: Arc<AtomicBool>,
}

impl Attempt {
    /// Runs the attempt to its end.
    pub(super) async fn run(self) -> Outcome {
        let began = Instant::now();
        let mut loaded = match self.from {
            From::Plan(ref plan, pause) => {
                tokio::time::sleep(pause).await;
                let plan = Plan::clone(plan);
                let bound = servers::bind(&plan.config, &self.bound);
                Loaded {
                    config: None,
                    scope: None,
                    made: bound.map(|bound| (plan, bound)).map_err(|errors| Fault::list(&errors)),
                    bound: Vec::new(),
                }
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
            Ok((plan, bound)) => self.prepare(plan, bound, cargo, None).await,
            Err(faults) => Err(faults),
        };
        let mut stand_in = None;
        if let (Err(faults), Some((config, process))) = (&result, loaded.config.take())
            && process.reload
            && self.generation == 1
            && !loaded.bound.is_empty()
        {
            let plan = Plan { config, process, libraries: BTreeMap::new() };
            stand_in = self.prepare(plan, loaded.bound, cargo, Some(faults.clone())).await.ok();
        }
        Outcome { scope: loaded.scope, result, stand_in }
    }

    /// Starts what `plan` says, or, with `failed`, a worker that says no more than that.
    async fn prepare(
        &self,
        plan: Plan,
        bound: Vec<Bound>,
        cargo: Duration,
        failed: Option<Vec<Fault>>,
    ) -> Result<Prepared, Vec<Fault>> {
        let state = if self.carry { saved_state(&self.shared).await } else { Default::default() };
        let generation = if failed.is_some() { 0 } else { self.generation };
        let (child, news) = start(&self.shared, &plan, &bound, generation, state, failed).await?;
        Ok(Prepared { plan, bound, child, news, cargo })
    }

    /// Loads the config, binds what is new in it, and sees that every library is built and copied. An address that
    /// cannot be had is told before anybody waits for a build.
    async fn load(&self) -> Loaded {
        let shared = &self.shared;
        let config =
            super::load::load(&shared.options).and_then(|config| Ok((Process::read(&config)?, config)));
        let (mut process, config) = match config {
            Ok(config) => config,
            Err(errors) => {
                let file =
                    shared.options.sources.file.iter().filter_map(|file| std::path::absolute(file).ok());
                let scope = Some(Scope { configs: file.collect(), ..Scope::default() });
                return Loaded { config: None, scope, bound: Vec::new(), made: Err(Fault::list(&errors)) };
            }
        };
        process.reload = shared.options.reload.unwrap_or(process.reload);
        let mut scope = Scope { configs: config.files().iter().cloned().collect(), ..Scope::default() };
        let bound = match servers::bind(&config, &self.bound) {
            Ok(bound) => bound,
            Err(errors) => {
                // What was watched goes on to be: saving a file gives no address free.
                let made = Err(Fault::list(&errors));
                return Loaded { config: Some((config, process)), scope: None, bound: Vec::new(), made };
            }
        };
        let tell = |app: &str, progress| shared.tell(&Event::of_build(app, progress));
        let speed = if process.reload { Speed::Development } else { Speed::Production };
        let (inputs, libraries) = build::libraries(&config, speed, &shared.folder.libraries(), &tell).await;
        scope.inputs = inputs;
        let made = libraries.map(|libraries| {
            (Plan { config: config.clone(), process: process.clone(), libraries }, bound.clone())
        });
        Loaded { config: Some((config, process)), scope: Some(scope), bound, made }
    }
}

/// What the files say.
struct Loaded {
    /// The config, when it could be read.
    config: Option<(Config, Process)>,
    scope: Option<Scope>,
    /// The sockets, whether or not the rest could be made.
    bound: Vec<Bound>,
    made: Result<(Plan, Vec<Bound>), Vec<Fault>>,
}

async fn saved_state(shared: &Shared) -> State {
    let (sender, state) = oneshot::channel();
    shared.send(Message::SaveState(sender));
    match tokio::time::timeout(SAVING, state).await {
        Ok(Ok(state)) => state,
        Ok(Err(_)) => Default::default(), // it has ended meanwhile
        Err(_) => {
            let message = "the old generation did not save its state in time: the new one begins without";
            shared.tell(&Event::Warning { message: message.into() });
            Default::default()
        }
    }
}

/// Starts the worker and waits until it is ready.
pub(super) async fn start(
    shared: &Arc<Shared>,
    plan: &Plan,
    bound: &[Bound],
    generation: u64,
    (states, raw): State,
    failed: Option<Vec<Fault>>,
) -> Result<(Child, mpsc::UnboundedReceiver<News>), Vec<Fault>> {
    let fail = |error: Error| vec![Fault::from(&error)];
    let (child, mut news) =
        Child::start(generation, shared.options.json).map_err(|errors| Fault::list(&errors))?;
    let order = ToWorker::Start(Box::new(Start {
        generation,
        run: shared.run.clone(),
        development: plan.process.reload,
        config: plan.config.clone(),
        process: plan.process.clone(),
        libraries: plan.libraries.clone(),
        states,
        sockets: bound.iter().map(|one| (one.server.clone(), one.socket.listen.to_string())).collect(),
        failed,
    }));
    let fds = bound.iter().map(|one| one.socket.fd.try_clone()).collect::<Result<_, _>>();
    let fds = fds.map_err(|cause| fail(Error::new("cannot hand a socket to the worker").because(cause)))?;
    child.send(Packet { raw, fds, ..Packet::new(&order) });

    let ready = async {
        loop {
            match news.recv().await {
                Some(News::Said(FromWorker::Ready, _)) => return Ok(()),
                Some(News::Said(FromWorker::Failed(faults), _)) => return Err(faults),
                Some(News::Said(FromWorker::Side { id, app, name, library }, _)) => {
                    shared.side(&child, id, app, name, library);
                }
                Some(News::Said(..)) => {}
                Some(News::Ended(status)) => {
                    return Err(fail(Error::new(format!(
                        "the new worker crashed while starting ({status})"
                    ))));
                }
                None => return Err(fail(Error::new("the new worker is gone"))),
            }
        }
    };
    match tokio::time::timeout(plan.process.start(), ready).await {
        Ok(Ok(())) => Ok((child, news)),
        Ok(Err(faults)) => Err(faults),
        Err(_) => Err(fail(
            Error::new(format!("the new worker was not ready within {} s", plan.process.start().as_secs()))
                .help("a plugin's `create` or health probe takes too long; `start_secs` of `[process]` allows more"),
        )),
    }
}
