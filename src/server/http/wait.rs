//! What a connection waits for: deadlines that move, and the client's end of stream after ours.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Sleep};

use super::link::Stream;

/// Longest wait for the client's end of stream after ours, and most bytes that are read meanwhile.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_LIMIT_BYTES: usize = 256 * 1024;

/// A deadline that may move: moving it later costs nothing, as the timer then only fires once too early.
#[derive(Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Whether `deadline` has passed; else the task is woken then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if sleep.deadline() <= deadline && !sleep.is_elapsed() {
                    return false; // armed, and its waker is this task's
                }
                if sleep.is_elapsed() && deadline <= Instant::now() {
                    return true;
                }
                sleep.as_mut().reset(deadline);
                sleep
            }
            empty => empty.insert(Box::pin(tokio::time::sleep_until(deadline))),
        };
        sleep.as_mut().poll(cx).is_ready()
    }
}

/// Since when `holds` has held without a byte written.
pub(super) fn since(slot: &mut Option<(u64, Instant)>, holds: bool, written: u64) -> Option<Instant> {
    if !holds {
        *slot = None;
    } else if slot.is_none_or(|(before, _)| before != written) {
        *slot = Some((written, Instant::now()));
    }
    slot.map(|(_, since)| since)
}

/// Whether the client has sent something that nobody has read.
pub(super) fn has_more(stream: &Stream) -> bool {
    let mut byte = [0];
    let read = match stream {
        Stream::Tcp(stream) => stream.try_read(&mut byte),
        Stream::Unix(stream) => stream.try_read(&mut byte),
    };
    matches!(read, Ok(1..))
}

/// Ends our side and reads a while what the client still sends: closing at once would reset the connection, and the
/// client could lose the answer (RFC 9112 section 9.6).
pub(super) async fn linger(mut stream: Stream) {
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
    // Late or broken, the connection is closed now.
    let _ = tokio::time::timeout(LINGER_TIME, reading).await;
}
