//! Bytes to be sent to an upstream: small pieces are joined, large ones are sent as they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::stream::Stream;

/// Pieces of at least this size are not copied.
const LARGE: usize = 4096;

/// What is to be written, in order.
#[derive(Default)]
pub(in crate::app) struct Outgoing {
    queue: VecDeque<Bytes>,
    buffer: BytesMut,
}

impl Outgoing {
    /// Copies bytes to the end.
    pub(in crate::app) fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Adds a piece of a body.
    pub(in crate::app) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < LARGE {
            return self.put(&bytes);
        }
        if !self.buffer.is_empty() {
            self.queue.push_back(self.buffer.split().freeze());
        }
        self.queue.push_back(bytes);
    }

    /// The buffer for a head that is composed of many pieces.
    pub(in crate::app) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.buffer.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.buffer.clear();
    }

    /// Writes once. Returns the number of bytes written; 0 if there was nothing to write.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<io::Result<usize>> {
        let mut stream = Pin::new(stream);
        let count = if self.queue.is_empty() {
            if self.buffer.is_empty() {
                return Poll::Ready(Ok(0));
            }
            ready!(stream.as_mut().poll_write(cx, &self.buffer))?
        } else if stream.is_write_vectored() {
            let mut slices = [IoSlice::new(&[]); 8];
            let pieces = self.queue.iter().map(|piece| &piece[..]).chain([&self.buffer[..]]);
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(pieces) {
                *slice = IoSlice::new(piece);
                used += 1;
            }
            ready!(stream.as_mut().poll_write_vectored(cx, &slices[..used]))?
        } else {
            ready!(stream.as_mut().poll_write(cx, &self.queue[0]))?
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(count);
        Poll::Ready(Ok(count))
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.queue.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.queue.pop_front();
        }
        self.buffer.advance(count);
    }
}
