//! The `fastcgi` server: a responder that answers one request after another on a connection that may be kept
//! open.
//!
//! A connection carries one request at a time: a second one is refused with `FCGI_CANT_MPX_CONN`, and any
//! role other than responder with `FCGI_UNKNOWN_ROLE`. Records of requests that are not open are ignored
//! (section 3.3).
//!
//! # Source
//! FastCGI Specification 1.0: <https://fastcgi-archives.github.io/FastCGI_Specification.html>.

use bytes::{Bytes, BytesMut};

use super::Server;
use super::gateway::{self, Out, RequestEvent, ServerProtocol};
use crate::codec::fastcgi::{
    Begin, CONTENT_LIMIT_BYTES, Ending, Header, MANAGEMENT, RESPONDER, RecordPart, RecordReader,
    encode_pairs, kind, parse_pairs, put, put_end, put_end_request, put_unknown_type,
};
use crate::codec::{PairsError, Variables};
use crate::config::Table;
use crate::error::Result;

/// Checks the options and creates the server.
/// # Errors
/// Every malformed address, host and network.
pub(super) fn build(options: gateway::Options, table: &Table) -> Result<Box<dyn Server>> {
    gateway::build::<FastCgiProtocol>(options, table, "127.0.0.1:9000")
}

/// One connection.
struct FastCgiProtocol {
    head_limit_bytes: usize,
    connections: usize,
    reader: RecordReader,
    request: Option<OpenRequest>,
    /// The connection ends after the current reply.
    closes: bool,
}

/// The open request.
struct OpenRequest {
    id: u16,
    keep: bool,
    /// The stream of variables, until it has ended.
    params: Option<Vec<u8>>,
    /// The body is complete.
    body_over: bool,
}

impl FastCgiProtocol {
    /// Handles a record, or a part of one.
    fn take(&mut self, part: RecordPart, out: &mut Out) -> Result<Option<RequestEvent>, PairsError> {
        let RecordPart { header, content } = part;
        match header.kind {
            _ if header.id == MANAGEMENT => self.manage(header, &content, out),
            kind::BEGIN_REQUEST => self.begin(header.id, &content, out)?,
            _ => return self.take_of_request(header, content, out),
        }
        Ok(self.closes.then_some(RequestEvent::Close))
    }

    /// Section 4: requested values and unknown types.
    fn manage(&self, header: Header, content: &[u8], out: &mut Out) {
        let mut reply = Vec::new();
        match header.kind {
            kind::GET_VALUES => {
                let mut values = Variables::new();
                // Unparsable content requests nothing.
                for (name, _) in parse_pairs(content).unwrap_or_default().iter() {
                    match name {
                        b"FCGI_MAX_CONNS" | b"FCGI_MAX_REQS" => {
                            values.push(name, self.connections.to_string())
                        }
                        b"FCGI_MPXS_CONNS" => values.push(name, "0"),
                        _ => {} // left out, as the specification says
                    }
                }
                let values = encode_pairs(&values).unwrap_or_default();
                match values.is_empty() {
                    true => put_end(&mut reply, kind::GET_VALUES_RESULT, MANAGEMENT),
                    false => put(&mut reply, kind::GET_VALUES_RESULT, MANAGEMENT, &values),
                }
            }
            kind if kind::is_stream(kind) => {} // arrives in parts, and belongs to no request
            unknown => put_unknown_type(&mut reply, unknown),
        }
        out.copy(&reply);
    }

    fn begin(&mut self, id: u16, content: &[u8], out: &mut Out) -> Result<(), PairsError> {
        let Begin { role, keep } = Begin::parse(content)?;
        let mut reply = Vec::new();
        match &self.request {
            Some(open) if open.id == id => {
                return Err(PairsError::Malformed("BEGIN_REQUEST for a request that is already open"));
            }
            Some(_) => put_end_request(&mut reply, id, 0, Ending::CantMultiplex),
            None if role != RESPONDER => {
                put_end_request(&mut reply, id, 0, Ending::UnknownRole);
                self.closes = !keep;
            }
            None => self.request = Some(OpenRequest { id, keep, params: Some(Vec::new()), body_over: false }),
        }
        out.copy(&reply);
        Ok(())
    }

    fn take_of_request(
        &mut self,
        header: Header,
        content: Bytes,
        out: &mut Out,
    ) -> Result<Option<RequestEvent>, PairsError> {
        let Some(open) = self.request.as_mut().filter(|open| open.id == header.id) else { return Ok(None) };
        let ends = header.content_length == 0;
        match (header.kind, &mut open.params) {
            (kind::PARAMS, Some(params)) if ends => {
                let variables = parse_pairs(params);
                open.params = None;
                return Ok(Some(RequestEvent::Head(variables?)));
            }
            (kind::PARAMS, Some(params)) => {
                if params.len() + content.len() > self.head_limit_bytes {
                    return Err(PairsError::TooLong);
                }
                params.extend_from_slice(&content);
            }
            (kind::PARAMS, None) => return Err(PairsError::Malformed("PARAMS after its end")),
            (kind::STDIN, Some(_)) => return Err(PairsError::Malformed("STDIN before the end of PARAMS")),
            (kind::STDIN, None) if open.body_over => {
                return Err(PairsError::Malformed("STDIN after its end"));
            }
            (kind::STDIN, None) if ends => {
                open.body_over = true;
                return Ok(Some(RequestEvent::End));
            }
            (kind::STDIN, None) => return Ok(Some(RequestEvent::Body(content))),
            (kind::ABORT_REQUEST, params) => {
                open.body_over = true;
                if params.is_none() {
                    return Ok(Some(RequestEvent::Abort));
                }
                self.closes = !self.end(out);
                return Ok(self.closes.then_some(RequestEvent::Close));
            }
            _ => {} // not for a responder
        }
        Ok(None)
    }
}

impl ServerProtocol for FastCgiProtocol {
    const KEEPS: bool = true;

    fn new(head_limit_bytes: usize, connections: usize) -> Self {
        FastCgiProtocol {
            head_limit_bytes,
            connections,
            reader: RecordReader::default(),
            request: None,
            closes: false,
        }
    }

    fn next(&mut self, read: &mut BytesMut, out: &mut Out) -> Result<Option<RequestEvent>, PairsError> {
        while let Some(part) = self.reader.next(read)? {
            if let Some(event) = self.take(part, out)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn is_between(&self) -> bool {
        self.request.is_none() && self.reader.is_between()
    }

    fn answers(&self) -> bool {
        self.request.is_some()
    }

    fn put(&mut self, mut data: Bytes, out: &mut Out) {
        let Some(open) = &self.request else { return };
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(CONTENT_LIMIT_BYTES & !7));
            // A piece is shorter than 65,536 bytes.
            let header =
                Header::padded(kind::STDOUT, open.id, u16::try_from(piece.len()).unwrap_or(u16::MAX));
            out.copy(&header.encode());
            out.push(piece);
            out.copy(&[0; 8][..header.padding_length.into()]);
        }
    }

    fn end(&mut self, out: &mut Out) -> bool {
        let Some(open) = self.request.take() else { return false };
        let mut records = Vec::with_capacity(32);
        put_end(&mut records, kind::STDOUT, open.id);
        put_end_request(&mut records, open.id, 0, Ending::RequestComplete);
        out.copy(&records);
        // The rest of its body is ignored and skipped.
        open.keep
    }
}
