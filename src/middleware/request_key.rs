//! What a limit is counted by: the client, the user, a field, or nothing.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderName;
use sha2::{Digest, Sha256};

use super::identity::hex;
use super::options::{Wrong, header};
use crate::body::Request;
use crate::environ::{Environ, RemoteUser};

/// The property that requests are grouped by.
#[derive(Debug, Clone)]
pub(super) enum RequestKey {
    /// All requests together.
    All,
    /// The client's address; of an IPv6 address the first 64 bits, because a client has them all.
    Client,
    /// The authenticated user, or the client if there is none.
    User,
    /// The value of a field, or the client if there is none.
    Header(HeaderName),
}

impl RequestKey {
    /// Parses the option `key`.
    pub(super) fn parse(text: &str) -> Result<RequestKey, Wrong> {
        match text {
            "all" => Ok(RequestKey::All),
            "client" => Ok(RequestKey::Client),
            "user" => Ok(RequestKey::User),
            _ => match text.strip_prefix("header:") {
                Some(name) => header(name).map(RequestKey::Header),
                None => {
                    let help = "write `client`, `user`, `all` or `header:NAME`";
                    Err((format!("`{text}` is not a property of requests"), help))
                }
            },
        }
    }

    /// The group of the request, as a hash: it takes the same memory for each group. The `state` is secret, so clients cannot
    /// cause collisions of groups.
    pub(super) fn of(&self, request: &Request, state: &RandomState) -> u64 {
        match self {
            RequestKey::All => 0,
            RequestKey::Client => state.hash_one(client(request)),
            RequestKey::User => match request.extensions().get::<RemoteUser>() {
                Some(user) => state.hash_one(("user", &user.name)),
                None => state.hash_one(client(request)),
            },
            RequestKey::Header(name) => match request.headers().get(name) {
                Some(value) => state.hash_one(("field", value)),
                None => state.hash_one(client(request)),
            },
        }
    }

    /// The group of the request as text, the same in every worker: for a store, which does not learn the values.
    pub(super) fn name(&self, request: &Request) -> String {
        let by_client = || format!("client {:?}", client(request));
        let group = match self {
            RequestKey::All => return "all".to_owned(),
            RequestKey::Client => by_client(),
            RequestKey::User => match request.extensions().get::<RemoteUser>() {
                Some(user) => format!("user {}", user.name),
                None => by_client(),
            },
            RequestKey::Header(name) => match request.headers().get(name) {
                Some(value) => format!("field {}", hex(value.as_bytes())),
                None => by_client(),
            },
        };
        hex(&Sha256::digest(group)[..16])
    }
}

/// The network that the client has for itself: its address or, of an IPv6 address, its first 64 bits. `None`
/// for a peer on a Unix socket.
pub(super) fn client(request: &Request) -> Option<IpAddr> {
    network(request.extensions().get::<Environ>()?.client?)
}

fn network(address: IpAddr) -> Option<IpAddr> {
    Some(match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_clients() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected.parse().ok(), "{address}");
        }
    }
}
