//! One request to an upstream and its response, over any protocol that has a head and a body in each
//! direction.
//!
//! It spawns no task and uses no channel. The task that waits for the response writes the request, and the
//! reader of the response body writes the rest of the request body. So a client that reads slowly slows the
//! upstream down, and a client that leaves drops this, which closes the upstream's connection. Only what
//! follows a response without a body is read by a separate task, because no other task waits for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::failure::Reason;
use super::group::{Connection, Group, Lease, Member};
use super::options::duration;
use super::outgoing::Outgoing;
use crate::body::{Body, Response};
use crate::error::BoxError;

/// Bytes read at a time, initially and at most: a fast sender is read in larger pieces.
const READ: (usize, usize) = (8 * 1024, 128 * 1024);

/// How long to read what follows a response without a body.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// The two directions of one request in a protocol. The head was already written to [`Outgoing`].
pub(in crate::app) trait Protocol: Send + Unpin + 'static {
    /// Writes a piece of the request's body; never empty.
    fn data(&mut self, data: Bytes, out: &mut Outgoing);
    /// Writes the end of the request's body.
    fn end(&mut self, trailers: Option<HeaderMap>, out: &mut Outgoing);
    /// Takes the next part of the response from `input`; `ended` if no more will arrive.
    /// # Errors
    /// What is wrong with the response.
    fn decode(&mut self, input: &mut BytesMut, ended: bool) -> Result<Decoded, Reason>;
}

/// A part of a response.
pub(in crate::app) enum Decoded {
    /// More bytes are needed.
    More,
    /// The head; once, and before anything else.
    Head(Head),
    /// A piece of the body; never empty.
    Data(Bytes),
    /// Fields after the body.
    Trailers(HeaderMap),
    /// The response is complete. With a time, the connection can take another request for that long (`None`:
    /// as long as the pool keeps it).
    End(Option<Kept>),
    /// The connection now belongs to the tunnel.
    Switched,
}

/// How long a connection can be kept.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::app) struct Kept(pub(in crate::app) Option<Duration>);

/// The head of a response.
#[derive(Debug)]
pub(in crate::app) struct Head {
    pub(in crate::app) status: StatusCode,
    pub(in crate::app) headers: HeaderMap,
    /// Length of the body, if the head gives it.
    pub(in crate::app) length: Option<u64>,
    /// A path, with its query, whose response is to be given instead (RFC 3875, section 6.2.2).
    pub(in crate::app) redirect: Option<String>,
}

/// A request in progress.
pub(in crate::app) struct Exchange<P> {
    connection: Option<Connection>,
    protocol: P,
    group: Arc<Group>,
    lease: Lease,
    /// The request's body, until it has ended.
    body: Option<Body>,
    /// Bytes that the body must still have, if its length was announced.
    left: Option<u64>,
    /// Whether any part of the body was taken.
    touched: bool,
    /// Whether there is more to be written, now or later.
    sending: bool,
    /// Why writing ended early.
    unsent: Option<io::Error>,
    ended: bool,
    /// Whether any byte of the response has arrived.
    answered: bool,
    headed: bool,
    read: usize,
    /// A part that was decoded before it was needed.
    ahead: Option<Result<Decoded, Reason>>,
    /// When the whole exchange must be over.
    end: Option<Instant>,
}

/// Why an exchange ended early.
pub(in crate::app) enum Stop {
    /// The upstream failed.
    Upstream(Reason),
    /// The request's body failed: the client left or broke a limit.
    Client(BoxError),
}

