//! Files that go from the page cache to the socket without being copied through this process.
//!
//! hyper only knows bodies of bytes. So the outermost body gives it *placeholders*: slices of one region of
//! zeros that is never read. hyper queues slices without copying them if the socket supports vectored writes,
//! and passes them to the socket. The socket recognizes them by their address, and sends the part of a file
//! that each stands for. hyper counts them like any bytes, so keep-alive, pipelining and limits work as
//! usual.
//!
//! A placeholder itself must never be sent: a write that does not match the promised parts is an error,
//! which ends the connection. Only the body of a plain HTTP/1 connection may make placeholders.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::body::file::{FilePart, LARGEST_PART, read_at};
use crate::server::stream::SocketStream;

/// Bytes copied at once if the file system does not support sendfile.
const COPIED: usize = 64 * 1024;

/// Zeroed pages from the kernel: they take no memory because nothing touches them.
static PLACEHOLDERS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; LARGEST_PART as usize]);

fn is_placeholder(slice: &[u8]) -> bool {
    PLACEHOLDERS.as_ptr_range().contains(&slice.as_ptr()) && !slice.is_empty()
}

/// The parts of files for which hyper has placeholders, next one first.
#[derive(Debug, Default)]
pub(super) struct OutgoingFiles {
    /// Whether the socket can send files.
    allowed: AtomicBool,
    /// Whether there was ever a part; until then writes need no check.
    used: AtomicBool,
    parts: Mutex<VecDeque<FilePart>>,
}

impl OutgoingFiles {
    pub(super) fn allow(&self, allowed: bool) {
        self.allowed.store(allowed, Relaxed);
    }

    /// Whether parts may be promised.
    pub(super) fn is_allowed(&self) -> bool {
        self.allowed.load(Relaxed)
    }

    fn parts(&self) -> MutexGuard<'_, VecDeque<FilePart>> {
        self.parts.lock()
    }

    /// Stores a part and returns its placeholder. The `first` part of a response discards what an earlier
    /// response promised: hyper asks for a body only after the previous one is sent.
    pub(super) fn promise(&self, part: FilePart, first: bool) -> Bytes {
        let placeholder = Bytes::from_static(&PLACEHOLDERS[..part.length]);
        let mut parts = self.parts();
        if first {
            parts.clear();
        }
        parts.push_back(part);
        self.used.store(true, Relaxed);
        placeholder
    }

    /// Whether a write must go through [`send`].
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Relaxed)
    }
}

/// Writes `slices`; in place of a placeholder, the part of a file that it stands for.
/// # Errors
/// Those of the socket. [`is_fault`] recognizes errors of the file, which may have become too short, and a
/// placeholder that stands for nothing.
pub(super) fn send(
    stream: &SocketStream,
    outgoing: &OutgoingFiles,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut parts = outgoing.parts();
    let count = slices.iter().position(|slice| is_placeholder(slice));
    let part = parts.front_mut();
    if count.map(|count| slices[count].len()) != part.as_ref().map(|part| part.length) {
        return Poll::Ready(Err(fault("a part of a file does not match its place in the response")));
    }
    let (head, mut part) = (&slices[..count.unwrap_or(slices.len())], part);
    let sent = loop {
        ready!(stream.poll_write_ready(cx))?;
        let sent = stream.try_send(|socket| match &mut part {
            None => write(socket, head, SendFlags::empty()),
            Some(part) if head.is_empty() => send_part(socket, part),
            Some(part) => {
                let written = write(socket, head, SendFlags::MORE)?;
                let whole = head.iter().map(|slice| slice.len()).sum::<usize>();
                // An error of the file is ignored here because the next call meets it again.
                let more = if written == whole { send_part(socket, part).unwrap_or(0) } else { 0 };
                Ok(written + more)
            }
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => break sent,
        }
    };
    if part.is_some_and(|part| part.length == 0) {
        parts.pop_front();
    }
    Poll::Ready(sent)
}

fn write(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
    let mut nothing = SendAncillaryBuffer::default();
    let flags = flags | SendFlags::NOSIGNAL;
    Ok(retry_on_intr(|| rustix::net::sendmsg(socket, slices, &mut nothing, flags))?)
}

/// Sends as much of a part as the socket takes.
fn send_part(socket: BorrowedFd<'_>, part: &mut FilePart) -> io::Result<usize> {
    let mut offset = part.start;
    let send = || rustix::fs::sendfile(socket, &part.file, Some(&mut offset), part.length);
    let sent = match retry_on_intr(send) {
        Ok(sent) => sent,
        // Not every file system supports it.
        Err(Errno::INVAL | Errno::NOSYS) => copy_part(socket, part)?,
        Err(Errno::IO) => return Err(fault("the file cannot be read")),
        Err(error) => return Err(error.into()),
    };
    if sent == 0 {
        return Err(fault("the file became shorter while it was sent"));
    }
    part.start += sent as u64;
    part.length -= sent;
    Ok(sent)
}

/// The same, copied through memory.
fn copy_part(socket: BorrowedFd<'_>, part: &FilePart) -> io::Result<usize> {
    let bytes = read_at(&part.file, part.start, part.length.min(COPIED) as u64)?;
    if bytes.is_empty() {
        return Ok(0);
    }
    Ok(rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL)?)
}

