//! The serving part of a worker: its servers, the connections that it hands over, and its end.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::build::NamedServer;
use super::counting::Counting;
use super::handover::{self, Receivers};
use super::inspect::Inspector;
use super::live_page::Live;
use super::tasks::{self, TaskContext};
use crate::caches::Caches;
use crate::health::HealthProbes;
use crate::ops::sections::process::WebSockets;
use crate::ops::serve::ipc::message::{self, FromWorker, Report, Start, WorkerReply, WorkerRequest};
use crate::ops::serve::ipc::wire::{self, Outbox, Packet};
use crate::plugin::Instance;
use crate::server::control::{Control, Idle, Load, Phase};
use crate::server::listener::{Listen, Socket};

/// How long a worker may exceed its own deadline before it ends, even if something still runs.
pub(super) const SLACK: Duration = Duration::from_millis(500);
/// How long cancelled tasks may take to end.
const FAST: Duration = Duration::from_millis(500);
/// How many connections may wait between two steps of a hand-over.
const QUEUE: usize = 64;
/// How long WebSockets and streams may stay after the request to reconnect, before the old generation ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often to check whether only WebSockets are left.
const GLANCE: Duration = Duration::from_millis(100);

/// The serving part of a worker.
pub(super) struct Generation {
    start: Box<Start>,
    /// Each plugin app, with a lock that puts its callbacks in order.
    instances: Vec<(Instance, Arc<Mutex<()>>)>,
    callbacks: JoinSet<()>,
    known: Inspector,
    work: Arc<TaskContext>,
    /// Scheduled tasks that run here.
    running: JoinSet<()>,
    live: Live,
    counting: Counting,
    health: Arc<HealthProbes>,
    caches: Arc<Caches>,
    outbox: Outbox,
    threads: Handle,
    phase: watch::Sender<Phase>,
    servers: JoinSet<()>,
    receivers: Receivers,
    incoming: JoinSet<()>,
    hand_over: Option<mpsc::Sender<Idle>>,
    pub(super) loads: Vec<Arc<Load>>,
    target: watch::Sender<Option<Arc<UnixStream>>>,
    outgoing: JoinSet<()>,
    serving: bool,
    /// When to ask the remaining clients to reconnect.
    farewell: Option<Instant>,
    /// When the process ends, even if something still runs.
    end: Option<Instant>,
}

impl Generation {
    pub(super) fn new(
        start: Box<Start>,
        instances: Vec<Instance>,
        (known, work): (Inspector, TaskContext),
        live: Live,
        (counting, health, caches): (Counting, Arc<HealthProbes>, Arc<Caches>),
        outbox: Outbox,
        threads: Handle,
    ) -> Self {
        let (hand_over, idle) = mpsc::channel(QUEUE);
        let (target, newest) = watch::channel(None);
        let mut outgoing = JoinSet::new();
        outgoing.spawn(handover::send_on(idle, newest));
        Generation {
            start,
            instances: instances.into_iter().map(|one| (one, Arc::default())).collect(),
            callbacks: JoinSet::new(),
            known,
            work: Arc::new(work),
            running: JoinSet::new(),
            live,
            counting,
            health,
            caches,
            outbox,
            threads,
            phase: watch::channel(Phase::Serving).0,
            servers: JoinSet::new(),
            receivers: Receivers::default(),
            incoming: JoinSet::new(),
            hand_over: Some(hand_over),
            loads: Vec::new(),
            target,
            outgoing,
            serving: false,
            farewell: None,
            end: None,
        }
    }

