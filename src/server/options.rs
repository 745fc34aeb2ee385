//! Options that several kinds of server share, flattened into their own, and the values made from them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::gate::Gate;
use super::gate::forwarded::{Family, TrustedPeers};
use super::gate::host::Allowed;
use super::listener::Listen;
use super::throughput::Throughput;
use crate::config::{ConfigAddress, Network, Table, item};
use crate::error::{Error, Origin};

/// Options of a server's gate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct GateOptions {
    /// Hosts to serve (`example.org`, `*.example.org`, `localhost:8080`); requests for other hosts get 421. If empty, all
    /// hosts are served.
    pub(super) hosts: Vec<String>,
    /// Proxies whose forwarded fields are trusted: addresses, networks (`10.0.0.0/8`), or `unix` for peers on Unix sockets.
    /// None by default.
    trusted_proxies: Vec<Network>,
    /// The fields that these proxies write.
    forwarded_fields: Family,
    /// Accept `%2f` and `%5c` in paths; otherwise such requests get 400.
    encoded_slashes: bool,
    /// Maximum number of header fields; more get 431.
    fields_limit: NonZeroUsize,
    /// Maximum length of the request target in bytes; longer ones get 414.
    target_limit_bytes: NonZeroUsize,
}

/// Limits of a server that has connections.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct LimitOptions {
    /// Maximum size of a request's head in bytes (from a web server: of all its variables); larger ones get
    /// 431.
    head_limit_bytes: NonZeroUsize,
    /// Maximum time for a head to arrive, from its first byte. After that, the response is 408. Over HTTP/2, or from a web
    /// server, the connection is closed.
    head_timeout_secs: NonZeroU32,
    /// Close a connection after this time without a request.
    idle_timeout_secs: NonZeroU32,
    /// Minimum rate of a request body in bytes per second, measured over `body_pace_secs`; slower bodies get 408. 0 means no
    /// minimum.
    body_pace_bytes: u32,
    /// Period over which `body_pace_bytes` is measured.
    body_pace_secs: NonZeroU32,
    /// Reset a connection if the peer reads no byte of its response for this long.
    write_stall_secs: NonZeroU32,
    /// How long to wait for a peer that has shut down its sending side and does not read. After that, its request is
    /// cancelled. (On a Unix socket, the end of the peer is noticed at once.)
    half_close_secs: NonZeroU32,
    /// Maximum number of open connections per worker. Beyond it, the connections that have been idle longest
    /// are closed; if all are busy, new ones wait in the kernel's queue.
    max_connections: NonZeroUsize,
    /// Maximum number of requests in flight; further ones get 503 with `Retry-After`.
    max_in_flight: NonZeroUsize,
    /// Pass one request at a time to the application, for applications that are not thread-safe.
    one_at_a_time: bool,
}

const fn number(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(value) => value,
        None => NonZeroU32::MIN,
    }
}

const fn size(value: usize) -> NonZeroUsize {
    match NonZeroUsize::new(value) {
        Some(value) => value,
        None => NonZeroUsize::MIN,
    }
}

impl Default for GateOptions {
    fn default() -> Self {
        GateOptions {
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_fields: Family::default(),
            encoded_slashes: false,
            fields_limit: size(100),
            target_limit_bytes: size(8 * 1024),
        }
    }
}

impl Default for LimitOptions {
    fn default() -> Self {
        LimitOptions {
            head_limit_bytes: size(64 * 1024),
            head_timeout_secs: number(10),
            idle_timeout_secs: number(60),
            body_pace_bytes: 500,
            body_pace_secs: number(30),
            write_stall_secs: number(30),
            half_close_secs: number(5),
            max_connections: size(4096),
            max_in_flight: size(1024),
            one_at_a_time: false,
        }
    }
}

impl GateOptions {
    /// Creates the gate for the server of `table`; faults go to `errors`.
    pub(super) fn gate(&self, table: &Table, errors: &mut Vec<Error>) -> Gate {
        let mut hosts = Vec::new();
        for (index, text) in self.hosts.iter().enumerate() {
            match Allowed::parse(text) {
                Some(entry) => hosts.push(entry),
                None => errors.push(
                    Error::config(format!("`{text}` is not a host"))
                        .at(place(table, "hosts", index))
                        .help("write `example.org`, `*.example.org` or `localhost:8080`"),
                ),
            }
        }
        let trusted = TrustedPeers::new(self.forwarded_fields, self.trusted_proxies.clone());
        Gate {
            hosts,
            trusted,
            target_limit_bytes: self.target_limit_bytes.get(),
            fields_limit: self.fields_limit.get(),
            encoded_slashes: self.encoded_slashes,
            ..Gate::new(table.name().into())
        }
    }
}

/// Reads the list `listen` of `table`; faults go to `errors`.
pub(super) fn listen(table: &Table, entries: &[ConfigAddress], errors: &mut Vec<Error>) -> Vec<Listen> {
    let mut listen = Vec::new();
    for (index, text) in entries.iter().enumerate() {
        let place = || place(table, "listen", index);
        match Listen::parse(text) {
            Ok(entry) if listen.contains(&entry) && is_fixed(&entry) => {
                errors.push(Error::config(format!("`{}` is listed twice", &**text)).at(place()));
            }
            Ok(entry) => listen.push(entry),
            Err(error) => errors.push(error.at(place())),
        }
    }
    listen
}

/// Port 0 is a different port each time.
pub(super) fn is_fixed(entry: &Listen) -> bool {
    !matches!(entry, Listen::Tcp(address) if address.port() == 0)
}

/// Where an item of a list is written, or the list itself.
fn place(table: &Table, key: &str, index: usize) -> Option<Origin> {
    table.origin(item(key, index))
}

/// The limits of a running server.
#[derive(Debug, Clone)]
pub(super) struct ServerLimits {
    pub(super) head_bytes: usize,
    pub(super) head_time: Duration,
    pub(super) idle_time: Duration,
    pub(super) body_pace: Throughput,
    pub(super) write_stall: Duration,
    pub(super) half_close: Duration,
    pub(super) connections: usize,
    pub(super) in_flight: usize,
    pub(super) one_at_a_time: bool,
}

impl From<&LimitOptions> for ServerLimits {
    fn from(options: &LimitOptions) -> ServerLimits {
        let secs = |value: NonZeroU32| Duration::from_secs(value.get().into());
        ServerLimits {
            head_bytes: options.head_limit_bytes.get(),
            head_time: secs(options.head_timeout_secs),
            idle_time: secs(options.idle_timeout_secs),
            body_pace: Throughput {
                bytes: u64::from(options.body_pace_bytes) * u64::from(options.body_pace_secs.get()),
                window: secs(options.body_pace_secs),
            },
            write_stall: secs(options.write_stall_secs),
            half_close: secs(options.half_close_secs),
            connections: options.max_connections.get(),
            in_flight: options.max_in_flight.get(),
            one_at_a_time: options.one_at_a_time,
        }
    }
}
