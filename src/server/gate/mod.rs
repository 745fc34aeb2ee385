//! The request gate: the checks that every request passes before an application sees it.
//!
//! It settles one effective host, one form of the path and one framing, and drops fields that only a hop or a
//! trusted peer may set. It writes the [`Environ`]; no later part reads `Host`, a forwarded field or a raw
//! path. Its counterpart for responses is [`reply`]. It uses no sockets and never waits.

mod extended_connect;
mod fields;
pub mod forwarded;
pub mod host;
pub mod path;
mod rejection;
pub mod reply;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};

use crate::environ::{CLIENT_CERT, ClientCertificate, Environ, RemoteUser};
use fields::{
    SeenFields, check_lengths, check_transfer_encoding, drop_client_cert, drop_names, join_cookies, look,
    settle_hops,
};
use forwarded::TrustedPeers;
use host::{Allowed, parse_host};
pub use rejection::Rejection;
use rejection::{bad, refuse};

/// The rules of one server's gate.
#[derive(Debug)]
pub struct Gate {
    /// Name of the server.
    pub server: Arc<str>,
    /// Hosts that are served; if empty, any.
    pub hosts: Vec<Allowed>,
    /// Peers whose forwarded fields are trusted.
    pub trusted: TrustedPeers,
    /// Longest request target in bytes; a longer one gets 414.
    pub target_limit_bytes: usize,
    /// Most fields in a head; more get 431.
    pub fields_limit: usize,
    /// Whether `%2f` and `%5c` are allowed in a path.
    pub encoded_slashes: bool,
    /// The empty `script_name` of every request.
    pub(super) empty: Arc<str>,
}

/// The properties of a request's connection.
#[derive(Debug, Clone, Default)]
pub struct ConnInfo {
    /// The other end of our socket; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The address that the client connected to.
    pub listen: Arc<str>,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// The verified certificate of the client.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The host that the client has named in the TLS handshake, if requests must be for it; empty if it has named
    /// none, because it connects to an address.
    pub host: Option<Arc<str>>,
}

/// The last host of a connection: the next request nearly always names it again.
#[derive(Debug, Default)]
pub struct HostCache(Option<(HeaderValue, Arc<str>, Option<u16>)>);

/// The state of an admitted request that the response path needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admitted {
    /// `HEAD`: the response has no body.
    pub head: bool,
    /// The request may become a WebSocket: the response may be 101.
    pub upgrade: bool,
}

/// The response to a request for a host that is not in the list.
const NOT_SERVED: Rejection =
    Rejection::new(StatusCode::MISDIRECTED_REQUEST, "this host is not served here").by("hosts");

/// The response to a request for another host than that of the TLS handshake (RFC 9110 section 7.4).
const OTHER_HOST: Rejection =
    Rejection::new(StatusCode::MISDIRECTED_REQUEST, "the TLS handshake was for another host")
        .by("tls.strict_sni_host");

/// Whether a host is the one that the handshake has named. No handshake names an address (RFC 6066 section 3).
fn agrees(named: &str, host: &str) -> bool {
    let is_address = || host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    named == host || (named.is_empty() && is_address())
}

impl Gate {
    /// A gate with the default limits that serves any host and trusts no peers.
    pub fn new(server: Arc<str>) -> Gate {
        Gate {
            server,
            hosts: Vec::new(),
            trusted: TrustedPeers::default(),
            target_limit_bytes: 8 * 1024,
            fields_limit: 100,
            encoded_slashes: false,
            empty: "".into(),
        }
    }

    /// Checks a request, brings it to its one form (a target of path and query, one `Host`) and writes its
    /// [`Environ`].
    /// # Errors
    /// The status to answer with. The connection is closed afterwards, because its framing may be in doubt.
    /// # Source
    /// RFC 9110 section 7, RFC 9112 sections 3 and 6, RFC 9113 section 8.
    pub fn admit<B>(
        &self,
        request: &mut Request<B>,
        info: &ConnInfo,
        memory: &mut HostCache,
    ) -> Result<Admitted, Rejection> {
        if request.headers().len() > self.fields_limit {
            let rejection =
                Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields");
            return Err(rejection.by("fields_limit"));
        }
        extended_connect::settle_request(request);
        self.check_target(request.method(), request.uri())?;
        let seen = look(request.headers(), memory.0.as_ref().map(|(host, ..)| host));
        if seen.transfer_encoding {
            check_transfer_encoding(request)?;
        }
        if seen.lengths > 0 {
            check_lengths(request.headers_mut(), seen.lengths)?;
        }
        let (host, port) = self.effective_host(request, &seen, info, memory)?;
        if info.host.as_ref().is_some_and(|named| !agrees(named, &host)) {
            return Err(OTHER_HOST);
        }
        let upgrade = seen.hop && settle_hops(request, seen.connection);
        if seen.dropped {
            drop_names(request.headers_mut());
        }
        if seen.client_cert && !self.trusted.trusts(info.peer) {
            drop_client_cert(request.headers_mut());
        }
        if seen.cookies > 1 && request.version() == Version::HTTP_2 {
            join_cookies(request.headers_mut());
        }
        self.normalise_target(request)?;
        let mut environ = Environ {
            peer: info.peer,
            client: info.peer.map(|peer| peer.ip()),
            relayed: false,
            trusted: self.trusted.trusts(info.peer),
            listen: info.listen.clone(),
            host,
            port,
            secure: info.secure,
            script_name: self.empty.clone(),
            server: self.server.clone(),
            handle: Default::default(),
        };
        if seen.forwarded {
            self.apply_forwarded(request.headers_mut(), &mut environ)?;
        }
        let head = *request.method() == Method::HEAD;
        request.extensions_mut().insert(environ);
        if let Some(certificate) = &info.certificate {
            request.extensions_mut().insert(RemoteUser::new(certificate.name(), CLIENT_CERT));
            request.extensions_mut().insert(certificate.clone());
        }
        Ok(Admitted { head, upgrade })
    }

