//! `proxy`: an application behind HTTP on another socket.

mod fields;
mod http1;
mod http2;
mod redirects;
mod sticky;
mod tls;
mod tunnel;

use std::sync::Arc;

use http::header::{LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use percent_encoding::percent_decode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::fields::{Forwarding, HostField, Prefix, RewriteRules};
use self::http1::Http1;
use self::redirects::relocated;
use self::sticky::{Sticky, StickyOptions};
use self::tls::TlsOptions;
use super::hand_off::{self, HandOff};
use super::isolation::facts::{FAILURE, take_changes};
use super::upstream::{
    Address, Group, Member, NameOptions, Names, ProbeUpstreams, Secs, UpstreamOptions, addresses, duration,
    into_response, may_repeat, run, secs, send_probe, start_probes,
};
use crate::app::{AppLink, Builder};
use crate::body::{App, Request, Response};
use crate::config::{ConfigAddress, Table};
use crate::environ::Environ;
use crate::error::{BoxError, Errors, Result};

/// Options of an `[app.NAME]` table with `use = "proxy"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Addresses of the upstreams: `http://127.0.0.1:9000`, `https://api.example.org`, `unix:/run/app.sock`.
    /// A path (`http://10.0.0.7/base`) is put in front of every request's path.
    upstreams: Vec<ConfigAddress>,
    /// The protocol to use with upstreams.
    #[serde(default)]
    protocol: HttpVersion,
    #[serde(flatten)]
    passing: PassingOptions,
    #[serde(flatten)]
    upstream: UpstreamOptions,
    /// Keep each client with one upstream as long as that one works, by a cookie: `{ cookie = "upstream" }`.
    sticky: Option<StickyOptions>,
    /// TLS to `https` upstreams.
    tls: Option<TlsOptions>,
    /// Resolve the names of upstreams again when the time to live of their records ends, and use all their addresses: each
    /// is an upstream with its own health and connections. A new one starts slowly (`health.slow_start_secs`), and one that
    /// has disappeared finishes its requests. If a name cannot be resolved, its last addresses stay in use. A name such as
    /// `_http._tcp.example.org` is that of a service (SRV records). Without this table, the system resolves a name for each
    /// new connection, which goes to one of its addresses.
    dns: Option<NameOptions>,
}

/// What upstreams get of a request, which `proxy` and `program` have in common.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct PassingOptions {
    /// The `Host` field to send: `client` for the client's, `upstream` for the host of the address, or any
    /// other value.
    #[serde(default = "client")]
    host: String,
    /// The header fields that describe the client to upstreams. Their values come from the server. Values from the client in
    /// such fields are never forwarded.
    #[serde(default)]
    forwarding: Forwarding,
    /// Send the client's certificate to upstreams in the `Client-Cert` field (RFC 9440).
    #[serde(default)]
    client_cert: bool,
    /// What to do with the prefix of the mount.
    #[serde(default)]
    prefix: Prefix,
    /// Close a WebSocket after this time without data in either direction. Closing may take up to twice as
    /// long.
    #[serde(default = "an_hour")]
    websocket_idle_secs: Secs,
}

impl Default for PassingOptions {
    fn default() -> Self {
        PassingOptions {
            host: client(),
            forwarding: Forwarding::default(),
            client_cert: false,
            prefix: Prefix::default(),
            websocket_idle_secs: an_hour(),
        }
    }
}

impl Options {
    /// The options for upstreams that paster has started, at these addresses.
    pub(super) fn of_processes(
        upstreams: Vec<ConfigAddress>,
        http2: bool,
        passing: PassingOptions,
        upstream: UpstreamOptions,
    ) -> Options {
        let protocol = if http2 { HttpVersion::Http2 } else { HttpVersion::Http1 };
        Options { upstreams, protocol, passing, upstream, sticky: None, tls: None, dns: None }
    }
}

/// The apps that the upstreams may hand requests to.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    hand_off::links(&options.upstream.hand_off)
}

/// The protocol to use with upstreams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum HttpVersion {
    /// HTTP/1.1, with WebSockets.
    #[default]
    Http1,
    /// HTTP/2, with prior knowledge or, over TLS, by ALPN; no WebSockets.
    Http2,
}

