//! Frames that wait to be sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::{DESCRIPTOR, END, Frame, HEADER, Kind, LARGEST_DATA, LONGEST, Peer, header};

/// Frames that are sent with one call.
const TOGETHER: usize = 32;

/// Frames in the order in which they are to be sent. Body parts are not copied.
#[derive(Debug, Default)]
pub struct Outgoing {
    queue: VecDeque<Frame>,
    /// Bytes of the first frame that were sent.
    sent: usize,
    length: usize,
}

impl Outgoing {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Adds a frame. A payload beyond [`LONGEST`] is cut off.
    pub fn push(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        self.put(Frame { kind, stream, end: false, payload: cut(payload), descriptor: None });
    }

    /// Adds a message of a WebSocket, which is at most [`LONGEST`] bytes long.
    pub fn push_message(&mut self, kind: Kind, stream: u32, payload: Bytes) {
        let payload = payload.slice(..payload.len().min(LONGEST));
        self.put(Frame { kind, stream, end: false, payload, descriptor: None });
    }

    /// Adds a frame that is the sender's last one of a body.
    pub fn push_last(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        self.put(Frame { kind, stream, end: true, payload: cut(payload), descriptor: None });
    }

    /// Adds a frame with a descriptor.
    pub fn push_descriptor(&mut self, kind: Kind, stream: u32, payload: &[u8], descriptor: OwnedFd) {
        self.put(Frame { kind, stream, end: true, payload: cut(payload), descriptor: Some(descriptor) });
    }

    /// Allows the peer to send `bytes` more of a body.
    pub fn push_credit(&mut self, stream: u32, bytes: u32) {
        self.push(Kind::Credit, stream, &bytes.to_le_bytes());
    }

    /// Adds a part of a body; `last` if nothing follows. Splits it if it is large.
    pub fn push_data(&mut self, stream: u32, mut data: Bytes, last: bool) {
        loop {
            let payload = data.split_to(data.len().min(LARGEST_DATA));
            let end = last && data.is_empty();
            self.put(Frame { kind: Kind::Data, stream, end, payload, descriptor: None });
            if data.is_empty() {
                return;
            }
        }
    }

    /// Adds the frames of `more`, of which nothing was sent yet.
    pub fn append(&mut self, mut more: Outgoing) {
        self.length += more.length;
        self.queue.append(&mut more.queue);
    }

    fn put(&mut self, frame: Frame) {
        self.length += HEADER + frame.payload.len();
        self.queue.push_back(frame);
    }

    /// Sends with one call as much as the socket takes. Returns the number of bytes.
    /// # Errors
    /// That of the system; `WouldBlock` if the socket does not block and is full.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.send_with(socket, SendFlags::empty())
    }

    /// The same, but never waits for the socket.
    /// # Errors
    /// That of the system; `WouldBlock` if the socket is full.
    pub fn try_send(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.send_with(socket, SendFlags::DONTWAIT)
    }

    fn send_with(&mut self, socket: impl AsFd, flags: SendFlags) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        // A descriptor belongs to the first byte of a call.
        let together = self.queue.iter().enumerate();
        let together = together.take_while(|(at, frame)| *at == 0 || frame.descriptor.is_none());
        let mut headers = [[0; HEADER]; TOGETHER];
        let mut used = 0;
        for ((_, frame), header) in together.zip(&mut headers) {
            *header = header_of(frame);
            used += 1;
        }
        let mut slices = [IoSlice::new(&[]); 2 * TOGETHER];
        for (at, frame) in self.queue.iter().take(used).enumerate() {
            let sent = if at == 0 { self.sent } else { 0 };
            slices[2 * at] = IoSlice::new(&headers[at][sent.min(HEADER)..]);
            slices[2 * at + 1] = IoSlice::new(&frame.payload[sent.saturating_sub(HEADER)..]);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptor = self.queue.front().and_then(|frame| frame.descriptor.as_ref()).map(AsFd::as_fd);
        let descriptors = descriptor.map(|descriptor| [descriptor]);
        if let Some(descriptors) = &descriptors
            && self.sent == 0
        {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors)); // there is room for one
        }
        let flags = flags | SendFlags::NOSIGNAL;
        let count = loop {
            match rustix::net::sendmsg(&socket, &slices[..2 * used], &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                sent => break sent?,
            }
        };
        self.advance(count);
        Ok(count)
    }

    fn advance(&mut self, count: usize) {
        self.length -= count;
        self.sent += count;
        while let Some(first) = self.queue.front() {
            let whole = HEADER + first.payload.len();
            if self.sent < whole {
                return;
            }
            self.sent -= whole;
            self.queue.pop_front();
        }
    }

    /// Passes all frames to the peer in this process.
    pub fn pass(&mut self, peer: &Peer) {
        self.length = 0;
        peer.pass(self.queue.drain(..));
    }

    /// All bytes, without sending them; for tests.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.length);
        for frame in &self.queue {
            all.extend_from_slice(&header_of(frame));
            all.extend_from_slice(&frame.payload);
        }
        all.drain(..self.sent);
        all
    }
}

fn cut(payload: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&payload[..payload.len().min(LONGEST)])
}

fn header_of(frame: &Frame) -> [u8; HEADER] {
    let end = if frame.end { END } else { 0 };
    let descriptor = if frame.descriptor.is_some() { DESCRIPTOR } else { 0 };
    header(frame.kind, frame.stream, end | descriptor, frame.payload.len())
}
