//! What the parts of one connection know of one another, and its socket as hyper has it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::sendfile::{self, Outgoing};
use super::shared::Shared;
use super::stream::Stream;

/// What the driver, the socket and the request of one connection tell one another.
///
/// All but the bodies and upgraded sockets live in one task, so relaxed atomics do, and what only the socket counts is
/// counted without a locked instruction.
pub(super) struct ConnState {
    pub(super) shared: Arc<Shared>,
    /// When this process took it on, and for how long it had been open when its last response ended, in microseconds.
    pub(super) opened: std::time::Instant,
    pub(super) rests_after_us: AtomicU64,
    /// When it was accepted; unset where another generation did that.
    pub(super) accepted: OnceLock<std::time::Instant>,
    /// Requests whose response has not ended; see [`enter`](ConnState::enter).
    pub(super) busy: AtomicUsize,
    /// Requests whose response has ended.
    pub(super) served: AtomicUsize,
    /// The current request's body has not been read to its end.
    pub(super) body_open: AtomicBool,
    /// HTTP/2: several requests at once, and nothing is handed over.
    pub(super) multiplexed: AtomicBool,
    /// HTTP/2: the client was told to go.
    pub(super) closing: AtomicBool,
    /// HTTP/2: our side has ended.
    pub(super) shut: AtomicBool,
    /// A response's body has ended as hyper's own answers do: from now on the two are not told apart.
    pub(super) lookalike: AtomicBool,
    /// The connection was or is being handed to the application (101).
    pub(super) upgraded: AtomicBool,
    /// All that was given to the socket was taken by it.
    pub(super) flushed: AtomicBool,
    /// The socket takes no more for now.
    pub(super) blocked: AtomicBool,
    /// Bytes written so far.
    pub(super) written: AtomicU64,
    /// HTTP/2: a head, or another frame that is no body, has begun and not come whole.
    pub(super) within: AtomicBool,
    /// HTTP/2: frames that have come whole.
    pub(super) whole: AtomicU64,
    /// The socket is to be reset, so that the kernel keeps nothing for a client that takes nothing.
    pub(super) cut: AtomicBool,
    /// Bytes read since the last head was complete.
    pub(super) head_bytes: AtomicUsize,
    /// The client has shut its sending side while a request was answered.
    pub(super) half_closed: AtomicBool,
    /// The next response ends the connection.
    pub(super) close_next: AtomicBool,
    /// TLS: it cannot be handed over, and ends with the response after its generation is retired.
    pub(super) pinned: AtomicBool,
    /// Time is up: the socket answers with errors.
    aborted: AtomicBool,
    /// All is said, and only the client's end of stream is waited for.
    pub(super) ending: AtomicBool,
    /// The server is full: the connection is to end if it is idle.
    pub(super) evicted: AtomicBool,
    /// The task that drives the connection.
    pub(super) task: WakerSlot,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// The raw bytes since the last head, up to a limit: hyper hides a Content-Length beside a Transfer-Encoding.
    head: Mutex<Vec<u8>>,
    /// Parts of files on their way to the socket.
    pub(super) outgoing: Outgoing,
    /// A body that the application dropped before its end.
    leftover: Mutex<Option<Incoming>>,
}

/// Wakes a task. Unlike that of an [`AtomicWaker`], its waker stays when it was used, and is set anew only when the task
/// has another: that is one look for each turn.
#[derive(Default)]
pub(super) struct WakerSlot(Mutex<Option<Waker>>);

impl WakerSlot {
    /// Has it wake this task from now on; `known` is what the task has hung up before.
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
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// A response has ended. Over HTTP/2 the connection's task is told of the last one.
    pub(super) fn leave(&self) {
        self.count(&self.served, 1);
        if self.count(&self.busy, -1) == 0 && self.multiplexed.load(Relaxed) {
            self.task.wake();
        }
    }

    /// Adds to a count; over HTTP/1 all of them are the one task's.
    fn count(&self, count: &AtomicUsize, more: isize) -> usize {
        if self.multiplexed.load(Relaxed) {
            return count.fetch_add(more as usize, Relaxed).wrapping_add_signed(more);
        }
        let now = count.load(Relaxed).wrapping_add_signed(more);
        count.store(now, Relaxed);
        now
    }

    /// The socket has taken so many bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.store(self.written.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// Whether the connection stands between two requests, with nothing left to write.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.load(Relaxed) == 0
            && !self.body_open.load(Relaxed)
            && self.flushed.load(Relaxed)
            && !self.upgraded.load(Relaxed)
    }

    /// Ends the connection whoever holds it.
    pub(super) fn abort(&self) {
        self.aborted.store(true, Relaxed);
        self.task.wake();
        self.reader.wake();
        self.writer.wake();
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Relaxed)
    }

    /// A head is complete: forgets its bytes, and says whether `name` began one of its lines. Of one that came together
    /// with a request before it, that is not known.
    pub(super) fn take_head(&self, name: Option<&[u8]>) -> bool {
        let kept = self.head_bytes.load(Relaxed) > 0;
        self.head_bytes.store(0, Relaxed); // the next one begins with the room of this
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

    /// No head has begun: gives the room of the last one back.
    pub(super) fn forget_head(&self) {
        self.head_bytes.store(0, Relaxed);
        *lock(&self.head) = Vec::new();
    }

    /// Keeps the rest of a body that the application does not want, for the driver to drain.
    pub(super) fn leave_body(&self, body: Incoming) {
        *lock(&self.leftover) = Some(body);
        self.task.wake();
    }

    pub(super) fn take_leftover(&self) -> Option<Incoming> {
        lock(&self.leftover).take()
    }
}

/// One open connection in the server's counts and its list.
pub(super) struct Open {
    pub(super) conn: Arc<ConnState>,
    pub(super) id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.conn.shared.closed(self.id, self.conn.upgraded.load(Relaxed));
    }
}

/// The socket as hyper has it: bytes that were read before come first, and the [`ConnState`] is kept.
pub(super) struct Socket {
    pub(super) stream: Stream,
    pub(super) before: Bytes,
    pub(super) open: Open,
    /// The client's end of stream was seen.
    pub(super) ended: bool,
    /// hyper has refused a request, and its answer was kept back.
    pub(super) refused: bool,
    head_limit: usize,
    frames: Frames,
    /// Room to join short slices in.
    joined: Vec<u8>,
}

/// Slices that together are no longer than this, in bytes, are copied and sent as one: the kernel takes more time over
/// several.
const SHORT: usize = 4096;

impl Socket {
    pub(super) fn new(stream: Stream, before: Bytes, open: Open) -> Socket {
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

    /// Whether the connection may go on; the wakers of an upgraded one are not the driver's.
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
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server ends")),
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
                tracing::error!(%error, "a response ends unfinished");
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
                this.before = Bytes::new(); // which gives their room back
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
            // The client may have gone, or only have said all it wanted to: the driver gives it time. A body
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
            return Poll::Ready(Ok(())); // our own answer follows
        }
        let conn = &*this.open.conn;
        if !conn.shut.load(Relaxed) {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            conn.shut.store(true, Relaxed);
        }
        // A stream that the client began before it heard our GOAWAY: closing at once would reset the connection, and the
        // GOAWAY, which says that it may be begun elsewhere, could be lost. The driver keeps the time.
        while conn.closing.load(Relaxed) && !conn.is_aborted() {
            let mut space = [0; 4096];
            let mut space = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut space)) {
                Ok(()) if !space.filled().is_empty() => {}
                _ => break, // it has gone
            }
        }
        Poll::Ready(Ok(()))
    }
}
