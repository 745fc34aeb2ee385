//! Frames that wait to be sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{DESCRIPTOR, END, Kind, LARGEST_DATA, LONGEST, header};

/// Pieces of at least this size are not copied.
const LARGE: usize = 4096;
/// Pieces that are sent with one call.
const PIECES: usize = 32;

/// Frames in the order in which they are to be sent. Small ones are joined; large body parts are not copied.
#[derive(Debug, Default)]
pub struct Outgoing {
    queue: VecDeque<Piece>,
    tail: BytesMut,
    length: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// Sent with the first byte.
    descriptor: Option<OwnedFd>,
}

impl Outgoing {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Adds a frame. A payload beyond [`LONGEST`] is cut off.
    pub fn push(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        let payload = &payload[..payload.len().min(LONGEST)];
        self.put(&header(kind, stream, 0, payload.len()));
        self.put(payload);
    }

    /// Adds a frame that is the sender's last one of a body.
    pub fn push_last(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        self.put(&header(kind, stream, END, payload.len()));
        self.put(payload);
    }

    /// Adds a frame with a descriptor.
    pub fn push_descriptor(&mut self, kind: Kind, stream: u32, payload: &[u8], descriptor: OwnedFd) {
        self.close_tail();
        self.put(&header(kind, stream, DESCRIPTOR | END, payload.len()));
        self.put(payload);
        let bytes = self.tail.split().freeze();
        self.queue.push_back(Piece { bytes, descriptor: Some(descriptor) });
    }

    /// Allows the peer to send `bytes` more of a body.
    pub fn push_credit(&mut self, stream: u32, bytes: u32) {
        self.push(Kind::Credit, stream, &bytes.to_le_bytes());
    }

    /// Adds a part of a body; `last` if nothing follows. Splits it if it is large.
    pub fn push_data(&mut self, stream: u32, mut data: Bytes, last: bool) {
        loop {
            let part = data.split_to(data.len().min(LARGEST_DATA));
            let end = last && data.is_empty();
            self.put(&header(Kind::Data, stream, if end { END } else { 0 }, part.len()));
            if part.len() < LARGE {
                self.put(&part);
            } else {
                self.close_tail();
                self.length += part.len();
                self.queue.push_back(Piece { bytes: part, descriptor: None });
            }
            if data.is_empty() {
                return;
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.tail.extend_from_slice(bytes);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let bytes = self.tail.split().freeze();
            self.queue.push_back(Piece { bytes, descriptor: None });
        }
    }

    /// Sends with one call as much as the socket takes. Returns the number of bytes.
    /// # Errors
    /// That of the system; `WouldBlock` if the socket does not block and is full.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut used = 0;
        // A descriptor belongs to the first byte of a call.
        let joined =
            self.queue.iter().enumerate().take_while(|(at, piece)| *at == 0 || piece.descriptor.is_none());
        for ((_, piece), slice) in joined.zip(&mut slices) {
            *slice = IoSlice::new(&piece.bytes);
            used += 1;
        }
        if used == self.queue.len() && used < PIECES {
            slices[used] = IoSlice::new(&self.tail);
            used += 1;
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptor = self.queue.front().and_then(|piece| piece.descriptor.as_ref()).map(AsFd::as_fd);
        let descriptors = descriptor.map(|descriptor| [descriptor]);
        if let Some(descriptors) = &descriptors {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors)); // there is room for one
        }
        let count = loop {
            match rustix::net::sendmsg(&socket, &slices[..used], &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => break sent?,
            }
        };
        self.advance(count);
        Ok(count)
    }

    fn advance(&mut self, mut count: usize) {
        self.length -= count;
        if count > 0
            && let Some(first) = self.queue.front_mut()
        {
            first.descriptor = None;
        }
        while let Some(first) = self.queue.front_mut() {
            if count < first.bytes.len() {
                first.bytes.advance(count);
                return;
            }
            count -= first.bytes.len();
            self.queue.pop_front();
        }
        self.tail.advance(count);
    }

    /// All bytes, without sending them; for tests.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.length);
        self.queue.iter().for_each(|piece| all.extend_from_slice(&piece.bytes));
        all.extend_from_slice(&self.tail);
        all
    }
}
