//! The request gate: what every backend passes each request through before an application sees it.
//!
//! One effective host, one form of the path, one framing, no field that only a hop or a trusted peer may set.
//! It writes the [`Environ`]; no later part reads `Host`, a forwarded field or a raw path. Its twin for
//! responses is [`reply`]. No sockets here, and nothing waits.

pub mod forwarded;
pub mod host;
pub mod path;
pub mod reply;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};

use crate::environ::Environ;
use forwarded::Trusted;
use host::{Allowed, parse_host};

/// What the gate of one server holds requests to.
#[derive(Debug)]
pub struct Gate {
    /// Name of the server.
    pub server: Arc<str>,
    /// Hosts that are served; empty: any.
    pub hosts: Vec<Allowed>,
    /// Peers whose forwarded fields are believed.
    pub trusted: Trusted,
    /// Longest request target in bytes, then 414.
    pub target_limit_bytes: usize,
    /// Most fields of a head, then 431.
    pub fields_limit: usize,
    /// Whether `%2f` and `%5c` may stand in a path.
    pub encoded_slashes: bool,
    /// The empty `script_name` of every request.
    pub(super) empty: Arc<str>,
}

/// What a backend knows of the connection that a request came by.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The other end of our socket; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The address that it came to.
    pub listen: Arc<str>,
    /// Whether the connection is TLS.
    pub secure: bool,
}

/// The last host of a connection: nearly always the next request names it again.
#[derive(Debug, Default)]
pub struct Memory(Option<(HeaderValue, Arc<str>, Option<u16>)>);

/// What the way back has to know of an admitted request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admitted {
    /// `HEAD`: the response has no body.
    pub head: bool,
    /// The request may become a WebSocket: 101 is a possible answer.
    pub upgrade: bool,
}

/// A request that is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: StatusCode,
    /// The rule that it broke, in a few words.
    pub reason: &'static str,
}

const fn refuse<T>(status: StatusCode, reason: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, reason })
}

const fn bad<T>(reason: &'static str) -> Result<T, Refusal> {
    refuse(StatusCode::BAD_REQUEST, reason)
}

/// Fields between two hops, RFC 9110 section 7.6.1; `Connection` may name more.
static HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that `Connection` cannot name away: a client would use it to hide them from an inner part.
const END_TO_END: [&str; 10] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "origin",
    "range",
];

/// What one pass over the fields found.
#[derive(Default)]
struct Seen {
    hosts: u8,
    connection: bool,
    hop: bool,
    transfer_encoding: bool,
    lengths: u8,
    cookies: u8,
    forwarded: bool,
    dropped: bool,
}

impl Gate {
    /// A gate with the default limits that serves any host and trusts nobody.
    pub fn new(server: Arc<str>) -> Gate {
        Gate {
            server,
            hosts: Vec::new(),
            trusted: Trusted::default(),
            target_limit_bytes: 8 * 1024,
            fields_limit: 100,
            encoded_slashes: false,
            empty: "".into(),
        }
    }

    /// Checks a request, brings it to its one form (a target of path and query, one `Host`) and writes its
    /// [`Environ`].
    /// # Errors
    /// The status to answer with: the connection is closed after it, as its framing may be in doubt.
    /// # Source
    /// RFC 9110 section 7, RFC 9112 sections 3 and 6, RFC 9113 section 8.
    pub fn admit<B>(
        &self,
        request: &mut Request<B>,
        wire: &Wire,
        memory: &mut Memory,
    ) -> Result<Admitted, Refusal> {
        if request.headers().len() > self.fields_limit {
            return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields");
        }
        self.check_target(request.method(), request.uri())?;
        let seen = look(request.headers());
        if seen.transfer_encoding {
            check_transfer_encoding(request)?;
        }
        if seen.lengths > 0 {
            check_lengths(request.headers_mut(), seen.lengths)?;
        }
        let (host, port) = self.effective_host(request, &seen, wire, memory)?;
        let upgrade = seen.hop && settle_hops(request, seen.connection);
        if seen.dropped {
            drop_names(request.headers_mut());
        }
        if seen.cookies > 1 && request.version() == Version::HTTP_2 {
            join_cookies(request.headers_mut());
        }
        self.normalise_target(request)?;
        let mut environ = Environ {
            peer: wire.peer,
            client: wire.peer.map(|peer| peer.ip()),
            listen: wire.listen.clone(),
            host,
            port,
            secure: wire.secure,
            script_name: self.empty.clone(),
            server: self.server.clone(),
        };
        if seen.forwarded {
            self.believe(request.headers_mut(), wire, &mut environ)?;
        }
        let head = *request.method() == Method::HEAD;
        request.extensions_mut().insert(environ);
        Ok(Admitted { head, upgrade })
    }

