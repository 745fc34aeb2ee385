//! What the servers behind a web server (`scgi`, `fastcgi`) share: options, connections, one request after another.
//!
//! - `hall`: accepts, counts, retires, ends;
//! - `connection`: one connection: head, the app at work, its answer;
//! - `inbox`: a request's body between the connection and the app;
//! - `admit`: what is believed of the web server, and the gate;
//! - `stream`: the socket, and what waits to be written.
//!
//! Each protocol is a [`Protocol`]: bytes in, events out, no socket.

mod admit;
mod connection;
mod hall;
mod inbox;
mod stream;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use admit::{Belief, Fronts};
pub(super) use stream::Out;

use super::Server;
use super::control::Control;
use super::gate::Gate;
use super::gate::forwarded::{Family, Trusted};
use super::gate::host::Allowed;
use super::listener::{Listen, Socket};
use super::pace::Pace;
use crate::body::{App, BoxFuture};
use crate::codec::{Fault, Variables};
use crate::config::Table;
use crate::error::{Error, Errors, Result};

/// What happens on a connection.
pub(super) enum Event {
    /// A request's head is there whole.
    Head(Variables),
    /// Bytes of its body.
    Body(Bytes),
    /// Its body has ended.
    End,
    /// The client has gone; the connection may go on.
    Abort,
    /// The connection shall end once what was replied is out.
    Close,
}

/// One connection's protocol.
pub(super) trait Protocol: Send + 'static {
    /// Whether a connection may serve another request after the one before.
    const KEEPS: bool;

    /// A new connection's; `head_limit_bytes` bounds the head of each request, `connections` is the most that are open.
    fn new(head_limit_bytes: usize, connections: usize) -> Self;

    /// Takes the next event off `read`, `None` when more bytes are needed; what must be replied at once goes to `out`.
    /// # Errors
    /// When nothing more can be read: the connection ends, after a refusal if [`answers`](Protocol::answers).
    fn next(&mut self, read: &mut BytesMut, out: &mut Out) -> Result<Option<Event>, Fault>;

    /// Whether nothing of a request has come yet.
    fn is_between(&self) -> bool;

    /// Whether there is a request that an answer can be sent to.
    fn answers(&self) -> bool;

    /// Writes a part of the answer.
    fn put(&mut self, data: Bytes, out: &mut Out);

    /// Ends the answer, and says whether the connection goes on.
    fn end(&mut self, out: &mut Out) -> bool;
}

/// Options of a `[server.NAME]` table with `use = "scgi"` or `use = "fastcgi"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Where to listen for the web server: `unix:/run/app.sock`, `127.0.0.1:4000`, `fd:3`. An address that others
    /// reach lets them ask past the web server.
    pub listen: Vec<String>,
    /// Threads of each worker that serve requests; by default one a processor. The servers of a config share them:
    /// the largest number holds.
    pub threads: Option<NonZeroUsize>,
    /// Web servers that are believed what they say of the client (`REMOTE_ADDR`, `HTTPS`, `SERVER_NAME`): addresses,
    /// networks, or `unix` for every peer on a Unix socket. Another peer is a client itself.
    pub fronts: Vec<String>,
    /// Whether `REMOTE_USER` of such a web server is the user, as if a middleware had found out.
    pub remote_user: bool,
    /// Hosts that are served (`example.org`, `*.example.org`, `localhost:8080`); others get 421. Empty: any.
    pub hosts: Vec<String>,
    /// Proxies in front of the web server whose forwarded fields are believed: addresses, networks. Nobody by default.
    pub trusted_proxies: Vec<String>,
    /// Which fields they write: `x_forwarded` or `forwarded` (RFC 7239).
    pub forwarded_fields: Family,
    /// Whether `%2f` and `%5c` may stand in a path; else 400.
    pub encoded_slashes: bool,
    /// Longest head of a request with all its variables, then 431.
    pub head_limit_bytes: NonZeroUsize,
    /// Most header fields, then 431.
    pub fields_limit: NonZeroUsize,
    /// Longest request target, then 414.
    pub target_limit_bytes: NonZeroUsize,
    /// Longest time for a head from its first byte, then the connection is closed.
    pub head_timeout_secs: NonZeroU32,
    /// Longest time without a request, on a new connection or between two, then it is closed.
    pub idle_timeout_secs: NonZeroU32,
    /// Slowest pace of a request's body in bytes a second, over `body_pace_secs`; then 408. 0: any.
    pub body_pace_bytes: u32,
    /// Time over which the pace of a body is measured.
    pub body_pace_secs: NonZeroU32,
    /// Longest time in which the web server takes no byte of a response, then the connection is reset.
    pub write_stall_secs: NonZeroU32,
    /// Longest time that a web server which has shut its sending side is waited for without it taking a byte: its
    /// client may be gone, and with it goes the application's work. On a Unix socket that is seen at once.
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
            listen: Vec::new(),
            threads: None,
            fronts: ["unix", "127.0.0.1", "::1"].map(str::to_owned).into(),
            remote_user: false,
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_fields: Family::default(),
            encoded_slashes: false,
            head_limit_bytes: size(64 * 1024),
            fields_limit: size(100),
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

