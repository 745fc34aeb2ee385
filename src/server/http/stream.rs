//! A connection's socket, bare or under TLS.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::arrive::Beneath;
use crate::server::stream::{Stream as Bare, has_unread};

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
    /// The bare descriptor, non-blocking. A TLS connection has none, because its TLS state cannot be passed
    /// on.
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

    /// Writes as much as the socket takes at once.
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

    /// Sends `close_notify`, so that a TLS client can tell the end from a truncation (RFC 8446 section 6.1).
    pub(super) fn say_goodbye(&mut self) {
        if let Stream::Tls(stream) = self {
            // If the socket does not take it at once, it is not worth waiting for.
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

    /// Calls `send` with the descriptor once that is ready for writing.
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

    /// Whether unread bytes have arrived.
    pub(super) fn has_unread(&self) -> bool {
        match self {
            Stream::Tcp(stream) => has_unread(stream.as_fd()),
            Stream::Unix(stream) => has_unread(stream.as_fd()),
            Stream::Tls(stream) => stream.get_ref().0.stream.has_unread(),
        }
    }

    /// Makes closing the socket send a reset, so that the kernel keeps nothing for a client that reads
    /// nothing.
    pub(super) fn reset_on_close(&self) {
        match self {
            Stream::Tcp(stream) => {
                // A socket that is already gone needs no reset.
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
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())), // sockets do not buffer
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
