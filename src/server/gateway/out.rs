//! Bytes that wait to be written to a connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::server::stream::SocketStream;

/// Pieces up to this length are copied together rather than kept separate.
const COPY_LIMIT_BYTES: usize = 4 * 1024;
/// Pieces written at once.
const SLICES: usize = 16;

/// Bytes that wait to be written, in order.
#[derive(Default)]
pub(in crate::server) struct Out {
    pieces: VecDeque<Bytes>,
    /// Small pieces after the others.
    tail: BytesMut,
    len: usize,
}

impl Out {
    /// Number of bytes that wait.
    pub(in crate::server) fn len(&self) -> usize {
        self.len
    }

    /// Adds a copy.
    pub(in crate::server) fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Adds bytes; copies them only if they are few.
    pub(in crate::server) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_LIMIT_BYTES {
            return self.copy(&bytes);
        }
        self.freeze();
        self.len += bytes.len();
        self.pieces.push_back(bytes);
    }

    fn freeze(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// Writes what the socket takes, and returns how much; pending if it takes nothing.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut SocketStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.freeze();
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        let count =
            ready!(Pin::new(stream).poll_write_vectored(cx, &slices[..self.pieces.len().min(SLICES)]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.len -= count;
        let mut left = count;
        while let Some(first) = self.pieces.front_mut() {
            let taken = left.min(first.len());
            first.advance(taken);
            left -= taken;
            if !first.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
        Poll::Ready(Ok(count))
    }
}
