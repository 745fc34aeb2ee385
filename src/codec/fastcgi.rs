//! FastCGI: records, and the name-value pairs in them.
//!
//! # Source
//! FastCGI Specification 1.0, 1996-04-29: <https://fastcgi-archives.github.io/FastCGI_Specification.html>.

use bytes::{Buf, Bytes, BytesMut};

use super::{PairsError, Variables, malformed};

/// The only version.
pub const VERSION: u8 = 1;
/// Bytes in a record's header.
pub const HEADER_BYTES: usize = 8;
/// Maximum bytes of content in a record.
pub const CONTENT_LIMIT_BYTES: usize = 65_535;
/// The id of management records.
pub const MANAGEMENT: u16 = 0;

/// Types of records, section 8.
pub mod kind {
    /// To the application: a request begins.
    pub const BEGIN_REQUEST: u8 = 1;
    /// To the application: the client has gone.
    pub const ABORT_REQUEST: u8 = 2;
    /// From the application: the request has ended.
    pub const END_REQUEST: u8 = 3;
    /// To the application: variables, a stream.
    pub const PARAMS: u8 = 4;
    /// To the application: the body, a stream.
    pub const STDIN: u8 = 5;
    /// From the application: a CGI response, a stream.
    pub const STDOUT: u8 = 6;
    /// From the application: messages, a stream.
    pub const STDERR: u8 = 7;
    /// To a filter: a second body, a stream.
    pub const DATA: u8 = 8;
    /// To the application, management: asks for values.
    pub const GET_VALUES: u8 = 9;
    /// The reply to it.
    pub const GET_VALUES_RESULT: u8 = 10;
    /// From the application, management: an unknown type.
    pub const UNKNOWN_TYPE: u8 = 11;

    /// Whether records of this type form a stream, which ends with an empty one.
    pub const fn is_stream(kind: u8) -> bool {
        matches!(kind, PARAMS | STDIN | STDOUT | STDERR | DATA)
    }
}

/// The role that responds to a request; authorizers are 2, filters 3.
pub const RESPONDER: u16 = 1;

/// How a request ended, section 5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was answered or aborted.
    RequestComplete = 0,
    /// Another request is open on the connection.
    CantMultiplex = 1,
    /// The application is full.
    Overloaded = 2,
    /// The application does not support the role.
    UnknownRole = 3,
}

/// A record's header, section 3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its type, from [`kind`].
    pub kind: u8,
    /// Id of the request; [`MANAGEMENT`] for none.
    pub id: u16,
    /// Bytes of content after the header.
    pub content_length: u16,
    /// Padding bytes after the content.
    pub padding_length: u8,
}

impl Header {
    /// Parses a header.
    /// # Errors
    /// [`PairsError::Malformed`] for another version.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, PairsError> {
        let [version, kind, id_high, id_low, length_high, length_low, padding_length, _] = *bytes;
        if version != VERSION {
            return malformed("a record with a version other than 1");
        }
        Ok(Header {
            kind,
            id: u16::from_be_bytes([id_high, id_low]),
            content_length: u16::from_be_bytes([length_high, length_low]),
            padding_length,
        })
    }

    /// The header of a record padded to a multiple of eight bytes, as the specification recommends.
    pub fn padded(kind: u8, id: u16, content_length: u16) -> Header {
        Header { kind, id, content_length, padding_length: (content_length.wrapping_neg() & 7) as u8 }
    }

    /// Encodes it.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [id_high, id_low] = self.id.to_be_bytes();
        let [length_high, length_low] = self.content_length.to_be_bytes();
        [VERSION, self.kind, id_high, id_low, length_high, length_low, self.padding_length, 0]
    }
}

/// A record, or a part of one that belongs to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPart {
    /// The record's header; an empty content ends a stream.
    pub header: Header,
    /// The content, or the part of it that has arrived.
    pub content: Bytes,
}

/// Takes records off a buffer as they arrive.
#[derive(Debug, Default)]
pub struct RecordReader {
    /// Header of an incomplete record, and bytes of its content that are still to come.
    open: Option<(Header, usize)>,
    /// Bytes of padding that are still to come.
    padding: usize,
}

impl RecordReader {
    /// Whether it is between two records.
    pub fn is_between(&self) -> bool {
        self.open.is_none() && self.padding == 0
    }

    /// Takes the next record off `buffer`, `None` if more bytes are needed. A stream's record may arrive in
    /// several parts, each with the same header; every other record is returned complete.
    /// # Errors
    /// [`PairsError::Malformed`] for another version: nothing more can be parsed.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<RecordPart>, PairsError> {
        let skip = self.padding.min(buffer.len());
        buffer.advance(skip);
        self.padding -= skip;
        if self.padding > 0 {
            return Ok(None);
        }
        let (header, left) = match self.open {
            Some(open) => open,
            None => {
                let Some(bytes) = buffer.first_chunk() else {
                    return match buffer.first() {
                        Some(version) if *version != VERSION => {
                            malformed("a record with a version other than 1")
                        }
                        _ => Ok(None),
                    };
                };
                let header = Header::parse(bytes)?;
                buffer.advance(HEADER_BYTES);
                (header, header.content_length.into())
            }
        };
        let ready = left.min(buffer.len());
        if ready < left && (ready == 0 || !kind::is_stream(header.kind)) {
            self.open = Some((header, left));
            return Ok(None);
        }
        let content = buffer.split_to(ready).freeze();
        if ready < left {
            self.open = Some((header, left - ready));
        } else {
            self.open = None;
            self.padding = header.padding_length.into();
        }
        Ok(Some(RecordPart { header, content }))
    }
}

