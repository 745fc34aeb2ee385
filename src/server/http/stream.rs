//! A connection's byte stream: the socket, bare or under TLS.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::tls_io::TlsIo;
use crate::server::stream::SocketStream;

/// A connected socket, bare or under TLS.
pub(super) enum HttpStream {
    Bare(SocketStream),
    Tls(Box<TlsStream<TlsIo>>),
}

/// The protocol that the two sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Nothing was agreed: the first bytes decide.
    Either,
    Http1,
    Http2,
}

impl From<SocketStream> for HttpStream {
    fn from(stream: SocketStream) -> HttpStream {
        HttpStream::Bare(stream)
    }
}

impl HttpStream {
    /// The socket, on which nothing may be written under TLS.
    fn socket(&self) -> &SocketStream {
        match self {
            HttpStream::Bare(stream) => stream,
            HttpStream::Tls(stream) => stream.get_ref().0.socket(),
        }
    }

    /// The socket, unless TLS runs over it.
    pub(super) fn bare(&self) -> Option<&SocketStream> {
        match self {
            HttpStream::Bare(stream) => Some(stream),
            HttpStream::Tls(_) => None,
        }
    }

    /// The bare descriptor, non-blocking. A TLS connection has none, because its TLS state cannot be passed
    /// on.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            HttpStream::Bare(stream) => stream.into_fd(),
            HttpStream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Writes as much as the socket takes at once.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            HttpStream::Bare(stream) => stream.try_write(bytes),
            HttpStream::Tls(stream) => {
                let writing = async { stream.write_all(bytes).await.and(stream.flush().await) };
                let written = writing.now_or_never().unwrap_or(Err(io::ErrorKind::WouldBlock.into()));
                written.map(|()| bytes.len())
            }
        }
    }

    /// Whether the client has sent unread bytes; reads one of them.
    pub(super) fn has_more(&mut self) -> bool {
        let mut byte = [0];
        let read = match self {
            HttpStream::Bare(stream) => stream.try_read(&mut byte),
            HttpStream::Tls(stream) => {
                stream.read(&mut byte).now_or_never().unwrap_or(Err(io::ErrorKind::WouldBlock.into()))
            }
        };
        matches!(read, Ok(1..))
    }

    /// Sends `close_notify`, so that a TLS client can distinguish the end from a truncation (RFC 8446 section 6.1).
    pub(super) fn say_goodbye(&mut self) {
        if let HttpStream::Tls(stream) = self {
            // If the socket does not take it at once, it is not worth waiting for.
            let _ = stream.shutdown().now_or_never();
        }
    }

    /// Whether unread bytes have arrived at the socket.
    pub(super) fn has_unread(&self) -> bool {
        self.socket().has_unread()
    }

    /// Makes closing the socket send a reset, so that the kernel keeps nothing for a client that reads
    /// nothing.
    pub(super) fn reset_on_close(&self) {
        self.socket().reset_on_close();
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            HttpStream::Bare(stream) => Pin::new(stream).poll_read(cx, buf),
            HttpStream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            HttpStream::Bare(stream) => Pin::new(stream).poll_write(cx, bytes),
            HttpStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            HttpStream::Bare(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            HttpStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            HttpStream::Bare(stream) => Pin::new(stream).poll_flush(cx),
            HttpStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            HttpStream::Bare(stream) => Pin::new(stream).poll_shutdown(cx),
            HttpStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
