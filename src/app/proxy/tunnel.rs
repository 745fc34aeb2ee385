//! Joins two connections: a WebSocket between client and upstream.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::app::upstream::{ConnectionLease, UpstreamConnection};

/// Bytes read at a time.
const PIECE: usize = 8 * 1024;

/// Joins the client's connection, once it is upgraded, with the upstream's, until both have ended, one
/// breaks, or neither has sent anything for `idle` (at most twice that).
pub(super) fn spawn(client: OnUpgrade, upstream: UpstreamConnection, lease: ConnectionLease, idle: Duration) {
    tokio::spawn(async move {
        let _lease = lease;
        // A client that leaves before the upgrade is not a failure.
        let Ok(client) = client.await else { return };
        let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
        let UpstreamConnection { stream, input, .. } = upstream;
        let (upstream_read, upstream_write) = tokio::io::split(stream);
        let moved = AtomicU64::new(0);
        let both = async {
            tokio::try_join!(
                copy(client_read, upstream_write, BytesMut::new(), &moved),
                copy(upstream_read, client_write, input, &moved)
            )
        };
        tokio::select! {
            // However it ended, both connections end with it.
            _ = both => {}
            () = quiet(&moved, idle) => {}
        }
    });
}

/// Copies until the end of `from`, and then ends `to`.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut buffer: BytesMut,
    moved: &AtomicU64,
) -> io::Result<()> {
    loop {
        if !buffer.is_empty() {
            to.write_all_buf(&mut buffer).await?;
            to.flush().await?;
        }
        buffer.reserve(PIECE);
        let count = from.read_buf(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        moved.fetch_add(count as u64, Relaxed);
    }
}

/// Returns when nothing was copied for `idle`.
async fn quiet(moved: &AtomicU64, idle: Duration) {
    let mut before = moved.load(Relaxed);
    loop {
        tokio::time::sleep(idle).await;
        let now = moved.load(Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}