impl<P: Protocol> Exchange<P> {
    /// Begins: `write` puts the head into the buffer. `end` is when the whole exchange must be over.
    pub(in crate::app) fn new(
        group: Arc<Group>,
        lease: Lease,
        mut connection: Connection,
        body: Body,
        end: Option<Instant>,
        write: impl FnOnce(&mut Outgoing, &Body) -> P,
    ) -> Exchange<P> {
        let mut protocol = write(&mut connection.output, &body);
        let left = body.size_hint().exact();
        let mut body = Some(body);
        if left == Some(0) {
            protocol.end(None, &mut connection.output);
            body = None;
        }
        Exchange {
            connection: Some(connection),
            protocol,
            group,
            lease,
            body,
            left,
            touched: false,
            sending: true,
            unsent: None,
            ended: false,
            answered: false,
            headed: false,
            read: READ.0,
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
        self.answered
    }

    /// The original body, unless a part of it was taken.
    pub(super) fn take_untouched(&mut self) -> Option<Body> {
        if self.touched { None } else { Some(self.body.take().unwrap_or_else(Body::empty)) }
    }

    /// The connection and the lease, after [`Decoded::Switched`].
    pub(in crate::app) fn into_tunnel(mut self) -> Option<(Connection, Lease)> {
        Some((self.connection.take()?, self.lease))
    }

    /// Waits for the head.
    pub(in crate::app) async fn head(&mut self) -> Result<Head, Stop> {
        match std::future::poll_fn(|cx| self.poll(cx)).await? {
            Decoded::Head(head) => {
                self.headed = true;
                Ok(head)
            }
            _ => Err(Stop::Upstream(Reason::Malformed("it has no head"))),
        }
    }

    /// The next part of the response; continues to write in the meantime.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, Stop>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(Decoded::End(None))) };
        if let Some(part) = self.ahead.take() {
            return Poll::Ready(part.map_err(Stop::Upstream));
        }
        loop {
            let mut waits_for_client = false;
            while self.sending {
                let written = match connection.output.poll_write(cx, &mut connection.stream) {
                    Poll::Ready(Ok(count)) => count,
                    Poll::Ready(Err(error)) => {
                        // The response may have been sent all the same, for example 413.
                        self.unsent = Some(error);
                        connection.output.clear();
                        self.body = None;
                        self.sending = false;
                        break;
                    }
                    Poll::Pending => break,
                };
                if written > 0 {
                    connection.clock.stop();
                }
                if !connection.output.is_empty() {
                    continue;
                }
                let Some(body) = &mut self.body else {
                    self.sending = AsyncWrite::poll_flush(Pin::new(&mut connection.stream), cx).is_pending();
                    if self.sending {
                        break;
                    }
                    connection.stream.close_input();
                    break;
                };
                match Pin::new(body).poll_frame(cx) {
                    Poll::Pending => {
                        let _ = AsyncWrite::poll_flush(Pin::new(&mut connection.stream), cx);
                        waits_for_client = true;
                        break;
                    }
                    Poll::Ready(Some(Err(error))) => {
                        self.touched = true;
                        return Poll::Ready(Err(Stop::Client(error)));
                    }
                    Poll::Ready(frame) => {
                        self.touched = true;
                        let taken = take_frame(frame.and_then(Result::ok), &mut self.left);
                        match taken {
                            Ok(Taken::Data(data)) if data.is_empty() => {}
                            Ok(Taken::Data(data)) => self.protocol.data(data, &mut connection.output),
                            Ok(Taken::End(trailers)) => {
                                self.protocol.end(trailers, &mut connection.output);
                                self.body = None;
                            }
                            Err(reason) => return Poll::Ready(Err(Stop::Client(reason.into()))),
                        }
                    }
                }
            }
            match self.protocol.decode(&mut connection.input, self.ended) {
                Ok(Decoded::More) => {}
                Ok(part) => {
                    connection.clock.stop();
                    return Poll::Ready(Ok(part));
                }
                Err(reason) => return Poll::Ready(Err(Stop::Upstream(reason))),
            }
            if self.ended {
                let reason = if self.headed { Reason::BrokenOff } else { self.closed() };
                return Poll::Ready(Err(Stop::Upstream(reason)));
            }
            if connection.input.capacity() - connection.input.len() < self.read / 4 {
                connection.input.reserve(self.read);
            }
            match poll_read_buf(Pin::new(&mut connection.stream), cx, &mut connection.input) {
                Poll::Ready(Ok(_)) if connection.stream.is_late() => {
                    return Poll::Ready(Err(Stop::Upstream(self.late())));
                }
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(count)) => {
                    self.answered = true;
                    if count >= self.read {
                        self.read = (self.read * 2).min(READ.1);
                    }
                    // The head has one limit, however many pieces it arrives in.
                    if self.headed {
                        connection.clock.stop();
                    }
                }
                Poll::Ready(Err(error)) => {
                    let reset =
                        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
                    let reason = match (self.headed, reset && !self.answered) {
                        (true, _) => Reason::BrokenOff,
                        (false, true) => self.closed(),
                        (false, false) => Reason::Broken(error),
                    };
                    return Poll::Ready(Err(Stop::Upstream(reason)));
                }
                Poll::Pending => {
                    let timeouts = &self.group.timeouts;
                    if waits_for_client && self.end.is_none() {
                        // The server limits how slow the client may be.
                        connection.clock.stop();
                        return Poll::Pending;
                    }
                    let limit = match (waits_for_client, self.headed) {
                        (true, _) => Duration::from_secs(86_400), // `end` is earlier
                        (false, true) => duration(timeouts.pause_secs),
                        (false, false) => duration(timeouts.head_secs),
                    };
                    ready!(connection.clock.wait(cx, limit, self.end));
                    return Poll::Ready(Err(Stop::Upstream(self.late())));
                }
            }
        }
    }

    /// Why there is no response if the connection was closed.
    fn closed(&mut self) -> Reason {
        self.unsent.take().map_or(Reason::Closed, Reason::Broken)
    }

    /// What has taken too long.
    fn late(&self) -> Reason {
        if self.headed { Reason::Stalled } else { Reason::HeadTimeout }
    }

    /// Returns the connection to the pool, if possible.
    fn finish(&mut self, kept: Option<Kept>) {
        let Some(mut connection) = self.connection.take() else { return };
        let whole = !self.sending && self.unsent.is_none() && !self.ended && connection.input.is_empty();
        if let (Some(Kept(most)), true) = (kept, whole) {
            self.group.keep(&self.lease.member, connection, most);
        } else {
            connection.stream.finished();
        }
    }

    /// The response; its body reads on from here.
    pub(in crate::app) fn into_response(mut self, head: Head) -> Response {
        let mut response = Response::default();
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        // Very often the whole body arrived with the head: then it needs no stream.
        let mut whole = Bytes::new();
        if let Some(connection) = &mut self.connection {
            let (mut data, mut over) = (None, None);
            loop {
                match self.protocol.decode(&mut connection.input, self.ended) {
                    Ok(Decoded::Data(bytes)) if data.is_none() => {
                        data = Some(bytes);
                        continue;
                    }
                    Ok(Decoded::End(kept)) => over = Some(kept),
                    Ok(Decoded::More) => {}
                    part => self.ahead = Some(part),
                }
                break;
            }
            if let Some(kept) = over {
                self.finish(kept);
                *response.body_mut() = data.unwrap_or_default().into();
                return response;
            }
            whole = data.unwrap_or_default();
        }
        *response.body_mut() = Body::new(Answer { first: whole, exchange: Some(self), left: head.length });
        response
    }

    /// The response to a request that needs only the head, or one whose status has no body. A body that
    /// arrives all the same is read for a while and discarded, so that the upstream is not stopped in the
    /// middle of its work.
    pub(in crate::app) fn into_bodiless(self, head: Head) -> Response {
        // Its size is that of the body that is left out.
        let body = Body::new(Answer::<P> { first: Bytes::new(), exchange: None, left: head.length });
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        let upstream = self.lease.member.name.clone();
        let mut rest = Box::pin(tokio::time::timeout(AFTERWARDS, self.rest()));
        // Very often everything has arrived with the head.
        if rest.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(async move {
                if rest.await.is_err() {
                    tracing::warn!(
                        upstream,
                        "the upstream sent data after a response without a body: closing the connection"
                    );
                }
            });
        }
        response
    }

    async fn rest(mut self) {
        loop {
            match std::future::poll_fn(|cx| self.poll(cx)).await {
                Ok(Decoded::Data(_) | Decoded::Trailers(_)) => {}
                Ok(Decoded::End(kept)) => return self.finish(kept),
                // The head may announce a body that is not sent.
                Err(Stop::Upstream(Reason::BrokenOff)) => return self.finish(None),
                _ => return,
            }
        }
    }
}

