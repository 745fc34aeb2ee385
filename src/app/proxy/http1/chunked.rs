//! The parts of a chunked body (RFC 9112, section 7.1).

use bytes::{Buf, BytesMut};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::head::{FIELDS_LIMIT, HEAD_LIMIT_BYTES};
use crate::app::upstream::FailureReason;

/// Longest line with the size of a chunk.
const CHUNK_LINE_LIMIT: usize = 1024;

/// The size of the chunk at the start of `input`; its line is removed.
pub(super) fn chunk_size(input: &mut BytesMut) -> Result<Option<u64>, FailureReason> {
    const MALFORMED: FailureReason = FailureReason::Malformed("the size of a chunk is not valid");
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return if input.len() > CHUNK_LINE_LIMIT { Err(MALFORMED) } else { Ok(None) };
    };
    let line = match &input[..end] {
        [line @ .., b'\r'] if line.len() <= CHUNK_LINE_LIMIT => line,
        _ => return Err(MALFORMED),
    };
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = line[digits..].trim_ascii_start();
    if digits == 0 || digits > 15 || !(extension.is_empty() || extension[0] == b';') {
        return Err(MALFORMED);
    }
    let size = line[..digits]
        .iter()
        .fold(0, |size, digit| size << 4 | u64::from((*digit as char).to_digit(16).unwrap_or(0)));
    input.advance(end + 1);
    Ok(Some(size))
}

/// The fields after the last chunk, with the empty line that ends them.
pub(super) fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, FailureReason> {
    const MALFORMED: FailureReason = FailureReason::Malformed("its trailers are not valid");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_LIMIT];
    let (length, fields) = match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) if input.len() <= HEAD_LIMIT_BYTES => return Ok(None),
        _ => return Err(MALFORMED),
    };
    let mut trailers = HeaderMap::new();
    for field in fields {
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
        else {
            return Err(MALFORMED);
        };
        if may_trail(&name) {
            trailers.append(name, value);
        }
    }
    input.advance(length);
    Ok(Some(trailers))
}

/// Whether a field is allowed after a body: not one that defines how to read the body, who sent it or where to
/// (RFC 9110, section 6.5.1).
pub(super) fn may_trail(name: &HeaderName) -> bool {
    let name = name.as_str();
    !(name.starts_with("content-")
        || name.starts_with("x-accel-")
        || matches!(
            name,
            "transfer-encoding"
                | "connection"
                | "keep-alive"
                | "te"
                | "trailer"
                | "upgrade"
                | "host"
                | "authorization"
                | "cookie"
                | "set-cookie"
                | "location"
                | "cache-control"
                | "expect"
                | "max-forwards"
                | "range"
        ))
}