    /// The client of a refused request, as far as it is known.
    pub(in crate::server) fn client(&self, headers: &HeaderMap, info: &ConnInfo) -> Option<IpAddr> {
        let told = || self.trusted.read(&mut headers.clone()).ok()?.address;
        let told = if self.trusted.trusts(info.peer) { told() } else { None };
        told.or(info.peer.map(|peer| peer.ip()))
    }

    /// Checks the method and the form of the target, RFC 9112 section 3.2.
    fn check_target(&self, method: &Method, uri: &Uri) -> Result<(), Rejection> {
        let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
        if target.len() > self.target_limit_bytes {
            let rejection = Rejection::new(StatusCode::URI_TOO_LONG, "the request target is too long");
            return Err(rejection.by("target_limit_bytes"));
        }
        if *method == Method::CONNECT {
            return refuse(StatusCode::NOT_IMPLEMENTED, "CONNECT: this server is not a proxy");
        }
        match (target.as_bytes().first(), uri.scheme_str()) {
            (Some(b'/'), None | Some("http" | "https")) => Ok(()),
            (Some(b'/'), Some(_)) => bad("the target's scheme is not served"),
            (Some(b'*'), _) if *method == Method::OPTIONS && target == "*" => Ok(()),
            (Some(b'*'), _) => bad("the target `*` is only valid for OPTIONS"),
            _ => bad("the target is not a path"),
        }
    }

    /// RFC 9112 section 3.2: exactly one valid `Host`, and an absolute target takes precedence. RFC 9113
    /// section 8.3.1: `:authority` is that target, and a `Host` beside it must agree.
    fn effective_host<B>(
        &self,
        request: &mut Request<B>,
        seen: &SeenFields,
        info: &ConnInfo,
        memory: &mut HostCache,
    ) -> Result<(Arc<str>, Option<u16>), Rejection> {
        if seen.hosts > 1 {
            return bad("more than one Host");
        }
        if request.uri().authority().is_none() {
            if seen.known_host
                && let Some((_, name, port)) = &memory.0
            {
                return Ok((name.clone(), *port));
            }
            let Some(value) = request.headers().get(HOST) else {
                if request.version() == Version::HTTP_10 && self.hosts.is_empty() {
                    // HTTP/1.0 has no Host: the server's own address is used instead (RFC 9110 section 7.2).
                    let own = parse_host(info.listen.as_bytes());
                    let name = own.as_ref().map_or("localhost", |host| &host.name);
                    return Ok((name.into(), own.as_ref().and_then(|host| host.port)));
                }
                return bad("no Host");
            };
            let (name, port) = self.check_host(value.as_bytes())?;
            memory.0 = Some((value.clone(), name.clone(), port));
            return Ok((name, port));
        }
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        match request.headers().get(HOST).map(|value| parse_host(value.as_bytes())) {
            Some(None) => return bad("invalid Host"),
            None if request.version() < Version::HTTP_2 => return bad("no Host"),
            Some(Some(other))
                if request.version() >= Version::HTTP_2
                    && parse_host(authority.as_bytes()).is_none_or(|host| host != other) =>
            {
                return bad("Host and :authority differ");
            }
            _ => {}
        }
        let (value, name, port) = match &memory.0 {
            Some(known) if known.0 == *authority => known.clone(),
            _ => {
                let (name, port) = self.check_host(authority.as_bytes())?;
                let value = HeaderValue::from_str(authority).or(bad("invalid authority"))?;
                memory.0.insert((value, name, port)).clone()
            }
        };
        request.headers_mut().insert(HOST, value);
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
        Ok((name, port))
    }

    fn check_host(&self, value: &[u8]) -> Result<(Arc<str>, Option<u16>), Rejection> {
        let Some(host) = parse_host(value) else { return bad("invalid Host") };
        if !self.hosts.is_empty() && !self.hosts.iter().any(|entry| entry.allows(&host.name, host.port)) {
            return Err(NOT_SERVED);
        }
        Ok((host.name.into(), host.port))
    }

    fn normalise_target<B>(&self, request: &mut Request<B>) -> Result<(), Rejection> {
        let uri = request.uri();
        if uri.path() == "*" {
            return Ok(());
        }
        let Cow::Owned(form) = path::normalise(uri.path(), self.encoded_slashes).map_err(Rejection::path)?
        else {
            return Ok(());
        };
        let target = match uri.query() {
            Some(query) => format!("{form}?{query}"),
            None => form,
        };
        *request.uri_mut() = target.parse().or(bad("the target is not a path"))?;
        Ok(())
    }

    fn apply_forwarded(&self, headers: &mut HeaderMap, environ: &mut Environ) -> Result<(), Rejection> {
        if !environ.trusted {
            forwarded::strip(headers);
            environ.relayed = true;
            return Ok(());
        }
        let client = self
            .trusted
            .read(headers)
            .map_err(|reason| Rejection::new(StatusCode::BAD_REQUEST, reason).by("forwarded_fields"))?;
        environ.client = client.address.or(environ.client);
        environ.secure = client.secure.unwrap_or(environ.secure);
        if let Some(host) = client.host {
            if !self.hosts.is_empty() && !self.hosts.iter().any(|entry| entry.allows(&host.name, host.port)) {
                return Err(NOT_SERVED);
            }
            let text = host.port.map_or(host.name.clone(), |port| format!("{}:{port}", host.name));
            headers.insert(HOST, HeaderValue::from_str(&text).or(bad("invalid forwarded host"))?);
            environ.host = host.name.into();
            environ.port = host.port;
        }
        Ok(())
    }
}
