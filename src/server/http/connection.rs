//! One connection, from its first byte to its end or its hand-over.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::arrive::{Arrived, Speaks, arrive};
use super::clock::{self, FrozenClock};
use super::conn_state::{ConnState, OpenCount, Socket};
use super::exchange::Exchange;
use super::http2;
use super::refused::{HEAD_TOO_SLOW, of_hyper, refuse, unread};
use super::request_body::Drain;
use super::shared::Shared;
use super::stream::Stream;
use super::wait::{Timer, has_more, linger, since};
use crate::server::accept::{HandedOver, ListenerId, Stage};
use crate::server::control::Idle;
use crate::server::eviction::IdleKind;
use crate::server::gate::ConnInfo;

/// What an HTTP/2 client sends first, RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that is idle for this long gives its buffers back: of about 18 KiB, 3 KiB remain. The more
/// connections there are, the shorter the time, because the allocator would keep what all of them used at
/// once.
fn nap_time(connections: usize) -> Duration {
    Duration::from_millis(2000 * 256 / connections.max(256) as u64).max(Duration::from_millis(20))
}

/// An idle connection stays open this long after its server retires: a request that is already on its way is
/// answered, with `Connection: close`, instead of meeting a closed socket.
const LEAVE_TIME: Duration = Duration::from_millis(500);

/// A connection between two requests, without any state of hyper.
struct IdleConn {
    stream: Stream,
    /// Bytes of the next request that were already read.
    read: BytesMut,
    open: OpenCount,
    idle_since: Instant,
    /// It has used HTTP/1 and cannot change to HTTP/2.
    is_http1: bool,
}

/// Serves a new connection.
pub(super) async fn begin(stream: Stream, open: OpenCount, place: ListenerId) {
    let Some(Arrived { stream, read, info, speaks }) = arrive(stream, &open, &place).await else { return };
    serve(stream, read, open, place, info, speaks).await;
}

/// Serves one connection; `before` are the bytes that were already read from it.
pub(super) async fn serve(
    stream: Stream,
    before: Bytes,
    open: OpenCount,
    place: ListenerId,
    info: ConnInfo,
    speaks: Speaks,
) {
    let mut timer = Timer::default();
    let idle_since = Instant::now();
    let is_http1 = speaks == Speaks::Http1;
    let mut rest = IdleConn { stream, read: before.into(), open, idle_since, is_http1 };
    loop {
        let next = match first_bytes(&mut rest, &mut timer).await {
            // It negotiated HTTP/2 but does not use it: RFC 9113 section 3.4.
            First::Http1 if speaks == Speaks::Http2 => return,
            First::Http1 => http1(rest, &place, &info, &mut timer).await,
            First::Http2 => {
                return http2::serve(rest.stream, rest.read.freeze(), rest.open, info, timer).await;
            }
            First::Idle => hand_over(rest, &place, &info).await,
            First::Late if !rest.read.is_empty() => {
                return refuse(rest.stream, &rest.open.conn, &info, HEAD_TOO_SLOW, &rest.read).await;
            }
            First::Late | First::Closed => {
                rest.stream.say_goodbye();
                return;
            }
        };
        let Some(next) = next else { return };
        rest = next;
    }
}

enum First {
    Http1,
    Http2,
    /// The bytes decide nothing yet, and the generation is retired.
    Idle,
    Late,
    Closed,
}

/// Waits for the first byte of an HTTP/1 connection. On a new connection, reads until the bytes are the
/// HTTP/2 preface or cannot become it.
async fn first_bytes(rest: &mut IdleConn, timer: &mut Timer) -> First {
    let IdleConn { stream, read, open, idle_since, is_http1 } = rest;
    let (shared, conn) = (&open.conn.shared, &open.conn);
    let mut waker = None;
    let (mut head_since, mut leaving_since) = (None, None);
    poll_fn(|cx| {
        conn.task.register(cx, &mut waker);
        loop {
            if *is_http1 && !read.is_empty() {
                return Poll::Ready(First::Http1);
            }
            if read.len() >= PREFACE.len() || !PREFACE.starts_with(read) {
                let is_preface = read.starts_with(PREFACE);
                return Poll::Ready(if is_preface { First::Http2 } else { First::Http1 });
            }
            let mut space = [0; 2048];
            let mut space = ReadBuf::new(&mut space);
            match Pin::new(&mut *stream).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) if !space.filled().is_empty() => read.extend_from_slice(space.filled()),
                Poll::Ready(Ok(())) if !read.is_empty() => return Poll::Ready(First::Http1),
                Poll::Ready(_) => return Poll::Ready(First::Closed),
                Poll::Pending => break,
            }
        }
        if conn.is_aborted() {
            return Poll::Ready(First::Closed);
        }
        if conn.is_evicted() {
            if !read.is_empty() || !stream.has_unread() {
                return Poll::Ready(First::Closed);
            }
            conn.stay();
        }
        match shared.stage() {
            Stage::Serving => {}
            Stage::Retired if conn.pinned.load(Relaxed) => conn.close_next.store(true, Relaxed),
            Stage::Retired if !shared.hand_over.is_closed() => return Poll::Ready(First::Idle),
            Stage::Retired => {}
            Stage::Draining | Stage::Over => leaving_since = leaving_since.or_else(|| Some(Instant::now())),
        }
        let deadline = match read.is_empty() {
            true => {
                let idle = *idle_since + shared.limits.idle_time;
                leaving_since.map_or(idle, |since| idle.min(since + LEAVE_TIME))
            }
            false => *head_since.get_or_insert_with(Instant::now) + shared.limits.head_time,
        };
        if timer.poll(cx, deadline) { Poll::Ready(First::Late) } else { Poll::Pending }
    })
    .await
}

