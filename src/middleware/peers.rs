//! Access lists: clients that may see restricted content, by address or network.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Table, item};
use crate::environ::Environ;
use crate::error::Error;

/// A list of clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    nets: Vec<IpNet>,
    loopback: bool,
    unix: bool,
}

impl Peers {
    /// Parses the list of the option `key`; faults go to `errors`.
    pub(super) fn read(table: &Table, key: &str, entries: &[String], errors: &mut Vec<Error>) -> Peers {
        let mut peers = Peers::default();
        for (index, entry) in entries.iter().enumerate() {
            match (entry.as_str(), entry.parse::<IpNet>(), entry.parse::<IpAddr>()) {
                ("loopback", ..) => peers.loopback = true,
                ("unix", ..) => peers.unix = true,
                (_, Ok(net), _) => peers.nets.push(net),
                (_, _, Ok(address)) => peers.nets.push(address.into()),
                _ => errors.push(
                    table
                        .error(item(key, index), format!("`{entry}` is not a client"))
                        .help("write an address, a network such as `10.0.0.0/8`, `loopback` or `unix`"),
                ),
            }
        }
        peers
    }

    /// Whether the client is in the list. The user of this process (`paster request`) always is. A client
    /// whose address is unknown, because its peer relays requests but is not trusted, never is.
    pub(super) fn allow(&self, environ: Option<&Environ>) -> bool {
        let Some(environ) = environ else { return false };
        if environ.relayed {
            return false;
        }
        match environ.client {
            Some(client) => {
                let client = client.to_canonical();
                (self.loopback && client.is_loopback()) || self.nets.iter().any(|net| net.contains(&client))
            }
            None if environ.is_console() => true,
            None => self.unix && environ.listen.starts_with("unix:"),
        }
    }
}
