//! What a protocol of web servers provides: bytes in, events out, no socket.

use bytes::{Bytes, BytesMut};

use super::out::Out;
use crate::codec::{PairsError, Variables};

/// An event on a connection.
pub(in crate::server) enum RequestEvent {
    /// A request's head is complete.
    Head(Variables),
    /// Bytes of its body.
    Body(Bytes),
    /// Its body has ended.
    End,
    /// The client has gone; the connection may go on.
    Abort,
    /// The connection must end once the reply is sent.
    Close,
}

/// One connection's protocol.
pub(in crate::server) trait ServerProtocol: Send + 'static {
    /// Whether a connection may serve several requests, one after another.
    const KEEPS: bool;

    /// For a new connection; `head_limit_bytes` limits the head of each request, `connections` is the most
    /// that are open.
    fn new(head_limit_bytes: usize, connections: usize) -> Self;

    /// Takes the next event from `read`, `None` if more bytes are needed. Replies that are due at once go to
    /// `out`.
    /// # Errors
    /// If nothing more can be parsed: the connection ends, after a refusal if [`answers`](ServerProtocol::answers).
    fn next(&mut self, read: &mut BytesMut, out: &mut Out) -> Result<Option<RequestEvent>, PairsError>;

    /// Whether no part of a request has arrived yet.
    fn is_between(&self) -> bool;

    /// Whether there is a request that a response can be sent to.
    fn answers(&self) -> bool;

    /// Writes a part of the response.
    fn put(&mut self, data: Bytes, out: &mut Out);

    /// Ends the response, and returns whether the connection continues.
    fn end(&mut self, out: &mut Out) -> bool;
}
