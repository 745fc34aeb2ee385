//! SCGI: the head of a request, a netstring of names and values. The response is a CGI response
//! ([`super::cgi`]).
//!
//! # Source
//! SCGI, 2008-06-23, section 3: <https://python.ca/scgi/protocol.txt>; netstrings: <https://cr.yp.to/proto/netstrings.txt>.

use super::{PairsError, Variables, malformed, parse_length};

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub struct ScgiHead {
    /// All headers in order of arrival, including `CONTENT_LENGTH` and `SCGI`.
    pub variables: Variables,
    /// Bytes of the body that follows the head.
    pub content_length: u64,
}

/// Parses the head at the start of `input`.
///
/// The head is a netstring: its length in bytes as decimal digits, `:`, that many bytes, `,`. Inside, names
/// and values alternate, each ended by a NUL; the first is `CONTENT_LENGTH`, and `SCGI` is `1`. Returns the
/// head and the number of bytes consumed, or `None` if `input` is incomplete: call again with more. The work
/// does not grow with the number of calls, because only the length is read before the head is complete.
///
/// The specification forbids repeated names, but nginx sends them (a client's repeated field, a parameter
/// that overrides another). They are kept, except for a `CONTENT_LENGTH` or `SCGI` that differs from the
/// first.
/// # Errors
/// [`PairsError::TooLong`] as soon as the netstring claims more than `limit_bytes`; [`PairsError::Malformed`].
pub fn parse_head(input: &[u8], limit_bytes: usize) -> Result<Option<(ScgiHead, usize)>, PairsError> {
    let digits = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 1 && input[0] == b'0' {
        return malformed("the netstring's length begins with a zero");
    }
    let mut length: usize = 0;
    for digit in &input[..digits] {
        length = length.saturating_mul(10).saturating_add((digit - b'0').into());
        if length > limit_bytes {
            return Err(PairsError::TooLong);
        }
    }
    match input.get(digits) {
        None => return Ok(None),
        Some(b':') if digits > 0 => {}
        Some(_) => return malformed("no netstring at the start"),
    }
    let start = digits + 1;
    let end = start + length;
    let Some(comma) = input.get(end) else { return Ok(None) };
    if *comma != b',' {
        return malformed("the netstring does not end with a comma");
    }
    Ok(Some((read_headers(&input[start..end])?, end + 1)))
}

fn read_headers(bytes: &[u8]) -> Result<ScgiHead, PairsError> {
    let Some(bytes) = bytes.strip_suffix(b"\0") else {
        return malformed("the headers do not end with a NUL");
    };
    let mut variables = Variables::new();
    let mut content_length = None;
    let mut version = None;
    let mut fields = bytes.split(|byte| *byte == 0);
    while let Some(name) = fields.next() {
        let Some(value) = fields.next() else { return malformed("a header has no value") };
        match name {
            b"" => return malformed("a header has no name"),
            b"CONTENT_LENGTH" => {
                let length = parse_length(value)?;
                if value.is_empty() || content_length.is_some_and(|known| known != length) {
                    return malformed("CONTENT_LENGTH is empty or repeated");
                }
                content_length = Some(length);
            }
            _ if content_length.is_none() => return malformed("CONTENT_LENGTH is not the first header"),
            b"SCGI" if value != b"1" => return malformed("SCGI is not 1"),
            b"SCGI" => version = Some(()),
            _ => {}
        }
        variables.push(name, value);
    }
    match (content_length, version) {
        (Some(content_length), Some(())) => Ok(ScgiHead { variables, content_length }),
        (None, _) => malformed("no CONTENT_LENGTH"),
        (_, None) => malformed("no SCGI header"),
    }
}

/// Encodes a head: `CONTENT_LENGTH` first, `SCGI` next, then `variables` except for those two.
/// # Errors
/// [`PairsError::Malformed`] if a name is empty, or a name or a value contains a NUL.
pub fn encode_head(content_length: u64, variables: &Variables) -> Result<Vec<u8>, PairsError> {
    let mut headers = format!("CONTENT_LENGTH\0{content_length}\0SCGI\x001\0").into_bytes();
    for (name, value) in variables.iter().filter(|(name, _)| !matches!(*name, b"CONTENT_LENGTH" | b"SCGI")) {
        if name.is_empty() || name.contains(&0) || value.contains(&0) {
            return malformed("a variable has no name, or contains a NUL");
        }
        for part in [name, b"\0", value, b"\0"] {
            headers.extend_from_slice(part);
        }
    }
    let mut head = format!("{}:", headers.len()).into_bytes();
    head.append(&mut headers);
    head.push(b',');
    Ok(head)
}
