//! Received bytes and descriptors, taken apart into frames.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use bytes::{Buf, BytesMut};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use super::{DESCRIPTOR, END, Frame, HEADER, Kind, LONGEST, Malformed};

/// Descriptors that may come with one read.
const MOST_DESCRIPTORS: usize = 64;
/// Descriptors that may wait for their frames.
const MOST_WAITING: usize = 1024;
/// Bytes that one read takes, at least and at most.
const READ: [usize; 2] = [8 << 10, 256 << 10];

/// What was received and is not yet taken apart.
#[derive(Debug, Default)]
pub struct Incoming {
    buffer: BytesMut,
    descriptors: VecDeque<OwnedFd>,
    /// Bytes that the next read asks for.
    read: usize,
    /// The last read has left nothing in the socket.
    drained: bool,
}

impl Incoming {
    /// Reads once from a Unix socket. Returns the number of bytes; 0 if the peer has closed its end.
    /// # Errors
    /// That of the system; `WouldBlock` if the socket does not block and has nothing.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let before = self.buffer.len();
        let wanted = self.read.max(READ[0]);
        // Only what was received is kept, so that a frame does not hold a large buffer.
        self.buffer.resize(before + wanted, 0);
        let waiting = self.descriptors.len();
        let received = receive(socket, &mut self.buffer[before..], &mut self.descriptors);
        self.buffer.truncate(before + received.as_ref().map_or(0, |count| *count));
        let count = received?;
        // A read ends after the bytes that a descriptor came with.
        self.drained = count < wanted && self.descriptors.len() == waiting;
        self.read = if count == wanted { (wanted * 4).min(READ[1]) } else { count.next_power_of_two() };
        Ok(count)
    }

    /// Whether the last read has left nothing in the socket.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Adds bytes that were received elsewhere.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a frame has arrived in part.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next complete frame; `None` if more bytes are needed.
    /// # Errors
    /// When the bytes are not frames; the connection must be closed then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > LONGEST {
            return Err(Malformed("too long"));
        }
        let kind = Kind::from_number(kind).ok_or(Malformed("unknown kind"))?;
        if flags & !(END | DESCRIPTOR) != 0 {
            return Err(Malformed("unknown flag"));
        }
        if self.buffer.len() < HEADER + length {
            self.buffer.reserve(HEADER + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let payload = self.buffer.split_to(length).freeze();
        let descriptor = match flags & DESCRIPTOR {
            0 => None,
            _ => Some(self.descriptors.pop_front().ok_or(Malformed("a descriptor is missing"))?),
        };
        let stream = u32::from_le_bytes([s0, s1, s2, s3]);
        Ok(Some(Frame { kind, stream, end: flags & END != 0, payload, descriptor }))
    }
}

fn receive(socket: impl AsFd, buffer: &mut [u8], descriptors: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost: too many open files"));
    }
    if descriptors.len() > MOST_WAITING {
        return Err(Malformed("too many descriptors").into());
    }
    Ok(received.bytes)
}
