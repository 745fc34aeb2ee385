//! One version of a file's content, ready to be sent: its header fields and where its bytes are.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, RANGE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};

use super::conditional::{Verdict, judge, range_holds};
use super::tree::{ContentVersion, OpenFile, content_etag};
use crate::body::file::{BodyPiece, FileBody, read_at};
use crate::body::{Body, Request, Response, text_response};
use crate::codec::range::{RangeResponse, parse};

/// The largest file whose page is cached.
pub(super) const CACHE_LIMIT_BYTES: u64 = 64 * 1024;

/// A content coding of a precompressed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Br,
    Zstd,
    Gzip,
}

impl Encoding {
    /// The suffix of the file's name.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Encoding::Br => ".br",
            Encoding::Zstd => ".zst",
            Encoding::Gzip => ".gz",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Br => "br",
            Encoding::Zstd => "zstd",
            Encoding::Gzip => "gzip",
        }
    }
}

/// The set of our codings that a client accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Encodings(u8);

impl Encodings {
    /// All codings, usually smallest result first.
    const ALL: [Encoding; 3] = [Encoding::Br, Encoding::Zstd, Encoding::Gzip];
    /// The number of possible sets.
    pub(super) const COUNT: usize = 1 << Encodings::ALL.len();

    /// Parses `Accept-Encoding` (RFC 9110, section 12.5.3). Of the weights only 0 matters: the server chooses
    /// among the accepted codings.
    pub(super) fn accepted(headers: &HeaderMap) -> Encodings {
        let mut set = 0;
        let (mut named, mut any) = (0, false);
        for value in headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()) {
            for item in value.split(',') {
                let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
                let coding = coding.trim();
                let weight = weight.trim().strip_prefix("q=").map(|q| q.trim().parse::<f32>());
                let wanted = !matches!(weight, Some(Ok(0.0)));
                for (bit, known) in Encodings::ALL.iter().enumerate() {
                    if coding.eq_ignore_ascii_case(known.name()) {
                        named |= 1 << bit;
                        set |= u8::from(wanted) << bit;
                    }
                }
                any |= coding == "*" && wanted;
            }
        }
        Encodings(if any { set | (!named & (Encodings::COUNT as u8 - 1)) } else { set })
    }

    /// The codings, preferred one first.
    pub(super) fn iter(self) -> impl Iterator<Item = Encoding> {
        let has = move |bit: &usize| self.0 & (1 << bit) != 0;
        (0..Encodings::ALL.len()).filter(has).map(|bit| Encodings::ALL[bit])
    }

    /// The set's number, below [`COUNT`](Encodings::COUNT).
    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// One version of a file's content.
#[derive(Debug)]
pub(super) struct CachedContent {
    /// The state of the file that it was made from.
    pub(super) version: ContentVersion,
    modified: Option<SystemTime>,
    etag: HeaderValue,
    headers: HeaderMap,
    bytes: Bytes,
    /// The file to read from, if `bytes` is not the content.
    file: Option<Arc<File>>,
}

