//! Packets between the processes: JSON, raw bytes and descriptors over a Unix stream socket.
//!
//! A packet has three little-endian `u32` (length of the JSON, length of the raw bytes, number of
//! descriptors), then the JSON and the raw bytes. The descriptors are sent with the first byte
//! (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// The kernel's limit of descriptors in one message (`SCM_MAX_FD`).
pub(crate) const MOST_DESCRIPTORS: usize = 253;
const LONGEST: usize = 1 << 30;

/// One packet.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    pub(crate) json: Vec<u8>,
    pub(crate) raw: Bytes,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Packet {
    /// A packet with only a message.
    pub(crate) fn new(message: &impl Serialize) -> Packet {
        let json = serde_json::to_vec(message).expect("messages have string keys only");
        Packet { json, ..Packet::default() }
    }

    /// Its message.
    pub(crate) fn message<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.json).map_err(io::Error::other)
    }
}

/// Two connected sockets, close-on-exec and non-blocking.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Registers a socket of [`pair`] with the runtime.
pub(crate) fn stream(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Waits until a packet starts to arrive, or the other end closes.
pub(crate) async fn arriving(stream: &UnixStream) {
    let peek = || {
        let mut byte = [0];
        Ok(rustix::net::recv(stream, &mut byte, RecvFlags::PEEK)?)
    };
    let _ = stream.async_io(Interest::READABLE, peek).await; // the receiver sees the error
}

/// Sends one whole packet.
/// # Errors
/// When the other end is gone.
pub(crate) async fn send(stream: &UnixStream, packet: &Packet) -> io::Result<()> {
    let mut head = [0; 12];
    for (place, length) in
        head.chunks_exact_mut(4).zip([packet.json.len(), packet.raw.len(), packet.fds.len()])
    {
        let length = u32::try_from(length).map_err(|_| io::Error::other("packet too long"))?;
        place.copy_from_slice(&length.to_le_bytes());
    }
    let parts: [&[u8]; 3] = [&head, &packet.json, &packet.raw];
    let total = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut sent = 0;
    while sent < total {
        let mut skip = sent;
        let rest = parts.map(|part| {
            let from = skip.min(part.len());
            skip -= from;
            IoSlice::new(&part[from..])
        });
        let fds: Vec<BorrowedFd<'_>> =
            if sent == 0 { packet.fds.iter().map(AsFd::as_fd).collect() } else { Vec::new() };
        sent += stream.async_io(Interest::WRITABLE, || send_once(stream, &rest, &fds)).await?;
    }
    Ok(())
}

fn send_once(stream: &UnixStream, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors in one packet"));
    }
    Ok(rustix::net::sendmsg(stream, parts, &mut ancillary, SendFlags::NOSIGNAL)?)
}

/// Receives one packet; `None` if the other end has closed between packets.
/// # Errors
/// When the packet is incomplete or malformed.
pub(crate) async fn receive(stream: &UnixStream) -> io::Result<Option<Packet>> {
    let mut fds = Vec::new();
    let mut head = [0; 12];
    if !fill(stream, &mut head, &mut fds).await? {
        return Ok(None);
    }
    let length = |index: usize| {
        let bytes = [head[index], head[index + 1], head[index + 2], head[index + 3]];
        u32::from_le_bytes(bytes) as usize
    };
    if length(0) > LONGEST || length(4) > LONGEST {
        return Err(io::Error::other("packet too long"));
    }
    let mut body = vec![0; length(0) + length(4)];
    if !body.is_empty() && !fill(stream, &mut body, &mut fds).await? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if fds.len() != length(8) {
        return Err(io::Error::other("a packet lost its descriptors"));
    }
    let raw = Bytes::from(body.split_off(length(0)));
    Ok(Some(Packet { json: body, raw, fds }))
}

/// Fills `buffer`; `false` if the stream ended before its first byte.
async fn fill(stream: &UnixStream, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        let count = stream.async_io(Interest::READABLE, || receive_once(stream, rest, fds)).await?;
        if count == 0 {
            return if filled == 0 { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        filled += count;
    }
    Ok(true)
}

fn receive_once(stream: &UnixStream, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = rustix::net::recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost: too many open files"));
    }
    Ok(received.bytes)
}

/// A queue in front of a stream, so that senders do not wait for a slow receiver.
#[derive(Clone)]
pub(crate) struct Outbox(mpsc::UnboundedSender<(Option<Packet>, Option<oneshot::Sender<()>>)>);

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}

impl Outbox {
    /// Sends in the background until the last clone is dropped or the other end is gone.
    pub(crate) fn new(stream: Arc<UnixStream>) -> Outbox {
        let (sender, mut queue) = mpsc::unbounded_channel::<(Option<Packet>, Option<oneshot::Sender<()>>)>();
        tokio::spawn(async move {
            while let Some((packet, sent)) = queue.recv().await {
                if let Some(packet) = packet
                    && send(&stream, &packet).await.is_err()
                {
                    break;
                }
                if let Some(sent) = sent {
                    let _ = sent.send(()); // the caller may have stopped waiting
                }
            }
        });
        Outbox(sender)
    }

    /// Queues a packet. If the other end is gone, the packet is dropped: its exit is noticed elsewhere.
    pub(crate) fn send(&self, packet: Packet) {
        let _ = self.0.send((Some(packet), None));
    }

    /// Queues a packet and waits until it is sent.
    pub(crate) async fn deliver(&self, packet: Packet) {
        self.wait(Some(packet)).await;
    }

    /// Waits until everything in the queue is sent.
    pub(crate) async fn flush(&self) {
        self.wait(None).await;
    }

    async fn wait(&self, packet: Option<Packet>) {
        let (sent, wait) = oneshot::channel();
        if self.0.send((packet, Some(sent))).is_ok() {
            let _ = wait.await; // an error means that the other end is gone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_arrive_whole_and_in_order_with_their_descriptors() {
        let (left, right) = pair().unwrap();
        let (left, right) = (stream(left).unwrap(), stream(right).unwrap());
        let sender = tokio::spawn(async move {
            for size in [0, 1, 4096, 3_000_000] {
                let (end, _) = pair().unwrap();
                let fds = if size == 1 { Vec::new() } else { vec![end] };
                let packet = Packet { raw: vec![7; size].into(), fds, ..Packet::new(&size) };
                send(&left, &packet).await.unwrap();
            }
        });
        for size in [0, 1, 4096, 3_000_000] {
            let packet = receive(&right).await.unwrap().unwrap();
            assert_eq!(packet.message::<usize>().unwrap(), size);
            assert_eq!(packet.raw.len(), size);
            assert_eq!(packet.fds.len(), usize::from(size != 1));
        }
        assert!(receive(&right).await.unwrap().is_none());
        sender.await.unwrap();
    }
}
