//! The tasks of HTTP/2 streams.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::server::throughput::{Timer, since};

/// The messages of a response body to the task of its HTTP/2 stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SendProgress {
    /// A frame was passed on and the next one has not been asked for: the client takes nothing.
    pub(super) waits: bool,
    /// Frames passed on so far.
    pub(super) frames: u64,
}

thread_local! {
    /// The progress of the stream that is being polled.
    pub(super) static SEND_PROGRESS: Cell<SendProgress> = const { Cell::new(SendProgress { waits: false, frames: 0 }) };
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