/// Writes `content` as padded records of one type; writes none if it is empty (see [`put_end`]).
pub fn put(out: &mut Vec<u8>, kind: u8, id: u16, content: &[u8]) {
    // A multiple of eight, so that only the last record needs padding.
    for piece in content.chunks(CONTENT_LIMIT_BYTES & !7) {
        // A piece is shorter than 65,536 bytes.
        let header = Header::padded(kind, id, u16::try_from(piece.len()).unwrap_or(u16::MAX));
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(piece);
        out.resize(out.len() + usize::from(header.padding_length), 0);
    }
}

/// Writes the empty record that ends a stream.
pub fn put_end(out: &mut Vec<u8>, kind: u8, id: u16) {
    out.extend_from_slice(&Header::padded(kind, id, 0).encode());
}

/// The content of `BEGIN_REQUEST`, section 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The requested role.
    pub role: u16,
    /// Whether the connection stays open after the request.
    pub keep: bool,
}

impl Begin {
    /// Parses it.
    /// # Errors
    /// [`PairsError::Malformed`] if it is not eight bytes long.
    pub fn parse(content: &[u8]) -> Result<Begin, PairsError> {
        match *content {
            [high, low, flags, _, _, _, _, _] => {
                Ok(Begin { role: u16::from_be_bytes([high, low]), keep: flags & 1 != 0 })
            }
            _ => malformed("BEGIN_REQUEST is not eight bytes long"),
        }
    }

    /// Writes the record.
    pub fn put(&self, out: &mut Vec<u8>, id: u16) {
        let [high, low] = self.role.to_be_bytes();
        put(out, kind::BEGIN_REQUEST, id, &[high, low, self.keep.into(), 0, 0, 0, 0, 0]);
    }
}

/// The content of `END_REQUEST`, section 5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRequest {
    /// Exit status, 0 for success.
    pub app_status: u32,
    /// How it ended; `None` for a number that the specification does not define.
    pub ending: Option<Ending>,
}

impl EndRequest {
    /// Parses it.
    /// # Errors
    /// [`PairsError::Malformed`] if it is not eight bytes long.
    pub fn parse(content: &[u8]) -> Result<EndRequest, PairsError> {
        let [a, b, c, d, ending, _, _, _] = *content else {
            return malformed("END_REQUEST is not eight bytes long");
        };
        let ending = match ending {
            0 => Some(Ending::RequestComplete),
            1 => Some(Ending::CantMultiplex),
            2 => Some(Ending::Overloaded),
            3 => Some(Ending::UnknownRole),
            _ => None,
        };
        Ok(EndRequest { app_status: u32::from_be_bytes([a, b, c, d]), ending })
    }
}

/// Writes `END_REQUEST`.
pub fn put_end_request(out: &mut Vec<u8>, id: u16, app_status: u32, ending: Ending) {
    let [a, b, c, d] = app_status.to_be_bytes();
    put(out, kind::END_REQUEST, id, &[a, b, c, d, ending as u8, 0, 0, 0]);
}

/// Writes `UNKNOWN_TYPE`, the reply to a management record of type `unknown`, section 4.2.
pub fn put_unknown_type(out: &mut Vec<u8>, unknown: u8) {
    put(out, kind::UNKNOWN_TYPE, MANAGEMENT, &[unknown, 0, 0, 0, 0, 0, 0, 0]);
}

/// Parses name-value pairs, section 3.4: both lengths, each in one byte or in four, then name and value.
/// # Errors
/// [`PairsError::Malformed`] if a pair is truncated. No length can overflow: each is checked against the available
/// bytes.
pub fn parse_pairs(mut bytes: &[u8]) -> Result<Variables, PairsError> {
    let mut variables = Variables::new();
    while !bytes.is_empty() {
        let (Some(name), Some(value)) = (take_length(&mut bytes), take_length(&mut bytes)) else {
            return malformed("a pair's lengths are truncated");
        };
        let Some((name, rest)) = bytes.split_at_checked(name) else {
            return malformed("a pair's name is truncated");
        };
        let Some((value, rest)) = rest.split_at_checked(value) else {
            return malformed("a pair's value is truncated");
        };
        variables.push(name, value);
        bytes = rest;
    }
    Ok(variables)
}

fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let length;
    (length, *bytes) = match **bytes {
        [short @ 0..=127, ref rest @ ..] => (short.into(), rest),
        [a, b, c, d, ref rest @ ..] => (u32::from_be_bytes([a & 0x7f, b, c, d]) as usize, rest),
        _ => return None,
    };
    Some(length)
}

/// Encodes the pairs of `variables`, each length in as few bytes as possible.
/// # Errors
/// [`PairsError::TooLong`] for a name or value of 2 GiB or more.
pub fn encode_pairs(variables: &Variables) -> Result<Vec<u8>, PairsError> {
    let mut out = Vec::new();
    for (name, value) in variables.iter() {
        for length in [name.len(), value.len()] {
            match u8::try_from(length) {
                Ok(short @ 0..=127) => out.push(short),
                _ => match u32::try_from(length) {
                    Ok(long @ 0..=0x7fff_ffff) => out.extend_from_slice(&(long | 0x8000_0000).to_be_bytes()),
                    _ => return Err(PairsError::TooLong),
                },
            }
        }
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    Ok(out)
}
