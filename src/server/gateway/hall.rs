//! A server's life: it accepts, pauses when full, retires, and ends with its last connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::stream::{Listener, Stream};
use super::{Fronts, Limits, Protocol, connection};
use crate::body::App;
use crate::server::control::{Control, Idle, Load, Phase};
use crate::server::desk::Desk;
use crate::server::listener::Socket;

/// Pause after an error that says that the process or the machine has no room for another connection.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for connections that were told that time is up.
const ABORT_TIME: Duration = Duration::from_secs(1);

/// What all connections of one server share.
pub(super) struct Hall {
    pub(super) fronts: Arc<Fronts>,
    pub(super) limits: Limits,
    pub(super) desk: Arc<Desk>,
    pub(super) server: Arc<str>,
    pub(super) hand_over: mpsc::Sender<Idle>,
    pub(super) stage: watch::Sender<Stage>,
    load: Arc<Load>,
    /// Told when a connection has closed that others may wait for.
    closed: Notify,
}

/// [`Phase`] without its deadline, which only the server's own task looks at, and what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    Retired,
    Draining,
    /// Time is up.
    Over,
}

/// Where a connection came from.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) listen: Arc<str>,
}

/// One open connection in the counts.
struct Open(Arc<Hall>);

impl Drop for Open {
    fn drop(&mut self) {
        let open = self.0.load.connections.fetch_sub(1, Relaxed);
        if open >= self.0.limits.connections || *self.0.stage.borrow() > Stage::Serving {
            self.0.closed.notify_waiters();
        }
    }
}

impl Hall {
    /// Whether a connection that could serve on ends with its request: nobody takes it on.
    pub(super) fn closes_connections(&self) -> bool {
        match *self.stage.borrow() {
            Stage::Serving => false,
            Stage::Retired => self.hand_over.is_closed(),
            Stage::Draining | Stage::Over => true,
        }
    }

    fn enter(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let later = stage > *now;
            *now = stage.max(*now);
            later
        });
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

/// Takes a connection in: counts it, and starts its task.
fn open<P: Protocol>(hall: &Arc<Hall>, stream: Stream, before: Bytes, place: Place) {
    hall.load.connections.fetch_add(1, Relaxed);
    let open = Open(hall.clone());
    tokio::spawn(async move {
        let mut stage = open.0.stage.subscribe();
        tokio::select! {
            () = connection::serve::<P>(stream, before, &open.0, place) => {}
            _ = stage.wait_for(|stage| *stage == Stage::Over) => {}
        }
    });
}

async fn accept<P: Protocol>(hall: Arc<Hall>, listener: Listener, place: Place) {
    loop {
        // Full: further connections wait in the kernel's queue rather than be dropped.
        hall.fewer_than(hall.limits.connections).await;
        match listener.accept().await {
            Ok(stream) => open::<P>(&hall, stream, Bytes::new(), place.clone()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, listen = &*place.listen, "cannot accept a connection: waiting for room");
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
pub(super) async fn run<P: Protocol>(
    fronts: Arc<Fronts>,
    limits: Limits,
    sockets: Vec<Socket>,
    app: App,
    mut control: Control,
) {
    let hall = Arc::new(Hall {
        desk: Desk::new(app, control.load.clone(), limits.in_flight, limits.one_at_a_time),
        fronts,
        limits,
        server: control.server.clone(),
        hand_over: control.hand_over.clone(),
        stage: watch::Sender::new(Stage::Serving),
        load: control.load.clone(),
        closed: Notify::new(),
    });
    let mut listeners = JoinSet::new();
    let mut places = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let place = Place { index, listen: socket.address().into() };
        places.push(place.clone());
        match Listener::new(socket) {
            Ok(listener) => drop(listeners.spawn(accept::<P>(hall.clone(), listener, place))),
            Err(error) => {
                tracing::error!(%error, listen = &*place.listen, "cannot serve the inherited socket")
            }
        }
    }
    if !P::KEEPS {
        control.adopted.close(); // no connection of this protocol is ever idle
    }
    let mut phases = true;
    let mut adoptions = true;
    let mut until = None;
    loop {
        let phase = *control.phase.borrow_and_update();
        if phase != Phase::Serving {
            listeners.shutdown().await;
            hall.load.closed.notify_one();
        }
        match phase {
            Phase::Serving => {}
            Phase::Retired => hall.enter(Stage::Retired),
            Phase::Draining { until: time } => {
                until = Some(time);
                hall.enter(Stage::Draining);
            }
        }
        let retired = phase != Phase::Serving;
        let deadline = until.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            changed = control.phase.changed(), if phases => phases = changed.is_ok(),
            idle = control.adopted.recv(), if adoptions => match idle {
                Some(idle) => adopt::<P>(&hall, idle, &places).await,
                None => adoptions = false,
            },
            () = hall.fewer_than(1), if retired => {
                // What is still on its way here is passed on, and later senders learn that nobody listens.
                control.adopted.close();
                while let Some(idle) = control.adopted.recv().await {
                    adopt::<P>(&hall, idle, &places).await;
                }
                adoptions = false;
                if hall.load.connections.load(Relaxed) == 0 {
                    break;
                }
            }
            () = tokio::time::sleep_until(deadline), if until.is_some() => break,
            else => break,
        }
    }
    listeners.shutdown().await;
    hall.enter(Stage::Over);
    let _ = tokio::time::timeout(ABORT_TIME, hall.fewer_than(1)).await;
}

/// Takes on a connection of the generation before, or passes it on when this one is retired too.
async fn adopt<P: Protocol>(hall: &Arc<Hall>, idle: Idle, places: &[Place]) {
    let stage = *hall.stage.borrow();
    let idle = match stage {
        Stage::Retired => match hall.hand_over.send(idle).await {
            Ok(()) => return,
            Err(mpsc::error::SendError(idle)) => idle,
        },
        _ => idle,
    };
    // A listener that this generation no longer has: the connection lives on all the same.
    let place = places.get(idle.listener).cloned();
    let place = place.unwrap_or_else(|| Place { index: idle.listener, listen: "".into() });
    match Stream::from_fd(idle.socket) {
        Ok(stream) => open::<P>(hall, stream, idle.read, place),
        Err(error) => tracing::warn!(%error, "cannot take on a connection of the generation before"),
    }
}
