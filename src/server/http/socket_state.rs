//! The messages of a connection's socket to the other parts.

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::relaxed::{Flag, Number};
use super::sendfile::OutgoingFiles;

/// The messages of the socket of one connection to the other parts. Only `socket` writes it, but for `written`
/// (`tls_io` too) and the end of a head.
#[derive(Default)]
pub(super) struct SocketState {
    /// The socket has not taken everything that it was given.
    pub(super) unflushed: Flag,
    /// The socket takes no more for now.
    pub(super) blocked: Flag,
    /// Bytes written so far.
    pub(super) written: Number,
    /// The client shut its sending side while a request was being answered.
    pub(super) half_closed: Flag,
    /// HTTP/2: our side has ended.
    pub(super) shut: Flag,
    /// HTTP/2: a head, or another frame that is not DATA, has begun and is incomplete.
    pub(super) within: Flag,
    /// HTTP/2: number of complete frames.
    pub(super) whole: Number,
    /// Bytes read since the last complete head.
    head_bytes: Number,
    /// The raw bytes since the last head, up to a limit: hyper hides a Content-Length beside a
    /// Transfer-Encoding.
    head: Mutex<Vec<u8>>,
    /// Parts of files that are being sent: `exchange` promises them.
    pub(super) outgoing: OutgoingFiles,
    /// The tasks that read and write an upgraded connection.
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
}

impl SocketState {
    /// Whether a head has begun and is incomplete.
    pub(super) fn has_head(&self) -> bool {
        self.head_bytes.get() > 0
    }

    /// Keeps bytes that belong to a head, unless it is longer than `limit`.
    pub(super) fn add_head(&self, bytes: &[u8], limit: usize) {
        let mut head = self.head.lock();
        if !self.has_head() {
            head.clear();
        }
        self.head_bytes.add(bytes.len() as u64);
        let room = limit.saturating_sub(head.len()).min(bytes.len());
        head.extend_from_slice(&bytes[..room]);
    }

    /// Called by `exchange` when a head is complete: forgets its bytes, and returns whether one of its lines
    /// began with `name`. This is not known for a head that arrived together with the request before it.
    pub(super) fn take_head(&self, name: Option<&[u8]>) -> bool {
        let kept = self.has_head();
        self.head_bytes.set(0); // the next head reuses the buffer
        name.filter(|_| kept).is_some_and(|name| {
            let head = self.head.lock();
            let mut lines =
                head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            lines.by_ref().take_while(|line| !line.is_empty()).any(|line| {
                line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                    && line[name.len()..].trim_ascii_start().first() == Some(&b':')
            })
        })
    }

    /// Called by `http1` when the connection rests: frees the buffer of the last head.
    pub(super) fn forget_head(&self) {
        self.head_bytes.set(0);
        *self.head.lock() = Vec::new();
    }

    /// Wakes the tasks of an upgraded connection.
    pub(super) fn wake(&self) {
        self.reader.wake();
        self.writer.wake();
    }
}
