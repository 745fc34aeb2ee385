//! Frames: how bytes are divided on the socket.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest frame, in bytes.
pub const MAX_FRAME: usize = 256 << 20;
/// The initial size of a reader's buffer.
const CAPACITY: usize = 8 << 10;
/// A buffer that held a longer frame is not kept.
const KEPT: usize = 1 << 20;

/// A frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// First frame of a connection: a [`Hello`](super::Hello).
    Hello(Bytes),
    /// A [`Call`](super::Call) with its number.
    Call(Bytes),
    /// An [`Answer`](super::Answer).
    Answer(Bytes),
    /// An [`Event`](super::Event).
    Event(Bytes),
    /// A message for the kernel, in the v1 WebSocket form.
    Send(Bytes),
    /// A message from the kernel with its number, in the v1 WebSocket form.
    Entry(u64, Bytes),
    /// The entries `.0 .. .1` are no longer kept.
    Gap(u64, u64),
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than {MAX_FRAME} bytes")]
    TooLong(usize),
    /// Its kind is unknown.
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    /// Shorter than its kind requires.
    #[error("frame is too short")]
    Short,
}

/// Takes one frame from the start of `input`; `None` if it is not complete yet.
/// # Errors
/// [`FrameError`], after which the connection is unusable.
pub fn parse_frame(input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(length) = input.get(..4) else { return Ok(None) };
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    if length == 0 {
        return Err(FrameError::Short);
    }
    if input.len() < 4 + length {
        return Ok(None);
    }
    input.advance(4);
    let mut payload = input.split_to(length).freeze();
    let kind = payload.get_u8();
    let number = |payload: &mut Bytes| {
        if payload.len() < 8 { Err(FrameError::Short) } else { Ok(payload.get_u64_le()) }
    };
    Ok(Some(match kind {
        1 => Frame::Hello(payload),
        2 => Frame::Call(payload),
        3 => Frame::Answer(payload),
        4 => Frame::Event(payload),
        5 => Frame::Send(payload),
        6 => Frame::Entry(number(&mut payload)?, payload),
        7 => Frame::Gap(number(&mut payload)?, number(&mut payload)?),
        other => return Err(FrameError::Kind(other)),
    }))
}

/// Appends `frame` to `out`.
pub fn encode_frame(frame: &Frame, out: &mut BytesMut) {
    let mut put = |kind: u8, numbers: &[u64], payload: &[u8]| {
        let length = 1 + 8 * numbers.len() + payload.len();
        out.reserve(4 + length);
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out.extend_from_slice(&[kind]);
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(payload);
    };
    match frame {
        Frame::Hello(payload) => put(1, &[], payload),
        Frame::Call(payload) => put(2, &[], payload),
        Frame::Answer(payload) => put(3, &[], payload),
        Frame::Event(payload) => put(4, &[], payload),
        Frame::Send(payload) => put(5, &[], payload),
        Frame::Entry(number, payload) => put(6, &[*number], payload),
        Frame::Gap(from, to) => put(7, &[*from, *to], &[]),
    }
}

/// Reads frames from a stream.
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> FrameReader<R> {
        FrameReader { stream, buffer: BytesMut::with_capacity(CAPACITY) }
    }

    /// The next frame; `None` at the end of the stream. May be cancelled and called again.
    /// # Errors
    /// Errors of the stream; `InvalidData` for an invalid frame.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let before = self.buffer.len();
            let frame = parse_frame(&mut self.buffer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(frame) = frame {
                if before - self.buffer.len() > KEPT {
                    self.shrink();
                }
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Gives up the memory of a long frame, which ends with the frame.
    fn shrink(&mut self) {
        let rest = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CAPACITY));
        self.buffer.extend_from_slice(&rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let payload = || proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
        prop_oneof![
            payload().prop_map(Frame::Hello),
            payload().prop_map(Frame::Call),
            payload().prop_map(Frame::Answer),
            payload().prop_map(Frame::Event),
            payload().prop_map(Frame::Send),
            (any::<u64>(), payload()).prop_map(|(n, p)| Frame::Entry(n, p)),
            (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Frame::Gap(a, b)),
        ]
    }

    #[tokio::test]
    async fn the_memory_of_a_long_frame_is_not_kept() {
        let frames = [Frame::Entry(1, vec![7; 8 << 20].into()), Frame::Event("short".into())];
        let mut wire = BytesMut::new();
        for frame in &frames {
            encode_frame(frame, &mut wire);
        }
        let mut reader = FrameReader::new(&wire[..]);
        for frame in frames {
            assert_eq!(reader.next().await.unwrap(), Some(frame));
        }
        assert!(reader.buffer.capacity() < KEPT, "{}", reader.buffer.capacity());
        assert_eq!(reader.next().await.unwrap(), None);
    }

    proptest! {
        #[test]
        fn frames_return_over_every_split(frames in proptest::collection::vec(frame(), 1..4), step in 1usize..20) {
            let mut wire = BytesMut::new();
            for frame in &frames {
                encode_frame(frame, &mut wire);
            }
            let mut input = BytesMut::new();
            let mut found = Vec::new();
            for chunk in wire.chunks(step) {
                input.extend_from_slice(chunk);
                while let Some(frame) = parse_frame(&mut input).unwrap() {
                    found.push(frame);
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse_frame(&mut BytesMut::from(&bytes[..]));
        }
    }

    #[test]
    fn a_long_frame_is_refused_before_it_is_read() {
        let mut input = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert_eq!(parse_frame(&mut input), Err(FrameError::TooLong(u32::MAX as usize)));
    }
}
