//! A server's life, whatever it speaks: it accepts, pauses when full, retires, and ends with its last connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::control::{Control, Idle, Load, Phase};
use super::eviction::{OpenConnection, OpenConnections};
use super::listener::Socket;
use super::options::Limits;
use super::requests::Requests;
use super::shortage::{self, Shortage};
use super::stream::{Listener, Stream};
use crate::body::App;

/// Pause after an error that says that the process or the machine has no room for another connection.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);
/// How often a full server looks for a client that waits and a connection that is idle: after this pause, and some more
/// for each connection.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOK_AGAIN_EACH: Duration = Duration::from_micros(2);
/// So many idle connections at least are closed after such an error.
const MAKES_ROOM: usize = 8;
/// Longest wait for connections that were told that time is up.
const ABORT_TIME: Duration = Duration::from_secs(1);

/// What all connections of one server share.
pub(super) struct ServerBase {
    pub(super) limits: Limits,
    pub(super) requests: Arc<Requests>,
    pub(super) load: Arc<Load>,
    pub(super) hand_over: mpsc::Sender<Idle>,
    connections: OpenConnections,
    server: Arc<str>,
    shortage: Shortage,
    stage: AtomicU8,
    /// Told at each new stage.
    turned: Notify,
    /// Told when a connection has closed that others may wait for.
    closed: Notify,
}

/// [`Phase`] without its deadline, which only the server's own task looks at, and what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving = 0,
    Retired = 1,
    Draining = 2,
    /// Time is up.
    Over = 3,
}

/// Where a connection came from.
#[derive(Clone)]
pub(super) struct ListenerId {
    /// Which of the server's listeners.
    pub(super) index: usize,
    /// Its address; empty where this generation no longer has it.
    pub(super) listen: Arc<str>,
}

/// A connection that is to be served.
pub(super) enum IncomingConn {
    /// It was accepted at that time.
    Accepted(Stream, std::time::Instant),
    /// The generation before has handed it over, between two requests.
    HandedOver(HandedOver),
}

/// A connection between two requests.
pub(super) struct HandedOver {
    pub(super) stream: Stream,
    /// Bytes that were read from it already.
    pub(super) read: Bytes,
    /// As in [`Idle`].
    pub(super) peer: Option<SocketAddr>,
    pub(super) secure: bool,
}

/// What a kind of server makes of its connections.
pub(super) trait Backend: Send + Sync + 'static {
    /// Whether a connection can be idle between two requests, and so be handed over.
    const KEEPS: bool;

    fn base(&self) -> &ServerBase;

    /// Starts to serve a connection: between [`ServerBase::opened`] and [`ServerBase::closed`].
    fn take(self: &Arc<Self>, incoming: IncomingConn, place: ListenerId);
}

impl ServerBase {
    pub(super) fn new(limits: Limits, app: App, control: &Control) -> ServerBase {
        ServerBase {
            requests: Requests::new(app, control.load.clone(), limits.in_flight, limits.one_at_a_time),
            load: control.load.clone(),
            server: control.server.clone(),
            hand_over: control.hand_over.clone(),
            connections: OpenConnections::default(),
            limits,
            shortage: Shortage::default(),
            stage: AtomicU8::new(Stage::Serving as u8),
            turned: Notify::new(),
            closed: Notify::new(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Serving,
            1 => Stage::Retired,
            2 => Stage::Draining,
            _ => Stage::Over,
        }
    }

    /// Ready when a stage begins after this call.
    pub(super) fn turn(&self) -> impl Future<Output = ()> {
        self.turned.notified()
    }

    /// Waits for the end of the last stage.
    pub(super) async fn over(&self) {
        loop {
            let turn = self.turn();
            if self.stage() == Stage::Over {
                return;
            }
            turn.await;
        }
    }

    /// Whether a response should be the last of its connection: nobody takes it on.
    pub(super) fn closes_connections(&self) -> bool {
        match self.stage() {
            Stage::Serving => false,
            Stage::Retired => self.hand_over.is_closed(),
            Stage::Draining | Stage::Over => true,
        }
    }

    /// Counts a connection in; returns its number.
    pub(super) fn opened(&self, connection: Arc<dyn OpenConnection>) -> u64 {
        self.load.served.connected();
        self.load.connections.fetch_add(1, Relaxed);
        self.connections.add(connection)
    }

    /// Counts a connection out that has ended or gone to another generation.
    pub(super) fn closed(&self, id: u64) {
        self.connections.remove(id);
        let open = self.load.connections.fetch_sub(1, Relaxed);
        if open >= self.limits.connections || self.stage() > Stage::Serving {
            self.closed.notify_waiters();
        }
    }

    /// Gives a connection to the next generation, or gives it back when nobody takes it.
    pub(super) async fn pass_on(
        &self,
        socket: io::Result<OwnedFd>,
        idle: impl FnOnce(OwnedFd, Arc<str>) -> Idle,
    ) -> Option<HandedOver> {
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "an idle connection is lost on its way to the next generation");
                return None;
            }
        };
        let Err(SendError(idle)) = self.hand_over.send(idle(socket, self.server.clone())).await else {
            return None;
        };
        HandedOver::of(idle).ok()
    }

    fn is_full(&self) -> bool {
        self.load.connections.load(Relaxed) >= self.limits.connections
    }

    /// Waits until there is room for another connection: when one waits, the longest idle ones are closed for it. While a
    /// request runs on each, it stays in the kernel's queue, where another worker may take it.
    async fn room(&self, listener: &Listener) {
        while self.is_full() {
            let looked_at = if listener.has_waiting() { self.connections.evict(1) } else { 0 };
            let pause = LOOK_AGAIN + LOOK_AGAIN_EACH * u32::try_from(looked_at).unwrap_or(u32::MAX);
            let _ = tokio::time::timeout(pause, self.fewer_than(self.limits.connections)).await;
        }
    }

    /// Waits until fewer than `limit` connections are open.
    async fn fewer_than(&self, limit: usize) {
        loop {
            let closed = self.closed.notified();
            if self.load.connections.load(Relaxed) < limit {
                return;
            }
            closed.await;
        }
    }
}

