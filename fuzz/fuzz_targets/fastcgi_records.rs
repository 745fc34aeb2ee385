//! Records come out the same however their bytes are split, and pairs can be written and read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use paster_fuzz::PairsError;
use paster_fuzz::fastcgi::{Begin, EndRequest, RecordReader, encode_pairs, kind, parse_pairs};

/// All records, each stream joined: type, id, content; and how it ended.
fn read(input: &[u8], step: usize) -> (Vec<(u8, u16, Vec<u8>)>, Result<bool, PairsError>) {
    let (mut reader, mut buffer) = (RecordReader::default(), BytesMut::new());
    let mut found: Vec<(u8, u16, Vec<u8>)> = Vec::new();
    for piece in input.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match reader.next(&mut buffer) {
                Err(fault) => return (found, Err(fault)),
                Ok(None) => break,
                Ok(Some(part)) => {
                    let (kind, id) = (part.header.kind, part.header.id);
                    assert!(part.content.len() <= part.header.content_length.into());
                    let joins = kind::is_stream(kind) && part.header.content_length > 0;
                    match found.last_mut() {
                        Some((k, i, content)) if joins && (*k, *i) == (kind, id) && !content.is_empty() => {
                            content.extend_from_slice(&part.content);
                        }
                        _ => found.push((kind, id, part.content.to_vec())),
                    }
                }
            }
        }
    }
    (found, Ok(reader.is_between() && buffer.is_empty()))
}

fuzz_target!(|input: &[u8]| {
    let whole = read(input, input.len().max(1));
    let step = input.first().map_or(1, |byte| usize::from(byte % 16) + 1);
    assert_eq!(whole, read(input, step));
    for (_, _, content) in &whole.0 {
        let _ = Begin::parse(content);
        let _ = EndRequest::parse(content);
        if let Ok(pairs) = parse_pairs(content) {
            let written = encode_pairs(&pairs).unwrap();
            assert!(written.len() <= content.len(), "the shortest form is no longer");
            assert_eq!(parse_pairs(&written).unwrap(), pairs);
        }
    }
});
