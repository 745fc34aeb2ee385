//! One HTTP/2 connection, and the tasks of its streams.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::clock::{self, FrozenClock};
use super::conn_state::{OpenCount, Socket};
use super::exchange::{Exchange, SEND_PROGRESS, SendProgress};
use super::stream::Stream;
use super::wait::{LINGER_TIME, Timer, since};
use crate::server::accept::Stage;
use crate::server::gate::ConnInfo;

/// Longest wait for the client's reply to our GOAWAY.
const GOODBYE_TIME: Duration = Duration::from_secs(10);

/// The same if the server is full and other clients wait.
const EVICTION_TIME: Duration = Duration::from_millis(50);

/// Serves it to its end. If it is idle for long or retired, the client is sent GOAWAY, and the streams that
/// have begun are finished.
pub(super) async fn serve(stream: Stream, before: Bytes, open: OpenCount, info: ConnInfo, mut timer: Timer) {
    let conn = open.conn.clone();
    let shared = &conn.shared;
    conn.multiplexed.store(true, Relaxed);
    let exchange = Exchange::new(conn.clone(), info);
    let io = TokioIo::new(Socket::new(stream, before, open));
    let mut connection = pin!(shared.h2.serve_connection(io, exchange));
    let mut served = 0;
    let mut idle_since = Instant::now();
    let mut told = false;
    let (mut stalled, mut slow, mut shut, mut parting) = (None, None, None, None);
    let (mut evicted, mut evicting) = (false, None);
    let (mut waker, mut gave_way) = (None, false);
    poll_fn(|cx| {
        conn.task.register(cx, &mut waker);
        // Usually a response woke this task, and others follow closely. Streams that are ready are polled
        // first, and one write takes all their output.
        gave_way = !gave_way && conn.busy.load(Relaxed) > 0;
        if gave_way {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let _still = FrozenClock::new();
        loop {
            if connection.as_mut().poll(cx).is_ready() || conn.is_aborted() {
                return Poll::Ready(());
            }
            let now_served = conn.served.load(Relaxed);
            if now_served != served {
                let now = clock::now();
                conn.rests_since(now);
                (served, idle_since) = (now_served, now.into());
            }
            let idle = conn.busy.load(Relaxed) == 0;
            let written = conn.written.load(Relaxed);
            let blocked = since(&mut stalled, conn.blocked.load(Relaxed), written);
            let stalls = blocked.map(|since| since + shared.limits.write_stall);
            // What h2 has taken of the last responses may take long to reach the client.
            let parted = since(&mut parting, told && idle, written).map(|since| since + GOODBYE_TIME);
            let deadline = match (told, idle) {
                (false, true) => Some(idle_since + shared.limits.idle_time),
                _ => parted,
            };
            let head = since(&mut slow, conn.within.load(Relaxed), conn.whole.load(Relaxed));
            let heads = head.map(|since| since + shared.limits.head_time);
            let lingers = since(&mut shut, conn.shut.load(Relaxed), 0).map(|since| since + LINGER_TIME);
            evicted |= conn.is_evicted() && idle;
            if !evicted {
                conn.stay(); // a request arrived in the meantime
            }
            let leaves = evicted && idle && !conn.blocked.load(Relaxed);
            let evictions = since(&mut evicting, leaves, written).map(|since| since + EVICTION_TIME);
            let sooner = [deadline, stalls, heads, lingers, evictions].into_iter().flatten().min();
            let late = sooner.is_some_and(|sooner| timer.poll(cx, sooner));
            if late && sooner == stalls {
                conn.cut.store(true, Relaxed);
                let _ = connection.as_mut().poll(cx); // the socket makes it end
                return Poll::Ready(());
            }
            if late && sooner == heads {
                connection.as_mut().graceful_shutdown();
                let _ = connection.as_mut().poll(cx); // sends GOAWAY if the socket takes it
                return Poll::Ready(());
            }
            if late && (told || sooner == lingers || sooner == evictions) {
                return Poll::Ready(());
            }
            if !told && (late || evicted || shared.stage() > Stage::Serving) {
                // GOAWAY: streams that have begun are finished; new ones need another connection.
                connection.as_mut().graceful_shutdown();
                conn.closing.store(true, Relaxed);
                told = true;
                continue;
            }
            return Poll::Pending;
        }
    })
    .await;
}

/// Spawns the streams of HTTP/2, and ends a stream whose client takes nothing: only the stream's task notices
/// this, the socket does not.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) stall: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let taking = SendProgress::default();
        tokio::spawn(Streaming { stream, taking, last: None, stall: self.stall, timer: Timer::default() });
    }
}

pin_project_lite::pin_project! {
    /// One stream in its own task. Written by hand, because an `async` block would reserve room for the
    /// stream twice.
    struct Streaming<F> {
        #[pin]
        stream: F,
        taking: SendProgress,
        // Since when the client has taken nothing, and how many frames it took before.
        last: Option<(u64, Instant)>,
        stall: Duration,
        timer: Timer,
    }
}

impl<F: Future> Future for Streaming<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        SEND_PROGRESS.set(*this.taking);
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        *this.taking = SEND_PROGRESS.get();
        match since(this.last, this.taking.waits, this.taking.frames) {
            Some(since) if this.timer.poll(cx, since + *this.stall) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}