impl HandedOver {
    fn of(idle: Idle) -> io::Result<HandedOver> {
        let Idle { socket, read, peer, secure, .. } = idle;
        Ok(HandedOver { stream: Stream::from_fd(socket)?, read, peer, secure })
    }
}

fn enter<H: Backend>(house: &H, stage: Stage) {
    let base = house.base();
    if base.stage.fetch_max(stage as u8, Relaxed) < stage as u8 {
        base.turned.notify_waiters();
    }
    base.connections.turned(base.stage());
}

async fn accept<H: Backend>(house: Arc<H>, listener: Listener, place: ListenerId) {
    loop {
        house.base().room(&listener).await;
        let accepted = match house.base().shortage.is_on() {
            false => listener.accept().await,
            true => {
                house.base().shortage.look();
                let Ok(accepted) = tokio::time::timeout(shortage::QUIET, listener.accept()).await else {
                    continue;
                };
                accepted
            }
        };
        match accepted {
            Ok(stream) => {
                let at = std::time::Instant::now();
                // It may have been accepted for room that another listener has filled since.
                if house.base().is_full() {
                    house.base().connections.evict(1);
                }
                house.take(IncomingConn::Accepted(stream, at), place.clone());
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                house.base().shortage.failed(&error, &place.listen);
                // What it closes may be all that is missing.
                house.base().connections.evict(MAKES_ROOM);
                tokio::time::sleep(NO_ROOM_PAUSE).await;
            }
        }
    }
}

/// Whether an error of `accept` is the other end's, who has gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput | NotConnected
    )
}

/// Serves until the generation is retired and the last connection is gone.
pub(super) async fn run<H: Backend>(house: Arc<H>, sockets: Vec<Socket>, mut control: Control) {
    let base = house.base();
    let mut listeners = JoinSet::new();
    let mut places = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let place = ListenerId { index, listen: socket.address().into() };
        places.push(place.clone());
        match Listener::new(socket) {
            Ok(listener) => drop(listeners.spawn(accept(house.clone(), listener, place))),
            Err(error) => {
                tracing::error!(%error, listen = &*place.listen, "cannot serve the inherited socket")
            }
        }
    }
    if !H::KEEPS {
        control.adopted.close();
    }
    let mut phases = true;
    let mut adoptions = true;
    let mut until = None;
    loop {
        let phase = *control.phase.borrow_and_update();
        if phase != Phase::Serving {
            listeners.shutdown().await;
        }
        match phase {
            Phase::Serving => {}
            Phase::Retired => enter(&*house, Stage::Retired),
            Phase::Draining { until: time } => {
                until = Some(time);
                enter(&*house, Stage::Draining);
            }
        }
        let retired = phase != Phase::Serving;
        if retired {
            // Told last: whoever asks afterwards is answered by one that knows its end.
            base.load.closed.notify_one();
        }
        let deadline = until.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            changed = control.phase.changed(), if phases => phases = changed.is_ok(),
            idle = control.adopted.recv(), if adoptions => match idle {
                Some(idle) => adopt(&house, idle, &places).await,
                None => adoptions = false,
            },
            () = base.fewer_than(1), if retired => {
                // What is still on its way here is passed on, and later senders learn that nobody listens.
                control.adopted.close();
                while let Some(idle) = control.adopted.recv().await {
                    adopt(&house, idle, &places).await;
                }
                adoptions = false;
                if base.load.connections.load(Relaxed) == 0 {
                    break;
                }
            }
            () = tokio::time::sleep_until(deadline), if until.is_some() => break,
            else => break,
        }
    }
    listeners.shutdown().await;
    enter(&*house, Stage::Over);
    // Whoever holds an upgraded connection may be slow to notice: the process ends soon anyway.
    let _ = tokio::time::timeout(ABORT_TIME, base.fewer_than(1)).await;
}

/// Takes on a connection of the generation before, or passes it on when this one is retired too.
async fn adopt<H: Backend>(house: &Arc<H>, idle: Idle, places: &[ListenerId]) {
    let base = house.base();
    let idle = match base.stage() {
        Stage::Retired => match base.hand_over.send(idle).await {
            Ok(()) => return,
            Err(SendError(idle)) => idle,
        },
        _ => idle,
    };
    // A listener that this generation no longer has: the connection lives on all the same.
    let place = places.get(idle.listener).cloned();
    let place = place.unwrap_or_else(|| ListenerId { index: idle.listener, listen: "".into() });
    match HandedOver::of(idle) {
        Ok(handed_over) => house.take(IncomingConn::HandedOver(handed_over), place),
        Err(error) => tracing::warn!(%error, "cannot take on a connection of the generation before"),
    }
}
