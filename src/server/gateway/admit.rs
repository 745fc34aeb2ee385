//! From the variables of a web server to an admitted request.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};

use crate::body::RefusedHead;
use crate::codec::variables::{Split, to_request};
use crate::codec::{PairsError, Variables};
use crate::environ::Environ;
use crate::server::gate::forwarded::TrustedPeers;
use crate::server::gate::host::parse_host;
use crate::server::gate::{Admitted, ConnInfo, Gate, HostCache, Rejection, path};

/// The gate of a server behind a web server.
#[derive(Debug)]
pub(in crate::server) struct Fronts {
    pub(in crate::server) gate: Gate,
    /// The web servers that are trusted.
    pub(in crate::server) believed: TrustedPeers,
    /// Whether `REMOTE_USER` is trusted.
    pub(in crate::server) remote_user: bool,
}

/// Whether the other end's statements about the client are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Belief {
    /// If it is one of the listed web servers.
    Listed,
    /// Always, because it started us.
    Always,
}

/// A request that the gate has admitted.
pub(in crate::server) struct Welcome {
    pub(in crate::server) request: Request<()>,
    pub(in crate::server) admitted: Admitted,
    /// Length of the body in bytes, if it was given.
    pub(in crate::server) content_length: Option<u64>,
}

impl Fronts {
    /// The client of a refused request, as far as it is known.
    pub(in crate::server) fn client(
        &self,
        variables: &Variables,
        belief: Belief,
        peer: Option<SocketAddr>,
    ) -> Option<IpAddr> {
        match belief == Belief::Always || self.believed.trusts(peer) {
            true => variables.text("REMOTE_ADDR").and_then(|text| text.parse().ok()),
            false => peer.map(|peer| peer.ip()),
        }
    }

    /// Reads a request from its variables and passes it through the gate.
    ///
    /// If the web server is trusted, the gate's peer is the client that it names, so forwarded fields count
    /// only if that client is a trusted proxy.
    /// # Errors
    /// The status to answer with.
    pub(in crate::server) fn admit(
        &self,
        variables: &Variables,
        split: Split,
        belief: Belief,
        peer: Option<SocketAddr>,
        listen: &Arc<str>,
        memory: &mut HostCache,
    ) -> Result<Welcome, Rejection> {
        let passed = to_request(variables, split).map_err(rejection)?;
        let mut request = passed.request;
        let believed = belief == Belief::Always || self.believed.trusts(peer);
        let mut info = ConnInfo { peer, listen: listen.clone(), ..ConnInfo::default() };
        if believed {
            info.peer = passed.remote;
            info.secure = passed.secure;
            let server = passed.server.filter(|server| parse_host(server.as_bytes()).is_some());
            if let Some(Ok(host)) = server.as_deref().map(HeaderValue::from_str)
                && !request.headers().contains_key(HOST)
            {
                request.headers_mut().insert(HOST, host);
            }
        }
        let prefix = match passed.script_name.is_empty() {
            true => Cow::Borrowed(""),
            false => {
                path::normalise(&passed.script_name, self.gate.encoded_slashes).map_err(Rejection::path)?
            }
        };
        let admitted = self.gate.admit(&mut request, &info, memory)?;
        if let Some(environ) = request.extensions_mut().get_mut::<Environ>() {
            environ.peer = peer;
            if !prefix.is_empty() {
                environ.script_name = prefix.into();
            }
        }
        if let Some(certificate) = passed.certificate.filter(|_| believed) {
            request.extensions_mut().insert(Arc::new(certificate));
        }
        if let Some(user) = passed.user.filter(|_| believed && self.remote_user) {
            request.extensions_mut().insert(user);
        }
        Ok(Welcome { request, admitted, content_length: passed.content_length })
    }
}

/// The head of a refused request, for the access log.
pub(in crate::server) fn refused_head(variables: &Variables) -> RefusedHead<'_> {
    let get = |name| variables.get(name).unwrap_or_default();
    let target = match get("REQUEST_URI") {
        b"" => get("SCRIPT_NAME"),
        target => target,
    };
    RefusedHead::of_words(get("REQUEST_METHOD"), target, get("SERVER_PROTOCOL"))
}

/// The response to a head that cannot be parsed.
pub(in crate::server) fn rejection(fault: PairsError) -> Rejection {
    match fault {
        PairsError::TooLong => {
            Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too long")
                .by("head_limit_bytes")
        }
        PairsError::Malformed(reason) => Rejection::new(StatusCode::BAD_REQUEST, reason),
    }
}
