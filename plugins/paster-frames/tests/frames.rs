//! Frames arrive as they were sent, and nothing that a peer sends makes the reader panic.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use std::io::Write;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use paster_frames::{
    FilePart, Frame, Incoming, Kind, LARGEST_DATA, Level, Malformed, Outgoing, Pairs, ResponseHead, push_pair,
};
use proptest::prelude::*;

/// Takes everything apart, as a peer would do.
fn read_all(bytes: &[u8], step: usize) -> Result<Vec<Frame>, Malformed> {
    let (mut incoming, mut frames) = (Incoming::default(), Vec::new());
    for part in bytes.chunks(step.max(1)) {
        incoming.put(part);
        while let Some(frame) = incoming.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// Reads the payload in every way.
fn read_payload(payload: &[u8]) {
    let _ = Pairs::new(payload).count();
    let _ = ResponseHead::read(payload).map(|head| head.fields.count());
    let _ = FilePart::read(payload);
    let _ = Level::split(payload);
}

#[test]
fn large_body_parts_are_split_and_small_ones_joined() {
    let mut out = Outgoing::default();
    let body = Bytes::from(vec![7; 2 * LARGEST_DATA + 5]);
    out.push_data(9, body.clone(), true);
    out.push_data(10, Bytes::new(), true);
    assert_eq!(out.len(), out.to_bytes().len());
    let frames = read_all(&out.to_bytes(), 1000).unwrap();
    let shape: Vec<_> = frames.iter().map(|frame| (frame.stream, frame.payload.len(), frame.end)).collect();
    let whole = (9, LARGEST_DATA, false);
    assert_eq!(shape, [whole, whole, (9, 5, true), (10, 0, true)]);
}

#[test]
fn descriptors_arrive_with_their_frames() {
    let (left, right) = UnixStream::pair().unwrap();
    let mut out = Outgoing::default();
    let file = |text: &str| {
        let mut file = tempfile();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    out.push(Kind::Log, 1, b"\x01before");
    for (stream, text) in [(2, "first"), (3, "second")] {
        let part = FilePart { offset: 0, length: text.len() as u64 };
        out.push_descriptor(Kind::File, stream, &part.encode(), file(text).into());
        out.push(Kind::Log, stream, b"\x01between");
    }
    while !out.is_empty() {
        out.send(&left).unwrap();
    }
    drop(left);
    let mut incoming = Incoming::default();
    while incoming.receive(&right).unwrap() > 0 {}
    let mut lengths = Vec::new();
    while let Some(frame) = incoming.next_frame().unwrap() {
        if let Some(descriptor) = frame.descriptor {
            let length = std::fs::File::from(descriptor).metadata().unwrap().len();
            lengths.push((frame.stream, length, FilePart::read(&frame.payload).unwrap().length));
        }
    }
    assert_eq!(lengths, [(2, 5, 5), (3, 6, 6)]);
}

fn tempfile() -> std::fs::File {
    std::fs::File::from(rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap())
}

#[test]
fn a_frame_that_promises_a_descriptor_must_have_one() {
    let mut bytes = vec![0; 10];
    (bytes[8], bytes[9]) = (Kind::File as u8, 2);
    assert_eq!(read_all(&bytes, 10).unwrap_err(), Malformed("a descriptor is missing"));
    bytes[8] = 99;
    assert_eq!(read_all(&bytes, 10).unwrap_err(), Malformed("unknown kind"));
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read_all(&bytes, 10).unwrap_err(), Malformed("too long"));
}

proptest! {
    #[test]
    fn what_is_sent_arrives(
        frames in prop::collection::vec((0..Kind::ALL.len(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..9000)), 0..20),
        step in 1..5000_usize,
    ) {
        let mut out = Outgoing::default();
        for (kind, stream, payload) in &frames {
            out.push(Kind::ALL[*kind], *stream, payload);
        }
        let read = read_all(&out.to_bytes(), step).unwrap();
        let read: Vec<_> = read.into_iter().map(|frame| (frame.kind, frame.stream, frame.payload.to_vec())).collect();
        let sent: Vec<_> = frames.into_iter().map(|(kind, stream, payload)| (Kind::ALL[kind], stream, payload)).collect();
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn pairs_arrive(pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..50), prop::collection::vec(any::<u8>(), 0..500)), 0..20)) {
        let mut out = Vec::new();
        ResponseHead::begin(&mut out, 404, b"Gone Fishing");
        pairs.iter().for_each(|(name, value)| push_pair(&mut out, name, value));
        let head = ResponseHead::read(&out).unwrap();
        prop_assert_eq!((head.status, head.reason), (404, &b"Gone Fishing"[..]));
        let read: Vec<_> = head.fields.map(|pair| pair.map(|(name, value)| (name.to_vec(), value.to_vec())).unwrap()).collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn nothing_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), step in 1..500_usize) {
        let _ = read_all(&bytes, step).map(|frames| frames.iter().for_each(|frame| read_payload(&frame.payload)));
        read_payload(&bytes);
        // Mostly valid headers, so that payloads are reached.
        let mut framed = vec![0; 10];
        framed[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        framed[8] = Kind::ALL[bytes.len() % Kind::ALL.len()] as u8;
        framed.extend(&bytes);
        let _ = read_all(&framed, step);
    }
}
