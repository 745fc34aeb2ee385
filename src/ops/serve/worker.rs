//! One generation in a process of its own: loads, builds, probes, serves, retires, drains, ends.
//!
//! Its standard input is the control socket. It ends when the supervisor does.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::answers::Known;
use super::beat::Pulse;
use super::counting::Counting;
use super::handover::{self, Takers};
use super::live::Live;
use super::log::{Log, Whose};
use super::message::{self, FromWorker, Start, ToWorker};
use super::process::WebSockets;
use super::question::Question;
use super::servers::Named;
use super::tasks::{self, run::Means};
use super::wire::{self, Outbox, Packet};
use crate::body::BoxFuture;
use crate::context::{Context, Host, Reopen};
use crate::counts::{Counts, Parts};
use crate::error::{Error, Errors};
use crate::ops::assemble::{Assembly, assemble};
use crate::ops::fault::Fault;
use crate::plugin::Instance;
use crate::server::control::{Control, Idle, Load, Phase};
use crate::server::listener::{Listen, Socket};
use crate::vitals::Vitals;

/// Copies of log lines that wait to be sent.
const LINES: usize = 512;
/// Log lines are sent together up to this length, in bytes.
const BATCH: usize = 64 << 10;
/// How long tasks that are cut off may take to end.
const FAST: Duration = Duration::from_millis(500);
/// Connections that wait between two stations of a hand-over.
const QUEUE: usize = 64;
/// What is granted to WebSockets and streams between "come back" and the end of an old generation.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often it is looked whether only WebSockets are left.
const GLANCE: Duration = Duration::from_millis(100);
/// How often the supervisor is told what was counted.
const REPORT: Duration = Duration::from_secs(5);
/// Longest wait for what all workers have counted.
const COUNTING: Duration = Duration::from_secs(2);
/// How much longer than its own deadline a worker may take before it ends whatever still runs.
const SLACK: Duration = Duration::from_millis(500);

/// Runs the worker of this process to its end; returns the exit code.
pub fn worker() -> u8 {
    super::descriptors::close_inherited();
    // All that is started here is known by it for ours, also when this process is gone; see `leavings`.
    let _ = rustix::process::setsid(); // refused to one that somebody has started by hand
    let Ok(control) = take_over_stdin() else { return 2 };
    die_with_parent();
    // What `ps` and `top` show; the name of the link that we were started by would say nothing.
    let _ = std::fs::write("/proc/self/comm", "paster worker");
    // Orders are heard and deadlines kept on a thread of their own, whatever plugin code does to the others.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(control)),
        // The exit code is all that it can say.
        Err(_) => 1,
    }
}

/// The control socket's end says the same, but a plugin may block every thread. To be said again after a change of
/// the user, with which the kernel forgets it.
fn die_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// The threads that serve: one for each processor, or as many as the config says.
fn threads(count: usize) -> std::io::Result<Handle> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("serve");
    if count > 0 {
        builder.worker_threads(count);
    }
    let runtime = builder.build()?;
    let handle = runtime.handle().clone();
    // It lasts as long as the process, whose end does not wait for a thread that plugin code blocks.
    std::mem::forget(runtime);
    Ok(handle)
}

/// Takes the socket that the parent put in place of standard input, and puts `/dev/null` there.
pub(super) fn take_over_stdin() -> std::io::Result<OwnedFd> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(socket)
}