/// Passes an idle connection to the next generation, or returns it if no generation takes it.
async fn hand_over(rest: IdleConn, place: &ListenerId, info: &ConnInfo) -> Option<IdleConn> {
    let IdleConn { stream, read, open, idle_since, is_http1 } = rest;
    let idle = |socket, server| Idle {
        server,
        listener: place.index,
        socket,
        read: read.freeze(),
        peer: info.peer,
        secure: info.secure,
    };
    let HandedOver { stream, read, .. } = open.conn.shared.pass_on(stream.into_fd(), idle).await?;
    open.conn.close_next.store(true, Relaxed);
    Some(IdleConn { stream: stream.into(), read: read.into(), open, idle_since, is_http1 })
}

/// Why the driving of an HTTP/1 connection stopped.
enum End {
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
    /// The rest of a body that the app left unread does not arrive; the response goes on.
    Undrained,
    /// The client takes nothing.
    Stalled,
    /// Idle for long, gone, finished, or past the time limit.
    Quit,
}

/// Serves HTTP/1 until the connection ends or has been idle for a while.
async fn http1(rest: IdleConn, place: &ListenerId, info: &ConnInfo, timer: &mut Timer) -> Option<IdleConn> {
    let IdleConn { stream, read, open, .. } = rest;
    let conn = open.conn.clone();
    let shared = &conn.shared;
    if conn.pinned.load(Relaxed) && shared.stage() == Stage::Retired {
        conn.close_next.store(true, Relaxed); // it may have been idle when that was announced
    }
    let exchange = Exchange::new(conn.clone(), info.clone());
    let io = TokioIo::new(Socket::new(stream, read.freeze(), open));
    let mut connection = shared.h1.serve_connection(io, exchange).with_upgrades();
    let mut watch = Watch::new(shared, &conn);
    let mut waker = None;
    let end = poll_fn(|cx| {
        conn.task.register(cx, &mut waker);
        let _still = FrozenClock::new();
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(End::Closed(result.err()));
            }
            if watch.drain(cx) {
                continue;
            }
            match watch.poll(cx, timer) {
                Poll::Ready(End::Undrained) => {} // the next poll gives up
                other => return other,
            }
        }
    })
    .await;
    let idle_since = watch.idle_since;
    let parts = connection.into_parts()?; // `None`: upgraded
    let mut socket = parts.io.into_inner();
    match end {
        End::Closed(Some(error)) if socket.refused => {
            let read = unread(&parts.read_buf, &socket.before);
            let rejection = of_hyper(&error, &read, &conn);
            refuse(socket.stream, &conn, info, rejection, &read).await;
            None
        }
        End::Closed(failed) => {
            let doubtful = failed.is_some() || conn.body_open.load(Relaxed);
            if !socket.ended && (doubtful || has_more(&mut socket.stream)) {
                linger(socket.stream, &conn).await;
            }
            None
        }
        End::Evicted(IdleKind::Head) => {
            let read = unread(&parts.read_buf, &socket.before);
            refuse(socket.stream, &conn, info, HEAD_TOO_SLOW, &read).await; // no lingering: it was evicted
            None
        }
        End::Evicted(_) if !socket.stream.has_unread() => {
            socket.stream.say_goodbye();
            None
        }
        End::Idle | End::Nap | End::Evicted(_) => {
            conn.stay();
            conn.forget_head();
            // A copy, because even an empty slice would keep hyper's whole buffer alive.
            let read = [parts.read_buf, socket.before].concat().as_slice().into();
            let rest =
                IdleConn { stream: socket.stream, read, open: socket.open, idle_since, is_http1: true };
            match end {
                End::Idle => hand_over(rest, place, info).await,
                _ => Some(rest),
            }
        }
        End::LateHead => {
            let read = unread(&parts.read_buf, &socket.before);
            refuse(socket.stream, &conn, info, HEAD_TOO_SLOW, &read).await;
            None
        }
        End::Stalled => {
            socket.stream.reset_on_close();
            None
        }
        End::Quit | End::Undrained => {
            socket.stream.say_goodbye();
            None
        }
    }
}

