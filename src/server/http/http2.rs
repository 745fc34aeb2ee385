//! One HTTP/2 connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::clock::{self, FrozenClock};
use super::conn_state::{ConnState, OpenCount};
use super::exchange::HttpExchange;
use super::socket::HttpSocket;
use super::stream::HttpStream;
use super::wait::LINGER_TIME;
use crate::server::control::PhaseName;
use crate::server::gate::ConnInfo;
use crate::server::throughput::{Timer, since};

/// Longest wait for the client's reply to our GOAWAY.
const GOODBYE_TIME: Duration = Duration::from_secs(10);

/// The same if the server is full and other clients wait.
const EVICTION_TIME: Duration = Duration::from_millis(50);

/// Serves it to its end. If it is idle for long or retired, the client is sent GOAWAY, and the streams that
/// have begun are finished.
pub(super) async fn serve(
    stream: HttpStream,
    before: Bytes,
    open: OpenCount,
    info: ConnInfo,
    mut timer: Timer,
) {
    let conn = open.conn.clone();
    conn.http2.active.set(true);
    let exchange = HttpExchange::new(conn.clone(), info);
    let io = TokioIo::new(HttpSocket::new(stream, before, open));
    let mut connection = pin!(conn.shared.h2.serve_connection(io, exchange));
    let mut watch = Http2Watch::new();
    let (mut waker, mut gave_way) = (None, false);
    poll_fn(|cx| {
        conn.task.register(cx, &mut waker);
        // Usually a response woke this task, and others follow closely. Streams that are ready are polled
        // first, and one write takes all their output.
        gave_way = !gave_way && conn.requests.busy() > 0;
        if gave_way {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let _still = FrozenClock::new();
        loop {
            if connection.as_mut().poll(cx).is_ready() || conn.aborted.get() {
                return Poll::Ready(());
            }
            match watch.poll(&conn, cx, &mut timer) {
                Http2Step::Wait => return Poll::Pending,
                Http2Step::End => return Poll::Ready(()),
                Http2Step::Cut => conn.http2.cut.set(true),
                Http2Step::LateHead => connection.as_mut().graceful_shutdown(),
                Http2Step::GoAway => {
                    connection.as_mut().graceful_shutdown();
                    conn.http2.closing.set(true);
                    continue;
                }
            }
            // The socket makes it end, or sends GOAWAY if it takes that.
            let _ = connection.as_mut().poll(cx);
            return Poll::Ready(());
        }
    })
    .await;
}

/// The next step for a connection that has nothing to do.
enum Http2Step {
    Wait,
    /// The client takes nothing: the socket is reset.
    Cut,
    /// A head did not arrive in time.
    LateHead,
    /// The client is sent GOAWAY: streams that have begun are finished; new ones need another connection.
    GoAway,
    End,
}

/// The checks each time an HTTP/2 connection has nothing to do: phase and deadlines.
struct Http2Watch {
    served: usize,
    idle_since: Instant,
    evicted: bool,
    stalled: Option<(u64, Instant)>,
    slow: Option<(u64, Instant)>,
    shut: Option<(u64, Instant)>,
    parting: Option<(u64, Instant)>,
    evicting: Option<(u64, Instant)>,
}

impl Http2Watch {
    fn new() -> Http2Watch {
        Http2Watch {
            served: 0,
            idle_since: Instant::now(),
            evicted: false,
            stalled: None,
            slow: None,
            shut: None,
            parting: None,
            evicting: None,
        }
    }

    fn poll(&mut self, conn: &ConnState, cx: &mut Context<'_>, timer: &mut Timer) -> Http2Step {
        let (limits, socket) = (&conn.shared.limits, &conn.socket);
        let served = conn.requests.served();
        if served != self.served {
            let now = clock::now();
            conn.rests_since(now);
            (self.served, self.idle_since) = (served, now.into());
        }
        let (told, idle) = (conn.http2.closing.get(), conn.requests.busy() == 0);
        let (blocked, written) = (socket.blocked.get(), socket.written.get());
        let stalls = since(&mut self.stalled, blocked, written).map(|since| since + limits.write_stall);
        // What h2 has taken of the last responses may take long to reach the client.
        let parted = since(&mut self.parting, told && idle, written).map(|since| since + GOODBYE_TIME);
        let leaves = match (told, idle) {
            (false, true) => Some(self.idle_since + limits.idle_time),
            _ => parted,
        };
        let heads = since(&mut self.slow, socket.within.get(), socket.whole.get());
        let heads = heads.map(|since| since + limits.head_time);
        let lingers = since(&mut self.shut, socket.shut.get(), 0).map(|since| since + LINGER_TIME);
        self.evicted |= conn.evicted.get() && idle;
        if !self.evicted {
            conn.stay(); // a request arrived in the meantime
        }
        let evicted = since(&mut self.evicting, self.evicted && idle && !blocked, written);
        let evictions = evicted.map(|since| since + EVICTION_TIME);
        let sooner = [leaves, stalls, heads, lingers, evictions].into_iter().flatten().min();
        let late = sooner.is_some_and(|sooner| timer.poll(cx, sooner));
        match late {
            true if sooner == stalls => Http2Step::Cut,
            true if sooner == heads => Http2Step::LateHead,
            true if told || sooner == lingers || sooner == evictions => Http2Step::End,
            _ if !told && (late || self.evicted || conn.shared.stage() > PhaseName::Serving) => {
                Http2Step::GoAway
            }
            _ => Http2Step::Wait,
        }
    }
}
