//! A connection to an upstream, of any kind.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::{Address, UpstreamTarget};
use super::program::Program;
use crate::socket_path::SocketPath;

/// A stream of bytes both ways.
pub(in crate::app) enum Stream {
    /// A TCP socket.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// Standard input and output of a program.
    Program(Box<Program>),
}

/// TLS settings for upstreams.
#[derive(Clone)]
pub(in crate::app) struct Tls {
    pub(in crate::app) config: Arc<rustls::ClientConfig>,
    /// The name that the certificate must be valid for, instead of the address's host.
    pub(in crate::app) name: Option<ServerName<'static>>,
}

impl Stream {
    /// Connects; tries the addresses of a name in turn.
    /// # Errors
    /// The error of the last address, or why the name has none.
    pub(in crate::app) async fn connect(address: &Address, tls: Option<&Tls>) -> io::Result<Stream> {
        match (&address.target, tls) {
            (UpstreamTarget::Unix(path), _) => {
                UnixStream::connect(&*SocketPath::new(path)?).await.map(Stream::Unix)
            }
            (UpstreamTarget::Tcp(host, port), tls) => {
                let stream = match address.resolved {
                    Some(resolved) => TcpStream::connect(resolved).await?,
                    None => TcpStream::connect((host.as_str(), *port)).await?,
                };
                stream.set_nodelay(true)?;
                let Some(tls) = tls.filter(|_| address.tls) else { return Ok(Stream::Tcp(stream)) };
                let name = match &tls.name {
                    Some(name) => name.clone(),
                    None => {
                        let host = host.split('%').next().unwrap_or_default(); // without a zone
                        ServerName::try_from(host.to_owned()).map_err(io::Error::other)?
                    }
                };
                let stream = TlsConnector::from(tls.config.clone()).connect(name, stream).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }

    /// Whether a kept connection can be used: the other end has neither closed it nor sent unexpected data.
    /// Costs no system call if nothing has arrived.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        // The next real wait replaces the waker registered here.
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(self).poll_read(&mut cx, &mut buffer).is_pending()
    }

    /// The response is complete, and the stream is no longer needed.
    pub(super) fn finished(&mut self) {
        if let Stream::Program(program) = self {
            program.finished();
        }
    }

    /// Whether the time of a program is over.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Stream::Program(program) if program.is_late())
    }

    /// Everything was sent: closes a program's input.
    pub(super) fn close_input(&mut self) {
        if let Stream::Program(program) = self {
            program.close_input();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Program(program) => program.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Program(program) => program.poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Program(program) => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                program.poll_write(cx, first.map_or(&[], |slice| slice))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self, Stream::Tcp(_) | Stream::Unix(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Program(program) => {
                program.close_input();
                Poll::Ready(Ok(()))
            }
        }
    }
}
