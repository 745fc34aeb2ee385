//! A connection's socket as hyper sees it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conn_state::{ConnState, OpenCount};
use super::frames::Frames;
use super::prefixed::Prefixed;
use super::refused;
use super::sendfile;
use super::socket_state::SocketState;
use super::stream::HttpStream;

/// Slices of at most this many bytes in total are copied and sent as one, because several cost the kernel
/// more time.
const SHORT: usize = 4096;

/// The socket as hyper sees it: returns bytes that were read earlier first, and updates the [`SocketState`].
pub(super) struct HttpSocket {
    pub(super) inner: Prefixed<HttpStream>,
    pub(super) open: OpenCount,
    /// The client's end of stream was seen.
    pub(super) ended: bool,
    /// hyper has refused a request, and its response was held back.
    pub(super) refused: bool,
    frames: Frames,
    /// Buffer for joining short slices.
    joined: Vec<u8>,
}

impl HttpSocket {
    pub(super) fn new(stream: HttpStream, before: Bytes, open: OpenCount) -> HttpSocket {
        let conn = &*open.conn;
        conn.socket.unflushed.set(false);
        conn.socket.outgoing.allow(!conn.http2.active.get() && stream.bare().is_some());
        HttpSocket {
            inner: Prefixed { before, stream },
            open,
            ended: false,
            refused: false,
            frames: Frames::new(),
            joined: Vec::new(),
        }
    }

    /// Whether the connection may go on. An upgraded connection has its own wakers, not the driver's.
    fn check(&self, cx: &Context<'_>, waker: impl Fn(&SocketState) -> &AtomicWaker) -> io::Result<()> {
        let conn = &*self.open.conn;
        if conn.requests.upgraded.get() {
            waker(&conn.socket).register(cx.waker());
        }
        if conn.http2.cut.get() {
            self.inner.stream.reset_on_close();
            return Err(io::ErrorKind::TimedOut.into());
        }
        match conn.aborted.get() {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is stopping")),
            false => Ok(()),
        }
    }

    /// Updates the state after bytes were read; pending if the end of the stream must wait.
    fn read(&mut self, bytes: &[u8], had_room: bool) -> Poll<io::Result<()>> {
        let conn = &*self.open.conn;
        let state = &conn.socket;
        if conn.http2.active.get() {
            if !self.frames.take(bytes) {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            state.within.set(self.frames.is_within());
            state.whole.set(self.frames.whole());
            return Poll::Ready(Ok(()));
        }
        let answering = conn.requests.busy() > 0;
        let body_open = conn.http1.body_open.get();
        if bytes.is_empty() && had_room {
            // The client may have gone, or may only have finished sending: the driver gives it time. A body
            // that ends too early is an error at once.
            let sending = answering || state.unflushed.get();
            if sending && !body_open && !conn.requests.upgraded.get() {
                state.half_closed.set(true);
                return Poll::Pending;
            }
            self.ended = true;
        } else if !answering && !body_open {
            state.add_head(bytes, conn.shared.limits.head_bytes);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes slices, among which may be placeholders for parts of files.
    fn send(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.inner.stream.bare() {
            Some(stream) => sendfile::send(stream, &self.open.conn.socket.outgoing, cx, slices),
            None => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Updates the state after a write.
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let conn = &*self.open.conn;
        match &result {
            Poll::Ready(Ok(count)) => {
                conn.socket.written.add(*count as u64);
                conn.socket.blocked.set(false);
            }
            Poll::Ready(Err(error)) if sendfile::is_fault(error) => {
                conn.shared.load.failed.fetch_add(1, Relaxed);
                tracing::error!(%error, "a response could not be finished");
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => conn.socket.blocked.set(true),
        }
        conn.socket.unflushed.set(true);
        result
    }

    /// Holds back a response of hyper's own at the end of `slices`; writes what is before it.
    fn keep_back(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Option<Poll<io::Result<usize>>> {
        let own = refused::is_hypers_own(slices.last()?)?;
        if !may_refuse(&self.open.conn) {
            return None;
        }
        let last = slices.last()?.len();
        let end = slices.iter().map(|slice| slice.len()).sum::<usize>() - last + own;
        if end == 0 {
            self.refused = true;
            return Some(Poll::Ready(Ok(last)));
        }
        let slices: Vec<_> = before(slices, end).collect();
        let result = match self.open.conn.socket.outgoing.is_used() {
            true => self.send(cx, &slices),
            false => Pin::new(&mut self.inner.stream).poll_write(cx, slices.first()?),
        };
        Some(self.wrote(result))
    }
}

/// Whether what looks like hyper's own response can be one.
fn may_refuse(conn: &ConnState) -> bool {
    let requests = &conn.requests;
    !conn.http2.active.get() && !requests.upgraded.get() && requests.busy() == 0 && !requests.lookalike.get()
}

/// The slices up to byte `end` of all of them.
fn before<'a>(slices: &'a [IoSlice<'a>], end: usize) -> impl Iterator<Item = IoSlice<'a>> {
    let mut left = end;
    slices.iter().filter_map(move |slice| {
        let part = &slice[..slice.len().min(left)];
        left -= part.len();
        (!part.is_empty()).then(|| IoSlice::new(part))
    })
}

impl AsyncRead for HttpSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx, |state| &state.reader)?;
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.read(&buf.filled()[start..], buf.remaining() > 0)
    }
}

impl AsyncWrite for HttpSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx, |state| &state.writer)?;
        if let Some(kept) = self.keep_back(cx, &[IoSlice::new(bytes)]) {
            return kept;
        }
        let result = match self.open.conn.socket.outgoing.is_used() {
            false => Pin::new(&mut self.inner.stream).poll_write(cx, bytes),
            true => self.send(cx, &[IoSlice::new(bytes)]),
        };
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx, |state| &state.writer)?;
        if let Some(kept) = self.keep_back(cx, slices) {
            return kept;
        }
        let this = &mut *self;
        let stream = Pin::new(&mut this.inner.stream);
        let result = if this.open.conn.socket.outgoing.is_used() {
            this.send(cx, slices)
        } else if let [slice] = slices {
            stream.poll_write(cx, slice)
        } else if slices.iter().map(|slice| slice.len()).sum::<usize>() <= SHORT {
            this.joined.clear();
            slices.iter().for_each(|slice| this.joined.extend_from_slice(slice));
            stream.poll_write(cx, &this.joined)
        } else {
            stream.poll_write_vectored(cx, slices)
        };
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner.stream).poll_flush(cx);
        let conn = &*self.open.conn;
        if conn.pinned.get() {
            conn.socket.blocked.set(flushed.is_pending());
        }
        if flushed.is_ready() {
            conn.socket.unflushed.set(false);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused {
            return Poll::Ready(Ok(())); // our own response follows
        }
        let (conn, stream) = (&*this.open.conn, &mut this.inner.stream);
        if !conn.socket.shut.get() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            conn.socket.shut.set(true);
        }
        // The client may have begun a stream before it received our GOAWAY. Closing at once would reset the
        // connection, and could lose the GOAWAY that allows the client to retry elsewhere. The driver limits
        // the time.
        while conn.http2.closing.get() && !conn.aborted.get() {
            let mut space = [0; 4096];
            let mut space = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut space)) {
                Ok(()) if !space.filled().is_empty() => {}
                _ => break, // the client has gone
            }
        }
        Poll::Ready(Ok(()))
    }
}