fn fault(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Whether an error of [`send`] is the server's fault rather than the client's.
pub(super) fn is_fault(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use super::*;

    fn part(start: u64, length: usize) -> FilePart {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        FilePart { file: Arc::new(file), start, length }
    }

    fn pair() -> (SocketStream, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (SocketStream::Unix(tokio::net::UnixStream::from_std(ours).unwrap()), theirs)
    }

    /// Sends all remaining slices, as hyper does.
    async fn send_all(
        stream: &SocketStream,
        outgoing: &OutgoingFiles,
        mut left: Vec<Bytes>,
    ) -> io::Result<usize> {
        let mut whole = 0;
        while !left.is_empty() {
            let slices: Vec<_> = left.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let mut sent = std::future::poll_fn(|cx| send(stream, outgoing, cx, &slices)).await?;
            whole += sent;
            for bytes in &mut left {
                sent -= bytes.split_to(sent.min(bytes.len())).len();
            }
            left.retain(|bytes| !bytes.is_empty());
        }
        Ok(whole)
    }

    #[tokio::test]
    async fn parts_stand_where_they_were_promised() {
        let (stream, mut peer) = pair();
        let outgoing = OutgoingFiles::default();
        let slices = vec![
            Bytes::from_static(b"head "),
            outgoing.promise(part(1, 3), true),
            outgoing.promise(part(8, 2), false),
            Bytes::from_static(b" tail"),
        ];
        assert_eq!(send_all(&stream, &outgoing, slices).await.unwrap(), 15);
        assert_eq!(send_all(&stream, &outgoing, vec![Bytes::from_static(b" more")]).await.unwrap(), 5);
        drop(stream);
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "head 12389 tail more");
    }

    #[tokio::test]
    async fn nothing_is_padded() {
        let (stream, mut peer) = pair();
        let outgoing = OutgoingFiles::default();
        let placeholder = outgoing.promise(part(0, 4), true);
        let shorter = send_all(&stream, &outgoing, vec![placeholder.slice(1..)]).await;
        let missing = send_all(&stream, &outgoing, vec![Bytes::from_static(b"0000")]).await;
        outgoing.promise(part(0, 2), true);
        let longer = send_all(&stream, &outgoing, vec![placeholder.clone()]).await;
        outgoing.parts().clear();
        let empty = send_all(&stream, &outgoing, vec![placeholder]).await;
        let beyond = send_all(&stream, &outgoing, vec![outgoing.promise(part(10, 2), true)]).await;
        for result in [shorter, missing, longer, empty, beyond] {
            assert!(is_fault(&result.unwrap_err()));
        }
        drop(stream);
        assert_eq!(peer.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_sent_is_copied() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(copy_part(ours.as_fd(), &part(2, 5)).unwrap(), 5);
        assert_eq!(copy_part(ours.as_fd(), &part(10, 5)).unwrap(), 0);
        drop(ours);
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "23456");
    }
}
