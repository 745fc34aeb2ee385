//! The `http` server: HTTP/1.1 and HTTP/2 by prior knowledge, on TCP and Unix sockets.
//!
//! - `run`: accepts, counts, retires, ends;
//! - `connection`: one connection, from its first byte to its end or its hand-over; `http2` where it speaks that;
//! - `link`: the socket and what its connection's parts know of one another;
//! - `exchange`: one request, through the gate to the app and back;
//! - `sendfile`: files that the kernel sends by itself;
//! - `arriving`: the request's body: pace, and what the app left unread;
//! - `wait`: deadlines.

mod arriving;
mod connection;
mod exchange;
mod http2;
mod link;
mod run;
mod sendfile;
mod wait;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Server;
use super::control::Control;
use super::gate::Gate;
use super::gate::forwarded::{Family, Trusted};
use super::gate::host::Allowed;
use super::listener::{Listen, Socket};
use super::pace::Pace;
use crate::body::{App, BoxFuture};
use crate::config::Table;
use crate::error::{Error, Errors, Result};

/// Options of a `[server.NAME]` table with `use = "http"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Where to listen: `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`, `fd:3`; port 0 lets the system choose.
    pub listen: Vec<String>,
    /// Threads of each worker that serve requests; by default one a processor. The servers of a config share them:
    /// the largest number holds.
    pub threads: Option<NonZeroUsize>,
    /// Hosts that are served (`example.org`, `*.example.org`, `localhost:8080`); others get 421. Empty: any.
    pub hosts: Vec<String>,
    /// Peers whose forwarded fields are believed: addresses, networks (`10.0.0.0/8`), or `unix`. Nobody by default.
    pub trusted_proxies: Vec<String>,
    /// Which fields the trusted peers write: `x_forwarded` or `forwarded` (RFC 7239).
    pub forwarded_fields: Family,
    /// Whether `%2f` and `%5c` may stand in a path; else 400.
    pub encoded_slashes: bool,
    /// Longest head of a request, then 431.
    pub head_limit_bytes: NonZeroUsize,
    /// Most fields of a head, then 431.
    pub fields_limit: NonZeroUsize,
    /// Longest request target, then 414.
    pub target_limit_bytes: NonZeroUsize,
    /// Longest time for a head from its first byte, then 408.
    pub head_timeout_secs: NonZeroU32,
    /// Longest time between two requests of a connection, then it is closed.
    pub idle_timeout_secs: NonZeroU32,
    /// Slowest pace of a request's body in bytes a second, over `body_pace_secs`; then 408. 0: any.
    pub body_pace_bytes: u32,
    /// Time over which the pace of a body is measured.
    pub body_pace_secs: NonZeroU32,
    /// Longest time in which a client takes no byte of its response, then the connection is reset.
    pub write_stall_secs: NonZeroU32,
    /// Longest time that a client which has shut its sending side is waited for without it taking a byte: it may
    /// be gone, and with it goes the application's work.
    pub half_close_secs: NonZeroU32,
    /// Most open connections; further ones wait in the kernel's queue.
    pub max_connections: NonZeroUsize,
    /// Most requests in flight; further ones get 503 with Retry-After.
    pub max_in_flight: NonZeroUsize,
    /// Passes one request at a time to the application, for one that is not thread safe.
    pub one_at_a_time: bool,
}

impl Default for Options {
    fn default() -> Self {
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
        Options {
            listen: vec!["127.0.0.1:8080".into()],
            threads: None,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_fields: Family::default(),
            encoded_slashes: false,
            head_limit_bytes: size(64 * 1024),
            fields_limit: size(DEFAULT_FIELDS),
            target_limit_bytes: size(8 * 1024),
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

/// hyper's own limit, which it keeps without an allocation.
const DEFAULT_FIELDS: usize = 100;

/// The limits of a running server.
#[derive(Debug, Clone)]
struct Limits {
    head_bytes: usize,
    fields: usize,
    head_time: Duration,
    idle_time: Duration,
    body_pace: Pace,
    write_stall: Duration,
    half_close: Duration,
    connections: usize,
    in_flight: usize,
    one_at_a_time: bool,
}

/// A checked `http` server.
#[derive(Debug)]
struct Http {
    listen: Vec<Listen>,
    gate: Gate,
    limits: Limits,
}

/// Checks the options and makes the server.
/// # Errors
/// Every ill-formed address, host and network.
pub(super) fn build(table: &Table) -> Result<Box<dyn Server>> {
    let options: Options = table.options()?;
    let mut errors = Vec::new();
    let place = |key: &str, index| table.origin(&format!("{key}.{index}")).or_else(|| table.origin(key));
    let mut listen = Vec::new();
    for (index, text) in options.listen.iter().enumerate() {
        match Listen::parse(text) {
            Ok(entry) if listen.contains(&entry) && entry_is_fixed(&entry) => {
                errors.push(Error::config(format!("`{text}` is listed twice")).at(place("listen", index)));
            }
            Ok(entry) => listen.push(entry),
            Err(error) => errors.push(error.at(place("listen", index))),
        }
    }
    if options.listen.is_empty() {
        let error = table.error("listen", "`listen` is empty");
        errors.push(error.help("name at least one address, such as `127.0.0.1:8080`"));
    }
    let mut hosts = Vec::new();
    for (index, text) in options.hosts.iter().enumerate() {
        match Allowed::parse(text) {
            Some(entry) => hosts.push(entry),
            None => errors.push(
                Error::config(format!("`{text}` is no host"))
                    .at(place("hosts", index))
                    .help("write `example.org`, `*.example.org` or `localhost:8080`"),
            ),
        }
    }
    let mut trusted = Trusted::new(options.forwarded_fields);
    for (index, text) in options.trusted_proxies.iter().enumerate() {
        if !trusted.add(text) {
            errors.push(
                Error::config(format!("`{text}` is no address or network"))
                    .at(place("trusted_proxies", index))
                    .help("write `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32` or `unix`"),
            );
        }
    }
    Errors::check(errors)?;
    let gate = Gate {
        hosts,
        trusted,
        target_limit_bytes: options.target_limit_bytes.get(),
        fields_limit: options.fields_limit.get(),
        encoded_slashes: options.encoded_slashes,
        ..Gate::new(table.name().into())
    };
    Ok(Box::new(Http { listen, gate, limits: Limits::from(&options) }))
}

/// Port 0 is another port each time.
fn entry_is_fixed(entry: &Listen) -> bool {
    !matches!(entry, Listen::Tcp(address) if address.port() == 0)
}

impl From<&Options> for Limits {
    fn from(options: &Options) -> Limits {
        let secs = |value: NonZeroU32| Duration::from_secs(value.get().into());
        Limits {
            head_bytes: options.head_limit_bytes.get(),
            fields: options.fields_limit.get(),
            head_time: secs(options.head_timeout_secs),
            idle_time: secs(options.idle_timeout_secs),
            body_pace: Pace {
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

impl Server for Http {
    fn listen(&self) -> &[Listen] {
        &self.listen
    }

    fn run(self: Box<Self>, sockets: Vec<Socket>, app: App, control: Control) -> BoxFuture<()> {
        let Http { gate, limits, .. } = *self;
        Box::pin(run::run(Arc::new(gate), limits, sockets, app, control))
    }
}
