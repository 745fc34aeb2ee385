//! What a protocol of upstreams provides: how to write a request, and how to read its response.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::failure::FailureReason;
use super::outgoing::Outgoing;

/// The two directions of one request in a protocol. The head was already written to [`Outgoing`].
pub(in crate::app) trait Protocol: Send + Unpin + 'static {
    /// Writes a piece of the request's body; never empty.
    fn data(&mut self, data: Bytes, out: &mut Outgoing);
    /// Writes the end of the request's body.
    fn end(&mut self, trailers: Option<HeaderMap>, out: &mut Outgoing);
    /// Takes the next part of the response from `input`; `ended` if no more will arrive.
    /// # Errors
    /// What is wrong with the response.
    fn decode(&mut self, input: &mut BytesMut, ended: bool) -> Result<Decoded, FailureReason>;
}

/// A part of a response.
pub(in crate::app) enum Decoded {
    /// More bytes are needed.
    More,
    /// The head; once, and before anything else.
    Head(ResponseHead),
    /// A piece of the body; never empty.
    Data(Bytes),
    /// Fields after the body.
    Trailers(HeaderMap),
    /// The response is complete. With a time, the connection can take another request for that long (`None`:
    /// as long as the pool keeps it).
    End(Option<KeepAlive>),
    /// The connection now belongs to the tunnel.
    Switched,
}

/// How long a connection can be kept.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::app) struct KeepAlive(pub(in crate::app) Option<Duration>);

/// The head of a response.
#[derive(Debug)]
pub(in crate::app) struct ResponseHead {
    pub(in crate::app) status: StatusCode,
    pub(in crate::app) headers: HeaderMap,
    /// Length of the body, if the head gives it.
    pub(in crate::app) length: Option<u64>,
    /// A path, with its query, whose response is to be given instead (RFC 3875, section 6.2.2).
    pub(in crate::app) redirect: Option<String>,
}
