//! One HTTP/1 connection: drives hyper until the connection ends or has been idle for a while.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::clock::{self, FrozenClock};
use super::conn_state::ConnState;
use super::exchange::HttpExchange;
use super::hand_over::{IdleConn, hand_over};
use super::refused::{HEAD_TOO_SLOW, of_hyper, refuse, unread};
use super::request_body::Drain;
use super::shared::HttpShared;
use super::socket::HttpSocket;
use super::wait::{LEAVE_TIME, linger};
use crate::server::accept::ListenerId;
use crate::server::control::PhaseName;
use crate::server::eviction::IdleKind;
use crate::server::gate::ConnInfo;
use crate::server::throughput::{Timer, since};

/// A connection that is idle for this long gives its buffers back: of about 18 KiB, 3 KiB remain. The more
/// connections there are, the shorter the time, because the allocator would keep what all of them used at
/// once.
fn nap_time(connections: usize) -> Duration {
    Duration::from_millis(2000 * 256 / connections.max(256) as u64).max(Duration::from_millis(20))
}

/// Why the driving of an HTTP/1 connection stopped.
enum Http1End {
    /// hyper is done with it, perhaps because of an error.
    Closed(Option<hyper::Error>),
    /// Between two requests, and the generation is retired.
    Idle,
    /// Between two requests for a while.
    Nap,
    /// Idle in this way, and the server is full.
    Evicted(IdleKind),
    /// A head did not arrive in time.
    LateHead,
    /// The rest of a body that the app left unread does not arrive. The response continues.
    Undrained,
    /// The client takes nothing.
    Stalled,
    /// Idle for long, gone, finished, or past the time limit.
    Quit,
}

/// Serves HTTP/1 until the connection ends or has been idle for a while.
pub(super) async fn serve(
    idle: IdleConn,
    place: &ListenerId,
    info: &ConnInfo,
    timer: &mut Timer,
) -> Option<IdleConn> {
    let IdleConn { stream, read, open, .. } = idle;
    let conn = open.conn.clone();
    let shared = &conn.shared;
    if conn.pinned.get() && shared.stage() == PhaseName::Retired {
        conn.close_next.set(true); // it may have been idle when that was announced
    }
    let exchange = HttpExchange::new(conn.clone(), info.clone());
    let io = TokioIo::new(HttpSocket::new(stream, read.freeze(), open));
    let mut connection = shared.h1.serve_connection(io, exchange).with_upgrades();
    let mut watch = Http1Watch::new(shared, &conn);
    let mut waker = None;
    let end = poll_fn(|cx| {
        conn.task.register(cx, &mut waker);
        let _still = FrozenClock::new();
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Http1End::Closed(result.err()));
            }
            if watch.drain(cx) {
                continue;
            }
            match watch.poll(cx, timer) {
                Poll::Ready(Http1End::Undrained) => {} // the next poll gives up
                other => return other,
            }
        }
    })
    .await;
    let idle_since = watch.idle_since;
    let parts = connection.into_parts()?; // `None`: upgraded
    let stopped = StoppedConn { socket: parts.io.into_inner(), read: parts.read_buf, idle_since };
    stopped.end(end, place, info).await
}

/// The rest of an HTTP/1 connection that is no longer driven.
struct StoppedConn {
    socket: HttpSocket,
    /// Bytes that hyper has read and not used.
    read: Bytes,
    idle_since: Instant,
}

impl StoppedConn {
    /// Ends the connection, or returns it if it is only idle.
    async fn end(self, end: Http1End, place: &ListenerId, info: &ConnInfo) -> Option<IdleConn> {
        let StoppedConn { socket, read, idle_since } = self;
        let conn = socket.open.conn.clone();
        let mut stream = socket.inner.stream;
        let unread = || unread(&read, &socket.inner.before);
        match end {
            Http1End::Closed(Some(error)) if socket.refused => {
                let read = unread();
                let rejection = of_hyper(&error, &read, &conn);
                refuse(stream, &conn, info, rejection, &read).await;
            }
            Http1End::Closed(failed) => {
                let doubtful = failed.is_some() || conn.http1.body_open.get();
                if !socket.ended && (doubtful || stream.has_more()) {
                    linger(stream, &conn).await;
                }
            }
            // An evicted connection does not linger.
            Http1End::LateHead | Http1End::Evicted(IdleKind::Head) => {
                refuse(stream, &conn, info, HEAD_TOO_SLOW, &unread()).await;
            }
            Http1End::Evicted(_) if !stream.has_unread() => stream.say_goodbye(),
            Http1End::Idle | Http1End::Nap | Http1End::Evicted(_) => {
                conn.stay();
                conn.socket.forget_head();
                // A copy, because even an empty slice would keep hyper's whole buffer alive.
                let read = unread().as_slice().into();
                let idle = IdleConn { stream, read, open: socket.open, idle_since, is_http1: true };
                return match end {
                    Http1End::Idle => hand_over(idle, place, info).await,
                    _ => Some(idle),
                };
            }
            Http1End::Stalled => stream.reset_on_close(),
            Http1End::Quit | Http1End::Undrained => stream.say_goodbye(),
        }
        None
    }
}

