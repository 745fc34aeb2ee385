//! What a generation tells its servers: serve, retire, drain; and the hand-over of idle connections.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::tls::tickets::Secret;

use crate::inflight::Table;
use crate::metrics::{Counts, Histogram, Times, Value};

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
    /// Who is at its other end, as a PROXY header may have said long ago.
    pub peer: Option<SocketAddr>,
    /// Whether such a header said that the client's own connection is TLS.
    pub secure: bool,
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
    /// Requests that the application failed to answer (an error or a panic).
    pub failed: AtomicU64,
    /// The requests in flight that have reached the app, and what became of those before.
    pub table: Table<RequestStats>,
    /// What it has done so far.
    pub served: Served,
    /// Told once, when a retired server no longer accepts connections.
    pub closed: tokio::sync::Notify,
}

/// How a request has ended; the classes of a status are 0 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome(pub u8);

impl Outcome {
    /// The client left before there was an answer.
    pub const GONE: Outcome = Outcome(5);
    /// It was not passed to the application: the gate's or a limit's doing.
    pub const REFUSED: Outcome = Outcome(6);
    const NAMES: [&'static str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "gone", "refused"];
}

/// What became of the requests of one thread: counted under the lock of the table, which they pass anyway.
#[derive(Debug, Default)]
pub struct RequestStats {
    outcomes: [u64; 7],
    sent: u64,
    duration: Histogram,
}

impl RequestStats {
    /// Counts a request at its end, with the bytes of its response's body.
    #[inline]
    pub fn ended(&mut self, outcome: Outcome, took: Duration, bytes: u64) {
        self.outcomes[usize::from(outcome.0) % Outcome::NAMES.len()] += 1;
        self.sent += bytes;
        self.duration.add(took);
    }

    fn add(&mut self, other: &RequestStats) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, more)| *sum += more);
        self.sent += other.sent;
        self.duration.merge(&other.duration);
    }
}

/// What a server has done beside that, for `metrics`.
#[derive(Debug, Default)]
pub struct Served {
    received: AtomicU64,
    connections: AtomicU64,
    turns: Times,
    /// From a connection's acceptance to its first call of the application.
    pub first_calls: Times,
}

impl Served {
    /// Counts bytes of a request's body.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Relaxed);
    }

    /// Counts a connection that was taken in.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// Counts a wait for the turn.
    pub fn waited(&self, time: Duration) {
        self.turns.add(time);
    }
}

impl Load {
    /// Requests that came so far, refused ones too.
    pub fn requests(&self) -> u64 {
        let mut refused = 0;
        let begun = self.table.sum(|stats| refused += stats.outcomes[usize::from(Outcome::REFUSED.0)]);
        begun + refused
    }

    /// Writes all of it into `counts`, for the server of that name in that generation.
    pub fn count(&self, server: &str, generation: u64, counts: &mut Counts) {
        let server = [("server", server)];
        let count = |counter: &AtomicU64| Value::Count(counter.load(Relaxed));
        let level = |counter: &AtomicUsize| Value::Level(counter.load(Relaxed) as i64);
        let served = &self.served;
        let mut stats = RequestStats::default();
        self.table.sum(|shard| stats.add(shard));
        for (name, outcome) in Outcome::NAMES.iter().zip(stats.outcomes) {
            counts.put("paster_requests_total", &[server[0], ("outcome", name)], Value::Count(outcome));
        }
        counts.put("paster_response_bytes_total", &server, Value::Count(stats.sent));
        counts.put("paster_request_bytes_total", &server, count(&served.received));
        counts.put("paster_request_duration_seconds", &server, stats.duration.value());
        counts.put("paster_connections_total", &server, count(&served.connections));
        counts.put("paster_turn_wait_seconds", &server, served.turns.value());
        counts.put("paster_accept_to_app_seconds", &server, served.first_calls.value());
        counts.put("paster_request_failures_total", &server, count(&self.failed));
        counts.put("paster_connections_open", &server, level(&self.connections));
        counts.put("paster_connections_upgraded", &server, level(&self.upgraded));
        counts.put("paster_requests_in_flight", &server, level(&self.in_flight));
        let generation = generation.to_string();
        let requests = Value::Count(self.requests());
        counts.put("paster_generation_requests_total", &[("generation", &generation)], requests);
    }
}

/// One server's end of the control of its generation.
pub struct Control {
    /// What this run's TLS session tickets are made of.
    pub tickets: Secret,
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