/// A frame of the request's body.
enum Taken {
    Data(Bytes),
    End(Option<HeaderMap>),
}

fn take_frame(frame: Option<Frame<Bytes>>, left: &mut Option<u64>) -> Result<Taken, &'static str> {
    let taken = match frame.map(Frame::into_data) {
        None => Taken::End(None),
        Some(Ok(data)) => Taken::Data(data),
        Some(Err(frame)) => Taken::End(frame.into_trailers().ok()),
    };
    if let Some(left) = left {
        match &taken {
            Taken::Data(data) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or("the request's body is longer than announced")?;
            }
            Taken::End(_) if *left > 0 => return Err("the request's body ended early"),
            Taken::End(_) => {}
        }
    }
    Ok(taken)
}

/// The body of a response.
struct Answer<P> {
    first: Bytes,
    exchange: Option<Exchange<P>>,
    /// Bytes left, if the head said how many.
    left: Option<u64>,
}

impl<P: Protocol> Answer<P> {
    fn give(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(data.len() as u64);
        }
        // The end of the body may have arrived too. Detecting it now saves another poll.
        if let Some(exchange) = &mut self.exchange
            && exchange.ahead.is_none()
            && let Some(connection) = &mut exchange.connection
        {
            match exchange.protocol.decode(&mut connection.input, exchange.ended) {
                Ok(Decoded::End(kept)) => {
                    exchange.finish(kept);
                    self.exchange = None;
                }
                Ok(Decoded::More) => {}
                part => exchange.ahead = Some(part),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl<P: Protocol> http_body::Body for Answer<P> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let first = std::mem::take(&mut this.first);
            return this.give(first);
        }
        let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
        match ready!(exchange.poll(cx)) {
            Ok(Decoded::Data(data)) => this.give(data),
            Ok(Decoded::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(Decoded::End(kept)) => {
                exchange.finish(kept);
                this.exchange = None;
                Poll::Ready(None)
            }
            Ok(_) => Poll::Ready(Some(Err("the upstream responded twice".into()))),
            Err(stop) => {
                let error = match stop {
                    Stop::Client(error) => error,
                    Stop::Upstream(reason) => {
                        exchange.group.failed(&exchange.lease.member);
                        exchange.lease.member.fault(reason).into()
                    }
                };
                this.exchange = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none() && self.first.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
