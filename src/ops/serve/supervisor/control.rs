//! Answers what comes over the control socket.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{broadcast, oneshot};

use super::caches;
use super::child::WorkerHandle;
use super::control_socket::{hello, open};
use super::event::{Event, ReloadReason};
use super::find_logs;
use super::inbox::ControlOutcome;
use super::pool::{Worker, WorkerPool};
use super::scheduler::{RunningTask, Scheduler, StartedTask};
use super::shared::SupervisorShared;
use super::state::{FAST, Supervisor};
use crate::error::{Error, Errors};
use crate::ops::control::{
    Cancelled, ControlCommand, Hello, Ps, RequestInFlight, SupervisorInfo, Switched, TaskRun, UpstreamInfo,
    WorkerInfo,
};
use crate::ops::routes;
use crate::ops::sections::task::{Order, Work};
use crate::ops::serve::ipc::message::{WorkerReply, WorkerRequest};
use crate::ops::serve::process::memory;

/// The time limit for an answer of a worker that needs no work.
const SOON: Duration = Duration::from_secs(1);
/// The time limit for a command of a plugin.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(3600);
/// Maximum number of requests in one list.
const MOST: usize = 1000;

/// A worker to query.
pub(super) struct QueriedWorker {
    info: WorkerInfo,
    worker: WorkerHandle,
}

pub(super) fn value(answer: impl Serialize) -> ControlOutcome {
    serde_json::to_value(answer)
        .map_err(|cause| vec![Error::new("the server could not encode its reply").because(cause)])
}

pub(super) fn refusal(error: Error) -> ControlOutcome {
    Err(vec![error])
}

impl Supervisor {
    /// Answers a request of the control socket, at once or when the result is known.
    pub(super) fn control(&mut self, ask: ControlCommand, reply: oneshot::Sender<ControlOutcome>) {
        let shared = self.shared.clone();
        // If sending the answer fails, the client has gone.
        match ask {
            ControlCommand::Hello | ControlCommand::Logs { .. } => {} // answered where they arrive
            ControlCommand::Ps => {
                let (ps, asked, upstreams) = (self.ps(), self.asked(), self.upstreams());
                tokio::spawn(async move { reply.send(value(whole(ps, asked, upstreams).await)) });
            }
            ControlCommand::Requests => {
                let asked = self.asked();
                tokio::spawn(async move { reply.send(value(in_flight(asked).await)) });
            }
            ControlCommand::Cancel { request } => {
                let asked = self.asked();
                tokio::spawn(async move { reply.send(cancel(asked, request).await) });
            }
            ControlCommand::Routes => drop(reply.send(self.routes())),
            ControlCommand::Reload { wait } => {
                let events = shared.events.events();
                if self.stopping.is_some() {
                    let _ = reply.send(refusal(Error::new("the server is stopping")));
                    return;
                }
                self.make(ReloadReason::Command, "requested by `paster reload`".to_owned());
                self.switched(wait, events, reply);
            }
            ControlCommand::Rollback { wait } => {
                let events = shared.events.events();
                match self.rollback() {
                    Ok(()) => self.switched(wait, events, reply),
                    Err(error) => drop(reply.send(refusal(error))),
                }
            }
            ControlCommand::Restart { app, wait } => {
                let events = shared.events.events();
                match self.restart(&app, "requested by `paster restart`") {
                    Ok(()) => self.switched(wait, events, reply),
                    Err(error) => drop(reply.send(refusal(error))),
                }
            }
            ControlCommand::Attach { app, process } => {
                drop(reply.send(match self.apps.terminal(&app, process) {
                    Ok(terminal) => value(terminal),
                    Err(error) => refusal(error),
                }));
            }
            ControlCommand::Stacks { app } => match self.apps.stacks(&app) {
                Ok(stacks) => drop(tokio::spawn(async move { reply.send(value(stacks.await)) })),
                Err(error) => drop(reply.send(refusal(error))),
            },
            ControlCommand::Stop { fast } => {
                let _ = reply.send(value(hello(&shared)));
                let grace = self.pool.as_ref().map_or(FAST, |pool| pool.plan.process.grace());
                match (fast, &self.stopping) {
                    (false, _) => self.stop("stop", grace, 0),
                    (true, None) => self.stop("stop", FAST, 0),
                    (true, Some(_)) => self.force_stop(),
                }
            }
            ControlCommand::FindLogs { id } => {
                let files = self.pool.as_ref().map(|pool| find_logs::files(&pool.plan.config));
                tokio::task::spawn_blocking(move || {
                    reply.send(value(find_logs::find(&shared.events.log, &files.unwrap_or_default(), &id)))
                });
            }
            ControlCommand::PurgeCache { purge } => {
                let asked = self.asked();
                tokio::spawn(async move { reply.send(caches::purge(asked, purge).await) });
            }
            ControlCommand::ListCache { most } => {
                let asked = self.asked();
                tokio::spawn(async move { reply.send(value(caches::list(asked, most).await)) });
            }
            ControlCommand::Tasks => drop(reply.send(value(self.scheduler.infos()))),
            ControlCommand::RunTask { name, wait } => self.run_task(&name, Some((wait, reply))),
            ControlCommand::RunCommand { app, words } => self.run_command(app, words, reply),
        }
    }

