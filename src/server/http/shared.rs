//! The state shared by all connections of one server.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};

use super::clock;
use super::executor::Streams;
use crate::body::App;
use crate::server::accept::{ListenerId, ServerBase};
use crate::server::control::Control;
use crate::server::gate::Gate;
use crate::server::gate::forwarded::TrustedPeers;
use crate::server::options::ServerLimits;
use crate::server::tls::Terminator;

/// hyper's own limit, which needs no allocation.
const HYPER_FIELDS: usize = 100;

/// The state shared by all connections of one server: the base of every server, plus the parts for HTTP.
pub(super) struct HttpShared {
    pub(super) base: ServerBase,
    pub(super) gate: Gate,
    pub(super) preface: Preface,
    pub(super) h1: http1::Builder,
    pub(super) h2: http2::Builder<Streams>,
}

/// The parts that are needed before a connection's first request.
#[derive(Default)]
pub(super) struct Preface {
    pub(super) tls: Option<Arc<Terminator>>,
    /// Peers that send the client's address by the PROXY protocol; if set, no other peer is admitted.
    pub(super) balancers: Option<TrustedPeers>,
    /// This many listeners, the first ones, use TLS; the others are plain and redirect clients there.
    pub(super) tls_listeners: usize,
}

impl Preface {
    /// The TLS settings for connections from `place`.
    pub(super) fn tls(&self, place: &ListenerId) -> Option<&Arc<Terminator>> {
        self.tls.as_ref().filter(|_| place.index < self.tls_listeners)
    }
}

impl Deref for HttpShared {
    type Target = ServerBase;

    fn deref(&self) -> &ServerBase {
        &self.base
    }
}

impl HttpShared {
    pub(super) fn new(
        gate: Gate,
        limits: ServerLimits,
        preface: Preface,
        app: App,
        control: &Control,
    ) -> HttpShared {
        let mut h1 = http1::Builder::new();
        // Our own timer can distinguish a slow head from an idle connection, but hyper's cannot. The socket
        // (`socket`) recognizes a client that has shut its sending side, so hyper watches for the end of
        // the stream.
        h1.header_read_timeout(None).half_close(false).max_header_size(limits.head_bytes);
        if limits.head_bytes + 8192 > 400 * 1024 {
            h1.max_buf_size(limits.head_bytes + 8192);
        }
        if gate.fields_limit != HYPER_FIELDS {
            h1.max_headers(gate.fields_limit);
        }
        let mut h2 = http2::Builder::new(Streams { stall: limits.write_stall });
        h2.timer(clock::HyperTimer::default())
            .enable_connect_protocol()
            .max_concurrent_streams(100)
            // Twice what the exchange allows: requests that h2 refuses itself are not logged.
            .max_header_list_size(u32::try_from(limits.head_bytes.saturating_mul(2)).unwrap_or(u32::MAX))
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        HttpShared { base: ServerBase::new(limits, app, control), gate, preface, h1, h2 }
    }
}
