//! What is known of a request beside its head: the environ of RFC 3875, as typed values.
//!
//! A server's gate writes it once; `mount` moves a prefix from the path to `script_name`. No later part
//! reads `Host`, a forwarded field or a raw path again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::inflight::Flight;

/// Facts about one request, in its extensions.
#[derive(Debug, Clone)]
pub struct Environ {
    /// The other end of our socket; `None` on a Unix socket and the console.
    pub peer: Option<SocketAddr>,
    /// Who sent the request: the peer, or what a trusted peer forwarded.
    pub client: Option<IpAddr>,
    /// Whether the peer said that it speaks for somebody else and is not believed: who the client is, nobody knows.
    pub relayed: bool,
    /// The address that we listen on: `127.0.0.1:8080` or `unix:/run/app.sock`.
    pub listen: Arc<str>,
    /// The one effective host, lower case, without its port (`SERVER_NAME`).
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
    pub flight: Flight,
}

/// Who the client proved to be (`REMOTE_USER`): set on the request by what authenticates it, and on the response
/// for the access log outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteUser(pub Arc<str>);

/// The id of a request, as `request_id` took or made it: on the request, and on the response for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// Who the client is by the certificate that it has shown, which one of the server's authorities has signed: on the
/// request, from the handshake alone, never from a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject: `C=DE, O=Example, CN=ada`.
    pub subject: Arc<str>,
    /// The common name of the subject; it is the [`RemoteUser`] too.
    pub common_name: Option<Arc<str>>,
    /// Its serial number as pairs of hexadecimal digits: `01:a2`.
    pub serial: Arc<str>,
    /// SHA-256 of the certificate in hexadecimal digits, lower case.
    pub sha256: Arc<str>,
}
