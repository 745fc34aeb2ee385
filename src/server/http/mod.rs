//! The `http` server: HTTP/1.1 and HTTP/2, with or without TLS, on TCP and Unix sockets.
//!
//! - `shared`: what the connections of one server share; `backend`: how the server takes a connection;
//! - `arrive`: what happens before the first request (PROXY header, TLS); `redirect`: redirects plain clients
//!   to HTTPS;
//! - `connection`: one connection, from its first byte to its end or hand-over (`hand_over`); `http1` and
//!   `http2` drive hyper, with time limits for HTTP/2's `frames` and an `executor` for its streams;
//! - `stream`: the bytes of a connection, from a socket or from TLS (`tls_io`); `socket`: the same as hyper
//!   sees it; `prefixed`: bytes that were read before;
//! - `conn_state`: what the parts of a connection share; `socket_state`: the socket's messages to the others;
//!   `relaxed`: their atomics;
//! - `exchange`: one request, through the gate to the app and back;
//! - `refused`: requests that end before there is a request; they are answered and logged all the same;
//! - `sendfile`: files that the kernel sends directly;
//! - `request_body`: the request's body: its throughput, and what the app left unread;
//! - `idle`: how a full server sees a connection; `wait`: the client's end of stream after ours; `clock`: the
//!   time, read once per poll of a task.

mod arrive;
mod backend;
mod clock;
mod conn_state;
mod connection;
mod exchange;
mod executor;
mod frames;
mod hand_over;
mod http1;
mod http2;
mod idle;
mod prefixed;
mod redirect;
mod refused;
mod relaxed;
mod request_body;
mod sendfile;
mod shared;
mod socket;
mod socket_state;
mod stream;
mod tls_io;
mod wait;

use std::num::NonZeroUsize;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Server;
use super::accept;
use super::control::Control;
use super::gate::Gate;
use super::gate::forwarded::{Family, TrustedPeers};
use super::listener::{Listen, Socket};
use super::options::{self, GateOptions, LimitOptions, ServerLimits, is_fixed};
use super::tls::{self, ServerTls};
use crate::body::{App, BoxFuture};
use crate::config::{ConfigAddress, Network, Table};
use crate::error::{Error, Errors, Result};
use shared::{HttpShared, Preface};

/// Options of a `[server.NAME]` table with `use = "http"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Where to listen: `127.0.0.1:8080`, `[::1]:8080`, `:8080` for every address of this machine, `unix:/run/app.sock` (with
    /// permissions: `unix:/run/app.sock,mode=660,
    /// user=app,group=www-data`), `fd:3`, `systemd` or `systemd:NAME` for the sockets of a systemd unit; port 0 lets the
    /// system choose. `[::]:8080` takes IPv4 connections too, unless any server lists an IPv4 address with the same port.
    /// A link-local address names its interface: `[fe80::1%eth0]:8080`.
    pub listen: Vec<ConfigAddress>,
    /// Serves HTTPS, with these certificates.
    pub tls: Option<tls::Options>,
    /// Redirect plain HTTP to HTTPS with 308 and answer ACME challenges. `true` listens on port 80 of the
    /// same addresses, `"0.0.0.0:8080"` on that address.
    pub redirect_http: RedirectHttp,
    /// Load balancers that send the client's address with the PROXY protocol (version 1 or 2): addresses,
    /// networks, or `unix`. If set, all other peers are refused, and the header is required.
    pub proxy_protocol: Vec<Network>,
    /// Threads per worker that serve requests; one per processor by default. All servers of a config share
    /// them, and the largest number applies.
    pub threads: Option<NonZeroUsize>,
    #[serde(flatten)]
    gate: GateOptions,
    #[serde(flatten)]
    limits: LimitOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: vec!["127.0.0.1:8080".into()],
            tls: None,
            redirect_http: RedirectHttp::Whether(false),
            proxy_protocol: Vec::new(),
            threads: None,
            gate: GateOptions::default(),
            limits: LimitOptions::default(),
        }
    }
}

/// Whether and where plain clients are redirected to HTTPS.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RedirectHttp {
    /// On port 80 of the addresses in `listen`.
    Whether(bool),
    /// At this address.
    At(ConfigAddress),
}

/// A checked `http` server.
#[derive(Debug)]
struct Http {
    /// The addresses that redirect to HTTPS come last.
    listen: Vec<Listen>,
    redirects: usize,
    tls: Option<ServerTls>,
    balancers: Option<TrustedPeers>,
    gate: Gate,
    limits: ServerLimits,
}