    /// Method and form of the target, RFC 9112 section 3.2.
    fn check_target(&self, method: &Method, uri: &Uri) -> Result<(), Refusal> {
        let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
        if target.len() > self.target_limit_bytes {
            return refuse(StatusCode::URI_TOO_LONG, "the request target is too long");
        }
        if *method == Method::CONNECT {
            return refuse(StatusCode::NOT_IMPLEMENTED, "CONNECT: this server is no proxy");
        }
        match (target.as_bytes().first(), uri.scheme_str()) {
            (Some(b'/'), None | Some("http" | "https")) => Ok(()),
            (Some(b'/'), Some(_)) => bad("the target's scheme is not served"),
            (Some(b'*'), _) if *method == Method::OPTIONS && target == "*" => Ok(()),
            (Some(b'*'), _) => bad("the target `*` is for OPTIONS alone"),
            _ => bad("the target is no path"),
        }
    }

    /// RFC 9112 section 3.2: exactly one valid `Host`, and an absolute target wins over it; RFC 9113 section
    /// 8.3.1: `:authority` is that target, and a `Host` beside it must agree.
    fn effective_host<B>(
        &self,
        request: &mut Request<B>,
        seen: &Seen,
        wire: &Wire,
        memory: &mut Memory,
    ) -> Result<(Arc<str>, Option<u16>), Refusal> {
        if seen.hosts > 1 {
            return bad("more than one Host");
        }
        if request.uri().authority().is_none() {
            let Some(value) = request.headers().get(HOST) else {
                if request.version() == Version::HTTP_10 && self.hosts.is_empty() {
                    // HTTP/1.0 knows no Host: our own address stands in (RFC 9110 section 7.2).
                    let own = parse_host(wire.listen.as_bytes());
                    let name = own.as_ref().map_or("localhost", |host| &host.name);
                    return Ok((name.into(), own.as_ref().and_then(|host| host.port)));
                }
                return bad("no Host");
            };
            if let Some((known, name, port)) = &memory.0
                && known == value
            {
                return Ok((name.clone(), *port));
            }
            let (name, port) = self.check_host(value.as_bytes())?;
            memory.0 = Some((value.clone(), name.clone(), port));
            return Ok((name, port));
        }
        let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let authority = authority.unwrap_or_default();
        match request.headers().get(HOST).map(|value| parse_host(value.as_bytes())) {
            Some(None) => return bad("invalid Host"),
            None if request.version() < Version::HTTP_2 => return bad("no Host"),
            Some(Some(other)) if request.version() >= Version::HTTP_2 => {
                if parse_host(authority.as_bytes()).is_none_or(|host| host != other) {
                    return bad("Host and :authority differ");
                }
            }
            _ => {}
        }
        let (name, port) = self.check_host(authority.as_bytes())?;
        let value = HeaderValue::from_str(&authority).or(bad("invalid authority"))?;
        request.headers_mut().insert(HOST, value);
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
        Ok((name, port))
    }

    fn check_host(&self, value: &[u8]) -> Result<(Arc<str>, Option<u16>), Refusal> {
        let Some(host) = parse_host(value) else { return bad("invalid Host") };
        if !self.hosts.is_empty() && !self.hosts.iter().any(|entry| entry.allows(&host.name, host.port)) {
            return refuse(StatusCode::MISDIRECTED_REQUEST, "this host is not served here");
        }
        Ok((host.name.into(), host.port))
    }

    fn normalise_target<B>(&self, request: &mut Request<B>) -> Result<(), Refusal> {
        let uri = request.uri();
        if uri.path() == "*" {
            return Ok(());
        }
        let Cow::Owned(form) = path::normalise(uri.path(), self.encoded_slashes).or_else(bad)? else {
            return Ok(());
        };
        let target = match uri.query() {
            Some(query) => format!("{form}?{query}"),
            None => form,
        };
        *request.uri_mut() = target.parse().or(bad("the target is no path"))?;
        Ok(())
    }

    fn believe(&self, headers: &mut HeaderMap, wire: &Wire, environ: &mut Environ) -> Result<(), Refusal> {
        if !self.trusted.trusts(wire.peer) {
            forwarded::strip(headers);
            return Ok(());
        }
        let client = self.trusted.read(headers).or_else(bad)?;
        environ.client = client.address.or(environ.client);
        environ.secure = client.secure.unwrap_or(environ.secure);
        if let Some(host) = client.host {
            if !self.hosts.is_empty() && !self.hosts.iter().any(|entry| entry.allows(&host.name, host.port)) {
                return refuse(StatusCode::MISDIRECTED_REQUEST, "this host is not served here");
            }
            let text = host.port.map_or(host.name.clone(), |port| format!("{}:{port}", host.name));
            headers.insert(HOST, HeaderValue::from_str(&text).or(bad("invalid forwarded host"))?);
            environ.host = host.name.into();
            environ.port = host.port;
        }
        Ok(())
    }
}

