//! Parses the head of a response, and what its fields say about the connection and the body.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::app::upstream::FailureReason;

/// Longest head of a response.
pub(super) const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// Maximum number of fields in a head, and in trailers.
pub(super) const FIELDS_LIMIT: usize = 128;
/// Maximum number of interim responses: `100 Continue`, `103 Early Hints`.
const INTERIM_LIMIT: u32 = 16;

/// A final head.
pub(super) struct ParsedHead {
    pub(super) status: StatusCode,
    /// HTTP/1.1 rather than 1.0.
    pub(super) recent: bool,
    /// The fields for the client, with `Content-Length` and, if the protocol is switched, `Upgrade`.
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
}

/// What the fields of a head say about the connection and the body.
#[derive(Default)]
pub(super) struct Framing {
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    /// Number of `Transfer-Encoding` fields.
    pub(super) codings: u32,
    /// The last of them is exactly `chunked`.
    pub(super) chunked: bool,
    /// `Connection: close`.
    pub(super) close: bool,
    /// `Connection: keep-alive`.
    pub(super) keep: bool,
    /// How long the upstream keeps the connection.
    pub(super) time: Option<Duration>,
    /// `Connection` names other fields.
    named: bool,
}

/// Where a field's name and value are in a head: start and length.
#[derive(Clone, Copy, Default)]
struct Field {
    name: (usize, usize),
    value: (usize, usize),
}

/// The final head at the start of `input`, which is removed; interim ones are skipped and counted.
pub(super) fn parse(input: &mut BytesMut, interim: &mut u32) -> Result<Option<ParsedHead>, FailureReason> {
    loop {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_LIMIT];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            input,
            &mut fields,
        );
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) if length <= HEAD_LIMIT_BYTES => length,
            Ok(httparse::Status::Partial) if input.len() <= HEAD_LIMIT_BYTES => return Ok(None),
            Ok(_) => return Err(FailureReason::Malformed("its head is too long")),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(FailureReason::Malformed("its head has too many fields"));
            }
            Err(_) => return Err(FailureReason::Malformed("its head is not valid HTTP/1")),
        };
        let status = FailureReason::check_status(response.code.unwrap_or(0))?;
        let recent = response.version == Some(1);
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            input.advance(length);
            *interim += 1;
            if *interim > INTERIM_LIMIT {
                return Err(FailureReason::Malformed("it sends too many interim responses"));
            }
            continue;
        }
        // Values stay where they were read: they are slices of one buffer.
        let start = input.as_ptr() as usize;
        let mut fields = [Field::default(); FIELDS_LIMIT];
        let count = response.headers.len();
        for (field, parsed) in fields.iter_mut().zip(&*response.headers) {
            let (name, value) = (parsed.name.as_bytes(), parsed.value);
            *field = Field {
                name: (name.as_ptr() as usize - start, name.len()),
                value: (value.as_ptr() as usize - start, value.len()),
            };
        }
        let bytes = input.split_to(length).freeze();
        return read_fields(status, recent, &bytes, &fields[..count]).map(Some);
    }
}

fn read_fields(
    status: StatusCode,
    recent: bool,
    bytes: &Bytes,
    fields: &[Field],
) -> Result<ParsedHead, FailureReason> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut framing = Framing::default();
    for Field { name, value } in fields {
        let name = HeaderName::from_bytes(&bytes[name.0..name.0 + name.1])
            .map_err(|_| FailureReason::Malformed("the name of a field is not valid"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.0..value.0 + value.1))
            .map_err(|_| FailureReason::Malformed("the value of a field is not valid"))?;
        if framing.take(status, &name, &value)? {
            headers.append(name, value);
        }
    }
    if framing.named {
        drop_named(&mut headers);
    }
    headers.remove(CONNECTION);
    Ok(ParsedHead { status, recent, headers, framing })
}

impl Framing {
    /// Takes a field; `true` if it is kept for the client, or for the fields that `Connection` names.
    fn take(
        &mut self,
        status: StatusCode,
        name: &HeaderName,
        value: &HeaderValue,
    ) -> Result<bool, FailureReason> {
        match *name {
            CONNECTION => {
                for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.named |= !option.is_empty()
                        && ![&b"close"[..], b"keep-alive", b"upgrade"]
                            .iter()
                            .any(|known| option.eq_ignore_ascii_case(known));
                }
            }
            TRANSFER_ENCODING => {
                self.codings += 1;
                self.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                return Ok(false);
            }
            CONTENT_LENGTH => {
                let number = parse_length(value.as_bytes());
                if number.is_none() || self.length.is_some_and(|length| Some(length) != number) {
                    return Err(FailureReason::Malformed("its Content-Length is not a single number"));
                }
                let first = self.length.is_none();
                self.length = number;
                return Ok(first);
            }
            TE => return Ok(false),
            UPGRADE => return Ok(status == StatusCode::SWITCHING_PROTOCOLS),
            _ if name == "keep-alive" => {
                self.time = keep_alive_time(value);
                return Ok(false);
            }
            _ if name == "proxy-connection" => return Ok(false),
            _ => {}
        }
        Ok(true)
    }
}

/// Drops the fields that `Connection` names (RFC 9110, section 7.6.1), except those that the response's
/// meaning depends on.
fn drop_named(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(CONNECTION).iter().cloned().collect();
    for option in lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
        if let Ok(name) = HeaderName::from_bytes(option.trim_ascii())
            && !matches!(name, CONTENT_LENGTH | UPGRADE)
            && !name.as_str().starts_with("content-")
        {
            headers.remove(name);
        }
    }
}

/// Only digits.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `timeout=5` of a `Keep-Alive` field.
fn keep_alive_time(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let seconds = text.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
