//! The state shared by the parts of one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Instant;

use hyper::body::Incoming;
use parking_lot::Mutex;

use super::relaxed::{Flag, Number};
use super::shared::HttpShared;
use super::socket_state::SocketState;

/// State that the driver, the socket and the requests of one connection share.
pub(super) struct ConnState {
    pub(super) shared: Arc<HttpShared>,
    /// When this process took the connection.
    pub(super) opened: Instant,
    /// When it was accepted; `None` if another generation accepted it.
    pub(super) accepted: Option<Instant>,
    pub(super) requests: RequestState,
    pub(super) http1: Http1State,
    pub(super) http2: Http2State,
    pub(super) socket: SocketState,
    /// TLS: the connection cannot be handed over, and ends with the next response after its generation
    /// retires. Written by `arrive`.
    pub(super) pinned: Flag,
    /// The next response ends the connection. Any part may set it; it stays set.
    pub(super) close_next: Flag,
    /// Everything is sent; only the client's end of stream is awaited. Written by `wait`.
    pub(super) ending: Flag,
    /// The time limit has passed: the socket returns errors. Written by `idle`.
    pub(super) aborted: Flag,
    /// The server is full: the connection should end if it is idle. Written by `idle`.
    pub(super) evicted: Flag,
    /// Microseconds from `opened` to the end of the last response. Written by `idle`.
    pub(super) rests_after_us: Number,
    /// The task that drives the connection.
    pub(super) task: WakerSlot,
}

/// The requests of a connection. Written by `exchange`.
#[derive(Default)]
pub(super) struct RequestState {
    /// Requests whose response has not ended; see [`ConnState::enter`].
    busy: AtomicUsize,
    /// Requests whose response has ended.
    served: AtomicUsize,
    /// The connection was or is being passed to the application (101).
    pub(super) upgraded: Flag,
    /// A response body has ended like one of hyper's own responses, so that the two can no longer be distinguished.
    pub(super) lookalike: Flag,
}

/// HTTP/1: the body of the current request. Written by `request_body`.
#[derive(Default)]
pub(super) struct Http1State {
    /// It has not been read to its end.
    pub(super) body_open: Flag,
    /// It, if the application dropped it before its end.
    leftover: Mutex<Option<Incoming>>,
}

/// HTTP/2. Written by `http2`.
#[derive(Default)]
pub(super) struct Http2State {
    /// The connection uses HTTP/2: several requests at once, and no hand-over.
    pub(super) active: Flag,
    /// The client was sent GOAWAY.
    pub(super) closing: Flag,
    /// The socket is to be reset, so that the kernel keeps nothing for a client that reads nothing.
    pub(super) cut: Flag,
}

/// Wakes a task. Unlike an [`AtomicWaker`](futures_util::task::AtomicWaker), it keeps its waker after a wake
/// and replaces it only when the task has another one, so that each poll costs one comparison.
#[derive(Default)]
pub(super) struct WakerSlot(Mutex<Option<Waker>>);

impl WakerSlot {
    /// Makes it wake this task from now on; `known` is the waker that the task registered before.
    pub(super) fn register(&self, cx: &Context<'_>, known: &mut Option<Waker>) {
        if known.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *self.0.lock() = Some(cx.waker().clone());
            *known = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        let waker = self.0.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl RequestState {
    /// Number of requests whose response has not ended.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Relaxed)
    }

    /// Number of requests whose response has ended.
    pub(super) fn served(&self) -> usize {
        self.served.load(Relaxed)
    }
}

impl Http1State {
    /// Keeps the rest of a body that the application does not read, for the driver to drain.
    pub(super) fn leave_body(&self, body: Incoming) {
        *self.leftover.lock() = Some(body);
    }

    pub(super) fn take_leftover(&self) -> Option<Incoming> {
        self.leftover.lock().take()
    }
}

impl ConnState {
    pub(super) fn new(shared: Arc<HttpShared>, accepted: Option<Instant>) -> ConnState {
        ConnState {
            shared,
            opened: Instant::now(),
            accepted,
            requests: RequestState::default(),
            http1: Http1State::default(),
            http2: Http2State::default(),
            socket: SocketState::default(),
            pinned: Flag::default(),
            close_next: Flag::default(),
            ending: Flag::default(),
            aborted: Flag::default(),
            evicted: Flag::default(),
            rests_after_us: Number::default(),
            task: WakerSlot::default(),
        }
    }

    /// A request has begun.
    pub(super) fn enter(&self) {
        self.count(&self.requests.busy, 1);
    }

    /// A response has ended. Over HTTP/2 the connection's task is woken after the last one.
    pub(super) fn leave(&self) {
        self.count(&self.requests.served, 1);
        if self.count(&self.requests.busy, -1) == 0 && self.http2.active.get() {
            self.task.wake();
        }
    }

    /// Adds to a counter; over HTTP/1 only one task changes them.
    fn count(&self, count: &AtomicUsize, more: isize) -> usize {
        if self.http2.active.get() {
            return count.fetch_add(more as usize, Relaxed).wrapping_add_signed(more);
        }
        let now = count.load(Relaxed).wrapping_add_signed(more);
        count.store(now, Relaxed);
        now
    }

    /// Whether the connection is between two requests, with nothing left to write.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.busy() == 0
            && !self.http1.body_open.get()
            && !self.socket.unflushed.get()
            && !self.requests.upgraded.get()
    }
}

/// One open connection in the server's counters and list.
pub(super) struct OpenCount {
    pub(super) conn: Arc<ConnState>,
    id: u64,
}

impl OpenCount {
    /// Counts a new connection.
    pub(super) fn new(conn: ConnState) -> OpenCount {
        let conn = Arc::new(conn);
        let id = conn.shared.opened(conn.clone());
        OpenCount { conn, id }
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        let shared = &self.conn.shared;
        if self.conn.requests.upgraded.get() {
            shared.load.upgraded.fetch_sub(1, Relaxed);
        }
        shared.closed(self.id);
    }
}
