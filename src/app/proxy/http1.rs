//! The client side of HTTP/1.1.
//!
//! # Source
//! RFC 9112.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;

use super::fields::RewriteRules;
use crate::app::upstream::{Decoded, Head, Kept, Member, Outgoing, Protocol, Reason};
use crate::body::Body;

/// Longest head of a response.
const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// Maximum number of fields in a head, and in trailers.
const FIELDS_LIMIT: usize = 128;
/// Longest line with the size of a chunk.
const CHUNK_LINE_LIMIT: usize = 1024;
/// Maximum number of interim responses: `100 Continue`, `103 Early Hints`.
const INTERIM_LIMIT: u32 = 16;

/// One request and its response.
pub(super) struct Http1 {
    head_request: bool,
    upgrade: bool,
    chunked_request: bool,
    state: State,
    interim: u32,
    kept: Option<Kept>,
}

/// Where a field's name and value are in a head: start and length.
#[derive(Clone, Copy, Default)]
struct Field {
    name: (usize, usize),
    value: (usize, usize),
}

enum State {
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Over,
    Switched,
}

/// Writes the head of a request.
pub(super) fn write(
    rewrite: &RewriteRules,
    parts: &Parts,
    member: &Member,
    upgrade: bool,
    keep: bool,
    body: &Body,
    out: &mut Outgoing,
) -> Http1 {
    let length = body.size_hint().exact();
    let buffer = out.buffer();
    let mut put = |piece: &[u8]| buffer.extend_from_slice(piece);
    put(parts.method.as_str().as_bytes());
    put(b" ");
    let (base, mount, own) = rewrite.target(parts, member);
    for piece in [base, mount, own] {
        put(piece.as_bytes());
    }
    put(b" HTTP/1.1\r\nhost: ");
    put(rewrite.host(parts, member));
    put(b"\r\n");
    rewrite.fields(parts, |name, value| {
        for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
            put(piece);
        }
    });
    match length {
        Some(0) => {
            let expected = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
            if expected || parts.headers.contains_key(CONTENT_LENGTH) {
                put(b"content-length: 0\r\n");
            }
        }
        Some(length) => put(format!("content-length: {length}\r\n").as_bytes()),
        None => put(b"transfer-encoding: chunked\r\n"),
    }
    match (upgrade, keep) {
        (true, _) => put(b"connection: upgrade\r\nupgrade: websocket\r\n"),
        (_, false) => put(b"connection: close\r\n"),
        _ => {}
    }
    put(b"\r\n");
    Http1 {
        head_request: parts.method == Method::HEAD,
        upgrade,
        chunked_request: length.is_none(),
        state: State::Head,
        interim: 0,
        kept: None,
    }
}

impl Protocol for Http1 {
    fn data(&mut self, data: Bytes, out: &mut Outgoing) {
        if self.chunked_request {
            out.put(format!("{:x}\r\n", data.len()).as_bytes());
            out.push(data);
            out.put(b"\r\n");
        } else {
            out.push(data);
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>, out: &mut Outgoing) {
        if !self.chunked_request {
            return;
        }
        out.put(b"0\r\n");
        for (name, value) in trailers.iter().flatten() {
            if may_trail(name) {
                for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    out.put(piece);
                }
            }
        }
        out.put(b"\r\n");
    }

    fn decode(&mut self, input: &mut BytesMut, ended: bool) -> Result<Decoded, Reason> {
        loop {
            match &mut self.state {
                State::Head => match self.head(input)? {
                    Some(head) => return Ok(Decoded::Head(head)),
                    None => return Ok(Decoded::More),
                },
                State::Length(0) => self.state = State::Over,
                State::Length(left) | State::ChunkData(left @ 1..) => {
                    if input.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= count as u64;
                    return Ok(Decoded::Data(input.split_to(count).freeze()));
                }
                State::ChunkData(_) => self.state = State::ChunkEnd,
                State::ChunkEnd => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = State::ChunkSize;
                    }
                    [] | [b'\r'] => return Ok(Decoded::More),
                    _ => return Err(Reason::Malformed("a chunk is longer than announced")),
                },
                State::ChunkSize => match chunk_size(input)? {
                    None => return Ok(Decoded::More),
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::ChunkData(size),
                },
                State::Trailers => {
                    let Some(trailers) = trailers(input)? else { return Ok(Decoded::More) };
                    self.state = State::Over;
                    if !trailers.is_empty() {
                        return Ok(Decoded::Trailers(trailers));
                    }
                }
                State::UntilClose => {
                    return Ok(match (input.is_empty(), ended) {
                        (false, _) => Decoded::Data(input.split().freeze()),
                        (true, true) => Decoded::End(None),
                        (true, false) => Decoded::More,
                    });
                }
                State::Over => return Ok(Decoded::End(self.kept)),
                State::Switched => return Ok(Decoded::Switched),
            }
        }
    }
}

