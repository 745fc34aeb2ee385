//! What is known about a request besides its head: the environ of RFC 3875, as typed values.
//!
//! Each fact has one writer, and none comes from a field that the client could have written:
//!
//! | fact | written by |
//! |---|---|
//! | [`Environ`] | the server's gate; then a gateway its `peer` and `script_name`, the in-flight table its `handle`, `mount`, `hand_off`, `rewrite` and `proxy_headers` its `script_name`, and `proxy_headers` scheme and host that the config names |
//! | [`ClientCertificate`] | the gate, from the TLS handshake, or from a trusted web server (`SSL_CLIENT_…`) |
//! | [`RemoteUser`] | the gate, from the certificate; a gateway with `remote_user`; a middleware that checks credentials |
//! | [`RequestId`] | `request_id` |
//! | [`NoTrailingSlash`] | `mount` |
//!
//! A later writer replaces an earlier one. No later part takes a decision by `Host`, a forwarded field or a
//! raw path.

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
    /// The client: the peer, or what a trusted peer forwarded.
    pub client: Option<IpAddr>,
    /// Whether an untrusted peer claims to relay for a client, so that the client is unknown.
    pub relayed: bool,
    /// Whether the peer is one of the server's `trusted_proxies`: only then are fields about earlier hops
    /// trusted.
    pub trusted: bool,
    /// The address that the server listens on: `127.0.0.1:8080`, `unix:/run/app.sock`, or [`CONSOLE`].
    pub listen: Arc<str>,
    /// The one effective host, lower case, without its port (`SERVER_NAME`): `example.org`, `[::1]`.
    pub host: Arc<str>,
    /// The port of the effective host, if given.
    pub port: Option<u16>,
    /// Whether the client's connection is TLS.
    pub secure: bool,
    /// The prefix that mounts have moved out of the URI's path: empty, or `/a/b` (`SCRIPT_NAME`).
    pub script_name: Arc<str>,
    /// The name of the server in the config (`main` for `[server.main]`).
    pub server: Arc<str>,
    /// Its entry among the requests in flight.
    pub handle: RequestHandle,
}

/// [`Environ::listen`] of a request that the user of this process makes, without a socket.
pub const CONSOLE: &str = "console";

impl Environ {
    /// Whether the user of this process makes the request (`paster request`).
    pub fn is_console(&self) -> bool {
        &*self.listen == CONSOLE
    }

    /// The effective host with its port, as a URL has them: `example.org:8080`, `[::1]`.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }
}

/// The authenticated user: set on the request by the part that authenticates, and on the response for an
/// access log outside of that part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteUser {
    /// The name (`REMOTE_USER`).
    pub name: Arc<str>,
    /// How the client authenticated (`AUTH_TYPE`): `Basic`, [`CLIENT_CERT`], or the value from a web server in front; empty if
    /// unknown.
    pub auth_type: Cow<'static, str>,
    /// The user's groups, joined by commas (`REMOTE_GROUPS`); empty if the authenticating part knows none. See
    /// [`RemoteUser::with_groups`].
    pub groups: Arc<str>,
}

/// The [`RemoteUser::auth_type`] of a client with a certificate, as in the Servlet specification.
pub const CLIENT_CERT: &str = "CLIENT_CERT";

impl RemoteUser {
    /// The user `name`, authenticated by `auth_type`.
    pub fn new(name: impl Into<Arc<str>>, auth_type: &'static str) -> RemoteUser {
        RemoteUser { name: name.into(), auth_type: Cow::Borrowed(auth_type), groups: Arc::default() }
    }

    /// The same user as a member of these groups. Names that could be mistaken for several names, because they
    /// contain a comma or a control character, are left out, and so are empty and repeated ones.
    pub fn with_groups<S: AsRef<str>>(self, groups: impl IntoIterator<Item = S>) -> RemoteUser {
        let mut joined = String::new();
        for group in groups {
            let group = group.as_ref().trim();
            let plain = !group.is_empty() && !group.contains(|c: char| c == ',' || c.is_control());
            if plain && !joined.split(',').any(|known| known == group) {
                let comma = if joined.is_empty() { "" } else { "," };
                joined.extend([comma, group]);
            }
        }
        RemoteUser { groups: joined.into(), ..self }
    }
}

/// The client requested the prefix of a mount without a slash after it. The path below the mount is `/` nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTrailingSlash;

/// Why the server itself answered, in a few words: on the response, for the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalReason(pub &'static str);

/// The id of a request, accepted or generated by `request_id`: on the request, and on the response for the
/// log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// The client's identity by its certificate, which one of the server's authorities has signed. The request
/// has it in an `Arc`, because all requests of a connection share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject in the form of RFC 4514: `CN=ada,O=Example,C=DE`.
    pub subject: String,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// Its serial number in hexadecimal digits: `01A2`. A web server in front may not send it.
    pub serial: Option<String>,
    /// SHA-256 of the certificate in lower-case hexadecimal digits. Only known from paster's own handshakes.
    pub sha256: Option<String>,
    /// Subject alternative names: `DNS:a.example`, `email:ada@a.example`, `URI:spiffe://a.example/ada`, `IP:192.0.2.7`.
    pub names: Vec<String>,
    /// The certificate itself; only from paster's own handshakes.
    pub der: Option<Bytes>,
}

impl ClientCertificate {
    /// The name of the client: the common name, or the subject if there is none.
    pub fn name(&self) -> &str {
        self.common_name.as_deref().unwrap_or(&self.subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_group_never_counts_as_two() {
        let groups = |names: &[&str]| RemoteUser::new("ann", "").with_groups(names).groups;
        assert_eq!(&*groups(&[]), "");
        assert_eq!(&*groups(&["staff", "with space", " staff ", ""]), "staff,with space");
        assert_eq!(&*groups(&["a,admins", "b\nadmins", "staff"]), "staff");
    }
}
