//! One connection, from its first byte to its end or its hand-over.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::arrive::{Arrived, arrive};
use super::conn_state::OpenCount;
use super::hand_over::{IdleConn, hand_over};
use super::refused::{HEAD_TOO_SLOW, refuse};
use super::stream::{HttpStream, Speaks};
use super::wait::LEAVE_TIME;
use super::{http1, http2};
use crate::server::accept::ListenerId;
use crate::server::control::PhaseName;
use crate::server::gate::ConnInfo;
use crate::server::stream::SocketStream;
use crate::server::throughput::Timer;

/// The first bytes of an HTTP/2 client, RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a new connection.
pub(super) async fn begin(stream: SocketStream, open: OpenCount, place: ListenerId) {
    let Some(Arrived { stream, read, info, speaks }) = arrive(stream, &open, &place).await else { return };
    serve(stream, read, open, place, info, speaks).await;
}

/// Serves one connection; `before` are the bytes that were already read from it.
pub(super) async fn serve(
    stream: HttpStream,
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
            First::Http1 => http1::serve(rest, &place, &info, &mut timer).await,
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
        if conn.aborted.get() {
            return Poll::Ready(First::Closed);
        }
        if conn.evicted.get() {
            if !read.is_empty() || !stream.has_unread() {
                return Poll::Ready(First::Closed);
            }
            conn.stay();
        }
        match shared.stage() {
            PhaseName::Serving => {}
            PhaseName::Retired if conn.pinned.get() => conn.close_next.set(true),
            PhaseName::Retired if !shared.hand_over.is_closed() => return Poll::Ready(First::Idle),
            PhaseName::Retired => {}
            PhaseName::Draining | PhaseName::Over => {
                leaving_since = leaving_since.or_else(|| Some(Instant::now()))
            }
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