async fn run(control: OwnedFd) -> u8 {
    let Ok(stream) = wire::stream(control).map(Arc::new) else { return 2 };
    let outbox = Outbox::new(stream.clone());
    let Ok(Some(packet)) = wire::receive(&stream).await else { return 1 };
    let (start, sockets) = match packet.message() {
        Ok(ToWorker::Start(start)) => (start, packet.fds),
        _ => return 2,
    };
    // While there is one thread, and nothing of an application is loaded.
    if let Err(error) = start.standing.take() {
        outbox.deliver(Packet::new(&FromWorker::Failed(vec![Fault::from(&error)]))).await;
        return 1;
    }
    die_with_parent();
    let reopen = Reopen::default();
    let whose = Whose { generation: start.generation, worker: start.worker };
    let (copy, lines) = mpsc::channel(LINES);
    tokio::spawn(send_log(lines, outbox.clone()));
    let log = Log::read(&start.config).unwrap_or_default(); // the supervisor has told of its faults
    if let Err(error) = super::log::start(&log, Some(whose), Some(copy), reopen.clone()) {
        outbox.deliver(Packet::new(&FromWorker::Failed(vec![Fault::from(&error)]))).await;
        return 1;
    }
    let states = message::split(&start.states, packet.raw);
    let host = Arc::new(Supervised {
        outbox: outbox.clone(),
        next: AtomicU64::new(0),
        waiting: Mutex::default(),
        counts: Mutex::default(),
    });
    let live = Live::new(&start);
    let (parts, vitals) = (Arc::<Parts>::default(), Arc::<Vitals>::default());
    let counting = Counting::new(start.generation, parts.clone());
    let (orders, mut inbox) = mpsc::unbounded_channel();
    tokio::spawn(read(stream, host.clone(), live.clone(), counting.clone(), orders));

    let threads = match threads(start.process.threads) {
        Ok(threads) => threads,
        Err(cause) => {
            let fault = Fault::from(&Error::new("cannot start threads").because(cause));
            outbox.deliver(Packet::new(&FromWorker::Failed(vec![fault]))).await;
            return 1;
        }
    };
    let Built { servers, instances, known } =
        match build(&start, states, host, (parts, vitals.clone()), &live, &threads, reopen.clone()).await {
            Ok(built) => built,
            Err(faults) => {
                outbox.deliver(Packet::new(&FromWorker::Failed(faults))).await;
                return 1;
            }
        };
    let mut pulse = Pulse::new(threads.clone());
    let mut beats = tokio::time::interval(start.process.beat());
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    counting.plugins(&instances);
    let sight = (counting.clone(), vitals);
    let mut generation = Generation::new(start, instances, known, live, sight, outbox.clone(), threads);
    let mut waiting = Some((servers, sockets));
    outbox.send(Packet::new(&FromWorker::Ready));

    let mut report = tokio::time::interval(REPORT);
    let code = loop {
        tokio::select! {
            // What a worker that is killed has counted since is lost.
            _ = report.tick() => outbox.send(Packet::new(&FromWorker::Counted(0, counting.counts()))),
            order = inbox.recv() => match order {
                // The supervisor is gone; so are its listeners.
                None => break 1,
                Some((ToWorker::Serve, fds)) => {
                    if let Some((servers, sockets)) = waiting.take() {
                        generation.serve(servers, sockets);
                    }
                    generation.adopt(fds);
                }
                Some((ToWorker::Retire, mut fds)) => generation.retire(fds.pop()),
                Some((ToWorker::Drain(ms), _)) => {
                    if waiting.take().is_some() {
                        break 0;
                    }
                    generation.drain(Duration::from_millis(ms));
                }
                Some((ToWorker::SaveState, _)) => generation.save_state(),
                Some((ToWorker::Reopen, _)) => reopen.ask(),
                Some((ToWorker::Ask(number, question), _)) => generation.answer(number, question),
                Some(_) => {}
            },
            _ = beats.tick() => outbox.send(Packet::new(&FromWorker::Beat(pulse.feel(&generation.loads)))),
            code = generation.turn() => break code,
        }
    };
    let last = Packet::new(&FromWorker::Counted(0, counting.counts()));
    let _ = tokio::time::timeout(SLACK, outbox.deliver(last)).await; // the supervisor may be gone
    code
}