/// The checks each time an HTTP/1 connection has nothing to do: phase, drain and deadlines.
struct Http1Watch<'a> {
    shared: &'a HttpShared,
    conn: &'a ConnState,
    drain: Option<Drain>,
    served: usize,
    idle_since: Instant,
    head_since: Option<Instant>,
    /// Since when no byte was taken, and how many had been taken before.
    stalled: Option<(u64, Instant)>,
    half_closed: Option<(u64, Instant)>,
    /// Since when the connection has been idle on a retired server.
    leaving_since: Option<Instant>,
}

impl<'a> Http1Watch<'a> {
    fn new(shared: &'a HttpShared, conn: &'a ConnState) -> Http1Watch<'a> {
        Http1Watch {
            shared,
            conn,
            drain: None,
            served: conn.requests.served(),
            idle_since: Instant::now(),
            head_since: None,
            stalled: None,
            half_closed: None,
            leaving_since: None,
        }
    }

    /// Reads what the app left of a body. `true`: poll hyper again.
    fn drain(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.conn.http1.body_open.get() {
            return false; // no body was left unread
        }
        if let Some(drain) = Drain::begin(self.conn) {
            self.drain = Some(drain);
        }
        let over = self.drain.as_mut().is_some_and(|drain| drain.poll(self.conn, cx).is_ready());
        if over {
            // If it is dropped before its end, hyper closes the connection after the response.
            self.drain = None;
        }
        over
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<Http1End> {
        let conn = self.conn;
        if conn.aborted.get() {
            return Poll::Ready(Http1End::Quit);
        }
        if conn.evicted.get() {
            match conn.idle_kind() {
                Some(kind) => return Poll::Ready(Http1End::Evicted(kind)),
                None => conn.stay(),
            }
        }
        let pinned = conn.pinned.get();
        if pinned && self.shared.stage() == PhaseName::Retired {
            conn.close_next.set(true);
        }
        if conn.is_idle() {
            match self.shared.stage() {
                PhaseName::Serving => {}
                PhaseName::Retired if pinned => {}
                PhaseName::Retired if !self.shared.hand_over.is_closed() => {
                    return Poll::Ready(Http1End::Idle);
                }
                PhaseName::Retired => {}
                PhaseName::Draining | PhaseName::Over => {
                    self.leaving_since = self.leaving_since.or_else(|| Some(Instant::now()));
                }
            }
        }
        // hyper releases a response with its last bytes, which may take long to reach the client.
        let busy = conn.requests.busy() > 0 || conn.socket.unflushed.get();
        if !busy && conn.socket.half_closed.get() {
            return Poll::Ready(Http1End::Quit); // everything is sent, and nothing more arrives
        }
        match self.deadline(busy) {
            Some((deadline, end)) if timer.poll(cx, deadline) => Poll::Ready(end),
            _ => Poll::Pending,
        }
    }

    /// The next deadline, and what it ends.
    fn deadline(&mut self, busy: bool) -> Option<(Instant, Http1End)> {
        let (conn, limits) = (self.conn, &self.shared.limits);
        let mut next: Option<(Instant, Http1End)> = None;
        let mut at = |time: Instant, end: Http1End| {
            if next.as_ref().is_none_or(|(sooner, _)| time < *sooner) {
                next = Some((time, end));
            }
        };
        let socket = &conn.socket;
        let written = socket.written.get();
        if let Some(since) = since(&mut self.stalled, socket.blocked.get(), written) {
            at(since + limits.write_stall, Http1End::Stalled);
        }
        let half_closed = busy && socket.half_closed.get();
        if let Some(since) = since(&mut self.half_closed, half_closed, written) {
            at(since + limits.half_close, Http1End::Quit);
        }
        if let Some(drain) = &self.drain {
            at(drain.until(), Http1End::Undrained);
        } else if !busy && !conn.http1.body_open.get() {
            let served = conn.requests.served();
            if served != self.served {
                (self.served, self.head_since) = (served, None);
                let now = clock::now();
                conn.rests_since(now);
                self.idle_since = now.into();
            }
            if socket.has_head() {
                let since = *self.head_since.get_or_insert_with(Instant::now);
                at(since + limits.head_time, Http1End::LateHead);
            } else if let Some(since) = self.leaving_since {
                at(since + LEAVE_TIME, Http1End::Quit);
            } else {
                let nap = nap_time(self.shared.load.connections.load(Relaxed));
                at(self.idle_since + nap.min(limits.idle_time), Http1End::Nap);
            }
        }
        next
    }
}
