//! How long a connection waits for its client at the end, and the client's end of stream after ours.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::conn_state::ConnState;
use super::stream::HttpStream;

/// An idle connection stays open this long after its server retires: a request that is already on its way is
/// answered, with `Connection: close`, instead of meeting a closed socket.
pub(super) const LEAVE_TIME: Duration = Duration::from_millis(500);

/// Longest wait for the client's end of stream after ours, and the most bytes read in that time.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_LIMIT_BYTES: usize = 256 * 1024;

/// Ends our side and reads for a while what the client still sends: closing at once would reset the
/// connection, and the client could lose the response (RFC 9112 section 9.6).
///
/// A full server waits for a shorter time.
pub(super) async fn linger(mut stream: HttpStream, conn: &ConnState) {
    conn.ending.set(true);
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
        if conn.evicted.get() || conn.aborted.get() {
            return Poll::Ready(());
        }
        reading.as_mut().poll(cx).map(drop)
    });
    // On a timeout or an error, the connection is closed now.
    let _ = tokio::time::timeout(LINGER_TIME, reading).await;
}
