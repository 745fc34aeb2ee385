//! The steps before the first request: the PROXY header and the TLS handshake.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::conn_state::{ConnState, OpenCount};
use super::refused::{HANDSHAKE, SPEAKS_HTTPS, refuse};
use super::shared::HttpShared;
use super::stream::{HttpStream, Speaks};
use super::tls_io::TlsIo;
use crate::server::accept::ListenerId;
use crate::server::control::PhaseName;
use crate::server::gate::ConnInfo;
use crate::server::proxy_protocol::{self, ProxiedClient, ProxyHeader};
use crate::server::stream::SocketStream;
use crate::server::tls::{Handshake, Terminator};

/// A connection that is ready for requests.
pub(super) struct Arrived {
    pub(super) stream: HttpStream,
    /// Bytes already read.
    pub(super) read: Bytes,
    pub(super) info: ConnInfo,
    pub(super) speaks: Speaks,
}

/// Does what must happen before the first request; `None` if the connection is not to be served.
pub(super) async fn arrive(stream: SocketStream, open: &OpenCount, place: &ListenerId) -> Option<Arrived> {
    let conn = &open.conn;
    let shared = &conn.shared;
    let mut waker = None;
    let info = ConnInfo { peer: stream.peer(), listen: place.listen.clone(), ..ConnInfo::default() };
    let preface = &shared.preface;
    if preface.balancers.is_none() && preface.tls(place).is_none() {
        return Some(Arrived { stream: stream.into(), read: Bytes::new(), info, speaks: Speaks::Either });
    }
    // Boxed, and freed before the first request: otherwise the connection's task would be twice as large.
    let mut preparing = Box::pin(prepare(stream, info, shared, conn, place));
    // No response is due to a client that has not sent a request yet.
    poll_fn(|cx| {
        conn.task.register(cx, &mut waker);
        if conn.aborted.get() || conn.evicted.get() || shared.stage() >= PhaseName::Draining {
            return Poll::Ready(None);
        }
        preparing.as_mut().poll(cx)
    })
    .await
}

async fn prepare(
    mut stream: SocketStream,
    mut info: ConnInfo,
    shared: &HttpShared,
    conn: &Arc<ConnState>,
    place: &ListenerId,
) -> Option<Arrived> {
    let mut read = Bytes::new();
    if let Some(balancers) = &shared.preface.balancers {
        if !balancers.trusts(info.peer) {
            tracing::debug!(peer = ?info.peer, "refused: this peer may not use the PROXY protocol");
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
            ProxiedClient::Peer => {}
            ProxiedClient::Address(address) => info.peer = Some(address),
            ProxiedClient::Unix => info.peer = None,
        }
        info.secure = header.secure.unwrap_or(false);
    }
    let Some(tls) = shared.preface.tls(place) else {
        return Some(Arrived { stream: stream.into(), read, info, speaks: Speaks::Either });
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
async fn header(
    stream: &mut SocketStream,
) -> Result<Option<(ProxyHeader, Bytes)>, proxy_protocol::Malformed> {
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
    mut stream: SocketStream,
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
            refuse(stream.into(), conn, &info, SPEAKS_HTTPS, &before).await;
        }
        return Ok(None);
    }
    let io = TlsIo::new(stream, before, conn.clone());
    let Handshake::Secured(secured) = tls.accept(io).await? else { return Ok(None) };
    conn.pinned.set(true);
    Ok(Some(Arrived {
        speaks: if secured.http2 { Speaks::Http2 } else { Speaks::Http1 },
        info: ConnInfo { secure: true, certificate: secured.client, host: secured.host, ..info },
        stream: HttpStream::Tls(Box::new(secured.stream)),
        read: Bytes::new(),
    }))
}