/// Reads the control socket. Answers to side requests are given here, as `create` may wait for one.
async fn read(
    stream: Arc<UnixStream>,
    host: Arc<Supervised>,
    live: Live,
    counting: Counting,
    orders: mpsc::UnboundedSender<(ToWorker, Vec<OwnedFd>)>,
) {
    while let Ok(Some(packet)) = wire::receive(&stream).await {
        match packet.message() {
            Ok(ToWorker::Side(id, answer)) => host.answer(id, answer),
            Ok(ToWorker::Live(status)) => live.set(status),
            Ok(ToWorker::Count(round)) => {
                host.outbox.send(Packet::new(&FromWorker::Counted(round, counting.counts())));
            }
            Ok(ToWorker::Counts(id, counts)) => host.counted(id, counts),
            Ok(order) => {
                if orders.send((order, packet.fds)).is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "unknown message from the supervisor"),
        }
    }
}

/// Sends copies of log lines to the supervisor; when it takes none, newer ones are dropped.
async fn send_log(mut lines: mpsc::Receiver<Vec<u8>>, outbox: Outbox) {
    while let Some(mut raw) = lines.recv().await {
        while raw.len() < BATCH
            && let Ok(more) = lines.try_recv()
        {
            raw.extend_from_slice(&more);
        }
        outbox.deliver(Packet { raw: raw.into(), ..Packet::new(&FromWorker::Log) }).await;
    }
}

/// What one generation serves with.
struct Built {
    servers: Vec<Named>,
    instances: Vec<Instance>,
    known: Known,
}

