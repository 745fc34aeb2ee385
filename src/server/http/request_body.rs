//! A request's body as it arrives: its throughput, and what remains if the application stops reading.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::conn_state::ConnState;
use crate::error::BoxError;
use crate::server::throughput::{BodyError, BodyOutcome, Throughput, ThroughputClock, TooSlow};

/// Maximum bytes of an unwanted body that are read to save the connection.
const DRAIN_LIMIT_BYTES: u64 = 256 * 1024;
/// Longest time for that.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The body of one request.
pub(super) struct RequestBody {
    body: Option<Incoming>,
    /// HTTP/1 only: an HTTP/2 stream is separate and is reset when dropped.
    conn: Option<Arc<ConnState>>,
    /// The client waits for `100 Continue`, which hyper sends when the body is first polled.
    invited: bool,
    fate: Arc<BodyOutcome>,
    clock: ThroughputClock,
}

impl RequestBody {
    /// Wraps a body that has not ended. Call it within the server's runtime.
    pub(super) fn new(
        body: Incoming,
        conn: Option<Arc<ConnState>>,
        invited: bool,
        pace: Throughput,
        fate: Arc<BodyOutcome>,
    ) -> RequestBody {
        if let Some(conn) = &conn {
            conn.http1.body_open.set(true);
        }
        RequestBody { body: Some(body), conn, invited, fate, clock: ThroughputClock::new(pace) }
    }

    fn end(&mut self) {
        self.body = None;
        if let Some(conn) = self.conn.take() {
            conn.http1.body_open.set(false);
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.invited = false;
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.clock.arrived(frame.data_ref().map_or(0, Bytes::len));
                if this.body.as_ref().is_some_and(Incoming::is_end_stream) {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.fate.set(BodyError::Broken);
                this.body = None; // `body_open` stays set: the connection cannot be reused
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.clock.wait(cx));
                this.fate.set(BodyError::Slow);
                this.body = None;
                Poll::Ready(Some(Err(TooSlow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(conn), Some(body)) = (self.conn.take(), self.body.take()) {
            // A client that got no `100 Continue` will not send the body, and a long body costs more than a
            // connection.
            if self.invited || body.size_hint().lower() > DRAIN_LIMIT_BYTES {
                conn.close_next.set(true);
            } else {
                leave_body(&conn, body);
            }
        }
    }
}

/// Leaves a body that the application does not read to the driver, for [`Drain`].
pub(super) fn leave_body(conn: &ConnState, body: Incoming) {
    conn.http1.body_open.set(true);
    conn.http1.leave_body(body);
    conn.task.wake();
}

/// The rest of a body that the application left unread. It is read so that the connection can continue.
pub(super) struct Drain {
    body: Incoming,
    bytes: u64,
    until: Instant,
}

impl Drain {
    /// Begins if such a body was left.
    pub(super) fn begin(conn: &ConnState) -> Option<Drain> {
        let body = conn.http1.take_leftover()?;
        Some(Drain { body, bytes: 0, until: Instant::now() + DRAIN_TIME })
    }

    /// When to give up.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Continues to read. Ready when the body has ended, so that the connection may continue, or when it is too long or too
    /// slow.
    pub(super) fn poll(&mut self, conn: &ConnState, cx: &mut Context<'_>) -> Poll<()> {
        let ended = match self.read(cx) {
            Poll::Ready(ended) => ended,
            Poll::Pending if self.until <= Instant::now() => false,
            Poll::Pending => return Poll::Pending,
        };
        if ended {
            conn.http1.body_open.set(false);
        }
        Poll::Ready(())
    }

    /// Whether the body has ended, rather than become too long.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if self.body.is_end_stream() {
                return Poll::Ready(true);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(true),
                Some(Err(_)) => return Poll::Ready(false),
                Some(Ok(frame)) => self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            }
            if self.bytes > DRAIN_LIMIT_BYTES {
                return Poll::Ready(false);
            }
        }
    }
}
