//! What the parts of one connection share, and its socket as hyper sees it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::sendfile::{self, Outgoing};
use super::shared::Shared;
use super::stream::Stream;

/// State that the driver, the socket and the request of one connection share.
///
/// Everything except bodies and upgraded sockets lives in one task, so relaxed atomics are enough, and what
/// only the socket counts is counted without a locked instruction.
pub(super) struct ConnState {
    pub(super) shared: Arc<Shared>,
    /// When this process took the connection. `rests_after_us` is the time from then to the end of the last
    /// response, in microseconds.
    pub(super) opened: std::time::Instant,
    pub(super) rests_after_us: AtomicU64,
    /// When it was accepted; unset if another generation accepted it.
    pub(super) accepted: OnceLock<std::time::Instant>,
    /// Requests whose response has not ended; see [`enter`](ConnState::enter).
    pub(super) busy: AtomicUsize,
    /// Requests whose response has ended.
    pub(super) served: AtomicUsize,
    /// The current request's body has not been read to its end.
    pub(super) body_open: AtomicBool,
    /// HTTP/2: several requests at once, and no hand-over.
    pub(super) multiplexed: AtomicBool,
    /// HTTP/2: the client was sent GOAWAY.
    pub(super) closing: AtomicBool,
    /// HTTP/2: our side has ended.
    pub(super) shut: AtomicBool,
    /// A response body has ended like one of hyper's own responses: from now on the two cannot be told apart.
    pub(super) lookalike: AtomicBool,
    /// The connection was or is being passed to the application (101).
    pub(super) upgraded: AtomicBool,
    /// The socket has taken everything that it was given.
    pub(super) flushed: AtomicBool,
    /// The socket takes no more for now.
    pub(super) blocked: AtomicBool,
    /// Bytes written so far.
    pub(super) written: AtomicU64,
    /// HTTP/2: a head, or another frame that is not DATA, has begun and is incomplete.
    pub(super) within: AtomicBool,
    /// HTTP/2: number of complete frames.
    pub(super) whole: AtomicU64,
    /// The socket is to be reset, so that the kernel keeps nothing for a client that reads nothing.
    pub(super) cut: AtomicBool,
    /// Bytes read since the last complete head.
    pub(super) head_bytes: AtomicUsize,
    /// The client shut its sending side while a request was being answered.
    pub(super) half_closed: AtomicBool,
    /// The next response ends the connection.
    pub(super) close_next: AtomicBool,
    /// TLS: the connection cannot be handed over, and ends with the next response after its generation
    /// retires.
    pub(super) pinned: AtomicBool,
    /// The time limit has passed: the socket returns errors.
    aborted: AtomicBool,
    /// Everything is sent; only the client's end of stream is awaited.
    pub(super) ending: AtomicBool,
    /// The server is full: the connection should end if it is idle.
    pub(super) evicted: AtomicBool,
    /// The task that drives the connection.
    pub(super) task: WakerSlot,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// The raw bytes since the last head, up to a limit: hyper hides a Content-Length beside a
    /// Transfer-Encoding.
    head: Mutex<Vec<u8>>,
    /// Parts of files that are being sent.
    pub(super) outgoing: Outgoing,
    /// A body that the application dropped before its end.
    leftover: Mutex<Option<Incoming>>,
}

/// Wakes a task. Unlike an [`AtomicWaker`], it keeps its waker after a wake and replaces it only when the
/// task has another one, so that each poll costs one comparison.
#[derive(Default)]
pub(super) struct WakerSlot(Mutex<Option<Waker>>);

