//! One attempt to make a generation: load, build, bind, start, wait until it is ready. Changes nothing that serves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::child::{Child, News};
use super::event::Event;
use super::message::{FromWorker, Start, ToWorker};
use super::process::Process;
use super::servers::{self, Bound};
use super::wire::Packet;
use super::{Message, Shared};
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
    /// Whether files are watched, and developers get pages of their own.
    pub(super) reload: bool,
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

/// A worker that waits for [`ToWorker::Serve`].
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) bound: Vec<Bound>,
    pub(super) child: Child,
    pub(super) news: mpsc::UnboundedReceiver<News>,
    pub(super) cargo: Duration,
    /// Set when the worker only says why the apps could not be built.
    pub(super) failed: Option<Vec<Fault>>,
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
}

impl Attempt {
    /// Runs the attempt to its end.
    /// # Errors
    /// Everything that is wrong; the caller's world is as before.
    pub(super) async fn run(self) -> Result<Prepared, Vec<Fault>> {
        let began = Instant::now();
        let (plan, cargo) = match self.from {
            From::Plan(plan, pause) => {
                tokio::time::sleep(pause).await;
                (*plan, Duration::ZERO)
            }
            From::Files => {
                let plan = plan(&self.shared).await?;
                (plan, began.elapsed())
            }
        };
        let bound = servers::bind(&plan.config, &self.bound).map_err(|errors| Fault::list(&errors))?;
        for one in bound.iter().filter(|one| one.new) {
            self.shared.tell(&Event::Listening { server: one.server.clone(), url: one.url() });
        }
        let state = if self.carry { saved_state(&self.shared).await } else { Default::default() };
        let (child, news) = start(&self.shared, &plan, &bound, self.generation, state, None).await?;
        Ok(Prepared { plan, bound, child, news, cargo, failed: None })
    }
}

/// Loads the config and sees that every library is built and copied.
async fn plan(shared: &Arc<Shared>) -> Result<Plan, Vec<Fault>> {
    let config = super::load::load(&shared.options).map_err(|errors| Fault::list(&errors))?;
    let process = Process::read(&config).map_err(|errors| Fault::list(&errors))?;
    let reload = shared.options.reload.unwrap_or(process.reload);
    let tell = |app: &str, progress| shared.tell(&Event::of_build(app, progress));
    let speed = if reload { Speed::Development } else { Speed::Production };
    let (inputs, libraries) = build::libraries(&config, speed, &shared.folder.libraries(), &tell).await;
    let _ = inputs;
    Ok(Plan { config, process, reload, libraries: libraries? })
}

async fn saved_state(shared: &Shared) -> (Vec<(String, usize)>, Bytes) {
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
    (states, raw): (Vec<(String, usize)>, Bytes),
    failed: Option<Vec<Fault>>,
) -> Result<(Child, mpsc::UnboundedReceiver<News>), Vec<Fault>> {
    let fail = |error: Error| vec![Fault::from(&error)];
    let (child, mut news) = Child::start(generation, plan.process.threads, shared.options.json)
        .map_err(|errors| Fault::list(&errors))?;
    let order = ToWorker::Start(Box::new(Start {
        generation,
        run: shared.run.clone(),
        development: plan.reload,
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
