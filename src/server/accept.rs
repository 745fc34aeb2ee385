//! The life cycle of a server with any protocol: it accepts, pauses when full, retires, and ends with its last connection.

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

use super::control::{Control, Idle, Load, Phase, PhaseName};
use super::eviction::{OpenConnection, OpenConnections};
use super::listener::Socket;
use super::options::ServerLimits;
use super::requests::Requests;
use super::shortage::{self, Shortage};
use super::stream::{Listener, SocketStream};
use crate::body::App;

/// Pause after an error that shows that the process or the machine cannot accept another connection.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);
/// How often a full server looks for a waiting client and an idle connection: after this pause, plus some
/// time for each connection.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOK_AGAIN_EACH: Duration = Duration::from_micros(2);
/// At least this many idle connections are closed after such an error.
const MAKES_ROOM: usize = 8;
/// Maximum wait for connections that were asked to end.
const ABORT_TIME: Duration = Duration::from_secs(1);

/// The state shared by all connections of one server.
pub(super) struct ServerBase {
    pub(super) limits: ServerLimits,
    pub(super) requests: Arc<Requests>,
    pub(super) load: Arc<Load>,
    pub(super) hand_over: mpsc::Sender<Idle>,
    connections: OpenConnections,
    server: Arc<str>,
    shortage: Shortage,
    stage: AtomicU8,
    /// Notified at each new stage.
    turned: Notify,
    /// Notified when a connection closes that others may be waiting for.
    closed: Notify,
}

/// The origin of a connection.
#[derive(Clone)]
pub(super) struct ListenerId {
    /// The server's listener.
    pub(super) index: usize,
    /// Its address; empty if this generation no longer listens there.
    pub(super) listen: Arc<str>,
}

/// A connection to serve.
pub(super) enum IncomingConn {
    /// Accepted at this time.
    Accepted(SocketStream, std::time::Instant),
    /// Handed over by the previous generation, between two requests.
    HandedOver(HandedOver),
}

/// A connection between two requests.
pub(super) struct HandedOver {
    pub(super) stream: SocketStream,
    /// Bytes already read from it.
    pub(super) read: Bytes,
    /// As in [`Idle`].
    pub(super) peer: Option<SocketAddr>,
    pub(super) secure: bool,
}

/// How a kind of server handles its connections.
pub(super) trait Backend: Send + Sync + 'static {
    /// Whether a connection can be idle between two requests, and therefore be handed over.
    const KEEPS: bool;

    fn base(&self) -> &ServerBase;

    /// Starts to serve a connection. It must call [`ServerBase::opened`] now and
    /// [`ServerBase::closed`] when the connection ends.
    fn take(self: &Arc<Self>, incoming: IncomingConn, place: ListenerId);
}

impl ServerBase {
    pub(super) fn new(limits: ServerLimits, app: App, control: &Control) -> ServerBase {
        ServerBase {
            requests: Requests::new(app, control.load.clone(), limits.in_flight, limits.one_at_a_time),
            load: control.load.clone(),
            server: control.server.clone(),
            hand_over: control.hand_over.clone(),
            connections: OpenConnections::default(),
            limits,
            shortage: Shortage::default(),
            stage: AtomicU8::new(PhaseName::Serving as u8),
            turned: Notify::new(),
            closed: Notify::new(),
        }
    }

    pub(super) fn stage(&self) -> PhaseName {
        match self.stage.load(Relaxed) {
            0 => PhaseName::Serving,
            1 => PhaseName::Retired,
            2 => PhaseName::Draining,
            _ => PhaseName::Over,
        }
    }

    /// Resolves when a stage begins after this call.
    pub(super) fn turn(&self) -> impl Future<Output = ()> {
        self.turned.notified()
    }

    /// Waits for the last stage.
    pub(super) async fn over(&self) {
        loop {
            let turn = self.turn();
            if self.stage() == PhaseName::Over {
                return;
            }
            turn.await;
        }
    }

    /// Whether a response should be the last of its connection, because no generation takes it over.
    pub(super) fn closes_connections(&self) -> bool {
        match self.stage() {
            PhaseName::Serving => false,
            PhaseName::Retired => self.hand_over.is_closed(),
            PhaseName::Draining | PhaseName::Over => true,
        }
    }

    /// Counts a new connection; returns its number.
    pub(super) fn opened(&self, connection: Arc<dyn OpenConnection>) -> u64 {
        self.load.served.connected();
        self.load.connections.fetch_add(1, Relaxed);
        self.connections.add(connection)
    }

    /// Removes a connection from the counters: it has ended or was handed over.
    pub(super) fn closed(&self, id: u64) {
        self.connections.remove(id);
        let open = self.load.connections.fetch_sub(1, Relaxed);
        if open >= self.limits.connections || self.stage() > PhaseName::Serving {
            self.closed.notify_waiters();
        }
    }

