//! What is known of a request beside its head.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use paster_abi as abi;

/// Facts about one request, in its extensions: who sent it, to which host, under which mount.
///
/// The host's gate has checked them; an application need not read `Host` or a forwarded field again.
#[derive(Debug, Clone)]
pub struct Environ {
    client: abi::Address,
    peer: abi::Address,
    port: u16,
    secure: bool,
    /// One block for all texts, cut at `ends`: host, listen, script name, server.
    text: Bytes,
    ends: [u32; 4],
}

impl Environ {
    /// The texts of a request that an environ holds, in its order.
    pub(crate) fn texts(request: &abi::Request) -> [abi::Slice; 4] {
        [request.host, request.listen, request.script_name, request.server]
    }

    /// A request's facts, with [`Environ::texts`] one after the other in `text`.
    pub(crate) fn of(request: &abi::Request, text: Bytes) -> Environ {
        let mut end = 0;
        let ends = Environ::texts(request).map(|part| {
            end += part.len as u32;
            end
        });
        Environ {
            client: request.client,
            peer: request.peer,
            port: request.host_port,
            secure: request.flags & abi::REQUEST_SECURE != 0,
            text,
            ends,
        }
    }

    fn part(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        std::str::from_utf8(&self.text[start..self.ends[index] as usize]).unwrap_or_default()
    }

    /// Who sent the request: the peer, or what a trusted peer forwarded. `None` over a Unix socket.
    pub fn client(&self) -> Option<IpAddr> {
        self.client.ip()
    }

    /// The other end of the socket; `None` on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.ip().map(|ip| SocketAddr::new(ip, self.peer.port))
    }

    /// The address listened on: `127.0.0.1:8080` or `unix:/run/app.sock`.
    pub fn listen(&self) -> &str {
        self.part(1)
    }

    /// The one effective host, lower case, without its port.
    pub fn host(&self) -> &str {
        self.part(0)
    }

    /// Port of the effective host, where it was given.
    pub fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// Whether the client's connection is TLS.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Prefix that mounts took off the path: empty or `/a/b`. Links that the application writes begin with it.
    pub fn script_name(&self) -> &str {
        self.part(2)
    }

    /// Name of the server in the config.
    pub fn server(&self) -> &str {
        self.part(3)
    }
}