/// Checks the options and creates the server.
/// # Errors
/// Every malformed address, host and network.
pub(super) fn build(options: Options, table: &Table) -> Result<Box<dyn Server>> {
    let mut errors = Vec::new();
    let listen = options::listen(table, &options.listen, &mut errors);
    if options.listen.is_empty() {
        let error = table.error("listen", "`listen` is empty");
        errors.push(error.help("list at least one address, such as `127.0.0.1:8080`"));
    }
    let gate = options.gate.gate(table, &mut errors);
    let redirects = redirects(table, &options, &listen).unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    });
    let tls = match &options.tls {
        None => None,
        Some(tls) => ServerTls::build(table, tls, &options.gate.hosts).map(Some).unwrap_or_else(|found| {
            errors.extend(found);
            None
        }),
    };
    Errors::check(errors)?;
    Ok(Box::new(Http {
        redirects: redirects.len(),
        listen: [listen, redirects].concat(),
        tls,
        balancers: (!options.proxy_protocol.is_empty())
            .then(|| TrustedPeers::new(Family::default(), options.proxy_protocol)),
        gate,
        limits: ServerLimits::from(&options.limits),
    }))
}

/// The addresses at which plain clients are redirected to HTTPS.
fn redirects(table: &Table, options: &Options, listen: &[Listen]) -> Result<Vec<Listen>, Error> {
    let wanted = match &options.redirect_http {
        RedirectHttp::Whether(false) => return Ok(Vec::new()),
        RedirectHttp::Whether(true) => {
            let tcp = listen.iter().filter_map(|entry| match *entry {
                Listen::Tcp(mut address) => {
                    address.set_port(80);
                    Some(Listen::Tcp(address))
                }
                _ => None,
            });
            tcp.fold(Vec::new(), |mut all, entry| {
                if !all.contains(&entry) {
                    all.push(entry);
                }
                all
            })
        }
        RedirectHttp::At(text) => {
            vec![Listen::parse(text).map_err(|error| error.at(table.origin("redirect_http")))?]
        }
    };
    let error = |message: &str| table.error("redirect_http", message);
    if options.tls.is_none() {
        return Err(error("`redirect_http` needs HTTPS, which this server does not serve")
            .help("add the table `[server.NAME.tls]`"));
    }
    if wanted.is_empty() {
        return Err(error("`redirect_http = true` has no address to listen on")
            .help("set an address: `redirect_http = \"0.0.0.0:80\"`"));
    }
    match wanted.iter().find(|entry| listen.contains(entry) && is_fixed(entry)) {
        Some(twice) => Err(error(&format!("`{twice}` already serves HTTPS"))),
        None => Ok(wanted),
    }
}

impl Server for Http {
    fn listen(&self) -> &[Listen] {
        &self.listen
    }

    fn is_secure(&self, listen: usize) -> bool {
        self.tls.is_some() && listen + self.redirects < self.listen.len()
    }

    fn warnings(&self) -> Vec<String> {
        self.tls.as_ref().map_or(Vec::new(), ServerTls::warnings)
    }

    fn run(self: Box<Self>, sockets: Vec<Socket>, mut app: App, control: Control) -> BoxFuture<()> {
        let warnings = self.warnings();
        let Http { gate, limits, redirects, tls, balancers, .. } = *self;
        Box::pin(async move {
            for warning in warnings {
                tracing::warn!(server = &*control.server, "{warning}");
            }
            let tls = match tls.map(|tls| tls.start(&control.server, &control.tickets)).transpose() {
                Ok(tls) => tls,
                Err(error) => {
                    // The options were checked, so this is not a fault of the config.
                    tracing::error!(server = &*control.server, %error, "cannot serve HTTPS");
                    return;
                }
            };
            let (secure, plain) = sockets.split_at(sockets.len().saturating_sub(redirects));
            if !plain.is_empty() {
                let from: Arc<[String]> = plain.iter().map(Socket::address).collect();
                let port = secure.iter().find_map(|socket| socket.address().rsplit_once(':')?.1.parse().ok());
                app = redirect::wrap(app, from, port.unwrap_or(443), tls.clone());
            }
            let preface = Preface { tls, balancers, tls_listeners: secure.len() };
            let shared = HttpShared::new(gate, limits, preface, app, &control);
            accept::run(Arc::new(shared), sockets, control).await;
        })
    }
}
