//! The receiving side of an exchange: reads a response's bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio_util::io::poll_read_buf;

use super::failure::FailureReason;
use super::member::UpstreamConnection;

/// Bytes read at a time, initially and at most: a fast sender is read in larger pieces.
const READ: (usize, usize) = (8 * 1024, 128 * 1024);

/// How far a response has arrived.
pub(super) struct ResponseReader {
    /// Whether the upstream has closed its side.
    pub(super) ended: bool,
    /// Whether any byte has arrived.
    pub(super) answered: bool,
    /// Whether the head was taken.
    pub(super) headed: bool,
    read: usize,
}

impl ResponseReader {
    pub(super) fn new() -> ResponseReader {
        ResponseReader { ended: false, answered: false, headed: false, read: READ.0 }
    }

    /// Reads more into the connection's `input`.
    /// # Errors
    /// Why the response ends here.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut UpstreamConnection,
    ) -> Poll<Result<(), FailureReason>> {
        if connection.input.capacity() - connection.input.len() < self.read / 4 {
            connection.input.reserve(self.read);
        }
        let result = ready!(poll_read_buf(Pin::new(&mut connection.stream), cx, &mut connection.input));
        match result {
            Ok(_) if connection.stream.is_late() => return Poll::Ready(Err(self.late())),
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.answered = true;
                if count >= self.read {
                    self.read = (self.read * 2).min(READ.1);
                }
                // The head has one limit, however many pieces it arrives in.
                if self.headed {
                    connection.clock.stop();
                }
            }
            Err(error) => return Poll::Ready(Err(self.broken(error))),
        }
        Poll::Ready(Ok(()))
    }

    fn broken(&self, error: io::Error) -> FailureReason {
        let reset = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
        match reset && !self.answered {
            _ if self.headed => FailureReason::BrokenOff,
            true => FailureReason::Reset,
            false => FailureReason::Broken(error),
        }
    }

    /// Why there is no more if the upstream closed its side.
    pub(super) fn closed(&self) -> FailureReason {
        if self.headed { FailureReason::BrokenOff } else { FailureReason::Closed }
    }

    /// What has taken too long.
    pub(super) fn late(&self) -> FailureReason {
        if self.headed { FailureReason::Stalled } else { FailureReason::HeadTimeout }
    }
}
