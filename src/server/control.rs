//! What a generation tells its servers: serve, retire, drain; and the hand-over of idle connections.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::inflight::Table;

/// Phase of a generation, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Accepts and serves.
    Serving,
    /// A newer generation accepts: hand over idle connections, finish the rest, end when none is left.
    Retired,
    /// As retired, nothing is handed over, and what is left at `until` is closed.
    Draining {
        /// When the rest is closed.
        until: Instant,
    },
}

/// An idle HTTP/1 connection between two requests, on its way to the next generation.
#[derive(Debug)]
pub struct Idle {
    /// Name of the server that it belongs to.
    pub server: Arc<str>,
    /// Which of the server's listeners it came from.
    pub listener: usize,
    /// The connected socket.
    pub socket: OwnedFd,
    /// Bytes already read from it that belong to the next request.
    pub read: Bytes,
}

/// What a server is busy with, counted while it runs.
#[derive(Debug, Default)]
pub struct Load {
    /// Open connections, upgraded ones too.
    pub connections: AtomicUsize,
    /// Of these, those that were upgraded (WebSocket).
    pub upgraded: AtomicUsize,
    /// Requests whose response has not ended.
    pub in_flight: AtomicUsize,
    /// Requests that came so far, refused ones too.
    pub requests: AtomicU64,
    /// Requests that the application failed to answer (an error or a panic).
    pub failed: AtomicU64,
    /// The requests in flight that have reached the app.
    pub table: Table,
    /// Told once, when a retired server no longer accepts connections.
    pub closed: tokio::sync::Notify,
}

/// One server's end of the control of its generation.
pub struct Control {
    /// Name of the server.
    pub server: Arc<str>,
    /// The phase, and its changes. A closed channel means that it no longer changes.
    pub phase: watch::Receiver<Phase>,
    /// Idle connections that the generation before hands over.
    pub adopted: mpsc::Receiver<Idle>,
    /// Where to hand over idle connections once retired; closed when nobody takes them.
    pub hand_over: mpsc::Sender<Idle>,
    /// Counted by the server, read by who holds the other end.
    pub load: Arc<Load>,
}