    /// Answers once the attempt serves or has failed; at once without `wait`.
    fn switched(
        &self,
        wait: bool,
        events: broadcast::Receiver<Event>,
        reply: oneshot::Sender<ControlOutcome>,
    ) {
        if wait {
            tokio::spawn(async move { reply.send(outcome(events).await) });
        } else {
            let _ = reply.send(value(Switched { generation: self.serving(), ms: None }));
        }
    }

    /// Ends the wait for requests in flight.
    fn force_stop(&mut self) {
        if let Some(stopping) = &mut self.stopping {
            stopping.deadline = tokio::time::Instant::now();
        }
    }

    /// Opens the control socket that the config names, in place of the previous one.
    pub(super) fn open_configured(&mut self, path: Option<&Path>) {
        if self.endpoints[1].as_ref().map(|endpoint| &*endpoint.path) == path {
            return;
        }
        self.endpoints[1] = None;
        match path.map(|path| open(&self.shared, path)) {
            Some(Ok(endpoint)) => self.endpoints[1] = Some(endpoint),
            Some(Err(errors)) => self.shared.emit(&Event::Warning { message: described(&errors) }),
            None => {}
        }
    }

    fn ps(&self) -> Ps {
        let Hello { version, pid, config } = hello(&self.shared);
        let state = match (&self.stopping, &self.attempt, self.serving()) {
            (Some(_), ..) => "stopping",
            (_, _, 0) => "starting",
            (_, Some(_), _) => "reloading",
            _ => "serving",
        };
        let totals = self.shared.events.lifecycle();
        Ps {
            supervisor: SupervisorInfo {
                version,
                pid,
                config,
                state: state.to_owned(),
                generation: self.serving(),
                age_secs: self.began.elapsed().as_secs_f64(),
                memory_bytes: memory::of(pid),
                reload: self.reload,
                listening: self.bound.iter().map(|one| (one.server.clone(), one.url())).collect(),
                switches: totals.switches,
                failures: totals.failures,
                crashes: totals.crashes,
            },
            side_processes: [self.sides.infos(), self.apps.infos()].concat(),
            tasks: self.scheduler.infos(),
            ..Ps::default()
        }
    }

    fn asked(&self) -> Vec<QueriedWorker> {
        let asked = |worker: &Worker| QueriedWorker {
            info: WorkerInfo {
                pid: worker.child.pid,
                generation: worker.generation(),
                state: if worker.retired.is_some() { "lingering" } else { "serving" }.to_owned(),
                age_secs: worker.since.elapsed().as_secs_f64(),
                memory_bytes: None,
                load: None,
            },
            worker: worker.child.handle().clone(),
        };
        self.workers().map(asked).collect()
    }

