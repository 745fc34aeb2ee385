//! The client side of FastCGI, as in a web server.
//!
//! # Source
//! FastCGI Specification 1.0, 1996-04-29.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::app::upstream::{CgiAnswer, Decoded, FailureReason, KeepAlive, Outgoing, Protocol, plain_text};
use crate::codec::fastcgi::{
    Begin, CONTENT_LIMIT_BYTES, EndRequest, Ending, Header, RESPONDER, RecordReader, kind, put, put_end,
};

/// The id of the only request on a connection.
const ID: u16 = 1;
/// Longest line of the log.
const LINE: usize = 4096;

/// One request and its response.
pub(super) struct Fastcgi {
    app: Arc<str>,
    keep: bool,
    reader: RecordReader,
    answer: CgiAnswer,
    /// The start of the document, until its head is complete.
    document: BytesMut,
    /// The part of a log line that has arrived.
    line: Vec<u8>,
    over: bool,
}

impl Fastcgi {
    /// Writes the head of a request; `pairs` are its variables, encoded.
    pub(super) fn begin(app: &Arc<str>, pairs: &[u8], keep: bool, out: &mut Outgoing) -> Fastcgi {
        let mut head = Vec::with_capacity(pairs.len() + 64);
        Begin { role: RESPONDER, keep }.put(&mut head, ID);
        put(&mut head, kind::PARAMS, ID, pairs);
        put_end(&mut head, kind::PARAMS, ID);
        out.put(&head);
        Fastcgi {
            app: app.clone(),
            keep,
            reader: RecordReader::default(),
            answer: CgiAnswer::default(),
            document: BytesMut::new(),
            line: Vec::new(),
            over: false,
        }
    }

    fn log(&mut self, content: &[u8]) {
        for byte in content {
            if *byte == b'\n' || self.line.len() >= LINE {
                self.flush_log();
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
    }

    fn flush_log(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.trim_ascii().is_empty() {
            tracing::warn!(app = &*self.app, "{}", plain_text(&line));
        }
    }

    /// Evaluates an `END_REQUEST`.
    fn end_of_request(&mut self, content: &[u8]) -> Result<(), FailureReason> {
        self.flush_log();
        self.over = true;
        let end = EndRequest::parse(content)?;
        match end.ending {
            Some(Ending::RequestComplete) => {}
            Some(Ending::CantMultiplex) => return Err(FailureReason::Refused("another request is open")),
            Some(Ending::Overloaded) => return Err(FailureReason::Refused("it is overloaded")),
            Some(Ending::UnknownRole) => return Err(FailureReason::Refused("it is not a responder")),
            None => return Err(FailureReason::Malformed("END_REQUEST has an unknown status")),
        }
        match (self.answer.has_head(), self.answer.is_short(), self.document.is_empty()) {
            (true, false, _) => Ok(()),
            (true, true, _) => Err(FailureReason::BrokenOff),
            (false, _, true) => Err(FailureReason::Malformed("it is empty")),
            (false, _, false) => Err(FailureReason::Malformed("its head is incomplete")),
        }
    }
}

impl Protocol for Fastcgi {
    fn data(&mut self, mut data: Bytes, out: &mut Outgoing) {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(CONTENT_LIMIT_BYTES & !7));
            let header = Header::padded(kind::STDIN, ID, u16::try_from(piece.len()).unwrap_or(u16::MAX));
            out.put(&header.encode());
            out.push(piece);
            out.put(&[0; 8][..usize::from(header.padding_length)]);
        }
    }

    fn end(&mut self, _: Option<HeaderMap>, out: &mut Outgoing) {
        let mut record = Vec::new();
        put_end(&mut record, kind::STDIN, ID);
        out.put(&record);
    }

    fn decode(&mut self, input: &mut BytesMut, _: bool) -> Result<Decoded, FailureReason> {
        loop {
            if self.answer.has_head() && !self.document.is_empty() {
                // Data that followed the head in its record.
                let data = self.answer.body(self.document.split().freeze());
                if !data.is_empty() {
                    return Ok(Decoded::Data(data));
                }
            }
            if self.over {
                // Padding of the last record may follow.
                self.reader.next(input)?;
                return Ok(match self.reader.is_between() {
                    true => Decoded::End(self.keep.then_some(KeepAlive(None))),
                    false => Decoded::More,
                });
            }
            let Some(part) = self.reader.next(input)? else { return Ok(Decoded::More) };
            match part.header.kind {
                _ if part.header.id != ID => {} // a management record, or a record of an abandoned request
                kind::STDOUT if self.answer.has_head() => {
                    let data = self.answer.body(part.content);
                    if !data.is_empty() {
                        return Ok(Decoded::Data(data));
                    }
                }
                kind::STDOUT => {
                    self.document.extend_from_slice(&part.content);
                    if let Some(head) = self.answer.head(&mut self.document, false)? {
                        return Ok(Decoded::Head(head));
                    }
                }
                kind::STDERR => self.log(&part.content),
                kind::END_REQUEST => self.end_of_request(&part.content)?,
                _ => {}
            }
        }
    }
}
