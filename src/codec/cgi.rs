//! The response of a CGI program, which SCGI and FastCGI applications also send: fields, an empty line, the
//! body.
//!
//! # Source
//! RFC 3875 section 6.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, LOCATION, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{PairsError, malformed};

/// The meaning of a head.
#[derive(Debug, Clone)]
pub enum CgiResponse {
    /// A document, or a redirect for the client: status and fields; the body follows.
    Document {
        /// 200 by default; 302 if there is only a `Location`.
        status: StatusCode,
        /// The fields, without `Status`.
        headers: HeaderMap,
    },
    /// The server must respond as if this path, with its query, had been requested (section 6.2.2).
    LocalRedirect(String),
}

/// Parses the head at the start of `input`, up to the empty line; lines end with LF or CR LF.
///
/// Returns its meaning and the number of bytes consumed, or `None` if `input` is incomplete: call again with
/// more.
/// # Errors
/// [`PairsError::TooLong`] if the head is longer than `limit_bytes` or has more than `limit_fields` fields;
/// [`PairsError::Malformed`], also for a head that begins with an HTTP status line (`nph-` programs are not
/// supported).
pub fn parse_head(
    input: &[u8],
    limit_bytes: usize,
    limit_fields: usize,
) -> Result<Option<(CgiResponse, usize)>, PairsError> {
    if input.starts_with(b"HTTP/") {
        return malformed("an HTTP status line: programs that write their own (nph) are not supported");
    }
    let Some((end, consumed)) = find_end(input) else {
        return if input.len() > limit_bytes { Err(PairsError::TooLong) } else { Ok(None) };
    };
    if consumed > limit_bytes {
        return Err(PairsError::TooLong);
    }
    let (status, mut headers) = parse_fields(&input[..end], limit_fields)?;
    // Hop-by-hop fields belong to the server.
    for name in [CONNECTION, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let location = headers.get(LOCATION).filter(|_| status.is_none());
    // Many programs write raw UTF-8.
    let answer = match location.map(|location| std::str::from_utf8(location.as_bytes())) {
        Some(Ok(path)) if path.starts_with('/') && !path.starts_with("//") => {
            CgiResponse::LocalRedirect(path.to_owned())
        }
        Some(_) => CgiResponse::Document { status: StatusCode::FOUND, headers },
        None => CgiResponse::Document { status: status.unwrap_or(StatusCode::OK), headers },
    };
    Ok(Some((answer, consumed)))
}

/// The value of `Status`, and the other fields.
fn parse_fields(lines: &[u8], limit: usize) -> Result<(Option<StatusCode>, HeaderMap), PairsError> {
    let mut status = None;
    let mut headers = HeaderMap::new();
    let mut count = 0;
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue; // after the last field
        }
        count += 1;
        if count > limit {
            return Err(PairsError::TooLong);
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return malformed("a line of the head is not a field");
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"status") {
            if status.replace(parse_status(value)?).is_some() {
                return malformed("more than one Status");
            }
            continue;
        }
        let Ok(name) = HeaderName::from_bytes(name) else { return malformed("a field's name is not valid") };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return malformed("a field's value is not valid");
        };
        if name == CONTENT_LENGTH && headers.get(&name).is_some_and(|known| *known != value) {
            return malformed("Content-Length fields differ");
        }
        headers.append(name, value);
    }
    if count == 0 {
        return malformed("the head has no fields");
    }
    Ok((status, headers))
}

/// Where the fields end, and where the body begins.
fn find_end(input: &[u8]) -> Option<(usize, usize)> {
    let mut start = 0;
    loop {
        let length = input[start..].iter().position(|byte| *byte == b'\n')?;
        if matches!(&input[start..start + length], b"" | b"\r") {
            return Some((start, start + length + 1));
        }
        start += length + 1;
    }
}

/// `200 OK`: three digits, and an optional reason.
fn parse_status(value: &[u8]) -> Result<StatusCode, PairsError> {
    let digits = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    match StatusCode::from_bytes(digits) {
        Ok(status) if (200..600).contains(&status.as_u16()) => Ok(status),
        _ => malformed("Status is not a final status: a number from 200 to 599"),
    }
}

/// Writes a response's head: `Status` first, so that a `Location` is not taken for a local redirect.
pub fn encode_head(status: StatusCode, headers: &HeaderMap, out: &mut Vec<u8>) {
    let reason = status.canonical_reason().unwrap_or("Unknown");
    out.extend_from_slice(format!("Status: {} {reason}\r\n", status.as_u16()).as_bytes());
    for (name, value) in headers.iter().filter(|(name, _)| **name != CONNECTION) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
}
