//! One connection that speaks HTTP/2, and the tasks of its streams.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::clock::{self, Still};
use super::exchange::{Exchange, TAKING, Taking};
use super::link::{Open, Socket};
use super::stream::Stream;
use super::wait::{LINGER_TIME, Timer, since};
use crate::server::gate::Wire;
use crate::server::hall::Stage;

/// Longest wait for the client's word that it has heard our GOAWAY.
const GOODBYE_TIME: Duration = Duration::from_secs(10);

/// The same where the server is full and others wait.
const EVICTION_TIME: Duration = Duration::from_millis(50);

/// Serves it to its end: when idle for long or retired it is told to go, and finishes the streams that have begun.
pub(super) async fn serve(stream: Stream, before: Bytes, open: Open, wire: Wire, mut timer: Timer) {
    let link = open.link.clone();
    let shared = &link.shared;
    link.multiplexed.store(true, Relaxed);
    let exchange = Exchange::new(link.clone(), wire);
    let io = TokioIo::new(Socket::new(stream, before, open));
    let mut connection = pin!(shared.h2.serve_connection(io, exchange));
    let mut served = 0;
    let mut idle_since = Instant::now();
    let mut told = false;
    let (mut stalled, mut slow, mut shut, mut parting) = (None, None, None, None);
    let (mut evicted, mut evicting) = (false, None);
    let (mut bell, mut gave_way) = (None, false);
    poll_fn(|cx| {
        link.task.hang(cx, &mut bell);
        // What woke this is as a rule an answer, with others close behind: streams that are ready have their turn first,
        // and one write takes what they have.
        gave_way = !gave_way && link.busy.load(Relaxed) > 0;
        if gave_way {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let _still = Still::new();
        loop {
            if connection.as_mut().poll(cx).is_ready() || link.is_aborted() {
                return Poll::Ready(());
            }
            let now_served = link.served.load(Relaxed);
            if now_served != served {
                let now = clock::now();
                link.rests_since(now);
                (served, idle_since) = (now_served, now.into());
            }
            let idle = link.busy.load(Relaxed) == 0;
            let written = link.written.load(Relaxed);
            let blocked = since(&mut stalled, link.blocked.load(Relaxed), written);
            let stalls = blocked.map(|since| since + shared.limits.write_stall);
            // What h2 has taken of the last answers may be long on its way to the client.
            let parted = since(&mut parting, told && idle, written).map(|since| since + GOODBYE_TIME);
            let deadline = match (told, idle) {
                (false, true) => Some(idle_since + shared.limits.idle_time),
                _ => parted,
            };
            let head = since(&mut slow, link.within.load(Relaxed), link.whole.load(Relaxed));
            let heads = head.map(|since| since + shared.limits.head_time);
            let lingers = since(&mut shut, link.shut.load(Relaxed), 0).map(|since| since + LINGER_TIME);
            evicted |= link.is_evicted() && idle;
            if !evicted {
                link.stay(); // a request has come meanwhile
            }
            let leaves = evicted && idle && !link.blocked.load(Relaxed);
            let evictions = since(&mut evicting, leaves, written).map(|since| since + EVICTION_TIME);
            let sooner = [deadline, stalls, heads, lingers, evictions].into_iter().flatten().min();
            let late = sooner.is_some_and(|sooner| timer.poll(cx, sooner));
            if late && sooner == stalls {
                link.cut.store(true, Relaxed);
                let _ = connection.as_mut().poll(cx); // it meets its end at the socket
                return Poll::Ready(());
            }
            if late && sooner == heads {
                connection.as_mut().graceful_shutdown();
                let _ = connection.as_mut().poll(cx); // GOAWAY, as far as the socket takes it
                return Poll::Ready(());
            }
            if late && (told || sooner == lingers || sooner == evictions) {
                return Poll::Ready(());
            }
            if !told && (late || evicted || shared.stage() > Stage::Serving) {
                // GOAWAY: streams that have begun are finished, new ones go to another connection.
                connection.as_mut().graceful_shutdown();
                link.leaving.store(true, Relaxed);
                told = true;
                continue;
            }
            return Poll::Pending;
        }
    })
    .await;
}

/// Spawns the streams of HTTP/2, and ends one whose client takes nothing: its own task sees what no socket shows.
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
        let taking = Taking::default();
        tokio::spawn(Streaming { stream, taking, last: None, stall: self.stall, timer: Timer::default() });
    }
}

pin_project_lite::pin_project! {
    /// One stream, in a task of its own. Written out, as an `async` block would have room for the stream twice.
    struct Streaming<F> {
        #[pin]
        stream: F,
        taking: Taking,
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
        TAKING.set(*this.taking);
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        *this.taking = TAKING.get();
        match since(this.last, this.taking.waits, this.taking.frames) {
            Some(since) if this.timer.poll(cx, since + *this.stall) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}
