//! What the servers behind a web server (`scgi`, `fastcgi`) share: options, connections, one request after
//! another.
//!
//! - `connection`: one connection, request after request; `exchange`: one request, the app's call and its
//!   response;
//! - `idle`: how a full server sees a connection;
//! - `inbox`: a request's body between the connection and the app;
//! - `admit`: which of the web server's statements are trusted, and the gate;
//! - `out`: bytes that wait to be written.
//!
//! Each protocol is a [`Protocol`]: bytes in, events out, no socket.

mod admit;
mod connection;
mod exchange;
mod idle;
mod inbox;
mod out;

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use admit::{Belief, Fronts, refused_head};
pub(super) use out::Out;

use self::idle::Idling;
use super::Server;
use super::accept::{self, Backend, IncomingConn, ListenerId, ServerBase};
use super::control::Control;
use super::gate::forwarded::Trusted;
use super::listener::{Listen, Socket};
use super::options::{self, GateOptions, LimitOptions, Limits, networks};
use crate::body::{App, BoxFuture};
use crate::codec::{Fault, Variables};
use crate::config::{ConfigAddress, Table};
use crate::error::{Errors, Result};

/// What happens on a connection.
pub(super) enum Event {
    /// A request's head is complete.
    Head(Variables),
    /// Bytes of its body.
    Body(Bytes),
    /// Its body has ended.
    End,
    /// The client has gone; the connection may go on.
    Abort,
    /// The connection must end once the reply is sent.
    Close,
}

/// One connection's protocol.
pub(super) trait Protocol: Send + 'static {
    /// Whether a connection may serve several requests, one after another.
    const KEEPS: bool;

    /// For a new connection; `head_limit_bytes` limits the head of each request, `connections` is the most
    /// that are open.
    fn new(head_limit_bytes: usize, connections: usize) -> Self;

    /// Takes the next event from `read`, `None` if more bytes are needed. Replies that are due at once go to
    /// `out`.
    /// # Errors
    /// If nothing more can be parsed: the connection ends, after a refusal if [`answers`](Protocol::answers).
    fn next(&mut self, read: &mut BytesMut, out: &mut Out) -> Result<Option<Event>, Fault>;

    /// Whether no part of a request has arrived yet.
    fn is_between(&self) -> bool;

    /// Whether there is a request that a response can be sent to.
    fn answers(&self) -> bool;

    /// Writes a part of the response.
    fn put(&mut self, data: Bytes, out: &mut Out);

    /// Ends the response, and returns whether the connection goes on.
    fn end(&mut self, out: &mut Out) -> bool;
}

/// Options of a `[server.NAME]` table with `use = "scgi"` or `use = "fastcgi"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Where to listen for the web server: `unix:/run/app.sock`, `127.0.0.1:4000`, `fd:3`. Do not use an
    /// address that others can reach: they could bypass the web server.
    pub listen: Vec<ConfigAddress>,
    /// Threads per worker that serve requests; one per processor by default. All servers of a config share
    /// them, and the largest number applies.
    pub threads: Option<NonZeroUsize>,
    /// Web servers whose statements about the client are trusted (`REMOTE_ADDR`, `HTTPS`, `SERVER_NAME`, and
    /// `SSL_CLIENT_…` for a verified certificate): addresses, networks, or `unix` for every peer on a Unix
    /// socket. Any other peer is itself treated as the client.
    pub fronts: Vec<String>,
    /// Trust `REMOTE_USER` and `AUTH_TYPE` from these web servers, as if a middleware had authenticated the
    /// user. Off by default, because some servers forward a name that nobody has checked: without
    /// `auth_basic`, nginx's `$remote_user` is whatever the client sent.
    pub remote_user: bool,
    #[serde(flatten)]
    gate: GateOptions,
    #[serde(flatten)]
    limits: LimitOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: Vec::new(),
            threads: None,
            fronts: ["unix", "127.0.0.1", "::1"].map(str::to_owned).into(),
            remote_user: false,
            gate: GateOptions::default(),
            limits: LimitOptions::default(),
        }
    }
}

/// A checked server of the protocol `P`.
struct Gateway<P> {
    listen: Vec<Listen>,
    fronts: Fronts,
    limits: Limits,
    protocol: PhantomData<fn() -> P>,
}

/// Checks the options and creates the server; `example` is a suitable address for the protocol.
/// # Errors
/// Every malformed address, host and network.
pub(super) fn build<P: Protocol>(options: Options, table: &Table, example: &str) -> Result<Box<dyn Server>> {
    let mut errors = Vec::new();
    let listen = options::listen(table, &options.listen, &mut errors);
    if options.listen.is_empty() {
        let error = table.error("listen", "`listen` is empty: the web server needs an address to connect to");
        errors.push(error.help(format!("write `listen = [\"unix:/run/app.sock\"]` or `[\"{example}\"]`")));
    }
    let gate = options.gate.gate(table, &mut errors);
    let mut believed = Trusted::default();
    networks(table, "fronts", &options.fronts, &mut believed, &mut errors);
    Errors::check(errors)?;
    let fronts = Fronts { gate, believed, remote_user: options.remote_user };
    let limits = Limits::from(&options.limits);
    Ok(Box::new(Gateway::<P> { listen, fronts, limits, protocol: PhantomData }))
}

impl<P: Protocol> Server for Gateway<P> {
    fn listen(&self) -> &[Listen] {
        &self.listen
    }

    fn run(self: Box<Self>, sockets: Vec<Socket>, app: App, control: Control) -> BoxFuture<()> {
        let Gateway { fronts, limits, .. } = *self;
        let shared =
            Shared::<P> { base: ServerBase::new(limits, app, &control), fronts, protocol: PhantomData };
        Box::pin(accept::run(Arc::new(shared), sockets, control))
    }
}

/// What all connections of one server share.
struct Shared<P> {
    base: ServerBase,
    fronts: Fronts,
    protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Backend for Shared<P> {
    const KEEPS: bool = P::KEEPS;

    fn base(&self) -> &ServerBase {
        &self.base
    }

    fn take(self: &Arc<Self>, incoming: IncomingConn, place: ListenerId) {
        let idling = Arc::<Idling>::default();
        let id = self.base.opened(idling.clone());
        tokio::spawn(connection::take(Open { shared: self.clone(), id, idling }, incoming, place));
    }
}

/// One open connection in the counters.
struct Open<P: Protocol> {
    shared: Arc<Shared<P>>,
    id: u64,
    idling: Arc<Idling>,
}

impl<P: Protocol> Drop for Open<P> {
    fn drop(&mut self) {
        self.shared.base.closed(self.id);
    }
}
