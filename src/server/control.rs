//! How a generation controls its servers: serve, retire, drain; and the hand-over of idle connections.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::listener::{Listen, Socket};
use super::tls::tickets::Secret;
use crate::body::{App, BoxFuture};
use crate::inflight::RequestTable;
use crate::metrics::{Counts, Histogram, Times, Value, families};

/// Phase of a generation, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Accepts connections and serves requests.
    Serving,
    /// A newer generation accepts: hand over idle connections, finish the rest, stop when none is left.
    Retired,
    /// As `Retired`, but nothing is handed over, and what remains at `until` is closed.
    Draining {
        /// When the rest is closed.
        until: Instant,
    },
}

/// [`Phase`] without its deadline, which only the server's own task uses, plus a final stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PhaseName {
    Serving = 0,
    Retired = 1,
    Draining = 2,
    /// The time limit has passed.
    Over = 3,
}

/// An idle HTTP/1 connection between two requests that is being handed over.
#[derive(Debug)]
pub struct Idle {
    /// Name of the server that it belongs to.
    pub server: Arc<str>,
    /// The server's listener that it came from.
    pub listener: usize,
    /// The connected socket.
    pub socket: OwnedFd,
    /// Bytes already read from it that belong to the next request.
    pub read: Bytes,
    /// The address of the other end, which may come from a PROXY header.
    pub peer: Option<SocketAddr>,
    /// Whether such a header reported that the client's own connection uses TLS.
    pub secure: bool,
}

/// Counters of a running server.
#[derive(Debug, Default)]
pub struct Load {
    /// Open connections, including upgraded ones.
    pub connections: AtomicUsize,
    /// Of these, those that were upgraded (WebSocket).
    pub upgraded: AtomicUsize,
    /// Requests whose response has not ended.
    pub in_flight: AtomicUsize,
    /// Requests that the application failed to answer (an error or a panic).
    pub failed: AtomicU64,
    /// The requests in flight that have reached the app, and the statistics of earlier ones.
    pub table: RequestTable<RequestStats>,
    /// Further counters.
    pub served: Served,
    /// Notified once, when a retired server no longer accepts connections.
    pub closed: tokio::sync::Notify,
}

/// The outcome of a request; the classes of a status are 0 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOutcome(pub u8);

impl RequestOutcome {
    /// The client left before there was a response.
    pub const GONE: RequestOutcome = RequestOutcome(5);
    /// The gate or a limit refused it; the application did not get it.
    pub const REFUSED: RequestOutcome = RequestOutcome(6);
    const NAMES: [&'static str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "gone", "refused"];
}

/// Statistics of one thread's requests, counted under the lock of the table, which they take anyway.
#[derive(Debug, Default)]
pub struct RequestStats {
    outcomes: [u64; 7],
    sent: u64,
    duration: Histogram,
}

impl RequestStats {
    /// Counts a request that ended, with the bytes of its response body.
    #[inline]
    pub fn ended(&mut self, outcome: RequestOutcome, took: Duration, bytes: u64) {
        self.outcomes[usize::from(outcome.0) % RequestOutcome::NAMES.len()] += 1;
        self.sent += bytes;
        self.duration.add(took);
    }

    fn add(&mut self, other: &RequestStats) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, more)| *sum += more);
        self.sent += other.sent;
        self.duration.merge(&other.duration);
    }
}

/// Further counters of a server, for `metrics`.
#[derive(Debug, Default)]
pub struct Served {
    received: AtomicU64,
    connections: AtomicU64,
    turns: Times,
    /// Times from a connection's acceptance to its first call of the application.
    pub first_calls: Times,
}

impl Served {
    /// Counts bytes of a request body.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    /// Counts a new connection.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// Counts a wait for the turn (`one_at_a_time`).
    pub fn waited(&self, time: Duration) {
        self.turns.add(time);
    }
}

impl Load {
    /// Requests so far, including refused ones.
    pub fn requests(&self) -> u64 {
        let mut refused = 0;
        let begun = self.table.sum(|stats| refused += stats.outcomes[usize::from(RequestOutcome::REFUSED.0)]);
        begun + refused
    }

    /// Writes everything into `counts`, for the server of that name in that generation.
    pub fn count(&self, server: &str, generation: u64, counts: &mut Counts) {
        let server = [("server", server)];
        let count = |counter: &AtomicU64| Value::Count(counter.load(Relaxed));
        let level = |counter: &AtomicUsize| Value::Level(counter.load(Relaxed) as i64);
        let served = &self.served;
        let mut stats = RequestStats::default();
        self.table.sum(|shard| stats.add(shard));
        for (name, outcome) in RequestOutcome::NAMES.iter().zip(stats.outcomes) {
            counts.put(&families::REQUESTS, &[server[0], ("outcome", name)], Value::Count(outcome));
        }
        counts.put(&families::RESPONSE_BYTES, &server, Value::Count(stats.sent));
        counts.put(&families::REQUEST_BYTES, &server, count(&served.received));
        counts.put(&families::REQUEST_DURATION_SECONDS, &server, stats.duration.value());
        counts.put(&families::CONNECTIONS, &server, count(&served.connections));
        counts.put(&families::TURN_WAIT_SECONDS, &server, served.turns.value());
        counts.put(&families::ACCEPT_TO_APP_SECONDS, &server, served.first_calls.value());
        counts.put(&families::REQUEST_FAILURES, &server, count(&self.failed));
        counts.put(&families::CONNECTIONS_OPEN, &server, level(&self.connections));
        counts.put(&families::CONNECTIONS_UPGRADED, &server, level(&self.upgraded));
        counts.put(&families::REQUESTS_IN_FLIGHT, &server, level(&self.in_flight));
        let generation = generation.to_string();
        let requests = Value::Count(self.requests());
        counts.put(&families::GENERATION_REQUESTS, &[("generation", &generation)], requests);
    }
}

/// One server's end of its generation's control.
pub struct Control {
    /// The secret behind this run's TLS session tickets.
    pub tickets: Secret,
    /// Name of the server.
    pub server: Arc<str>,
    /// The phase, and its changes. A closed channel means that it no longer changes.
    pub phase: watch::Receiver<Phase>,
    /// Idle connections that the previous generation hands over.
    pub adopted: mpsc::Receiver<Idle>,
    /// Where to send idle connections once retired; closed if no generation takes them.
    pub hand_over: mpsc::Sender<Idle>,
    /// Counted by the server, read by the holder of the other end.
    pub load: Arc<Load>,
}

/// One server of a generation.
pub trait Server: Send {
    /// The addresses to listen on, in the order in which [`run`](Server::run) gets the sockets; empty for the
    /// console.
    fn listen(&self) -> &[Listen];

    /// Whether that entry of [`listen`](Server::listen) uses TLS.
    fn is_secure(&self, listen: usize) -> bool {
        let _ = listen;
        false
    }

    /// Warnings for `check` and the log that do not stop the server: lower case, no full stop.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Serves `app` until [`Control`] retires the generation and the last connection is closed.
    fn run(self: Box<Self>, sockets: Vec<Socket>, app: App, control: Control) -> BoxFuture<()>;
}