fn client() -> String {
    "client".to_owned()
}

fn an_hour() -> Secs {
    secs(3600)
}

/// The upstreams as an app.
struct Proxy {
    group: Arc<Group>,
    rewrite: RewriteRules,
    /// Whether upstreams are asked over HTTP/2.
    http2: bool,
    websocket_idle: std::time::Duration,
    hand_off: Option<HandOff>,
    sticky: Option<Sticky>,
}

/// Creates the app; connects to nothing yet.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let mut errors = Vec::new();
    let found = addresses(table, &options.upstreams, Address::http, &mut errors);
    let http2 = options.protocol == HttpVersion::Http2;
    let mut tls = None;
    if options.tls.is_some() || found.iter().any(|address| address.tls) {
        match options.tls.unwrap_or_default().load(table, http2) {
            Ok(loaded) => tls = Some(loaded),
            Err(found) => errors.extend(found),
        }
    }
    let host = match options.passing.host.as_str() {
        "client" => HostField::Client,
        "upstream" => HostField::Upstream,
        host if host.parse::<http::uri::Authority>().is_ok_and(|host| !host.as_str().contains('@')) => {
            HostField::Fixed(host.to_owned())
        }
        other => {
            let error = table.error("host", format!("`{other}` is not a host"));
            errors.push(error.help("write `client`, `upstream`, or a host such as `example.org:8080`"));
            HostField::Client
        }
    };
    let count = options.upstreams.len();
    let hand_off = options.upstream.check(table, count, builder, &mut errors);
    let weights = &options.upstream.weights;
    let names = options.dns.and_then(|dns| Names::new(&dns, &found, weights, table, &mut errors));
    let sticky = options.sticky.map(|sticky| Sticky::new(sticky, table, &mut errors));
    Errors::check(errors)?;
    let group = Group::new(table.name(), found, options.upstream, tls, builder.context.development);
    let group = Arc::new(group);
    let proxy = Arc::new(Proxy {
        rewrite: RewriteRules {
            host,
            forwarding: options.passing.forwarding,
            prefix: options.passing.prefix,
            client_cert: options.passing.client_cert,
        },
        http2,
        websocket_idle: duration(options.passing.websocket_idle_secs),
        hand_off,
        sticky,
        group,
    });
    if !builder.context.checking {
        if let Some(names) = &names {
            names.hold(&proxy.group);
        }
        start_probes(&proxy, builder.context);
        if let Some(names) = names {
            names.start(&proxy);
        }
    }
    Ok(App::from_call(move |request| {
        let proxy = proxy.clone();
        Box::pin(async move { proxy.answer(request).await })
    }))
}

/// Creates the app that forwards requests to the processes of the isolated app `table`, which get them as they are.
pub(super) fn build_isolated(
    upstreams: Vec<ConfigAddress>,
    upstream: UpstreamOptions,
    table: &Table,
    builder: &Builder<'_>,
) -> Result<App> {
    let mut errors = Vec::new();
    let found = addresses(table, &upstreams, Address::http, &mut errors);
    Errors::check(errors)?;
    let group = Arc::new(Group::new(table.name(), found, upstream, None, builder.context.development));
    let proxy = Arc::new(Proxy {
        rewrite: RewriteRules {
            host: HostField::Client,
            forwarding: Forwarding::Facts,
            prefix: Prefix::Strip,
            client_cert: false,
        },
        http2: false,
        websocket_idle: std::time::Duration::MAX,
        hand_off: None,
        sticky: None,
        group,
    });
    Ok(App::from_call(move |request| {
        let proxy = proxy.clone();
        Box::pin(async move { proxy.answer(request).await })
    }))
}

