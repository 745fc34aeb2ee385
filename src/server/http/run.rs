//! A server's life: it accepts, pauses when full, retires, and ends with its last connection.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::arrive::Speaks;
use super::connection;
use super::http2::Streams;
use super::link::{Link, Open, Stream};
use super::{DEFAULT_FIELDS, Limits};
use crate::body::App;
use crate::server::control::{Control, Idle, Load, Phase};
use crate::server::desk::Desk;
use crate::server::gate::forwarded::Trusted;
use crate::server::gate::{Gate, Wire};
use crate::server::listener::Socket;
use crate::server::tls::Terminator;

/// Pause after an error that says that the process or the machine has no room for another connection.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for connections that were told that time is up.
const ABORT_TIME: Duration = Duration::from_secs(1);

/// What all connections of one server share.
pub(super) struct Shared {
    pub(super) gate: Arc<Gate>,
    pub(super) limits: Limits,
    pub(super) entrance: Entrance,
    pub(super) desk: Arc<Desk>,
    pub(super) load: Arc<Load>,
    pub(super) server: Arc<str>,
    pub(super) hand_over: mpsc::Sender<Idle>,
    pub(super) h1: http1::Builder,
    pub(super) h2: http2::Builder<Streams>,
    stage: AtomicU8,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    next_id: AtomicU64,
    /// Told when a connection has closed that others may wait for.
    closed: Notify,
}

/// [`Phase`] without its deadline, which only the server's own task looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving = 0,
    Retired = 1,
    Draining = 2,
}

/// Where a connection came from.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) listen: Arc<str>,
    /// Nothing is encrypted here, though the server speaks TLS elsewhere.
    pub(super) plain: bool,
}

/// What stands before a connection's first request.
#[derive(Default)]
pub(super) struct Entrance {
    pub(super) tls: Option<Arc<Terminator>>,
    /// Peers that say by the PROXY protocol who the client is; nobody else is let in then.
    pub(super) balancers: Option<Trusted>,
    /// The last so many listeners are plain: they lead clients to TLS.
    pub(super) plain_listeners: usize,
}

impl Shared {
    fn new(gate: Arc<Gate>, limits: Limits, entrance: Entrance, app: App, control: &Control) -> Shared {
        let mut h1 = http1::Builder::new();
        // Our own clock tells a slow head from an idle connection, which hyper's cannot; a client that has shut
        // its sending side is recognised by the socket (`link`), so hyper watches for the end of the stream.
        h1.header_read_timeout(None).half_close(false).max_header_size(limits.head_bytes);
        if limits.head_bytes + 8192 > 400 * 1024 {
            h1.max_buf_size(limits.head_bytes + 8192);
        }
        if limits.fields != DEFAULT_FIELDS {
            h1.max_headers(limits.fields);
        }
        let mut h2 = http2::Builder::new(Streams { stall: limits.write_stall });
        h2.timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Shared {
            gate,
            desk: Desk::new(app, control.load.clone(), limits.in_flight, limits.one_at_a_time),
            load: control.load.clone(),
            server: control.server.clone(),
            hand_over: control.hand_over.clone(),
            limits,
            entrance,
            h1,
            h2,
            stage: AtomicU8::new(Stage::Serving as u8),
            links: Mutex::default(),
            next_id: AtomicU64::new(0),
            closed: Notify::new(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Serving,
            1 => Stage::Retired,
            _ => Stage::Draining,
        }
    }

    /// Whether a response should be the last of its connection: nobody takes it on.
    pub(super) fn closes_connections(&self) -> bool {
        match self.stage() {
            Stage::Serving => false,
            Stage::Retired => self.hand_over.is_closed(),
            Stage::Draining => true,
        }
    }

    /// Called once for each connection when it has ended or gone to another generation.
    pub(super) fn closed(&self, id: u64, upgraded: bool) {
        self.links().remove(&id);
        if upgraded {
            self.load.upgraded.fetch_sub(1, Relaxed);
        }
        let open = self.load.connections.fetch_sub(1, Relaxed);
        if open >= self.limits.connections || self.stage() > Stage::Serving {
            self.closed.notify_waiters();
        }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Relaxed);
        for link in self.links().values() {
            link.task.wake();
        }
    }

    /// Waits until fewer than `limit` connections are open.
    async fn fewer_than(&self, limit: usize) {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            if self.load.connections.load(Relaxed) < limit {
                return;
            }
            closed.await;
        }
    }
}