impl Http1 {
    /// The final head at the start of `input`; interim ones are skipped.
    fn head(&mut self, input: &mut BytesMut) -> Result<Option<Head>, Reason> {
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
                Ok(_) => return Err(Reason::Malformed("its head is too long")),
                Err(httparse::Error::TooManyHeaders) => {
                    return Err(Reason::Malformed("its head has too many fields"));
                }
                Err(_) => return Err(Reason::Malformed("its head is not valid HTTP/1")),
            };
            let status = Reason::check_status(response.code.unwrap_or(0))?;
            let recent = response.version == Some(1);
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                input.advance(length);
                self.interim += 1;
                if self.interim > INTERIM_LIMIT {
                    return Err(Reason::Malformed("it sends too many interim responses"));
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
            return self.answer(status, recent, &bytes, &fields[..count]).map(Some);
        }
    }

    fn answer(
        &mut self,
        status: StatusCode,
        recent: bool,
        bytes: &Bytes,
        fields: &[Field],
    ) -> Result<Head, Reason> {
        let mut headers = HeaderMap::with_capacity(fields.len());
        let (mut length, mut codings, mut chunked) = (None, 0, false);
        let (mut close, mut keep, mut named, mut time) = (false, false, false, None);
        for Field { name, value } in fields {
            let name = HeaderName::from_bytes(&bytes[name.0..name.0 + name.1])
                .map_err(|_| Reason::Malformed("the name of a field is not valid"))?;
            let value = HeaderValue::from_maybe_shared(bytes.slice(value.0..value.0 + value.1))
                .map_err(|_| Reason::Malformed("the value of a field is not valid"))?;
            match name {
                CONNECTION => {
                    for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep |= option.eq_ignore_ascii_case(b"keep-alive");
                        named |= !option.is_empty()
                            && ![&b"close"[..], b"keep-alive", b"upgrade"]
                                .iter()
                                .any(|known| option.eq_ignore_ascii_case(known));
                    }
                    headers.append(CONNECTION, value);
                    continue;
                }
                TRANSFER_ENCODING => {
                    codings += 1;
                    chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                    continue;
                }
                CONTENT_LENGTH => {
                    let number = parse_length(value.as_bytes());
                    if number.is_none() || length.is_some_and(|length| Some(length) != number) {
                        return Err(Reason::Malformed("its Content-Length is not a single number"));
                    }
                    if length.is_some() {
                        continue;
                    }
                    length = number;
                }
                TE => continue,
                UPGRADE if status != StatusCode::SWITCHING_PROTOCOLS => continue,
                _ if name == "keep-alive" => {
                    time = keep_alive_time(&value);
                    continue;
                }
                _ if name == "proxy-connection" => continue,
                _ => {}
            }
            headers.append(name, value);
        }
        if named {
            drop_named(&mut headers);
        }
        headers.remove(CONNECTION);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let websocket = headers.get(UPGRADE).map(HeaderValue::as_bytes);
            if !self.upgrade || !websocket.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket")) {
                return Err(Reason::Malformed("it switches protocols, which the request did not ask for"));
            }
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.remove(CONTENT_LENGTH);
            self.state = State::Switched;
            return Ok(Head { status, headers, length: None, redirect: None });
        }
        if codings > 1 || codings == 1 && !(chunked && recent) {
            return Err(Reason::Malformed("its Transfer-Encoding is not exactly `chunked`"));
        }
        // With both lengths, it is uncertain where the next response begins.
        let doubt = codings > 0 && length.is_some();
        if codings > 0 {
            headers.remove(CONTENT_LENGTH);
            length = None;
        }
        let bodiless =
            self.head_request || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.state = match (bodiless, chunked, length) {
            (true, ..) => State::Over,
            (_, true, _) => State::ChunkSize,
            (_, _, Some(length)) => State::Length(length),
            (_, _, None) => State::UntilClose,
        };
        let keeps = !close && !doubt && (recent || keep);
        self.kept = keeps.then_some(Kept(time));
        let length = if bodiless { Some(0) } else { length };
        Ok(Head { status, headers, length, redirect: None })
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