impl Proxy {
    async fn answer(&self, request: Request) -> Result<Response, BoxError> {
        let (mut parts, body) = request.into_parts();
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        // An isolated app gets each request once, as one in this process.
        let repeats = may_repeat(&parts.method) && self.rewrite.forwarding != Forwarding::Facts;
        let preferred = self.sticky.as_ref().and_then(|sticky| sticky.find(&parts.headers, &self.group));
        if self.http2 {
            let sent = http2::run(&self.group, preferred, &self.rewrite, &parts, body, repeats).await;
            return match sent {
                Ok((response, member)) => {
                    let response = self.stick(&parts, preferred, &member, response);
                    self.settle(&parts, None, response).await
                }
                Err(failure) => failure.settle(self.group.development),
            };
        }
        let keep = self.group.pool.max_idle > 0;
        let upgrade = on_upgrade.is_some();
        let sent = run(&self.group, preferred, body, repeats, |member, out, body| {
            http1::write(&self.rewrite, &parts, member, upgrade, keep, body, out)
        });
        let (exchange, head) = match sent.await {
            Ok(answer) => answer,
            Err(failure) => return failure.settle(self.group.development),
        };
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(on_upgrade)) = (head.status, on_upgrade) {
            let mut response = Response::default();
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            if self.rewrite.forwarding == Forwarding::Facts {
                take_changes(&parts.extensions, response.headers_mut())?;
            }
            if let Some((connection, lease)) = exchange.into_tunnel() {
                tunnel::spawn(on_upgrade, connection, lease, self.websocket_idle);
            }
            return Ok(response);
        }
        let member = exchange.member().clone();
        let response = into_response(exchange, head);
        let response = self.stick(&parts, preferred, &member, response);
        self.settle(&parts, Some(&member), response).await
    }

    /// Sets the cookie for the upstream that has responded, unless the client has it.
    fn stick(
        &self,
        parts: &Parts,
        before: Option<usize>,
        member: &Member,
        mut response: Response,
    ) -> Response {
        let environ = parts.extensions.get::<Environ>();
        if let (Some(sticky), Some(environ)) = (&self.sticky, environ.filter(|_| before != Some(member.slot)))
            && let Some(cookie) = sticky.cookie(member, environ)
        {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// Adapts a response for the client.
    async fn settle(
        &self,
        parts: &Parts,
        member: Option<&Member>,
        mut response: Response,
    ) -> Result<Response, BoxError> {
        if self.rewrite.forwarding == Forwarding::Facts {
            return match response.headers().get(FAILURE) {
                Some(reason) => Err(percent_decode(reason.as_bytes()).decode_utf8_lossy().into()),
                None => take_changes(&parts.extensions, response.headers_mut()).map(|()| response),
            };
        }
        if response.headers().contains_key(LOCATION) {
            let members = self.group.members();
            for member in member.into_iter().chain(members.list.iter().map(|member| &**member)) {
                if self.relocate(parts, member, response.headers_mut()) {
                    break;
                }
            }
        }
        match &self.hand_off {
            Some(hand_off) => hand_off.apply(parts, response).await,
            None => Ok(response),
        }
    }

    /// Rewrites a redirect to a place on the upstream to the same place on this server; `false` if it leads
    /// elsewhere.
    fn relocate(&self, parts: &Parts, member: &Member, headers: &mut HeaderMap) -> bool {
        let Some(location) = headers.get(LOCATION).and_then(|location| location.to_str().ok()) else {
            return false;
        };
        let environ = parts.extensions.get::<Environ>();
        let mount = match (self.rewrite.prefix, environ) {
            (Prefix::Strip, Some(environ)) => &*environ.script_name,
            _ => "",
        };
        let host = environ.filter(|environ| !environ.host.is_empty()).map(Environ::authority);
        let Some(location) = relocated(location, &member.address, mount, host.as_deref()) else {
            return false;
        };
        if let Ok(location) = HeaderValue::try_from(location) {
            headers.insert(LOCATION, location);
        }
        true
    }
}

impl ProbeUpstreams for Proxy {
    fn group(&self) -> &Arc<Group> {
        &self.group
    }

    async fn probe(&self, member: &Arc<Member>, mut parts: Parts) -> Result<(), String> {
        parts.extensions.clear();
        if self.http2 {
            return http2::probe(&self.group, member, &self.rewrite, &parts).await;
        }
        send_probe::<Http1>(&self.group, member, |out, body| {
            http1::write(&self.rewrite, &parts, member, false, false, body, out)
        })
        .await
    }
}