/// The limits of a running server.
#[derive(Debug, Clone)]
struct Limits {
    head_bytes: usize,
    head_time: Duration,
    idle_time: Duration,
    body_pace: Pace,
    write_stall: Duration,
    half_close: Duration,
    connections: usize,
    in_flight: usize,
    one_at_a_time: bool,
}

/// A checked server of the protocol `P`.
struct Gateway<P> {
    listen: Vec<Listen>,
    fronts: Fronts,
    limits: Limits,
    protocol: std::marker::PhantomData<fn() -> P>,
}

/// Checks the options and makes the server; `example` is an address that suits the protocol.
/// # Errors
/// Every ill-formed address, host and network.
pub(super) fn build<P: Protocol>(table: &Table, example: &str) -> Result<Box<dyn Server>> {
    let options: Options = table.options()?;
    let mut errors = Vec::new();
    let mut listen = Vec::new();
    for (index, text) in options.listen.iter().enumerate() {
        let place = || place(table, "listen", index);
        match Listen::parse(text) {
            Ok(entry) if listen.contains(&entry) && !matches!(entry, Listen::Tcp(a) if a.port() == 0) => {
                errors.push(Error::config(format!("`{text}` is listed twice")).at(place()));
            }
            Ok(entry) => listen.push(entry),
            Err(error) => errors.push(error.at(place())),
        }
    }
    if options.listen.is_empty() {
        let error = table.error("listen", "`listen` names no address for the web server to reach it at");
        errors.push(error.help(format!("write `listen = [\"unix:/run/app.sock\"]` or `[\"{example}\"]`")));
    }
    let hosts = hosts(table, &options.hosts, &mut errors);
    let mut trusted = Trusted::new(options.forwarded_fields);
    networks(table, "trusted_proxies", &options.trusted_proxies, &mut trusted, &mut errors);
    let mut believed = Trusted::default();
    networks(table, "fronts", &options.fronts, &mut believed, &mut errors);
    Errors::check(errors)?;
    let gate = Gate {
        hosts,
        trusted,
        target_limit_bytes: options.target_limit_bytes.get(),
        fields_limit: options.fields_limit.get(),
        encoded_slashes: options.encoded_slashes,
        ..Gate::new(table.name().into())
    };
    let fronts = Fronts { gate, believed, remote_user: options.remote_user };
    let limits = Limits::from(&options);
    Ok(Box::new(Gateway::<P> { listen, fronts, limits, protocol: std::marker::PhantomData }))
}

fn place(table: &Table, key: &str, index: usize) -> Option<crate::error::Origin> {
    table.origin(&format!("{key}.{index}")).or_else(|| table.origin(key))
}

/// Reads the hosts that are served; faults go to `errors`.
pub(super) fn hosts(table: &Table, entries: &[String], errors: &mut Vec<Error>) -> Vec<Allowed> {
    let mut hosts = Vec::new();
    for (index, text) in entries.iter().enumerate() {
        match Allowed::parse(text) {
            Some(entry) => hosts.push(entry),
            None => errors.push(
                Error::config(format!("`{text}` is no host"))
                    .at(place(table, "hosts", index))
                    .help("write `example.org`, `*.example.org` or `localhost:8080`"),
            ),
        }
    }
    hosts
}

/// Adds addresses and networks of the list `key` to `trusted`; faults go to `errors`.
pub(super) fn networks(
    table: &Table,
    key: &str,
    entries: &[String],
    trusted: &mut Trusted,
    errors: &mut Vec<Error>,
) {
    for (index, text) in entries.iter().enumerate() {
        if !trusted.add(text) {
            errors.push(
                Error::config(format!("`{text}` is no address or network"))
                    .at(place(table, key, index))
                    .help("write `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32` or `unix`"),
            );
        }
    }
}

impl From<&Options> for Limits {
    fn from(options: &Options) -> Limits {
        let secs = |value: NonZeroU32| Duration::from_secs(value.get().into());
        Limits {
            head_bytes: options.head_limit_bytes.get(),
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

impl<P: Protocol> Server for Gateway<P> {
    fn listen(&self) -> &[Listen] {
        &self.listen
    }

    fn run(self: Box<Self>, sockets: Vec<Socket>, app: App, control: Control) -> BoxFuture<()> {
        let Gateway { fronts, limits, .. } = *self;
        Box::pin(hall::run::<P>(Arc::new(fronts), limits, sockets, app, control))
    }
}