/// The size of the chunk at the start of `input`; its line is removed.
fn chunk_size(input: &mut BytesMut) -> Result<Option<u64>, Reason> {
    const MALFORMED: Reason = Reason::Malformed("the size of a chunk is not valid");
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
fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, Reason> {
    const MALFORMED: Reason = Reason::Malformed("its trailers are not valid");
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

/// Whether a field is allowed after a body: not one that tells how to read the body, who sent it or where to
/// (RFC 9110, section 6.5.1).
fn may_trail(name: &HeaderName) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(head_request: bool) -> Http1 {
        Http1 {
            head_request,
            upgrade: false,
            chunked_request: false,
            state: State::Head,
            interim: 0,
            kept: None,
        }
    }

    /// Parses `answer`, which arrives in pieces of `step` bytes. Returns status and fields, body, trailers,
    /// and what happens to the connection.
    fn read(answer: &str, head_request: bool, step: usize) -> Result<String, String> {
        let (mut http, mut input, mut text) = (reader(head_request), BytesMut::new(), String::new());
        let mut pieces = answer.as_bytes().chunks(step);
        let mut ended = false;
        loop {
            match http.decode(&mut input, ended).map_err(|reason| reason.to_string())? {
                Decoded::More => match pieces.next() {
                    Some(piece) => input.extend_from_slice(piece),
                    None if ended => return Ok(text + " cut"),
                    None => ended = true,
                },
                Decoded::Head(head) => {
                    text += head.status.as_str();
                    for (name, value) in &head.headers {
                        text += &format!(" {name}={}", value.to_str().unwrap());
                    }
                    text += " |";
                }
                Decoded::Data(data) => text += std::str::from_utf8(&data).unwrap(),
                Decoded::Trailers(trailers) => text += &format!(" +{}", trailers.len()),
                Decoded::End(kept) => {
                    return Ok(match kept {
                        Some(Kept(None)) => text + " kept",
                        Some(Kept(Some(time))) => format!("{text} kept {}", time.as_secs()),
                        None => text + " closed",
                    });
                }
                Decoded::Switched => return Ok(text + " switched"),
            }
        }
    }

    fn check(answer: &str, expected: Result<&str, &str>) {
        for step in 1..=answer.len() {
            let found = read(answer, false, step);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{answer:?} by {step}");
        }
    }

    #[test]
    fn answers() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Ok("200 content-length=5 |hello kept"));
        check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok("200 content-length=0 | kept"));
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            Ok("200 content-length=2 |hi kept"),
        );
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok("204 | kept"));
        check("HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n", Ok("304 etag=a | kept"));
        check("HTTP/1.1 200 OK\r\n\r\nhello", Ok("200 |hello closed"));
        check("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", Ok("200 content-length=2 |hi closed"));
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
            Ok("200 content-length=2 |hi kept"),
        );
        check(
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=9\r\nContent-Length: 0\r\n\r\n",
            Ok("200 content-length=0 | kept 5"),
        );
        check(
            "HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n",
            Ok("200 x-end=2 content-length=0 | closed"),
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            Ok("204 | kept"),
        );
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Ok("200 content-length=5 |hel cut"));
    }

    #[test]
    fn chunks() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let ok = |body: &str, expected: &str| {
            check(&format!("{head}{body}"), Ok(&format!("200 |{expected}")));
        };
        ok("5\r\nhello\r\n0\r\n\r\n", "hello kept");
        ok("2;x=\"y\"\r\nhe\r\n03 \r\nllo\r\n000\r\n\r\n", "hello kept");
        ok("0\r\nX-Sum: 1\r\nContent-Length: 5\r\n\r\n", " +1 kept");
        ok("5\r\nhello\r\n", "hello cut");
        let bad = |body: &str, expected: &str| {
            let answer = format!("{head}{body}");
            let found = read(&answer, false, answer.len());
            assert_eq!(found, Err(format!("its response is malformed: {expected}")), "{body:?}");
        };
        let size = "the size of a chunk is not valid";
        for body in ["x\r\n", "-1\r\n", "5\nhello", "\r\n", "10000000000000000\r\n", "5 5\r\n"] {
            bad(body, size);
        }
        bad("2\r\nhello\r\n", "a chunk is longer than announced");
        bad("0\r\n x\r\n\r\n", "its trailers are not valid");
    }

    #[test]
    fn malformed() {
        let bad = |answer: &str| {
            let found = read(answer, false, answer.len());
            assert!(found.as_ref().is_err_and(|text| text.contains("malformed")), "{answer:?}: {found:?}");
        };
        bad("SSH-2.0-OpenSSH_9.2\r\n\r\n");
        bad("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
        bad("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na");
        bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
        bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
        bad("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        bad("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n");
        bad("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n");
        let both = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(read(both, false, 999).unwrap(), "200 | closed");
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(read(head, true, 999).unwrap(), "200 content-length=9 | kept");
    }
}
