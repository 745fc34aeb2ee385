//! Where the frames of an HTTP/2 connection begin and end, as far as its time limits need to know.

/// Length of the client's connection preface, RFC 9113 section 3.4.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
/// [`Frames::whole`] if only the preface has arrived.
const AFTER_PREFACE: u64 = 1;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames that a client sends, RFC 9113 section 4.1; hyper checks whether they are valid.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// Bytes of `head` that have arrived.
    have: usize,
    /// Bytes of the preface or of a frame's content that are still to come.
    left: usize,
    /// The content belongs to a body, which has its own limit.
    data: bool,
    /// A field block has begun that ends in a later frame (section 4.3).
    block: bool,
    /// Number of complete frames and field blocks.
    whole: u64,
}

impl Frames {
    /// For a connection of which nothing has been read.
    pub(super) fn new() -> Frames {
        Frames { head: [0; HEAD_BYTES], have: 0, left: PREFACE_BYTES, data: false, block: false, whole: 0 }
    }

    /// Takes the bytes that were read. `false`: the first frame is not SETTINGS, so this is not HTTP/2
    /// (section 3.4), which hyper does not notice.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let room = if self.left > 0 { self.left } else { HEAD_BYTES - self.have };
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            bytes = rest;
            if self.left > 0 {
                self.left -= now.len();
            } else {
                self.head[self.have..][..now.len()].copy_from_slice(now);
                self.have += now.len();
                if self.have < HEAD_BYTES {
                    return true;
                }
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                if self.whole == AFTER_PREFACE && kind != SETTINGS {
                    return false;
                }
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.data = kind == DATA;
                if matches!(kind, HEADERS | CONTINUATION) {
                    self.block = flags & END_HEADERS == 0;
                }
            }
            if self.left == 0 && !self.block {
                self.whole += 1;
            }
        }
        true
    }

    /// Whether something other than a body has begun and is incomplete.
    pub(super) fn is_within(&self) -> bool {
        self.have > 0 || (self.left > 0 && !self.data) || self.block
    }

    /// How many are complete: while this does not change, the same one is being awaited.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
        [&[0, 0, content.len() as u8, kind, flags, 0, 0, 0, 1][..], content].concat()
    }

    /// Byte by byte: whether a frame is incomplete, and how many are complete, at each boundary.
    #[test]
    fn frames_and_field_blocks_are_followed_byte_by_byte() {
        let mut frames = Frames::new();
        let mut all = |bytes: &[u8], inside: bool, whole: u64, data: bool| {
            for (at, byte) in bytes.iter().enumerate() {
                assert!(frames.take(&[*byte]));
                let last = at + 1 == bytes.len();
                let expected = if last { inside } else { !data || at + 1 < HEAD_BYTES };
                assert_eq!(frames.is_within(), expected, "byte {at}");
            }
            assert_eq!(frames.whole(), whole);
        };
        all(&[b'x'; PREFACE_BYTES], false, 1, false);
        all(&frame(SETTINGS, 0, b""), false, 2, false);
        all(&frame(HEADERS, END_HEADERS, b"abc"), false, 3, false);
        all(&frame(DATA, 0, b"abc"), false, 4, true);
        all(&frame(HEADERS, 0, b"abc"), true, 4, false);
        all(&frame(CONTINUATION, 0, b"a"), true, 4, false);
        all(&frame(CONTINUATION, END_HEADERS, b""), false, 5, false);
        let preface = [0; PREFACE_BYTES];
        let begun =
            [&preface[..], &frame(SETTINGS, 0, b""), &frame(HEADERS, 0, b"abc"), &frame(DATA, 0, b"abc")];
        let mut at_once = Frames::new();
        assert!(at_once.take(&begun.concat()));
        assert!(!Frames::new().take(&[&preface[..], &frame(HEADERS, 0, b"")].concat()), "section 3.4");
        assert!(at_once.is_within(), "a block that DATA interrupts is open, whatever hyper makes of it");
    }
}