/// Counts a connection in.
fn open(shared: &Arc<Shared>, link: Link) -> Open {
    let id = shared.next_id.fetch_add(1, Relaxed);
    let link = Arc::new(link);
    shared.load.served.connected();
    shared.load.connections.fetch_add(1, Relaxed);
    shared.links().insert(id, link.clone());
    Open { shared: shared.clone(), link, id }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(socket: Socket) -> io::Result<Listener> {
        let unix = socket.is_unix();
        let fd: OwnedFd = socket.fd;
        Ok(match unix {
            true => Listener::Unix(UnixListener::from_std(fd.into())?),
            false => Listener::Tcp(TcpListener::from_std(fd.into())?),
        })
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Without it a small answer waits for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: Listener, place: Place) {
    loop {
        // Full: further connections wait in the kernel's queue rather than be dropped.
        shared.fewer_than(shared.limits.connections).await;
        match listener.accept().await {
            Ok(stream) => {
                let link = Link::default();
                link.accepted.get_or_init(std::time::Instant::now);
                tokio::spawn(connection::begin(stream, open(&shared, link), place.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, listen = &*place.listen, "cannot accept a connection: waiting for room");
                tokio::time::sleep(NO_ROOM_PAUSE).await;
            }
        }
    }
}

/// Whether an error of `accept` is the client's, who has gone.
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
pub(super) async fn run(
    gate: Arc<Gate>,
    limits: Limits,
    entrance: Entrance,
    sockets: Vec<Socket>,
    app: App,
    mut control: Control,
) {
    let first_plain = match entrance.tls {
        Some(_) => sockets.len().saturating_sub(entrance.plain_listeners),
        None => 0,
    };
    let shared = Arc::new(Shared::new(gate, limits, entrance, app, &control));
    let mut listeners = JoinSet::new();
    let mut places = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let place = Place { index, listen: socket.address().into(), plain: index >= first_plain };
        places.push(place.clone());
        match Listener::new(socket) {
            Ok(listener) => drop(listeners.spawn(accept(shared.clone(), listener, place))),
            Err(error) => {
                tracing::error!(%error, listen = &*place.listen, "cannot serve the inherited socket")
            }
        }
    }
    let adopt = |idle: Idle| adopt(&shared, idle, &places);
    let mut phases = true;
    let mut adoptions = true;
    let mut until = None;
    loop {
        let phase = *control.phase.borrow_and_update();
        match phase {
            Phase::Serving => {}
            Phase::Retired => {
                listeners.shutdown().await;
                shared.load.closed.notify_one();
                shared.enter(Stage::Retired);
            }
            Phase::Draining { until: time } => {
                listeners.shutdown().await;
                shared.load.closed.notify_one();
                until = Some(time);
                shared.enter(Stage::Draining);
            }
        }
        let retired = phase != Phase::Serving;
        let deadline = until.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            changed = control.phase.changed(), if phases => phases = changed.is_ok(),
            idle = control.adopted.recv(), if adoptions => match idle {
                Some(idle) => adopt(idle).await,
                None => adoptions = false,
            },
            () = shared.fewer_than(1), if retired => {
                // What is still on its way here is passed on, and later senders learn that nobody listens.
                control.adopted.close();
                while let Some(idle) = control.adopted.recv().await {
                    adopt(idle).await;
                }
                adoptions = false;
                if shared.load.connections.load(Relaxed) == 0 {
                    break;
                }
            }
            () = tokio::time::sleep_until(deadline), if until.is_some() => break,
            else => break,
        }
    }
    listeners.shutdown().await;
    let left: Vec<_> = shared.links().values().cloned().collect();
    for link in left {
        link.abort();
    }
    // Whoever holds an upgraded connection may be slow to notice: the process ends soon anyway.
    let _ = tokio::time::timeout(ABORT_TIME, shared.fewer_than(1)).await;
}

/// Takes on a connection of the generation before, or passes it on when this one is retired too.
async fn adopt(shared: &Arc<Shared>, idle: Idle, places: &[Place]) {
    let idle = match shared.stage() {
        Stage::Retired => match shared.hand_over.send(idle).await {
            Ok(()) => return,
            Err(mpsc::error::SendError(idle)) => idle,
        },
        _ => idle,
    };
    // A listener that this generation no longer has: the connection lives on all the same.
    let place = places.get(idle.listener).cloned();
    let place = place.unwrap_or_else(|| Place { index: idle.listener, listen: "".into(), plain: true });
    match Stream::from_fd(idle.socket) {
        Ok(stream) => {
            let open = open(shared, Link::default());
            // It was plain when it came; where that is over, so it is after the next response.
            open.link.close_next.store(!place.plain, Relaxed);
            let Idle { peer, secure, read, .. } = idle;
            let wire = Wire { peer, listen: place.listen.clone(), secure, certificate: None };
            tokio::spawn(connection::serve(stream, read, open, place, wire, Speaks::Either));
        }
        Err(error) => tracing::warn!(%error, "cannot take on a connection of the generation before"),
    }
}
