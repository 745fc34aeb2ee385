//! What is known of a request beside its head: the environ of RFC 3875, as typed values.
//!
//! Each fact has one writer, and none is taken from a field that the client could have written:
//!
//! | fact | written by |
//! |---|---|
//! | [`Environ`] | the server's gate; then a gateway its `peer` and `script_name`, what counts requests its `flight`, `mount` and `hand_off` its `script_name` |
//! | [`ClientCertificate`] | the gate, from the TLS handshake, or from what a believed web server says (`SSL_CLIENT_…`) |
//! | [`RemoteUser`] | the gate, from the certificate; a gateway with `remote_user`; a middleware that checks credentials |
//! | [`RequestId`] | `request_id` |
//!
//! A later writer replaces an earlier one. No later part decides anything by `Host`, a forwarded field or a raw path.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use crate::inflight::RequestHandle;

/// Facts about one request, in its extensions.
#[derive(Debug, Clone)]
pub struct Environ {
    /// The other end of our socket; `None` on a Unix socket and the console.
    pub peer: Option<SocketAddr>,
    /// Who sent the request: the peer, or what a trusted peer forwarded.
    pub client: Option<IpAddr>,
    /// Whether the peer said that it speaks for somebody else and is not believed: who the client is, nobody knows.
    pub relayed: bool,
    /// Whether the peer is one of the server's `trusted_proxies`: only then does a field count that tells of what came before.
    pub trusted: bool,
    /// The address that we listen on: `127.0.0.1:8080` or `unix:/run/app.sock`.
    pub listen: Arc<str>,
    /// The one effective host, lower case, without its port (`SERVER_NAME`): `example.org`, `[::1]`.
    pub host: Arc<str>,
    /// The port of the effective host, where it was given.
    pub port: Option<u16>,
    /// Whether the client's connection is TLS.
    pub secure: bool,
    /// Prefix that mounts have moved out of the URI's path: empty, or `/a/b` (`SCRIPT_NAME`).
    pub script_name: Arc<str>,
    /// The name of the server in the config (`main` of `[server.main]`).
    pub server: Arc<str>,
    /// Its place among the requests in flight.
    pub handle: RequestHandle,
}

impl Environ {
    /// The effective host with its port, as a URL has them: `example.org:8080`, `[::1]`.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }
}

/// Who the client proved to be: set on the request by what authenticates it, and on the response for the access log
/// outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteUser {
    /// The name (`REMOTE_USER`).
    pub name: Arc<str>,
    /// How the client proved it (`AUTH_TYPE`): `Basic`, [`CLIENT_CERT`], or what a web server in front said; empty when
    /// that is not known.
    pub auth_type: Cow<'static, str>,
}

/// The [`RemoteUser::auth_type`] of a client that is known by its certificate: as the Servlet specification has it.
pub const CLIENT_CERT: &str = "CLIENT_CERT";

impl RemoteUser {
    /// A user who proved to be `name` in the way of `auth_type`.
    pub fn new(name: impl Into<Arc<str>>, auth_type: &'static str) -> RemoteUser {
        RemoteUser { name: name.into(), auth_type: Cow::Borrowed(auth_type) }
    }
}

/// Why the server itself has answered, in a few words: on the response, for the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalReason(pub &'static str);

/// The id of a request, as `request_id` took or made it: on the request, and on the response for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// Who the client is by the certificate that it has shown, which one of the server's authorities has signed. It stands on
/// the request as an `Arc`, as all requests of a connection share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject by RFC 4514: `CN=ada,O=Example,C=DE`.
    pub subject: String,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// Its serial number in hexadecimal digits: `01A2`. A web server in front may not tell.
    pub serial: Option<String>,
    /// SHA-256 of the certificate in hexadecimal digits, lower case. Known of our own handshakes only.
    pub sha256: Option<String>,
    /// Subject alternative names: `DNS:a.example`, `email:ada@a.example`, `URI:spiffe://a.example/ada`, `IP:192.0.2.7`.
    pub names: Vec<String>,
    /// The certificate itself, of our own handshakes only.
    pub der: Option<Bytes>,
}

impl ClientCertificate {
    /// The name that stands for the client: the common name, or the subject without one.
    pub fn name(&self) -> &str {
        self.common_name.as_deref().unwrap_or(&self.subject)
    }
}