impl WakerSlot {
    /// Makes it wake this task from now on; `known` is the waker that the task registered before.
    pub(super) fn register(&self, cx: &Context<'_>, known: &mut Option<Waker>) {
        if known.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *lock(&self.0) = Some(cx.waker().clone());
            *known = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        let waker = lock(&self.0).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl ConnState {
    pub(super) fn new(shared: Arc<Shared>) -> ConnState {
        ConnState {
            shared,
            opened: std::time::Instant::now(),
            rests_after_us: AtomicU64::default(),
            accepted: OnceLock::new(),
            busy: AtomicUsize::default(),
            served: AtomicUsize::default(),
            body_open: AtomicBool::default(),
            multiplexed: AtomicBool::default(),
            closing: AtomicBool::default(),
            shut: AtomicBool::default(),
            lookalike: AtomicBool::default(),
            upgraded: AtomicBool::default(),
            flushed: AtomicBool::new(true),
            blocked: AtomicBool::default(),
            written: AtomicU64::default(),
            within: AtomicBool::default(),
            whole: AtomicU64::default(),
            cut: AtomicBool::default(),
            head_bytes: AtomicUsize::default(),
            half_closed: AtomicBool::default(),
            close_next: AtomicBool::default(),
            pinned: AtomicBool::default(),
            aborted: AtomicBool::default(),
            ending: AtomicBool::default(),
            evicted: AtomicBool::default(),
            task: WakerSlot::default(),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            head: Mutex::default(),
            outgoing: Outgoing::default(),
            leftover: Mutex::default(),
        }
    }

    /// A request has begun.
    pub(super) fn enter(&self) {
        self.count(&self.busy, 1);
    }

    /// A response has ended. Over HTTP/2 the connection's task is woken after the last one.
    pub(super) fn leave(&self) {
        self.count(&self.served, 1);
        if self.count(&self.busy, -1) == 0 && self.multiplexed.load(Relaxed) {
            self.task.wake();
        }
    }

    /// Adds to a counter; over HTTP/1 only one task changes them.
    fn count(&self, count: &AtomicUsize, more: isize) -> usize {
        if self.multiplexed.load(Relaxed) {
            return count.fetch_add(more as usize, Relaxed).wrapping_add_signed(more);
        }
        let now = count.load(Relaxed).wrapping_add_signed(more);
        count.store(now, Relaxed);
        now
    }

    /// The socket has taken `bytes` bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.store(self.written.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// Whether the connection is between two requests, with nothing left to write.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.load(Relaxed) == 0
            && !self.body_open.load(Relaxed)
            && self.flushed.load(Relaxed)
            && !self.upgraded.load(Relaxed)
    }

    /// Ends the connection, whichever task holds it.
    pub(super) fn abort(&self) {
        self.aborted.store(true, Relaxed);
        self.task.wake();
        self.reader.wake();
        self.writer.wake();
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Relaxed)
    }

    /// A head is complete: forgets its bytes, and returns whether one of its lines began with `name`. This is
    /// not known for a head that arrived together with the request before it.
    pub(super) fn take_head(&self, name: Option<&[u8]>) -> bool {
        let kept = self.head_bytes.load(Relaxed) > 0;
        self.head_bytes.store(0, Relaxed); // the next head reuses the buffer
        name.filter(|_| kept).is_some_and(|name| {
            let head = lock(&self.head);
            let mut lines =
                head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            lines.by_ref().take_while(|line| !line.is_empty()).any(|line| {
                line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                    && line[name.len()..].trim_ascii_start().first() == Some(&b':')
            })
        })
    }

    /// No head has begun: frees the buffer of the last one.
    pub(super) fn forget_head(&self) {
        self.head_bytes.store(0, Relaxed);
        *lock(&self.head) = Vec::new();
    }

    /// Keeps the rest of a body that the application does not read, for the driver to drain.
    pub(super) fn leave_body(&self, body: Incoming) {
        *lock(&self.leftover) = Some(body);
        self.task.wake();
    }

    pub(super) fn take_leftover(&self) -> Option<Incoming> {
        lock(&self.leftover).take()
    }
}

/// One open connection in the server's counters and list.
pub(super) struct OpenCount {
    pub(super) conn: Arc<ConnState>,
    pub(super) id: u64,
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.conn.shared.closed(self.id, self.conn.upgraded.load(Relaxed));
    }
}

/// The socket as hyper sees it: returns bytes that were read earlier first, and updates the [`ConnState`].
pub(super) struct Socket {
    pub(super) stream: Stream,
    pub(super) before: Bytes,
    pub(super) open: OpenCount,
    /// The client's end of stream was seen.
    pub(super) ended: bool,
    /// hyper has refused a request, and its response was held back.
    pub(super) refused: bool,
    head_limit: usize,
    frames: Frames,
    /// Buffer for joining short slices.
    joined: Vec<u8>,
}

/// Slices of at most this many bytes in total are copied and sent as one, because several cost the kernel
/// more time.
const SHORT: usize = 4096;

impl Socket {
    pub(super) fn new(stream: Stream, before: Bytes, open: OpenCount) -> Socket {
        open.conn.flushed.store(true, Relaxed);
        let multiplexed = open.conn.multiplexed.load(Relaxed);
        open.conn.outgoing.allow(!multiplexed && stream.takes_files());
        let head_limit = open.conn.shared.limits.head_bytes;
        Socket {
            stream,
            before,
            open,
            ended: false,
            refused: false,
            head_limit,
            frames: Frames::new(),
            joined: Vec::new(),
        }
    }

