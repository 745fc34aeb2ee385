//! One request to an upstream and its response, over any protocol that has a head and a body in each
//! direction.
//!
//! It spawns no task and uses no channel. The task that waits for the response writes the request, and the
//! reader of the response body writes the rest of the request body. So a client that reads slowly slows the
//! upstream down, and a client that leaves drops this, which closes the upstream's connection.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::failure::{FailureReason, UpstreamFault};
use super::group::{ConnectionLease, Group};
use super::member::{Member, UpstreamConnection};
use super::options::{Timeouts, duration};
use super::outgoing::Outgoing;
use super::protocol::{Decoded, KeepAlive, Protocol, ResponseHead};
use super::request_writer::RequestWriter;
use super::response_reader::ResponseReader;
use crate::body::Body;
use crate::error::BoxError;

/// A request in progress.
pub(in crate::app) struct UpstreamExchange<P> {
    connection: Option<UpstreamConnection>,
    protocol: P,
    group: Arc<Group>,
    lease: ConnectionLease,
    writer: RequestWriter,
    reader: ResponseReader,
    /// A part that was decoded before it was needed.
    ahead: Option<Result<Decoded, FailureReason>>,
    /// When the whole exchange must be over.
    end: Option<Instant>,
}

/// Why an exchange ended early.
pub(in crate::app) enum UpstreamStop {
    /// The upstream failed.
    Upstream(FailureReason),
    /// The request's body failed: the client left or broke a limit.
    Client(BoxError),
}

impl<P: Protocol> UpstreamExchange<P> {
    /// Begins: `write` puts the head into the buffer. `end` is when the whole exchange must be over.
    pub(in crate::app) fn new(
        group: Arc<Group>,
        lease: ConnectionLease,
        mut connection: UpstreamConnection,
        body: Body,
        end: Option<Instant>,
        write: impl FnOnce(&mut Outgoing, &Body) -> P,
    ) -> UpstreamExchange<P> {
        let mut protocol = write(&mut connection.output, &body);
        let writer = RequestWriter::new(body, &mut protocol, &mut connection.output);
        let reader = ResponseReader::new();
        UpstreamExchange {
            connection: Some(connection),
            protocol,
            group,
            lease,
            writer,
            reader,
            ahead: None,
            end,
        }
    }

    /// The upstream that gets the request.
    pub(in crate::app) fn member(&self) -> &Arc<Member> {
        &self.lease.member
    }

    /// Whether the upstream has begun to respond.
    pub(super) fn has_answer(&self) -> bool {
        self.reader.answered
    }

    /// The original body, unless a part of it was taken.
    pub(super) fn take_untouched(&mut self) -> Option<Body> {
        self.writer.take_untouched()
    }

    /// The connection and the lease, after [`Decoded::Switched`].
    pub(in crate::app) fn into_tunnel(mut self) -> Option<(UpstreamConnection, ConnectionLease)> {
        Some((self.connection.take()?, self.lease))
    }

    /// Waits for the head.
    pub(in crate::app) async fn head(&mut self) -> Result<ResponseHead, UpstreamStop> {
        match std::future::poll_fn(|cx| self.poll(cx)).await? {
            Decoded::Head(head) => {
                self.reader.headed = true;
                Ok(head)
            }
            _ => Err(UpstreamStop::Upstream(FailureReason::Malformed("it has no head"))),
        }
    }

    /// The next part of the response; continues to write in the meantime.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, UpstreamStop>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(Decoded::End(None))) };
        if let Some(part) = self.ahead.take() {
            return Poll::Ready(part.map_err(UpstreamStop::Upstream));
        }
        loop {
            let waits_for_client =
                self.writer.poll(cx, connection, &mut self.protocol).map_err(UpstreamStop::Client)?;
            match self.protocol.decode(&mut connection.input, self.reader.ended) {
                Ok(Decoded::More) => {}
                Ok(part) => {
                    connection.clock.stop();
                    return Poll::Ready(Ok(part));
                }
                Err(reason) => return Poll::Ready(Err(UpstreamStop::Upstream(reason))),
            }
            if self.reader.ended {
                return Poll::Ready(Err(self.failed(self.reader.closed())));
            }
            match self.reader.poll(cx, connection) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(reason)) => return Poll::Ready(Err(self.failed(reason))),
                Poll::Pending => {
                    let (headed, timeouts) = (self.reader.headed, &self.group.timeouts);
                    let Some(limit) = limit(timeouts, waits_for_client, headed, self.end) else {
                        connection.clock.stop();
                        return Poll::Pending;
                    };
                    ready!(connection.clock.wait(cx, limit, self.end));
                    return Poll::Ready(Err(UpstreamStop::Upstream(self.reader.late())));
                }
            }
        }
    }

    /// Why the exchange failed. If writing failed before the upstream closed the connection, that error is more useful.
    fn failed(&mut self, reason: FailureReason) -> UpstreamStop {
        let cause = if matches!(reason, FailureReason::Closed) { self.writer.take_error() } else { None };
        UpstreamStop::Upstream(cause.map_or(reason, FailureReason::Broken))
    }

    /// Decodes the next part from what has already arrived. `true` if that was the end: the exchange is over.
    pub(super) fn look_ahead(&mut self) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|_| self.ahead.is_none()) else {
            return false;
        };
        match self.protocol.decode(&mut connection.input, self.reader.ended) {
            Ok(Decoded::End(kept)) => {
                self.finish(kept);
                return true;
            }
            Ok(Decoded::More) => {}
            part => self.ahead = Some(part),
        }
        false
    }

    /// The data that [`UpstreamExchange::look_ahead`] found; empty if it found something else.
    pub(super) fn take_data(&mut self) -> Bytes {
        match self.ahead.take() {
            Some(Ok(Decoded::Data(data))) => data,
            other => {
                self.ahead = other;
                Bytes::new()
            }
        }
    }

    /// Returns the connection to the pool, if possible.
    pub(super) fn finish(&mut self, kept: Option<KeepAlive>) {
        let Some(mut connection) = self.connection.take() else { return };
        let whole = self.writer.is_done() && !self.reader.ended && connection.input.is_empty();
        if let (Some(KeepAlive(most)), true) = (kept, whole) {
            self.lease.member.keep(&self.group.pool, connection, most);
        } else {
            connection.stream.finished();
        }
    }

    /// Counts a failure of the upstream in the middle of its response.
    pub(super) fn fault(&self, reason: FailureReason) -> UpstreamFault {
        self.group.failed(&self.lease.member);
        self.lease.member.fault(reason)
    }
}

/// How long to wait for the upstream; `None` for no limit, because the exchange waits for the client, whose
/// time the server limits.
fn limit(
    timeouts: &Timeouts,
    waits_for_client: bool,
    headed: bool,
    end: Option<Instant>,
) -> Option<Duration> {
    match (waits_for_client, headed) {
        (true, _) => end.map(|_| Duration::from_secs(86_400)), // `end` is earlier
        (false, true) => Some(duration(timeouts.pause_secs)),
        (false, false) => Some(duration(timeouts.head_secs)),
    }
}
