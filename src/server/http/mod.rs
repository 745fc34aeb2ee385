//! The `http` server: HTTP/1.1 and HTTP/2, with TLS or without, on TCP and Unix sockets.
//!
//! - `run`: accepts, counts, retires, ends;
//! - `arrive`: what comes before the first request, the PROXY header and TLS; `redirect` leads plain clients to TLS;
//! - `connection`: one connection, from its first byte to its end or its hand-over; `http2` where it speaks that;
//! - `link`: the socket and what its connection's parts know of one another;
//! - `exchange`: one request, through the gate to the app and back;
//! - `sendfile`: files that the kernel sends by itself;
//! - `arriving`: the request's body: pace, and what the app left unread;
//! - `wait`: deadlines.

mod arrive;
mod arriving;
mod connection;
mod exchange;
mod http2;
mod link;
mod redirect;
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
use super::tls::{self, Tls};
use crate::body::{App, BoxFuture};
use crate::config::Table;
use crate::error::{Error, Errors, Result};
use run::Entrance;

/// Options of a `[server.NAME]` table with `use = "http"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Where to listen: `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock` (with access: `unix:/run/app.sock,mode=660,
    /// user=app,group=www-data`), `fd:3`, `systemd` or `systemd:NAME` for the sockets of a systemd unit; port 0 lets the
    /// system choose.
    pub listen: Vec<String>,
    /// Serves HTTPS, with these certificates.
    pub tls: Option<tls::Options>,
    /// Leads plain clients to HTTPS with 308 and answers challenges of ACME: `true` listens on port 80 of the same
    /// addresses, `"0.0.0.0:8080"` there.
    pub redirect_http: RedirectHttp,
    /// Load balancers that say by the PROXY protocol (1 or 2) who the client is: addresses, networks, or `unix`. When set,
    /// nobody else can connect, and they must say it.
    pub proxy_protocol: Vec<String>,
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
            tls: None,
            redirect_http: RedirectHttp::Whether(false),
            proxy_protocol: Vec::new(),
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

/// Whether and where plain clients are led to HTTPS.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RedirectHttp {
    /// On port 80 of the addresses that are listened on.
    Whether(bool),
    /// At this address.
    At(String),
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
    /// Those that lead to TLS come last.
    listen: Vec<Listen>,
    redirects: usize,
    tls: Option<Tls>,
    balancers: Option<Trusted>,
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
    let mut peers = |key: &str, texts: &[String]| {
        let mut trusted = Trusted::new(options.forwarded_fields);
        for (index, text) in texts.iter().enumerate() {
            if !trusted.add(text) {
                errors.push(
                    Error::config(format!("`{text}` is no address or network"))
                        .at(place(key, index))
                        .help("write `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32` or `unix`"),
                );
            }
        }
        trusted
    };
    let trusted = peers("trusted_proxies", &options.trusted_proxies);
    let balancers = peers("proxy_protocol", &options.proxy_protocol);
    let redirects = redirects(table, &options, &listen).unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    });
    let tls = match &options.tls {
        None => None,
        Some(tls) => Tls::build(table, tls, &options.hosts).map(Some).unwrap_or_else(|found| {
            errors.extend(found);
            None
        }),
    };
    Errors::check(errors)?;
    let gate = Gate {
        hosts,
        trusted,
        target_limit_bytes: options.target_limit_bytes.get(),
        fields_limit: options.fields_limit.get(),
        encoded_slashes: options.encoded_slashes,
        ..Gate::new(table.name().into())
    };
    Ok(Box::new(Http {
        redirects: redirects.len(),
        listen: [listen, redirects].concat(),
        tls,
        balancers: Some(balancers).filter(|_| !options.proxy_protocol.is_empty()),
        gate,
        limits: Limits::from(&options),
    }))
}

/// Where plain clients are led to TLS.
fn redirects(table: &Table, options: &Options, listen: &[Listen]) -> Result<Vec<Listen>, Error> {
    let wanted = match &options.redirect_http {
        RedirectHttp::Whether(false) => return Ok(Vec::new()),
        RedirectHttp::Whether(true) => {
            let tcp = listen.iter().filter_map(|entry| match entry {
                Listen::Tcp(address) => Some(Listen::Tcp((address.ip(), 80).into())),
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
        return Err(error("`redirect_http` leads to HTTPS, which this server does not serve")
            .help("add the table `[server.NAME.tls]`"));
    }
    if wanted.is_empty() {
        return Err(error("`redirect_http` does not know where to listen")
            .help("say it: `redirect_http = \"0.0.0.0:80\"`"));
    }
    match wanted.iter().find(|entry| listen.contains(entry) && entry_is_fixed(entry)) {
        Some(twice) => Err(error(&format!("`{twice}` is listened on for HTTPS already"))),
        None => Ok(wanted),
    }
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

    fn is_secure(&self, listen: usize) -> bool {
        self.tls.is_some() && listen + self.redirects < self.listen.len()
    }

    fn warnings(&self) -> Vec<String> {
        self.tls.as_ref().map_or(Vec::new(), Tls::warnings)
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
                    // The options were checked: this is no fault of the config.
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
            let entrance = Entrance { tls, balancers, plain_listeners: redirects };
            run::run(Arc::new(gate), limits, entrance, sockets, app, control).await;
        })
    }
}