    pub(super) fn serve(&mut self, servers: Vec<NamedServer>, sockets: Vec<OwnedFd>) {
        let Some(hand_over) = &self.hand_over else { return };
        let mut bound: BTreeMap<&str, Vec<Socket>> = BTreeMap::new();
        for ((server, listen), fd) in self.start.sockets.iter().zip(sockets) {
            // The supervisor has parsed it; only the descriptor matters.
            let listen = Listen::parse(listen).unwrap_or(Listen::Fd(0));
            bound.entry(server).or_default().push(Socket { listen, fd });
        }
        for (name, server, app) in servers {
            // A server without a listener (a console) answers once, not once per worker.
            if self.start.worker > 0 && server.listen().is_empty() {
                continue;
            }
            let (taker, adopted) = mpsc::channel(QUEUE);
            self.receivers.insert(&name, taker);
            let load = Arc::<Load>::default();
            let server_name: Arc<str> = name.as_str().into();
            self.known.add(server_name.clone(), load.clone());
            self.loads.push(load.clone());
            self.counting.server(&name, load.clone());
            let control = Control {
                tickets: self.start.tickets.clone(),
                server: server_name,
                phase: self.phase.subscribe(),
                adopted,
                hand_over: hand_over.clone(),
                load,
            };
            let sockets = bound.remove(name.as_str()).unwrap_or_default();
            self.servers.spawn_on(server.run(sockets, app, control), &self.threads);
        }
        self.serving = true;
    }

    pub(super) fn adopt(&mut self, fds: Vec<OwnedFd>) {
        let Some(hand_over) = &self.hand_over else { return };
        for fd in fds {
            self.incoming.spawn(handover::take_in(fd, self.receivers.clone(), hand_over.clone()));
        }
    }

    pub(super) fn retire(&mut self, to: Option<OwnedFd>) {
        if let Some(to) = to
            && let Ok(to) = wire::stream(to)
        {
            self.target.send_replace(Some(Arc::new(to)));
        }
        if self.end.is_some() || *self.phase.borrow() != Phase::Serving {
            return;
        }
        self.receivers.retire();
        self.phase.send_replace(Phase::Retired);
        let (loads, outbox) = (self.loads.clone(), self.outbox.clone());
        tokio::spawn(async move {
            for load in loads {
                load.closed.notified().await;
            }
            outbox.send(Packet::new(&FromWorker::Notice(Report::Retired)));
        });
        self.live.end();
        self.call_back(Instance::retire);
        self.farewell = Some(Instant::now() + self.start.process.drain());
    }

    /// Asks the clients to leave, and closes what is left after `grace`.
    pub(super) fn drain(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        if self.end.is_some_and(|end| end <= until + SLACK) {
            return;
        }
        if *self.phase.borrow() == Phase::Serving {
            // No newer generation serves: the whole server is stopping.
            self.health.end();
        }
        self.farewell = None;
        self.end = Some(until + SLACK);
        self.receivers.retire();
        self.phase.send_replace(Phase::Draining { until });
        self.live.end();
        self.call_back(Instance::shutdown);
    }

    /// Calls a function of every plugin in the background, because it may block for seconds. Calls of one app
    /// run in order.
    fn call_back(&mut self, function: fn(&Instance)) {
        for (instance, turn) in &self.instances {
            let (instance, turn, threads) = (instance.clone(), turn.clone(), self.threads.clone());
            self.callbacks.spawn(async move {
                let _turn = turn.lock().await;
                // A panic in it was already logged, and the shutdown continues.
                let _ = threads.spawn_blocking(move || function(&instance)).await;
            });
        }
    }

