//! One connection's socket, and what the parts of the connection know of one another.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::arrive::Beneath;
use super::frames::Frames;
use super::run::Shared;
use super::sendfile::{self, Outgoing};
use crate::server::stream::Stream as Bare;

/// A connected socket, bare or under TLS.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Beneath>>),
}

impl From<Bare> for Stream {
    fn from(stream: Bare) -> Stream {
        match stream {
            Bare::Tcp(stream) => Stream::Tcp(stream),
            Bare::Unix(stream) => Stream::Unix(stream),
        }
    }
}

impl Stream {
    /// The bare descriptor, non-blocking; what TLS knows of its connection has none.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            Stream::Tcp(stream) => stream.into_std()?.into(),
            Stream::Unix(stream) => stream.into_std()?.into(),
            Stream::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    pub(super) fn peer(&self) -> Option<std::net::SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(stream) => stream.get_ref().0.stream.peer(),
        }
    }

    /// Writes what fits at once.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
            Stream::Tls(stream) => {
                let writing = async { stream.write_all(bytes).await.and(stream.flush().await) };
                let written = writing.now_or_never().unwrap_or(Err(io::ErrorKind::WouldBlock.into()));
                written.map(|()| bytes.len())
            }
        }
    }

    /// Tells a TLS client that nothing follows, so that it can tell the end from a cut (RFC 8446 section 6.1).
    pub(super) fn say_goodbye(&mut self) {
        if let Stream::Tls(stream) = self {
            // What does not fit at once is not worth waiting for.
            let _ = stream.shutdown().now_or_never();
        }
    }

    /// Whether [`try_send`](Stream::try_send) may write to the descriptor itself.
    pub(super) fn takes_files(&self) -> bool {
        matches!(self, Stream::Tcp(_) | Stream::Unix(_))
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_write_ready(cx),
            Stream::Unix(stream) => stream.poll_write_ready(cx),
            Stream::Tls(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Lets `send` write to the descriptor, once it is ready for that.
    pub(super) fn try_send(
        &self,
        send: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
            Stream::Unix(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes closing it send a reset, so that the kernel keeps nothing for a client that takes nothing.
    pub(super) fn reset_on_close(&self) {
        match self {
            Stream::Tcp(stream) => {
                // A socket that is gone already needs no reset.
                let _ = stream.set_zero_linger();
            }
            Stream::Unix(_) => {}
            Stream::Tls(stream) => stream.get_ref().0.stream.reset_on_close(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())), // sockets keep nothing back
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What the driver, the socket and the request of one connection tell one another.
///
/// All but the bodies and upgraded sockets live in one task, so relaxed atomics do.
#[derive(Default)]
pub(super) struct Link {
    /// When it was accepted; unset where another generation did that.
    pub(super) accepted: OnceLock<std::time::Instant>,
    /// Requests whose response has not ended.
    pub(super) busy: AtomicUsize,
    /// Requests whose response has ended.
    pub(super) served: AtomicUsize,
    /// The current request's body has not been read to its end.
    pub(super) body_open: AtomicBool,
    /// HTTP/2: several requests at once, and nothing is handed over.
    pub(super) multiplexed: AtomicBool,
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
    /// The client has shut its sending side while a request is answered.
    pub(super) half_closed: AtomicBool,
    /// The next response ends the connection.
    pub(super) close_next: AtomicBool,
    /// TLS: it cannot be handed over, and ends with the response after its generation is retired.
    pub(super) pinned: AtomicBool,
    /// Time is up: the socket answers with errors.
    aborted: AtomicBool,
    /// The task that drives the connection.
    pub(super) task: AtomicWaker,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// The raw bytes since the last head, up to a limit: hyper hides a Content-Length beside a Transfer-Encoding.
    head: Mutex<Vec<u8>>,
    /// Parts of files on their way to the socket.
    pub(super) outgoing: Outgoing,
    /// A body that the application dropped before its end.
    leftover: Mutex<Option<Incoming>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
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

    /// A head is complete: forgets its bytes, and says whether `name` began one of its lines.
    pub(super) fn take_head(&self, name: Option<&[u8]>) -> bool {
        self.head_bytes.store(0, Relaxed);
        let mut head = lock(&self.head);
        let found = name.is_some_and(|name| {
            let mut lines =
                head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            lines.by_ref().take_while(|line| !line.is_empty()).any(|line| {
                line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                    && line[name.len()..].trim_ascii_start().first() == Some(&b':')
            })
        });
        head.clear();
        found
    }

    /// No head has begun: gives the room of the last one back.
    pub(super) fn forget_head(&self) {
        self.head_bytes.store(0, Relaxed);
        *lock(&self.head) = Vec::new();
    }

    /// Keeps the rest of a body that the application does not want, for the driver to drain.
    pub(super) fn leave(&self, body: Incoming) {
        *lock(&self.leftover) = Some(body);
        self.task.wake();
    }

    pub(super) fn take_leftover(&self) -> Option<Incoming> {
        lock(&self.leftover).take()
    }
}

/// One open connection in the server's counts and its list.
pub(super) struct Open {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Link>,
    pub(super) id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.closed(self.id, self.link.upgraded.load(Relaxed));
    }
}

/// The socket as hyper has it: bytes that were read before come first, and the [`Link`] is kept.
pub(super) struct Socket {
    pub(super) stream: Stream,
    pub(super) before: Bytes,
    pub(super) open: Open,
    /// The client's end of stream was seen.
    pub(super) ended: bool,
    head_limit: usize,
    frames: Frames,
}

impl Socket {
    pub(super) fn new(stream: Stream, before: Bytes, open: Open) -> Socket {
        open.link.flushed.store(true, Relaxed);
        let multiplexed = open.link.multiplexed.load(Relaxed);
        open.link.outgoing.allow(!multiplexed && stream.takes_files());
        let head_limit = open.shared.limits.head_bytes;
        Socket { stream, before, open, ended: false, head_limit, frames: Frames::new() }
    }

    /// Whether the connection may go on; the wakers of an upgraded one are not the driver's.
    fn check(&self, cx: &Context<'_>, waker: impl Fn(&Link) -> &AtomicWaker) -> io::Result<()> {
        let link = &*self.open.link;
        if link.upgraded.load(Relaxed) {
            waker(link).register(cx.waker());
        }
        if link.cut.load(Relaxed) {
            self.stream.reset_on_close();
            return Err(io::ErrorKind::TimedOut.into());
        }
        match link.is_aborted() {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server ends")),
            false => Ok(()),
        }
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let link = &*self.open.link;
        match &result {
            Poll::Ready(Ok(count)) => {
                link.written.fetch_add(*count as u64, Relaxed);
                link.blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(error)) if sendfile::is_fault(error) => {
                self.open.shared.load.failed.fetch_add(1, Relaxed);
                tracing::error!(%error, "a response ends unfinished");
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => link.blocked.store(true, Relaxed),
        }
        link.flushed.store(false, Relaxed);
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
        this.check(cx, |link| &link.reader)?;
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
        }
        let count = buf.filled().len() - start;
        let link = &*this.open.link;
        let answering = link.busy.load(Relaxed) > 0;
        if link.multiplexed.load(Relaxed) {
            if !this.frames.take(&buf.filled()[start..]) {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            link.within.store(this.frames.is_within(), Relaxed);
            link.whole.store(this.frames.whole(), Relaxed);
            return Poll::Ready(Ok(()));
        }
        if count == 0 && buf.remaining() > 0 {
            // The client may have gone, or only have said all it wanted to: the driver gives it time. A body
            // that ends too early is an error at once.
            if answering && !link.body_open.load(Relaxed) && !link.upgraded.load(Relaxed) {
                link.half_closed.store(true, Relaxed);
                return Poll::Pending;
            }
            this.ended = true;
        } else if !answering {
            link.head_bytes.fetch_add(count, Relaxed);
            let mut head = lock(&link.head);
            let room = this.head_limit.saturating_sub(head.len()).min(count);
            head.extend_from_slice(&buf.filled()[start..start + room]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx, |link| &link.writer)?;
        let result = match self.open.link.outgoing.is_used() {
            false => Pin::new(&mut self.stream).poll_write(cx, bytes),
            true => sendfile::send(&self.stream, &self.open.link.outgoing, cx, &[IoSlice::new(bytes)]),
        };
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx, |link| &link.writer)?;
        let result = match self.open.link.outgoing.is_used() {
            false => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
            true => sendfile::send(&self.stream, &self.open.link.outgoing, cx, slices),
        };
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        let link = &*self.open.link;
        if link.pinned.load(Relaxed) {
            link.blocked.store(flushed.is_pending(), Relaxed);
        }
        if flushed.is_ready() {
            link.flushed.store(true, Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
