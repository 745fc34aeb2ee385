//! A request's body between the connection that reads it and the application that consumes it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};

use crate::error::BoxError;
use crate::server::throughput::{BodyError, BodyOutcome, Throughput, ThroughputClock, TooSlow};

/// Most bytes that are read before the application consumes them.
const ROOM_BYTES: usize = 256 * 1024;

/// The buffer between the two.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    /// The application's task.
    wanting: AtomicWaker,
    /// The connection's task.
    pub(super) reading: AtomicWaker,
    fate: BodyOutcome,
}

#[derive(Default)]
struct InboxState {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
    /// The application needs no more.
    unwanted: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock()
    }

    /// Bytes that the application has not consumed.
    pub(super) fn waiting(&self) -> usize {
        self.lock().bytes
    }

    /// Whether the connection may read more.
    pub(super) fn has_room(&self) -> bool {
        self.lock().bytes < ROOM_BYTES
    }

    /// Bytes arrived.
    pub(super) fn push(&self, data: Bytes) {
        let mut state = self.lock();
        if !state.unwanted && !data.is_empty() {
            state.bytes += data.len();
            state.chunks.push_back(data);
            drop(state);
            self.wanting.wake();
        }
    }

    /// The body is complete.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.wanting.wake();
    }

    /// The body will not be completed.
    pub(super) fn fail(&self) {
        if !self.lock().ended {
            self.fate.set(BodyError::Broken);
            self.wanting.wake();
        }
    }

    pub(super) fn fault(&self) -> BodyError {
        self.fate.fault()
    }
}

/// The body that the application gets.
pub(super) struct GatewayBody {
    inbox: Arc<Inbox>,
    clock: ThroughputClock,
    /// Bytes that are still to come, if known.
    left: Option<u64>,
    over: bool,
}

impl GatewayBody {
    /// Call it within the server's runtime.
    pub(super) fn new(inbox: Arc<Inbox>, pace: Throughput, left: Option<u64>) -> GatewayBody {
        GatewayBody { inbox, clock: ThroughputClock::new(pace), left, over: false }
    }
}

impl http_body::Body for GatewayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        this.inbox.wanting.register(cx.waker());
        let mut state = this.inbox.lock();
        if let Some(data) = state.chunks.pop_front() {
            let was_full = state.bytes >= ROOM_BYTES;
            state.bytes -= data.len();
            drop(state);
            if was_full {
                this.inbox.reading.wake();
            }
            this.clock.arrived(data.len());
            this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if state.ended {
            this.over = true;
            return Poll::Ready(None);
        }
        drop(state);
        if this.inbox.fault() == BodyError::None {
            ready!(this.clock.wait(cx));
            this.inbox.fate.set(BodyError::Slow);
        }
        this.over = true;
        Poll::Ready(Some(Err(match this.inbox.fault() {
            BodyError::Slow => TooSlow.into(),
            _ => io::Error::new(io::ErrorKind::UnexpectedEof, "the request's body is incomplete").into(),
        })))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.inbox.lock();
        self.over || (state.ended && state.chunks.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for GatewayBody {
    fn drop(&mut self) {
        let mut state = self.inbox.lock();
        state.unwanted = true;
        state.chunks.clear();
        state.bytes = 0;
        drop(state);
        self.inbox.reading.wake();
    }
}
