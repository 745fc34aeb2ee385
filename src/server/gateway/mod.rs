//! What the servers behind a web server (`scgi`, `fastcgi`) share: options, connections, one request after
//! another.
//!
//! - `shared`: what the connections of one server share;
//! - `connection`: one connection, request after request; `stream`: its socket and buffers; `exchange`: one
//!   request, the app's call and its response;
//! - `idle`: how a full server sees a connection;
//! - `inbox`: a request's body between the connection and the app;
//! - `admit`: which of the web server's statements are trusted, and the gate;
//! - `out`: bytes that wait to be written.
//!
//! Each protocol is a [`ServerProtocol`]: bytes in, events out, no socket.

mod admit;
mod connection;
mod exchange;
mod idle;
mod inbox;
mod out;
mod protocol;
mod shared;
mod stream;

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use admit::{Belief, Fronts, refused_head};
pub(super) use out::Out;
pub(super) use protocol::{RequestEvent, ServerProtocol};

use self::idle::Idling;
use self::shared::{GatewayConn, GatewayShared};
use super::Server;
use super::accept::{self, Backend, IncomingConn, ListenerId, ServerBase};
use super::control::Control;
use super::gate::forwarded::{Family, TrustedPeers};
use super::listener::{Listen, Socket};
use super::options::{self, GateOptions, LimitOptions, ServerLimits};
use crate::body::{App, BoxFuture};
use crate::config::{ConfigAddress, Network, Table};
use crate::error::{Errors, Result};

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
    pub fronts: Vec<Network>,
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
            fronts: vec![
                Network::Unix,
                IpAddr::from(Ipv4Addr::LOCALHOST).into(),
                IpAddr::from(Ipv6Addr::LOCALHOST).into(),
            ],
            remote_user: false,
            gate: GateOptions::default(),
            limits: LimitOptions::default(),
        }
    }
}

/// A checked server of the protocol `P`.
struct GatewayServer<P> {
    listen: Vec<Listen>,
    fronts: Fronts,
    limits: ServerLimits,
    protocol: PhantomData<fn() -> P>,
}

/// Checks the options and creates the server; `example` is a suitable address for the protocol.
/// # Errors
/// Every malformed address, host and network.
pub(super) fn build<P: ServerProtocol>(
    options: Options,
    table: &Table,
    example: &str,
) -> Result<Box<dyn Server>> {
    let mut errors = Vec::new();
    let listen = options::listen(table, &options.listen, &mut errors);
    if options.listen.is_empty() {
        let error = table.error("listen", "`listen` is empty: the web server needs an address to connect to");
        errors.push(error.help(format!("write `listen = [\"unix:/run/app.sock\"]` or `[\"{example}\"]`")));
    }
    let gate = options.gate.gate(table, &mut errors);
    Errors::check(errors)?;
    let believed = TrustedPeers::new(Family::default(), options.fronts);
    let fronts = Fronts { gate, believed, remote_user: options.remote_user };
    let limits = ServerLimits::from(&options.limits);
    Ok(Box::new(GatewayServer::<P> { listen, fronts, limits, protocol: PhantomData }))
}

impl<P: ServerProtocol> Server for GatewayServer<P> {
    fn listen(&self) -> &[Listen] {
        &self.listen
    }

    fn run(self: Box<Self>, sockets: Vec<Socket>, app: App, control: Control) -> BoxFuture<()> {
        let GatewayServer { fronts, limits, .. } = *self;
        let shared = GatewayShared::<P>::new(fronts, limits, app, &control);
        Box::pin(accept::run(Arc::new(shared), sockets, control))
    }
}

impl<P: ServerProtocol> Backend for GatewayShared<P> {
    const KEEPS: bool = P::KEEPS;

    fn base(&self) -> &ServerBase {
        &self.base
    }

    fn take(self: &Arc<Self>, incoming: IncomingConn, place: ListenerId) {
        let idling = Arc::<Idling>::default();
        let id = self.base.opened(idling.clone());
        tokio::spawn(connection::take(GatewayConn { shared: self.clone(), id, idling }, incoming, place));
    }
}