    fn routes(&self) -> ControlOutcome {
        let Some(pool) = &self.pool else { return refusal(Error::new("the server is still starting")) };
        match routes::routes(&pool.plan.config) {
            Ok(mut routes) => {
                // The real addresses: the port 0 stands for one that the system has chosen.
                for server in &mut routes.servers {
                    let own = self.bound.iter().filter(|one| one.server == server.name);
                    server.listen = own.map(|one| one.url()).collect();
                }
                value(routes)
            }
            Err(errors) => Err(errors.into()),
        }
    }

    /// Runs a command of a plugin in a worker.
    fn run_command(&self, app: String, words: Vec<String>, reply: oneshot::Sender<ControlOutcome>) {
        let generation = self.serving();
        let fit = |worker: &&Worker| worker.serving && worker.generation() == generation;
        let worker = self.pool.iter().flat_map(WorkerPool::workers).find(fit);
        let Some(worker) = worker.filter(|_| generation > 0 && self.stopping.is_none()) else {
            let _ = reply.send(refusal(Error::new("no worker can run a command now"))); // the client may have gone
            return;
        };
        let (name, work) = (format!("a command of {app}"), Work::PluginCommand { app, words });
        let order = Order { name, work, timeout: COMMAND_TIMEOUT };
        let answer = worker.child.handle().request(WorkerRequest::RunTask(Box::new(order)));
        tokio::spawn(async move {
            let outcome = match answer.await {
                Some((WorkerReply::Ran(Ok(text)), _)) => value(text),
                Some((WorkerReply::Ran(Err(message)), _)) => refusal(Error::new(message)),
                _ => refusal(Error::new("the worker ended before the command")),
            };
            reply.send(outcome)
        });
    }

    /// Runs a task in a worker. Without `reply`, it runs because it is due.
    pub(super) fn run_task(&self, name: &str, reply: Option<(bool, oneshot::Sender<ControlOutcome>)>) {
        let generation = self.serving();
        let fit = |worker: &&Worker| worker.serving && worker.generation() == generation;
        let worker = self.pool.iter().flat_map(WorkerPool::workers).find(fit);
        let begun = match worker {
            Some(worker) if generation > 0 && self.stopping.is_none() => {
                let going = RunningTask::new(self.shared.requests.new_id(), worker.child.pid);
                self.scheduler.begin(name, going).map(|begun| (worker, begun))
            }
            _ => Err(Error::new(format!("no worker can run the task `{name}`"))),
        };
        let (worker, begun) = match (begun, reply.is_some()) {
            (Ok(begun), _) => begun,
            (Err(error), true) => {
                if let Some((_, reply)) = reply {
                    let _ = reply.send(refusal(error)); // the client may have gone
                }
                return;
            }
            (Err(error), false) => {
                let message = format!("skipped a run of the task `{name}`: {error}");
                return self.shared.emit(&Event::Warning { message });
            }
        };
        let request = WorkerRequest::RunTask(Box::new(begun.order.clone()));
        let now = begun.run();
        let (number, ended) = (begun.going.number, ran(&self.shared, &self.scheduler, begun));
        worker.child.handle().send_request(number, request);
        match reply {
            Some((true, reply)) => drop(tokio::spawn(async move { reply.send(value(ended.await)) })),
            Some((false, reply)) => {
                let _ = reply.send(value(now)); // the client may have gone
                tokio::spawn(ended);
            }
            None => drop(tokio::spawn(ended)),
        }
    }
}

/// Waits for the end of a run that this supervisor, or the program before it, has requested from a worker.
pub(super) fn ran(
    shared: &SupervisorShared,
    scheduler: &Arc<Scheduler>,
    begun: StartedTask,
) -> impl Future<Output = TaskRun> + use<> {
    let answer = shared.requests.expect(begun.going.number, begun.going.pid);
    let scheduler = scheduler.clone();
    async move {
        let result = match answer.await {
            Ok((WorkerReply::Ran(result), _)) => result,
            _ => Err("its worker ended before the task".to_owned()),
        };
        scheduler.end(&begun, result)
    }
}

