//! The body of a file's answer: parts of the file and bytes between them, read by 64 KiB.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use crate::error::BoxError;

/// Bytes read at once: a larger piece costs memory for each connection, and no less time.
const CHUNK: u64 = 64 * 1024;

/// A piece of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// These bytes of the file.
    File(Range<u64>),
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File(range) => range.end - range.start,
        }
    }
}

/// A body made of pieces.
pub(super) struct Content {
    file: Arc<File>,
    pieces: VecDeque<Piece>,
    left: u64,
    /// A read that would wait for the disk, on a thread where waiting hurts nobody.
    reading: Option<JoinHandle<std::io::Result<Vec<u8>>>>,
}

impl Content {
    pub(super) fn new(file: Arc<File>, pieces: impl IntoIterator<Item = Piece>) -> Content {
        let pieces: VecDeque<_> = pieces.into_iter().filter(|piece| piece.len() > 0).collect();
        let left = pieces.iter().map(Piece::len).sum();
        Content { file, pieces, left, reading: None }
    }
}

impl HttpBody for Content {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let read = if let Some(reading) = &mut this.reading {
            let read = ready!(Pin::new(reading).poll(task));
            this.reading = None;
            read?
        } else {
            match this.pieces.front_mut() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    this.pieces.pop_front();
                    this.left -= bytes.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Piece::File(range)) => {
                    let (offset, length) = (range.start, CHUNK.min(range.end - range.start));
                    if !in_memory(&this.file, offset + length - 1) {
                        let file = this.file.clone();
                        let read = move || read_at(&file, offset, length);
                        this.reading = Some(tokio::task::spawn_blocking(read));
                        return self.poll_frame(task);
                    }
                    read_at(&this.file, offset, length)
                }
            }
        };
        let bytes = match read {
            Ok(bytes) if bytes.is_empty() => {
                // The announced length cannot be kept: the answer must end unfinished.
                return Poll::Ready(Some(Err("the file became shorter while it was sent".into())));
            }
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        };
        this.left -= bytes.len() as u64;
        if let Some(Piece::File(range)) = this.pieces.front_mut() {
            range.start += bytes.len() as u64;
            if range.is_empty() {
                this.pieces.pop_front();
            }
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Whether the byte at `offset` can be read without waiting for the disk. A probe of one byte, as the read itself
/// with `RWF_NOWAIT` would need a buffer of zeros. Where the file system cannot tell, waiting is accepted.
fn in_memory(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let probe = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    probe != Err(Errno::AGAIN)
}

/// Up to `length` bytes at `offset`; fewer at the end of the file.
fn read_at(file: &File, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length as usize);
    loop {
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), offset) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more than was asked for.
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// The whole file as it is now, at most `limit` bytes.
pub(super) fn read_whole(file: &File, limit: u64) -> std::io::Result<Bytes> {
    let mut whole = Vec::new();
    while (whole.len() as u64) < limit {
        let part = read_at(file, whole.len() as u64, limit - whole.len() as u64)?;
        if part.is_empty() {
            break;
        }
        if whole.is_empty() { whole = part } else { whole.extend(part) }
    }
    Ok(whole.into())
}
