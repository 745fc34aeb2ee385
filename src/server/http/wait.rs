//! What a connection waits for: deadlines, and the client's end of stream after ours.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::conn_state::ConnState;
use super::stream::Stream;
pub(super) use crate::server::throughput::{Timer, since};

/// Longest wait for the client's end of stream after ours, and the most bytes read in that time.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_LIMIT_BYTES: usize = 256 * 1024;

/// Whether the client has sent unread bytes.
pub(super) fn has_more(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let read = match stream {
        Stream::Tcp(stream) => stream.try_read(&mut byte),
        Stream::Unix(stream) => stream.try_read(&mut byte),
        Stream::Tls(stream) => {
            stream.read(&mut byte).now_or_never().unwrap_or(Err(std::io::ErrorKind::WouldBlock.into()))
        }
    };
    matches!(read, Ok(1..))
}

/// Ends our side and reads for a while what the client still sends: closing at once would reset the
/// connection, and the client could lose the response (RFC 9112 section 9.6).
///
/// A full server waits for a shorter time.
pub(super) async fn linger(mut stream: Stream, conn: &ConnState) {
    conn.ending.store(true, Relaxed);
    let reading = async {
        stream.shutdown().await?;
        let mut space = vec![0; 16 * 1024];
        let mut count = 0;
        while count < LINGER_LIMIT_BYTES {
            match stream.read(&mut space).await? {
                0 => break,
                more => count += more,
            }
        }
        std::io::Result::Ok(())
    };
    let (mut reading, mut waker) = (pin!(reading), None);
    let reading = poll_fn(|cx| {
        conn.task.register(cx, &mut waker);
        if conn.is_evicted() || conn.is_aborted() {
            return Poll::Ready(());
        }
        reading.as_mut().poll(cx).map(drop)
    });
    // On a timeout or an error, the connection is closed now.
    let _ = tokio::time::timeout(LINGER_TIME, reading).await;
}