impl CachedContent {
    /// Creates a page; with `in_memory` the file is read now. If the file's size changed in the meantime, its
    /// current content is used.
    pub(super) fn new(
        opened: OpenFile,
        media: HeaderValue,
        encoding: Option<Encoding>,
        in_memory: bool,
    ) -> std::io::Result<CachedContent> {
        let OpenFile { file, mut version } = opened;
        let bytes = if in_memory { read_whole(&file, CACHE_LIMIT_BYTES)? } else { Bytes::new() };
        if in_memory {
            version.size = bytes.len() as u64;
        }
        let etag = if in_memory { content_etag(&bytes) } else { version.etag() };
        let modified = version.modified();
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(CONTENT_TYPE, media);
        headers.insert(CONTENT_LENGTH, version.size.into());
        headers.insert(ETAG, etag.clone());
        if let Some(modified) = modified
            && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(modified))
        {
            headers.insert(LAST_MODIFIED, date);
        }
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        }
        Ok(CachedContent { version, modified, etag, headers, bytes, file: (!in_memory).then_some(file) })
    }

    /// Declares that other clients get other codings.
    pub(super) fn vary_by_encoding(&mut self) {
        self.headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }

    /// Sets how long caches may keep it.
    pub(super) fn cache_control(&mut self, value: HeaderValue) {
        self.headers.insert(CACHE_CONTROL, value);
    }

    /// The memory that it takes, in bytes, with an estimate for its header fields.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + 1024
    }

    /// Answers a GET or HEAD.
    pub(super) fn answer(&self, request: &Request) -> Response {
        let etag = self.etag.to_str().unwrap_or_default();
        match judge(request.headers(), etag, self.modified) {
            Verdict::Proceed => {}
            Verdict::NotModified => return self.not_modified(),
            Verdict::Failed => {
                return text_response(
                    StatusCode::PRECONDITION_FAILED,
                    "The file does not match the precondition.\n",
                );
            }
        }
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = self.headers.clone();
        if request.method() == Method::HEAD {
            return response;
        }
        let size = self.version.size;
        if let Some(range) = request.headers().get(RANGE)
            && range_holds(request.headers(), etag, self.modified)
        {
            match range.to_str().map_or(RangeResponse::Whole, |range| parse(range, size)) {
                RangeResponse::Whole => {}
                RangeResponse::Some(parts) => return self.parts(response, &parts),
                RangeResponse::Unsatisfiable => {
                    let text = format!("The file has {size} bytes.\n");
                    let mut response = text_response(StatusCode::RANGE_NOT_SATISFIABLE, text);
                    set(&mut response, CONTENT_RANGE, format!("bytes */{size}"));
                    return response;
                }
            }
        }
        *response.body_mut() = self.body(vec![BodyPiece::File(0..size)]);
        response
    }

    fn not_modified(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        for name in [ETAG, LAST_MODIFIED, CACHE_CONTROL, VARY] {
            if let Some(value) = self.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    /// Turns `response`, which has the head for the whole file, into one for some parts (RFC 9110, sections
    /// 14.4 and 14.6).
    fn parts(&self, mut response: Response, parts: &[Range<u64>]) -> Response {
        let size = self.version.size;
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let content_range = |part: &Range<u64>| format!("bytes {}-{}/{size}", part.start, part.end - 1);
        let mut pieces = Vec::new();
        if let [part] = parts {
            set(&mut response, CONTENT_RANGE, content_range(part));
            pieces.push(BodyPiece::File(part.clone()));
        } else {
            let boundary = uuid::Uuid::new_v4().simple().to_string();
            let media =
                self.headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
            for (index, part) in parts.iter().enumerate() {
                let line = if index == 0 { "" } else { "\r\n" };
                let range = content_range(part);
                let head =
                    format!("{line}--{boundary}\r\ncontent-type: {media}\r\ncontent-range: {range}\r\n\r\n");
                pieces.push(BodyPiece::Bytes(head.into()));
                pieces.push(BodyPiece::File(part.clone()));
            }
            pieces.push(BodyPiece::Bytes(format!("\r\n--{boundary}--\r\n").into()));
            set(&mut response, CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
        }
        let length: u64 = pieces.iter().map(BodyPiece::length).sum();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        *response.body_mut() = self.body(pieces);
        response
    }

    fn body(&self, mut pieces: Vec<BodyPiece>) -> Body {
        if let Some(file) = &self.file {
            return FileBody::new(file.clone(), pieces).into();
        }
        let slice = |range: &Range<u64>| self.bytes.slice(range.start as usize..range.end as usize);
        if let [BodyPiece::File(range)] = &*pieces {
            return slice(range).into();
        }
        // Several parts of a small file are joined in one buffer.
        let mut whole = Vec::new();
        for piece in pieces.drain(..) {
            match piece {
                BodyPiece::Bytes(bytes) => whole.extend_from_slice(&bytes),
                BodyPiece::File(range) => whole.extend_from_slice(&slice(&range)),
            }
        }
        whole.into()
    }
}

fn set(response: &mut Response, name: http::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The whole file as it is now, at most `limit` bytes.
fn read_whole(file: &File, limit: u64) -> std::io::Result<Bytes> {
    let mut whole = Vec::new();
    while (whole.len() as u64) < limit {
        let part = read_at(file, whole.len() as u64, limit - whole.len() as u64)?;
        if part.is_empty() {
            break;
        }
        if whole.is_empty() { whole = part } else { whole.extend(part) }
    }
    Ok(whole.into())
}
