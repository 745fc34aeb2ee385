//! A body that consists of parts of a file and bytes between them, read in pieces of 64 KiB, or passed on as
//! parts that were never read.

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

/// Bytes read at once: a larger piece costs memory for each connection and saves no time.
const CHUNK: u64 = 64 * 1024;

/// Maximum bytes of a part. It is small, so that a client that leaves has taken about as many bytes as were
/// counted.
pub const LARGEST_PART: u64 = 8 * CHUNK;
/// The distance between checks whether a part is in memory: the kernel reads ahead at least this much.
const STEP: u64 = 2 * CHUNK;

/// A piece of a body.
#[derive(Debug)]
pub enum BodyPiece {
    /// These bytes.
    Bytes(Bytes),
    /// These bytes of the file.
    File(Range<u64>),
}

impl BodyPiece {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            BodyPiece::Bytes(bytes) => bytes.len() as u64,
            BodyPiece::File(range) => range.end - range.start,
        }
    }
}

/// Bytes of a file that a socket can send without anyone reading them.
#[derive(Debug)]
pub struct FilePart {
    /// The file.
    pub file: Arc<File>,
    /// The first byte.
    pub start: u64,
    /// Number of bytes, at least one. The file may have become shorter.
    pub length: usize,
}

/// A body made of pieces of one file.
pub struct FileBody {
    file: Arc<File>,
    pieces: VecDeque<BodyPiece>,
    left: u64,
    /// A read that would wait for the disk, on a thread that may block.
    reading: Option<JoinHandle<std::io::Result<Vec<u8>>>>,
}

impl FileBody {
    /// A body of these pieces, in this order.
    pub fn new(file: Arc<File>, pieces: impl IntoIterator<Item = BodyPiece>) -> FileBody {
        let pieces: VecDeque<_> = pieces.into_iter().filter(|piece| piece.length() > 0).collect();
        let left = pieces.iter().map(BodyPiece::length).sum();
        FileBody { file, pieces, left, reading: None }
    }

    /// Takes the next bytes unread, as many as are in memory. `None`: only `poll_frame` has them, because
    /// they are not from the file or the disk must be waited for.
    pub(super) fn next_part(&mut self) -> Option<FilePart> {
        if self.reading.is_some() {
            return None;
        }
        let Some(BodyPiece::File(range)) = self.pieces.front() else { return None };
        let start = range.start;
        let most = range.end.min(start + LARGEST_PART);
        let mut end = start;
        while end < most {
            let next = most.min(end + STEP);
            if !in_memory(&self.file, next - 1) {
                break;
            }
            end = next;
        }
        let length = end - start;
        self.advance(length);
        (length > 0).then(|| FilePart { file: self.file.clone(), start, length: length as usize })
    }

    /// Advances by `count` bytes of the file.
    fn advance(&mut self, count: u64) {
        self.left -= count;
        if let Some(BodyPiece::File(range)) = self.pieces.front_mut() {
            range.start += count;
            if range.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

impl HttpBody for FileBody {
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
                Some(BodyPiece::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    this.pieces.pop_front();
                    this.left -= bytes.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(BodyPiece::File(range)) => {
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
                // The announced length cannot be met: the response must end unfinished.
                return Poll::Ready(Some(Err("the file became shorter while it was sent".into())));
            }
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        };
        this.advance(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Whether the byte at `offset` can be read without waiting for the disk. It probes one byte, because reading
/// everything with `RWF_NOWAIT` would need a zeroed buffer. If the file system does not support this, it may block.
fn in_memory(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let probe = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    probe != Err(Errno::AGAIN)
}

/// Up to `length` bytes at `offset`; fewer at the end of the file.
/// # Errors
/// The system's error.
pub fn read_at(file: &File, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length as usize);
    loop {
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), offset) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have provided more than was requested.
    bytes.truncate(length as usize);
    Ok(bytes)
}