    /// Whether the connection may go on. An upgraded connection has its own wakers, not the driver's.
    fn check(&self, cx: &Context<'_>, waker: impl Fn(&ConnState) -> &AtomicWaker) -> io::Result<()> {
        let conn = &*self.open.conn;
        if conn.upgraded.load(Relaxed) {
            waker(conn).register(cx.waker());
        }
        if conn.cut.load(Relaxed) {
            self.stream.reset_on_close();
            return Err(io::ErrorKind::TimedOut.into());
        }
        match conn.is_aborted() {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is stopping")),
            false => Ok(()),
        }
    }

    pub(super) fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let conn = &*self.open.conn;
        match &result {
            Poll::Ready(Ok(count)) => {
                conn.wrote(*count);
                conn.blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(error)) if sendfile::is_fault(error) => {
                conn.shared.load.failed.fetch_add(1, Relaxed);
                tracing::error!(%error, "a response could not be finished");
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => conn.blocked.store(true, Relaxed),
        }
        conn.flushed.store(false, Relaxed);
        result
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.check(cx, |conn| &conn.reader)?;
        let start = buf.filled().len();
        if this.before.is_empty() {
            let read = Pin::new(&mut this.stream).poll_read(cx, buf);
            if !matches!(read, Poll::Ready(Ok(()))) {
                return read;
            }
        } else {
            let count = this.before.len().min(buf.remaining());
            buf.put_slice(&this.before[..count]);
            this.before.advance(count);
            if this.before.is_empty() {
                this.before = Bytes::new(); // frees the buffer
            }
        }
        let count = buf.filled().len() - start;
        let conn = &*this.open.conn;
        let answering = conn.busy.load(Relaxed) > 0;
        if conn.multiplexed.load(Relaxed) {
            if !this.frames.take(&buf.filled()[start..]) {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            conn.within.store(this.frames.is_within(), Relaxed);
            conn.whole.store(this.frames.whole(), Relaxed);
            return Poll::Ready(Ok(()));
        }
        if count == 0 && buf.remaining() > 0 {
            // The client may have gone, or may only have finished sending: the driver gives it time. A body
            // that ends too early is an error at once.
            let sending = answering || !conn.flushed.load(Relaxed);
            if sending && !conn.body_open.load(Relaxed) && !conn.upgraded.load(Relaxed) {
                conn.half_closed.store(true, Relaxed);
                return Poll::Pending;
            }
            this.ended = true;
        } else if !answering && !conn.body_open.load(Relaxed) {
            let before = conn.head_bytes.load(Relaxed);
            conn.head_bytes.store(before + count, Relaxed);
            let mut head = lock(&conn.head);
            if before == 0 {
                head.clear();
            }
            let room = this.head_limit.saturating_sub(head.len()).min(count);
            head.extend_from_slice(&buf.filled()[start..start + room]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx, |conn| &conn.writer)?;
        if let Some(kept) = self.keep_back(cx, &[IoSlice::new(bytes)]) {
            return kept;
        }
        let result = match self.open.conn.outgoing.is_used() {
            false => Pin::new(&mut self.stream).poll_write(cx, bytes),
            true => sendfile::send(&self.stream, &self.open.conn.outgoing, cx, &[IoSlice::new(bytes)]),
        };
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx, |conn| &conn.writer)?;
        if let Some(kept) = self.keep_back(cx, slices) {
            return kept;
        }
        let this = &mut *self;
        let stream = Pin::new(&mut this.stream);
        let result = if this.open.conn.outgoing.is_used() {
            sendfile::send(&this.stream, &this.open.conn.outgoing, cx, slices)
        } else if let [slice] = slices {
            stream.poll_write(cx, slice)
        } else if slices.iter().map(|slice| slice.len()).sum::<usize>() <= SHORT {
            this.joined.clear();
            slices.iter().for_each(|slice| this.joined.extend_from_slice(slice));
            stream.poll_write(cx, &this.joined)
        } else {
            stream.poll_write_vectored(cx, slices)
        };
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        let conn = &*self.open.conn;
        if conn.pinned.load(Relaxed) {
            conn.blocked.store(flushed.is_pending(), Relaxed);
        }
        if flushed.is_ready() {
            conn.flushed.store(true, Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused {
            return Poll::Ready(Ok(())); // our own response follows
        }
        let conn = &*this.open.conn;
        if !conn.shut.load(Relaxed) {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            conn.shut.store(true, Relaxed);
        }
        // The client may have begun a stream before it received our GOAWAY. Closing at once would reset the
        // connection, and could lose the GOAWAY that allows the client to retry elsewhere. The driver limits
        // the time.
        while conn.closing.load(Relaxed) && !conn.is_aborted() {
            let mut space = [0; 4096];
            let mut space = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut space)) {
                Ok(()) if !space.filled().is_empty() => {}
                _ => break, // the client has gone
            }
        }
        Poll::Ready(Ok(()))
    }
}
