//! The socket of a connection, and the listener that it comes from.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::listener::Socket;

/// A connected socket, without TLS.
pub(super) enum SocketStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl SocketStream {
    /// The bare descriptor, non-blocking.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            SocketStream::Tcp(stream) => stream.into_std()?.into(),
            SocketStream::Unix(stream) => stream.into_std()?.into(),
        })
    }

    /// A descriptor that another generation handed over.
    pub(super) fn from_fd(socket: OwnedFd) -> io::Result<SocketStream> {
        let unix = socket2::SockRef::from(&socket).local_addr()?.is_unix();
        socket2::SockRef::from(&socket).set_nonblocking(true)?;
        Ok(match unix {
            true => SocketStream::Unix(UnixStream::from_std(socket.into())?),
            false => SocketStream::Tcp(TcpStream::from_std(socket.into())?),
        })
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            SocketStream::Tcp(stream) => stream.peer_addr().ok(),
            SocketStream::Unix(_) => None,
        }
    }

    /// Makes closing the socket send a reset, so that the reader does not mistake the response for a complete
    /// one.
    pub(super) fn reset_on_close(&self) {
        if let SocketStream::Tcp(stream) = self {
            // A socket that is already gone needs no reset.
            let _ = stream.set_zero_linger();
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            SocketStream::Tcp(stream) => stream.as_fd(),
            SocketStream::Unix(stream) => stream.as_fd(),
        }
    }

    /// Whether unread bytes have arrived, even if the runtime has not noticed yet.
    pub(super) fn has_unread(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(self.as_fd(), &mut [0_u8; 1], flags), Ok((1.., _)))
    }

    /// After the peer's end of stream: whether it is certain that the peer is gone completely. Only a Unix socket reports this.
    pub(super) fn is_gone(&self) -> bool {
        let SocketStream::Unix(stream) = self else { return false };
        let fd = stream.as_fd();
        let mut asked = [PollFd::new(&fd, PollFlags::empty())];
        let polled = poll(&mut asked, Some(&Timespec::default()));
        polled.is_ok() && asked[0].revents().contains(PollFlags::HUP)
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            SocketStream::Tcp(stream) => stream.try_read(buffer),
            SocketStream::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Writes as much as the socket takes at once.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            SocketStream::Tcp(stream) => stream.try_write(bytes),
            SocketStream::Unix(stream) => stream.try_write(bytes),
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            SocketStream::Tcp(stream) => stream.poll_write_ready(cx),
            SocketStream::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Calls `send` with the descriptor, which [`poll_write_ready`](Self::poll_write_ready) found ready.
    pub(super) fn try_send(
        &self,
        send: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self {
            SocketStream::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
            SocketStream::Unix(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
        }
    }
}

impl AsyncRead for SocketStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            SocketStream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            SocketStream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for SocketStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            SocketStream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            SocketStream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            SocketStream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            SocketStream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // sockets do not buffer
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            SocketStream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            SocketStream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A listening socket.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) fn new(socket: Socket) -> io::Result<Listener> {
        let unix = socket.is_unix();
        let fd: OwnedFd = socket.fd;
        Ok(match unix {
            true => Listener::Unix(UnixListener::from_std(fd.into())?),
            false => Listener::Tcp(TcpListener::from_std(fd.into())?),
        })
    }

    /// Whether a client is waiting to be accepted.
    pub(super) fn has_waiting(&self) -> bool {
        let fd = match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        };
        let mut asked = [PollFd::new(&fd, PollFlags::IN)];
        matches!(poll(&mut asked, Some(&Timespec::default())), Ok(1..))
    }

    pub(super) async fn accept(&self) -> io::Result<SocketStream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Without it, a small response waits for the acknowledgement of the previous one.
                stream.set_nodelay(true)?;
                Ok(SocketStream::Tcp(stream))
            }
            Listener::Unix(listener) => Ok(SocketStream::Unix(listener.accept().await?.0)),
        }
    }
}