    /// Answers a request of the supervisor.
    pub(super) fn answer(&mut self, id: u64, request: WorkerRequest) {
        let body = match request {
            WorkerRequest::Load => WorkerReply::Load(self.known.load()),
            WorkerRequest::InFlight => WorkerReply::InFlight(self.known.in_flight()),
            WorkerRequest::Cancel(request) => WorkerReply::Cancelled(self.known.cancel(&request)),
            WorkerRequest::Metrics => WorkerReply::Metrics(self.counting.counts()),
            WorkerRequest::SaveState => return self.save_state(id),
            WorkerRequest::PurgeCache(purge) => {
                let caches = self.caches.clone();
                return self.answer_later(id, async move { WorkerReply::Purged(caches.purge(&purge).await) });
            }
            WorkerRequest::ListCache(most) => {
                let caches = self.caches.clone();
                return self.answer_later(id, async move { WorkerReply::Cached(caches.list(most).await) });
            }
            WorkerRequest::RunTask(order) => {
                let (work, outbox) = (self.work.clone(), self.outbox.clone());
                let run = async move {
                    let body = WorkerReply::Ran(tasks::run(*order, work).await);
                    outbox.deliver(Packet::new(&FromWorker::Reply { id, body })).await;
                };
                self.running.spawn_on(run, &self.threads);
                return;
            }
        };
        self.outbox.send(Packet::new(&FromWorker::Reply { id, body }));
    }

    /// Answers a request when the reply is known.
    fn answer_later(&self, id: u64, reply: impl Future<Output = WorkerReply> + Send + 'static) {
        let outbox = self.outbox.clone();
        self.threads.spawn(async move {
            let body = reply.await;
            outbox.send(Packet::new(&FromWorker::Reply { id, body }));
        });
    }

    /// Sends the states that the plugins save. A plugin that blocks loses only its own state.
    fn save_state(&self, id: u64) {
        let outbox = self.outbox.clone();
        let save = |instance: Instance| {
            move || instance.save_state().map(|state| (instance.name().to_owned(), state))
        };
        let saving = self.instances.iter().map(|(one, _)| self.threads.spawn_blocking(save(one.clone())));
        let saving = join_all(saving.collect::<Vec<_>>());
        tokio::spawn(async move {
            let states = saving.await.into_iter().filter_map(|saved| saved.ok().flatten());
            let (lengths, raw) = message::join(states);
            let body = WorkerReply::State(lengths);
            outbox.send(Packet { raw, ..Packet::new(&FromWorker::Reply { id, body }) });
        });
    }

    /// Whether to close WebSockets as soon as nothing else is left.
    fn lets_web_sockets_go(&self) -> bool {
        self.farewell.is_some() && self.start.process.websockets == WebSockets::Drain
    }

    /// Runs until the process must end. Safe to cancel.
    pub(super) async fn turn(&mut self) -> u8 {
        loop {
            let ended = self.serving && self.servers.is_empty();
            if ended && *self.phase.borrow() == Phase::Serving {
                // A console has answered its one request.
                self.outbox.deliver(Packet::new(&FromWorker::Notice(Report::Done(0)))).await;
                return 0;
            }
            if ended && [&self.incoming, &self.running, &self.callbacks].iter().all(|tasks| tasks.is_empty())
            {
                self.hand_over = None;
                if self.outgoing.is_empty() {
                    return 0;
                }
            }
            tokio::select! {
                Some(server) = self.servers.join_next() => {
                    if let Err(panic) = server {
                        tracing::error!(%panic, "a server ended unexpectedly");
                        return 1;
                    }
                }
                Some(_) = self.incoming.join_next() => {}
                Some(_) = self.running.join_next() => {}
                Some(_) = self.callbacks.join_next() => {}
                Some(_) = self.outgoing.join_next() => {}
                () = until(self.farewell) => self.drain(FAREWELL),
                () = only_web_sockets(&self.loads), if self.lets_web_sockets_go() => self.drain(FAREWELL),
                () = until(self.end) => {
                    // Ends the programs of tasks, with their children.
                    let _ = tokio::time::timeout(FAST, self.running.shutdown()).await; // do not wait longer
                    return 0;
                }
            }
        }
    }
}

/// Waits until all remaining connections are WebSockets.
async fn only_web_sockets(loads: &[Arc<Load>]) {
    let others = |load: &Arc<Load>| {
        load.connections.load(Ordering::Relaxed).saturating_sub(load.upgraded.load(Ordering::Relaxed))
    };
    while loads.iter().any(|load| others(load) > 0) {
        tokio::time::sleep(GLANCE).await;
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