/// One pass over all fields, without a change: the usual request needs none.
fn look(headers: &HeaderMap) -> Seen {
    let mut seen = Seen::default();
    for name in headers.iter().map(|(name, _)| name) {
        match *name {
            HOST => seen.hosts = seen.hosts.saturating_add(1),
            CONNECTION => {
                seen.connection = true;
                seen.hop = true;
            }
            TRANSFER_ENCODING => {
                seen.transfer_encoding = true;
                seen.hop = true;
            }
            TE | UPGRADE => seen.hop = true,
            CONTENT_LENGTH => seen.lengths = seen.lengths.saturating_add(1),
            COOKIE => seen.cookies = seen.cookies.saturating_add(1),
            FORWARDED => seen.forwarded = true,
            _ => {
                let name = name.as_str();
                match name.as_bytes()[0] {
                    b'x' => seen.forwarded |= forwarded::is_x_forwarded(name) || name == "x-real-ip",
                    b'k' => seen.hop |= name == "keep-alive",
                    b'p' => {
                        seen.hop |= name == "proxy-connection";
                        seen.dropped |= name == "proxy";
                    }
                    _ => {}
                }
                seen.dropped |= name.as_bytes().contains(&b'_');
            }
        }
    }
    seen
}

/// RFC 9112 section 6.1: the one coding that we know is `chunked`, applied once, and never beside a length.
fn check_transfer_encoding<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut lines = request.headers().get_all(TRANSFER_ENCODING).iter();
    let (first, second) = (lines.next(), lines.next());
    let chunked = first.is_some_and(|line| line.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if request.version() != Version::HTTP_11 {
        return bad("Transfer-Encoding is of HTTP/1.1 alone");
    }
    if second.is_some() || !chunked {
        let codings = || {
            let lines = request.headers().get_all(TRANSFER_ENCODING).iter();
            lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        };
        if codings().all(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked")) {
            return bad("Transfer-Encoding is not exactly `chunked`");
        }
        return refuse(StatusCode::NOT_IMPLEMENTED, "Transfer-Encoding is not exactly `chunked`");
    }
    if request.headers().contains_key(CONTENT_LENGTH) {
        return bad("Content-Length beside Transfer-Encoding");
    }
    Ok(())
}

/// RFC 9112 section 6.3: digits alone, and all of them the same; one is left.
fn check_lengths(headers: &mut HeaderMap, count: u8) -> Result<(), Refusal> {
    let first = headers.get(CONTENT_LENGTH).cloned();
    let Some(first) = first else { return Ok(()) };
    if first.is_empty() || !first.as_bytes().iter().all(u8::is_ascii_digit) {
        return bad("Content-Length is no number");
    }
    if count > 1 {
        if headers.get_all(CONTENT_LENGTH).iter().any(|line| *line != first) {
            return bad("Content-Lengths differ");
        }
        headers.insert(CONTENT_LENGTH, first);
    }
    Ok(())
}

/// Strips what is between two hops; keeps exactly `Connection: Upgrade` and `Upgrade: websocket` of a request
/// that opens a WebSocket (RFC 6455 section 4.1), and says whether it is one.
fn settle_hops<B>(request: &mut Request<B>, connection: bool) -> bool {
    let upgrade = connection && is_websocket(request);
    let headers = request.headers_mut();
    if connection {
        let lines = headers.get_all(CONNECTION).iter();
        let named: Vec<_> = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(|option| HeaderName::from_bytes(option.trim().as_bytes()).ok())
            .filter(|name| *name != UPGRADE && !END_TO_END.contains(&name.as_str()))
            .filter(|name| !forwarded::is_x_forwarded(name.as_str()))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    } else {
        request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>();
    }
    upgrade
}

fn is_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let has = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.split(',').any(|option| option.trim().eq_ignore_ascii_case(token)))
    };
    request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && has(CONNECTION, "upgrade")
        && has(UPGRADE, "websocket")
        && !headers.contains_key(TRANSFER_ENCODING)
        && headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0")
}

/// Drops `Proxy`, which CGI would make `HTTP_PROXY` (<https://httpoxy.org/>), and names with `_`, which fold
/// onto those with `-`.
fn drop_names(headers: &mut HeaderMap) {
    headers.remove("proxy");
    let names: Vec<_> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// RFC 9113 section 8.2.3: cookies that HTTP/2 split are one field again.
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}
