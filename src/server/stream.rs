//! The bare socket of a connection, and the listener that it comes from.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::listener::Socket;

/// A connected socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// The bare descriptor, non-blocking.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            Stream::Tcp(stream) => stream.into_std()?.into(),
            Stream::Unix(stream) => stream.into_std()?.into(),
        })
    }

    /// A descriptor that another generation handed over.
    pub(super) fn from_fd(socket: OwnedFd) -> io::Result<Stream> {
        let unix = socket2::SockRef::from(&socket).local_addr()?.is_unix();
        socket2::SockRef::from(&socket).set_nonblocking(true)?;
        Ok(match unix {
            true => Stream::Unix(UnixStream::from_std(socket.into())?),
            false => Stream::Tcp(TcpStream::from_std(socket.into())?),
        })
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Makes closing the socket send a reset, so that the reader does not mistake the response for a complete
    /// one.
    pub(super) fn reset_on_close(&self) {
        if let Stream::Tcp(stream) = self {
            // A socket that is already gone needs no reset.
            let _ = stream.set_zero_linger();
        }
    }

    pub(super) fn has_unread(&self) -> bool {
        match self {
            Stream::Tcp(stream) => has_unread(stream.as_fd()),
            Stream::Unix(stream) => has_unread(stream.as_fd()),
        }
    }

    /// After the peer's end of stream: whether it is certain that the peer is gone completely. Only a Unix
    /// socket tells.
    pub(super) fn is_gone(&self) -> bool {
        let Stream::Unix(stream) = self else { return false };
        let fd = stream.as_fd();
        let mut asked = [PollFd::new(&fd, PollFlags::empty())];
        let polled = poll(&mut asked, Some(&Timespec::default()));
        polled.is_ok() && asked[0].revents().contains(PollFlags::HUP)
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

/// Whether a socket has unread bytes, even if the runtime has not noticed yet.
pub(super) fn has_unread(socket: BorrowedFd<'_>) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(rustix::net::recv(socket, &mut [0_u8; 1], flags), Ok((1.., _)))
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

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Without it, a small response waits for the acknowledgement of the previous one.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}
