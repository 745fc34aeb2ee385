//! The types of options that name clients and networks. The schema check reports every entry that is wrong, by
//! its format.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The peers in the config that are trusted: an address, a network, or `unix` for any peer on a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("format" = "network"))]
pub enum Network {
    /// These addresses.
    Addresses(IpNet),
    /// Any peer on a Unix socket.
    Unix,
}

/// Clients in the config that may see something: a [`Network`], or `loopback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("format" = "client"))]
pub enum Clients {
    /// Any address of this machine for itself.
    Loopback,
    /// These.
    Network(Network),
}

impl Network {
    /// Whether the address is one of these; `None` is a peer on a Unix socket.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Network::Addresses(net), Some(address)) => net.contains(&address.to_canonical()),
            (Network::Unix, None) => true,
            _ => false,
        }
    }
}

impl Clients {
    /// Whether the address is one of these; `None` is a peer on a Unix socket.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        match self {
            Clients::Loopback => address.is_some_and(|address| address.to_canonical().is_loopback()),
            Clients::Network(network) => network.contains(address),
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Network {
        Network::Addresses(address.into())
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        let address = || text.parse().map(|address: IpAddr| address.into()).ok();
        match text.parse().ok().or_else(address) {
            Some(net) => Ok(Network::Addresses(net)),
            None if text == "unix" => Ok(Network::Unix),
            None => Err(format!("`{text}` is not {}", NETWORK.what)),
        }
    }
}

impl TryFrom<String> for Clients {
    type Error = String;

    fn try_from(text: String) -> Result<Clients, String> {
        match &*text {
            "loopback" => Ok(Clients::Loopback),
            _ => Network::try_from(text).map(Clients::Network),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Addresses(net) if net.prefix_len() == net.max_prefix_len() => {
                write!(f, "{}", net.addr())
            }
            Network::Addresses(net) => write!(f, "{net}"),
            Network::Unix => f.write_str("unix"),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

impl From<Clients> for String {
    fn from(clients: Clients) -> String {
        match clients {
            Clients::Loopback => "loopback".to_owned(),
            Clients::Network(network) => network.to_string(),
        }
    }
}

/// A `format` of strings, and the words of the error for a string of another form.
pub(super) struct StringFormat {
    /// Its name in schemas.
    name: &'static str,
    /// Whether a string has this form.
    pub(super) holds: fn(&str) -> bool,
    /// What a string should be.
    pub(super) what: &'static str,
    /// How to write one.
    pub(super) help: &'static str,
}

const NETWORK: StringFormat = StringFormat {
    name: "network",
    holds: |text| Network::try_from(text.to_owned()).is_ok(),
    what: "an address or a network",
    help: "write `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32` or `unix`",
};

const CLIENT: StringFormat = StringFormat {
    name: "client",
    holds: |text| Clients::try_from(text.to_owned()).is_ok(),
    what: "a client",
    help: "write an address, a network such as `10.0.0.0/8`, `loopback` or `unix`",
};

/// The format of this name.
pub(super) fn format(name: &str) -> Option<StringFormat> {
    [NETWORK, CLIENT].into_iter().find(|format| format.name == name)
}
