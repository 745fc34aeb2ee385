//! The names of terminals. With several servers, they end in a mark of their server, so that each name is unique and leads to its
//! server.

use sha2::{Digest, Sha256};

use super::Relay;
use crate::objects::hexadecimal;
use crate::state::Notebook;
use crate::store::{Store, StoreError};

/// The number of digits of a mark.
const DIGITS: usize = 6;

/// The mark of the server at an address.
fn mark(address: &str) -> String {
    hexadecimal(&Sha256::digest(address))[..DIGITS].to_owned()
}

impl Relay {
    /// The address of the other server that has the terminal `name`; `None`: this server has it, or no server.
    pub(super) fn server_of_terminal(&self, store: &Store, name: &str) -> Result<Option<String>, StoreError> {
        let Some((_, of)) = name.rsplit_once('-') else { return Ok(None) };
        Ok(self.running(store)?.into_iter().find(|address| mark(address) == of))
    }

    fn own_mark(&self) -> Option<String> {
        self.own.as_deref().map(mark)
    }
}

impl Notebook {
    /// The name that users see of a terminal of this server.
    pub(in crate::http) fn terminal_name(&self, local: &str) -> String {
        match self.relay.as_ref().and_then(|relay| relay.own_mark()) {
            Some(mark) => format!("{local}-{mark}"),
            None => local.to_owned(),
        }
    }

    /// The name in the kernel host of a terminal of this server.
    pub(in crate::http) fn local_terminal<'a>(&self, name: &'a str) -> &'a str {
        let mark = self.relay.as_ref().and_then(|relay| relay.own_mark());
        mark.and_then(|mark| name.strip_suffix(&mark)?.strip_suffix('-')).unwrap_or(name)
    }
}

#[cfg(test)]
mod tests {
    use super::mark;

    #[test]
    fn marks_differ() {
        assert_eq!(mark("http://10.0.0.1:8080/").len(), 6);
        assert_ne!(mark("http://10.0.0.1:8080/"), mark("http://10.0.0.2:8080/"));
    }
}