/// What is checked each time an HTTP/1 connection has nothing to do: phase, drain and deadlines.
struct Watch<'a> {
    shared: &'a Shared,
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

impl<'a> Watch<'a> {
    fn new(shared: &'a Shared, conn: &'a ConnState) -> Watch<'a> {
        Watch {
            shared,
            conn,
            drain: None,
            served: conn.served.load(Relaxed),
            idle_since: Instant::now(),
            head_since: None,
            stalled: None,
            half_closed: None,
            leaving_since: None,
        }
    }

    /// Reads what the app left of a body. `true`: poll hyper again.
    fn drain(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.conn.body_open.load(Relaxed) {
            return false; // no body was left unread
        }
        if let Some(body) = self.conn.take_leftover() {
            self.drain = Some(Drain::new(body));
        }
        let Some(drain) = &mut self.drain else { return false };
        let ended = match drain.poll(cx) {
            Poll::Ready(ended) => ended,
            Poll::Pending if drain.until() <= Instant::now() => false,
            Poll::Pending => return false,
        };
        // If it is dropped before its end, hyper closes the connection after the response.
        self.drain = None;
        if ended {
            self.conn.body_open.store(false, Relaxed);
        }
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<End> {
        let (conn, limits) = (self.conn, &self.shared.limits);
        if conn.is_aborted() {
            return Poll::Ready(End::Quit);
        }
        if conn.is_evicted() {
            match conn.idle_kind() {
                Some(kind) => return Poll::Ready(End::Evicted(kind)),
                None => conn.stay(),
            }
        }
        let pinned = conn.pinned.load(Relaxed);
        if pinned && self.shared.stage() == Stage::Retired {
            conn.close_next.store(true, Relaxed);
        }
        if conn.is_idle() {
            match self.shared.stage() {
                Stage::Serving => {}
                Stage::Retired if pinned => {}
                Stage::Retired if !self.shared.hand_over.is_closed() => return Poll::Ready(End::Idle),
                Stage::Retired => {}
                Stage::Draining | Stage::Over => {
                    self.leaving_since = self.leaving_since.or_else(|| Some(Instant::now()));
                }
            }
        }
        // hyper releases a response with its last bytes, which may take long to reach the client.
        let busy = conn.busy.load(Relaxed) > 0 || !conn.flushed.load(Relaxed);
        if !busy && conn.half_closed.load(Relaxed) {
            return Poll::Ready(End::Quit); // everything is sent, and nothing more arrives
        }
        let mut deadline = None;
        let mut end = End::Quit;
        let mut at = |time: Instant, then: End| {
            if deadline.is_none_or(|sooner| time < sooner) {
                (deadline, end) = (Some(time), then);
            }
        };
        let written = conn.written.load(Relaxed);
        if let Some(since) = since(&mut self.stalled, conn.blocked.load(Relaxed), written) {
            at(since + limits.write_stall, End::Stalled);
        }
        let half_closed = busy && conn.half_closed.load(Relaxed);
        if let Some(since) = since(&mut self.half_closed, half_closed, written) {
            at(since + limits.half_close, End::Quit);
        }
        if let Some(drain) = &self.drain {
            at(drain.until(), End::Undrained);
        } else if !busy && !conn.body_open.load(Relaxed) {
            let served = conn.served.load(Relaxed);
            if served != self.served {
                (self.served, self.head_since) = (served, None);
                let now = clock::now();
                conn.rests_since(now);
                self.idle_since = now.into();
            }
            if conn.head_bytes.load(Relaxed) > 0 {
                let since = *self.head_since.get_or_insert_with(Instant::now);
                at(since + limits.head_time, End::LateHead);
            } else if let Some(since) = self.leaving_since {
                at(since + LEAVE_TIME, End::Quit);
            } else {
                let nap = nap_time(self.shared.load.connections.load(Relaxed));
                at(self.idle_since + nap.min(limits.idle_time), End::Nap);
            }
        }
        match deadline {
            Some(deadline) if timer.poll(cx, deadline) => Poll::Ready(end),
            _ => Poll::Pending,
        }
    }
}
