//! Access lists: clients that may see restricted content, by address or network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Clients;
use crate::environ::Environ;

/// A list of clients, as an option.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(super) struct Peers(Vec<Clients>);

impl Peers {
    /// The clients on this machine.
    pub(super) fn loopback() -> Peers {
        Peers(vec![Clients::Loopback])
    }

    /// Whether the client is in the list. The user of this process (`paster request`) always is. A client
    /// whose address is unknown, because its peer relays requests but is not trusted, never is.
    pub(super) fn allow(&self, environ: Option<&Environ>) -> bool {
        let Some(environ) = environ.filter(|environ| !environ.relayed) else { return false };
        match environ.client {
            None if environ.is_console() => true,
            None if !environ.listen.starts_with("unix:") => false,
            client => self.0.iter().any(|clients| clients.contains(client)),
        }
    }

    /// Whether the list names the client or, if its address is unknown, the peer that relays its request.
    pub(super) fn name(&self, environ: Option<&Environ>) -> bool {
        let Some(environ) = environ.filter(|environ| !environ.is_console()) else { return false };
        self.0.iter().any(|clients| clients.contains(environ.client))
    }
}
