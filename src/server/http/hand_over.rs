//! A connection between two requests, and its hand-over to the next generation.

use bytes::BytesMut;
use tokio::time::Instant;

use super::conn_state::OpenCount;
use super::stream::HttpStream;
use crate::server::accept::{HandedOver, ListenerId};
use crate::server::control::Idle;
use crate::server::gate::ConnInfo;

/// A connection between two requests, without any state of hyper.
pub(super) struct IdleConn {
    pub(super) stream: HttpStream,
    /// Bytes of the next request that were already read.
    pub(super) read: BytesMut,
    pub(super) open: OpenCount,
    pub(super) idle_since: Instant,
    /// It has used HTTP/1 and cannot change to HTTP/2.
    pub(super) is_http1: bool,
}

/// Passes an idle connection to the next generation, or returns it if no generation takes it.
pub(super) async fn hand_over(conn: IdleConn, place: &ListenerId, info: &ConnInfo) -> Option<IdleConn> {
    let IdleConn { stream, read, open, idle_since, is_http1 } = conn;
    let idle = |socket, server| Idle {
        server,
        listener: place.index,
        socket,
        read: read.freeze(),
        peer: info.peer,
        secure: info.secure,
    };
    let HandedOver { stream, read, .. } = open.conn.shared.pass_on(stream.into_fd(), idle).await?;
    open.conn.close_next.set(true);
    Some(IdleConn { stream: stream.into(), read: read.into(), open, idle_since, is_http1 })
}