/// Assembles the generation and probes its plugins, under the deadline of the process options.
async fn build(
    start: &Start,
    states: BTreeMap<String, Vec<u8>>,
    host: Arc<dyn Host>,
    (parts, vitals): (Arc<Parts>, Arc<Vitals>),
    live: &Live,
    threads: &Handle,
    reopen: Reopen,
) -> Result<Built, Vec<Fault>> {
    let context = Context {
        generation: start.generation,
        development: start.development,
        checking: false,
        libraries: start.libraries.clone(),
        states,
        host,
        reopen,
        config: Arc::default(), // the assembler puts the merged one in
        parts,
        vitals: vitals.clone(),
    };
    let config = start.config.clone();
    let failed = start.failed.is_some();
    // `create` of a plugin may block, and its panics have become errors; one that comes here is ours.
    let generation = start.generation;
    let built = threads.spawn_blocking(move || {
        if failed {
            let work = Means { instances: Vec::new(), apps: BTreeMap::new() };
            let known = Known::new(generation, Vec::new(), work);
            let servers = super::servers::servers(&config)?;
            return Ok(Built { servers, instances: Vec::new(), known });
        }
        let Assembly { servers, apps, instances, parts } = assemble(&config, &context)?;
        tasks::check_plugins(&config, &instances)?;
        let known = Known::new(generation, parts, Means { instances: instances.clone(), apps });
        Ok(Built { servers, instances, known })
    });
    let mut built = match built.await {
        Ok(built) => built.map_err(|errors: Errors| Fault::list(&errors))?,
        Err(panic) => return Err(vec![Fault::from(&Error::new("the start panicked").because(panic))]),
    };
    let mut probes = JoinSet::new();
    for instance in built.instances.clone() {
        let probe = async move {
            instance.health().await.map_err(|why| {
                let error = Error::new(format!("app `{}` is not healthy: {why}", instance.name()));
                Fault::from(&error)
            })
        };
        probes.spawn_on(probe, threads);
    }
    let mut faults = Vec::new();
    while let Some(probe) = probes.join_next().await {
        match probe {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => faults.push(fault),
            Err(panic) => faults.push(Fault::from(&Error::new("a health probe panicked").because(panic))),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    for instance in &built.instances {
        let probed = instance.clone();
        let probe = move || -> BoxFuture<_> {
            let instance = probed.clone();
            Box::pin(async move { instance.health().await })
        };
        vitals.add(instance.name(), Arc::new(probe));
    }
    for (_, _, app) in &mut built.servers {
        *app = live.wrap(if failed { live.stand_in() } else { app.clone() });
    }
    Ok(built)
}

/// The serving part of a worker.
struct Generation {
    start: Box<Start>,
    instances: Vec<Instance>,
    known: Known,
    /// Scheduled tasks that run here.
    running: JoinSet<()>,
    live: Live,
    counting: Counting,
    vitals: Arc<Vitals>,
    outbox: Outbox,
    threads: Handle,
    phase: watch::Sender<Phase>,
    servers: JoinSet<()>,
    takers: Takers,
    incoming: JoinSet<()>,
    hand_over: Option<mpsc::Sender<Idle>>,
    loads: Vec<Arc<Load>>,
    target: watch::Sender<Option<Arc<UnixStream>>>,
    outgoing: JoinSet<()>,
    serving: bool,
    /// When "come back" is said to what still is connected.
    farewell: Option<Instant>,
    /// When the process ends, whatever still runs.
    end: Option<Instant>,
}

impl Generation {
    fn new(
        start: Box<Start>,
        instances: Vec<Instance>,
        known: Known,
        live: Live,
        (counting, vitals): (Counting, Arc<Vitals>),
        outbox: Outbox,
        threads: Handle,
    ) -> Self {
        let (hand_over, idle) = mpsc::channel(QUEUE);
        let (target, newest) = watch::channel(None);
        let mut outgoing = JoinSet::new();
        outgoing.spawn(handover::send_on(idle, newest));
        Generation {
            start,
            instances,
            known,
            running: JoinSet::new(),
            live,
            counting,
            vitals,
            outbox,
            threads,
            phase: watch::channel(Phase::Serving).0,
            servers: JoinSet::new(),
            takers: Takers::default(),
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

    fn serve(&mut self, servers: Vec<Named>, sockets: Vec<OwnedFd>) {
        let Some(hand_over) = &self.hand_over else { return };
        let mut bound: BTreeMap<&str, Vec<Socket>> = BTreeMap::new();
        for ((server, listen), fd) in self.start.sockets.iter().zip(sockets) {
            // It was parsed once by the supervisor; the descriptor counts.
            let listen = Listen::parse(listen).unwrap_or(Listen::Fd(0));
            bound.entry(server).or_default().push(Socket { listen, fd });
        }
        for (name, server, app) in servers {
            // What listens nowhere (a console) answers once, not once a worker.
            if self.start.worker > 0 && server.listen().is_empty() {
                continue;
            }
            let (taker, adopted) = mpsc::channel(QUEUE);
            self.takers.insert(&name, taker);
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

    fn adopt(&mut self, fds: Vec<OwnedFd>) {
        let Some(hand_over) = &self.hand_over else { return };
        for fd in fds {
            self.incoming.spawn(handover::take_in(fd, self.takers.clone(), hand_over.clone()));
        }
    }

    fn retire(&mut self, to: Option<OwnedFd>) {
        if let Some(to) = to
            && let Ok(to) = wire::stream(to)
        {
            self.target.send_replace(Some(Arc::new(to)));
        }
        if self.end.is_some() || *self.phase.borrow() != Phase::Serving {
            return;
        }
        self.takers.retire();
        self.phase.send_replace(Phase::Retired);
        let (loads, outbox) = (self.loads.clone(), self.outbox.clone());
        tokio::spawn(async move {
            for load in loads {
                load.closed.notified().await;
            }
            outbox.send(Packet::new(&FromWorker::Retired));
        });
        self.live.end();
        for instance in &self.instances {
            instance.retire();
        }
        self.farewell = Some(Instant::now() + self.start.process.drain());
    }

    /// Asks what is connected to leave, and closes what is left after `grace`.
    fn drain(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        if self.end.is_some_and(|end| end <= until + SLACK) {
            return;
        }
        if *self.phase.borrow() == Phase::Serving {
            // Nothing newer serves: the whole server ends.
            self.vitals.end();
        }
        self.farewell = None;
        self.end = Some(until + SLACK);
        self.takers.retire();
        self.phase.send_replace(Phase::Draining { until });
        self.live.end();
        for instance in &self.instances {
            instance.shutdown();
        }
    }

    fn answer(&mut self, number: u64, question: Question) {
        self.known.answer(number, question, &self.outbox, &self.threads, &mut self.running);
    }

    fn save_state(&self) {
        let instances = self.instances.clone();
        let outbox = self.outbox.clone();
        self.threads.spawn_blocking(move || {
            let states = instances
                .iter()
                .filter_map(|one| one.save_state().map(|state| (one.name().to_owned(), state)));
            let (lengths, raw) = message::join(states);
            outbox.send(Packet { raw, ..Packet::new(&FromWorker::State(lengths)) });
        });
    }

    /// Whether WebSockets are to leave as soon as nothing else is left.
    fn lets_web_sockets_go(&self) -> bool {
        self.farewell.is_some() && self.start.process.websockets == WebSockets::Drain
    }

    /// Waits for what time or a server's end brings; returns when the process is to end. Safe to cancel.
    async fn turn(&mut self) -> u8 {
        loop {
            let ended = self.serving && self.servers.is_empty();
            if ended && *self.phase.borrow() == Phase::Serving {
                // A console has answered its one request.
                self.outbox.deliver(Packet::new(&FromWorker::Done(0))).await;
                return 0;
            }
            if ended && self.incoming.is_empty() && self.running.is_empty() {
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
                Some(_) = self.outgoing.join_next() => {}
                () = until(self.farewell) => self.drain(FAREWELL),
                () = only_web_sockets(&self.loads), if self.lets_web_sockets_go() => self.drain(FAREWELL),
                () = until(self.end) => {
                    // Programs of tasks are ended with their children.
                    let _ = tokio::time::timeout(FAST, self.running.shutdown()).await; // too slow
                    return 0;
                }
            }
        }
    }
}

/// Waits until every connection that is left is a WebSocket.
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

/// Services of the supervisor, asked for over the control socket.
struct Supervised {
    outbox: Outbox,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, std::sync::mpsc::Sender<Result<PathBuf, Fault>>>>,
    counts: Mutex<BTreeMap<u64, oneshot::Sender<Counts>>>,
}

impl Supervised {
    fn answer(&self, id: u64, answer: Result<PathBuf, Fault>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer); // it has given up waiting
        }
    }
}

impl Supervised {
    fn counted(&self, id: u64, counts: Counts) {
        let asker = self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(asker) = asker {
            let _ = asker.send(counts); // it has given up waiting
        }
    }
}

impl Host for Supervised {
    fn counts(&self) -> BoxFuture<Result<Counts, Error>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever went away before the answer came is forgotten.
        waiting.retain(|_, asker| !asker.is_closed());
        waiting.insert(id, sender);
        drop(waiting);
        self.outbox.send(Packet::new(&FromWorker::Counts(id)));
        Box::pin(async move {
            match tokio::time::timeout(COUNTING, answer).await {
                Ok(Ok(counts)) => Ok(counts),
                _ => Err(Error::new("the supervisor does not say what the workers count")),
            }
        })
    }

    fn side_process(&self, app: &str, name: &str, library: &Path) -> Result<PathBuf, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = std::sync::mpsc::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        self.outbox.send(Packet::new(&FromWorker::Side {
            id,
            app: app.to_owned(),
            name: name.to_owned(),
            library: library.to_owned(),
        }));
        match answer.recv_timeout(Duration::from_secs(10)) {
            Ok(answer) => answer.map_err(|fault| fault.to_error()),
            Err(_) => {
                Err(Error::new(format!("the side process `{name}` of app `{app}` did not start in 10 s")))
            }
        }
    }
}
