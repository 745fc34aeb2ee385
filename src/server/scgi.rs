//! The `scgi` server: a head, a body, a response, and the end of the connection.
//!
//! # Source
//! SCGI, 2008-06-23: <https://python.ca/scgi/protocol.txt>.

use bytes::{Buf, Bytes, BytesMut};

use super::Server;
use super::gateway::{self, Out, RequestEvent, ServerProtocol};
use crate::codec::{PairsError, scgi};
use crate::config::Table;
use crate::error::Result;

/// Checks the options and creates the server.
/// # Errors
/// Every malformed address, host and network.
pub(super) fn build(options: gateway::Options, table: &Table) -> Result<Box<dyn Server>> {
    gateway::build::<ScgiProtocol>(options, table, "127.0.0.1:4000")
}

/// One connection.
struct ScgiProtocol {
    head_limit_bytes: usize,
    state: ScgiState,
}

enum ScgiState {
    Head,
    /// This many bytes of the body are still to come.
    Body(u64),
    Over,
}

impl ServerProtocol for ScgiProtocol {
    const KEEPS: bool = false;

    fn new(head_limit_bytes: usize, _: usize) -> Self {
        ScgiProtocol { head_limit_bytes, state: ScgiState::Head }
    }

    fn next(&mut self, read: &mut BytesMut, _: &mut Out) -> Result<Option<RequestEvent>, PairsError> {
        match &mut self.state {
            ScgiState::Head => {
                let Some((head, used)) = scgi::parse_head(read, self.head_limit_bytes)? else {
                    return Ok(None);
                };
                read.advance(used);
                self.state = ScgiState::Body(head.content_length);
                Ok(Some(RequestEvent::Head(head.variables)))
            }
            ScgiState::Body(0) => {
                self.state = ScgiState::Over;
                Ok(Some(RequestEvent::End))
            }
            ScgiState::Body(_) if read.is_empty() => Ok(None),
            ScgiState::Body(left) => {
                let size = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
                *left -= size as u64;
                Ok(Some(RequestEvent::Body(read.split_to(size).freeze())))
            }
            ScgiState::Over => {
                read.clear(); // bytes after the body are ignored
                Ok(None)
            }
        }
    }

    fn is_between(&self) -> bool {
        matches!(self.state, ScgiState::Head)
    }

    fn answers(&self) -> bool {
        true
    }

    fn put(&mut self, data: Bytes, out: &mut Out) {
        out.push(data);
    }

    fn end(&mut self, _: &mut Out) -> bool {
        false
    }
}