    /// Passes a connection to the next generation, or returns it if no generation takes it.
    pub(super) async fn pass_on(
        &self,
        socket: io::Result<OwnedFd>,
        idle: impl FnOnce(OwnedFd, Arc<str>) -> Idle,
    ) -> Option<HandedOver> {
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "an idle connection was lost while it was handed over");
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

    /// Waits until there is room for another connection. If a client is waiting, the longest idle connections
    /// are closed for it. If every connection has a request, the client stays in the kernel's queue, where
    /// another worker may accept it.
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
        Ok(HandedOver { stream: SocketStream::from_fd(socket)?, read, peer, secure })
    }
}

fn enter<B: Backend>(backend: &B, stage: PhaseName) {
    let base = backend.base();
    if base.stage.fetch_max(stage as u8, Relaxed) < stage as u8 {
        base.turned.notify_waiters();
    }
    base.connections.turned(base.stage());
}

async fn accept<B: Backend>(backend: Arc<B>, listener: Listener, place: ListenerId) {
    loop {
        backend.base().room(&listener).await;
        let accepted = match backend.base().shortage.is_on() {
            false => listener.accept().await,
            true => {
                backend.base().shortage.look();
                let Ok(accepted) = tokio::time::timeout(shortage::QUIET, listener.accept()).await else {
                    continue;
                };
                accepted
            }
        };
        match accepted {
            Ok(stream) => {
                let at = std::time::Instant::now();
                // Another listener may have taken the room since.
                if backend.base().is_full() {
                    backend.base().connections.evict(1);
                }
                backend.take(IncomingConn::Accepted(stream, at), place.clone());
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                backend.base().shortage.failed(&error, &place.listen);
                // The descriptors that this frees may be all that is missing.
                backend.base().connections.evict(MAKES_ROOM);
                tokio::time::sleep(NO_ROOM_PAUSE).await;
            }
        }
    }
}

/// Whether an error of `accept` concerns only the one connection, whose client has gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput | NotConnected
    )
}

/// Starts to accept from every socket.
fn listen<B: Backend>(backend: &Arc<B>, sockets: Vec<Socket>) -> (JoinSet<()>, Vec<ListenerId>) {
    let mut listeners = JoinSet::new();
    let mut places = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let place = ListenerId { index, listen: socket.address().into() };
        places.push(place.clone());
        match Listener::new(socket) {
            Ok(listener) => drop(listeners.spawn(accept(backend.clone(), listener, place))),
            Err(error) => {
                tracing::error!(%error, listen = &*place.listen, "cannot serve the inherited socket")
            }
        }
    }
    (listeners, places)
}

/// Serves until the generation is retired and the last connection is gone.
pub(super) async fn run<B: Backend>(backend: Arc<B>, sockets: Vec<Socket>, mut control: Control) {
    let base = backend.base();
    let (mut listeners, places) = listen(&backend, sockets);
    if !B::KEEPS {
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
            Phase::Retired => enter(&*backend, PhaseName::Retired),
            Phase::Draining { until: time } => {
                until = Some(time);
                enter(&*backend, PhaseName::Draining);
            }
        }
        let retired = phase != Phase::Serving;
        if retired {
            // Notified last, so that requests after this find a server that knows that it is retired.
            base.load.closed.notify_one();
        }
        let deadline = until.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            changed = control.phase.changed(), if phases => phases = changed.is_ok(),
            idle = control.adopted.recv(), if adoptions => match idle {
                Some(idle) => adopt(&backend, idle, &places).await,
                None => adoptions = false,
            },
            () = base.fewer_than(1), if retired => {
                // Pass on the connections that are still queued here. Later senders get an error.
                control.adopted.close();
                while let Some(idle) = control.adopted.recv().await {
                    adopt(&backend, idle, &places).await;
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
    enter(&*backend, PhaseName::Over);
    // The task of an upgraded connection may be slow to notice. The process ends soon anyway.
    let _ = tokio::time::timeout(ABORT_TIME, base.fewer_than(1)).await;
}

/// Takes over a connection of the previous generation, or passes it on if this generation is retired too.
async fn adopt<B: Backend>(backend: &Arc<B>, idle: Idle, places: &[ListenerId]) {
    let base = backend.base();
    let idle = match base.stage() {
        PhaseName::Retired => match base.hand_over.send(idle).await {
            Ok(()) => return,
            Err(SendError(idle)) => idle,
        },
        _ => idle,
    };
    // If this generation no longer has that listener, the connection continues all the same.
    let place = places.get(idle.listener).cloned();
    let place = place.unwrap_or_else(|| ListenerId { index: idle.listener, listen: "".into() });
    match HandedOver::of(idle) {
        Ok(handed_over) => backend.take(IncomingConn::HandedOver(handed_over), place),
        Err(error) => tracing::warn!(%error, "cannot take over a connection of the previous generation"),
    }
}