/// Errors with their causes, on one line.
pub(super) fn described(errors: &Errors) -> String {
    errors.iter().map(Error::in_one_line).collect::<Vec<_>>().join(": ")
}

/// The outcome of the attempt that starts after `events` was subscribed to. Events of an earlier one may
/// still follow: a rolling reload is reported once its last worker serves.
async fn outcome(mut events: broadcast::Receiver<Event>) -> ControlOutcome {
    let since = Instant::now();
    let mut wanted = None;
    loop {
        match events.recv().await {
            Ok(Event::Reloading { generation, .. }) => wanted = wanted.or(Some(generation)),
            Ok(Event::Reloaded { generation, .. } | Event::Ready { generation, .. })
                if wanted.is_some_and(|wanted| generation >= wanted) =>
            {
                let ms = u64::try_from(since.elapsed().as_millis()).ok();
                return value(Switched { generation, ms });
            }
            Ok(Event::ReloadFailed { errors, wanted: Some(_), .. } | Event::Failed { errors })
                if wanted.is_some() =>
            {
                return Err(errors);
            }
            Ok(Event::Stopping { .. }) => return refusal(Error::new("the server is stopping")),
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return refusal(Error::new("the server stopped")),
        }
    }
}

/// Sends all workers the same query; `None` for those that do not answer in time.
pub(super) async fn all(
    asked: &[QueriedWorker],
    request: impl Fn() -> WorkerRequest,
) -> Vec<Option<WorkerReply>> {
    let inspect = asked.iter().map(|one| {
        let reply = one.worker.request(request());
        async move { tokio::time::timeout(SOON, reply).await.ok()?.map(|(body, _)| body) }
    });
    futures_util::future::join_all(inspect).await
}

async fn whole(
    mut ps: Ps,
    asked: Vec<QueriedWorker>,
    upstreams: impl Future<Output = Vec<UpstreamInfo>>,
) -> Ps {
    let inspect = all(&asked, || WorkerRequest::Load).await;
    for side in &mut ps.side_processes {
        side.memory_bytes = side.pid.and_then(memory::of);
    }
    ps.workers = asked
        .into_iter()
        .zip(inspect)
        .map(|(one, answer)| WorkerInfo {
            memory_bytes: memory::of(one.info.pid),
            load: match answer {
                Some(WorkerReply::Load(load)) => Some(load),
                _ => None,
            },
            ..one.info
        })
        .collect();
    ps.upstreams = upstreams.await;
    ps
}

async fn in_flight(asked: Vec<QueriedWorker>) -> Vec<RequestInFlight> {
    let mut requests = Vec::new();
    for answer in all(&asked, || WorkerRequest::InFlight).await {
        if let Some(WorkerReply::InFlight(of_one)) = answer {
            requests.extend(of_one);
        }
    }
    requests.sort_by_key(|one| std::cmp::Reverse(one.age_ms));
    requests.truncate(MOST);
    requests
}

async fn cancel(asked: Vec<QueriedWorker>, request: String) -> ControlOutcome {
    let mut done = Cancelled::default();
    let mut silent = 0;
    for answer in all(&asked, || WorkerRequest::Cancel(request.clone())).await {
        match answer {
            Some(WorkerReply::Cancelled(ids)) => done.cancelled.extend(ids),
            _ => silent += 1,
        }
    }
    if done.cancelled.is_empty() {
        let mut error = Error::new(format!("no request `{request}` is in flight"))
            .help("it may have finished; `paster top --once` lists the requests in flight, with their ids");
        if silent > 0 {
            error =
                error.help(format!("{silent} workers did not respond within {} s", Duration::as_secs(&SOON)));
        }
        return refusal(error);
    }
    value(done)
}
