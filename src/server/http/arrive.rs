//! What happens before the first request: the PROXY header and the TLS handshake.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::conn_state::{ConnState, OpenCount};
use super::refused::{HANDSHAKE, SPEAKS_HTTPS, refuse};
use super::shared::Shared;
use super::stream::Stream;
use crate::server::accept::{ListenerId, Stage};
use crate::server::gate::ConnInfo;
use crate::server::proxy_protocol::{self, Client, Header};
use crate::server::tls::{Handshake, Terminator};

/// A connection that is ready for requests.
pub(super) struct Arrived {
    pub(super) stream: Stream,
    /// Bytes already read.
    pub(super) read: Bytes,
    pub(super) info: ConnInfo,
    pub(super) speaks: Speaks,
}

/// The protocol that the two sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Nothing was agreed: the first bytes decide.
    Either,
    Http1,
    Http2,
}

/// Does what must happen before the first request; `None` if the connection is not to be served.
pub(super) async fn arrive(stream: Stream, open: &OpenCount, place: &ListenerId) -> Option<Arrived> {
    let conn = &open.conn;
    let shared = &conn.shared;
    let mut waker = None;
    let info = ConnInfo { peer: stream.peer(), listen: place.listen.clone(), ..ConnInfo::default() };
    let preface = &shared.preface;
    if preface.balancers.is_none() && preface.tls(place).is_none() {
        return Some(Arrived { stream, read: Bytes::new(), info, speaks: Speaks::Either });
    }
    // Boxed, and freed before the first request: otherwise the connection's task would be twice as large.
    let mut request_body = Box::pin(prepare(stream, info, shared, conn, place));
    // No response is due to a client that has not sent a request yet.
    poll_fn(|cx| {
        conn.task.register(cx, &mut waker);
        if conn.is_aborted() || conn.is_evicted() || shared.stage() >= Stage::Draining {
            return Poll::Ready(None);
        }
        request_body.as_mut().poll(cx)
    })
    .await
}

async fn prepare(
    mut stream: Stream,
    mut info: ConnInfo,
    shared: &Shared,
    conn: &Arc<ConnState>,
    place: &ListenerId,
) -> Option<Arrived> {
    let mut read = Bytes::new();
    if let Some(balancers) = &shared.preface.balancers {
        if !balancers.trusts(info.peer) {
            tracing::debug!(peer = ?info.peer, "refused: not a peer that may use the PROXY protocol");
            return None;
        }
        let header = match timeout(shared.limits.head_time, header(&mut stream)).await {
            Ok(Ok(Some((header, rest)))) => {
                read = rest;
                header
            }
            Ok(Ok(None)) => return None,
            Ok(Err(reason)) => {
                tracing::warn!(peer = ?info.peer, reason, "refused: the PROXY header is malformed");
                return None;
            }
            Err(_) => {
                tracing::debug!(peer = ?info.peer, "refused: the PROXY header did not arrive in time");
                return None;
            }
        };
        match header.client {
            Client::Peer => {}
            Client::Address(address) => info.peer = Some(address),
            Client::Unix => info.peer = None,
        }
        info.secure = header.secure.unwrap_or(false);
    }
    let Some(tls) = shared.preface.tls(place) else {
        return Some(Arrived { stream, read, info, speaks: Speaks::Either });
    };
    match timeout(tls.handshake_time(), secure(tls, stream, read, info.clone(), conn)).await {
        Ok(Ok(arrived)) => arrived,
        Ok(Err(error)) => {
            tracing::debug!(peer = ?info.peer, %error, "the TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(peer = ?info.peer, "the TLS handshake timed out");
            None
        }
    }
}

/// Reads the PROXY header and any bytes after it; `None` if the peer closed the connection.
async fn header(stream: &mut Stream) -> Result<Option<(Header, Bytes)>, proxy_protocol::Malformed> {
    let mut read = BytesMut::with_capacity(1024);
    loop {
        if let Some((header, length)) = proxy_protocol::parse(&read)? {
            read.advance(length);
            return Ok(Some((header, read.freeze())));
        }
        match stream.read_buf(&mut read).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Ok(None),
        }
    }
}

/// Does the TLS handshake.
async fn secure(
    tls: &Terminator,
    mut stream: Stream,
    mut before: Bytes,
    info: ConnInfo,
    conn: &Arc<ConnState>,
) -> io::Result<Option<Arrived>> {
    if before.is_empty() {
        let mut read = BytesMut::with_capacity(1024);
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
        before = read.freeze();
    }
    if before.first() != Some(&HANDSHAKE) {
        if before[0].is_ascii_uppercase() {
            // The client probably used `http://` instead of `https://`.
            refuse(stream, conn, &info, SPEAKS_HTTPS, &before).await;
        }
        return Ok(None);
    }
    let beneath = Beneath { stream, before, conn: conn.clone() };
    let Handshake::Secured(secured) = tls.accept(beneath).await? else { return Ok(None) };
    conn.pinned.store(true, Relaxed);
    Ok(Some(Arrived {
        speaks: if secured.http2 { Speaks::Http2 } else { Speaks::Http1 },
        info: ConnInfo { secure: true, certificate: secured.client, ..info },
        stream: Stream::Tls(Box::new(secured.stream)),
        read: Bytes::new(),
    }))
}

/// What TLS runs over: the bare socket, and the bytes that were read before the handshake.
pub(super) struct Beneath {
    pub(super) stream: Stream,
    before: Bytes,
    conn: Arc<ConnState>,
}

impl Beneath {
    /// A client that takes the last KiB of a response slowly still makes progress.
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &result {
            self.conn.wrote(*count);
        }
        result
    }
}

impl AsyncRead for Beneath {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.before.len().min(buf.remaining());
        buf.put_slice(&self.before[..count]);
        self.before.advance(count);
        if self.before.is_empty() {
            self.before = Bytes::new(); // frees the buffer
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Beneath {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
