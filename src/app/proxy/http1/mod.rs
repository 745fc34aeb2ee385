//! The client side of HTTP/1.1.
//!
//! # Source
//! RFC 9112.

mod chunked;
mod head;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;

use self::chunked::{chunk_size, may_trail, trailers};
use self::head::{Framing, ParsedHead};
use super::fields::RewriteRules;
use crate::app::upstream::{Decoded, FailureReason, KeepAlive, Member, Outgoing, Protocol, ResponseHead};
use crate::body::Body;

/// One request and its response.
pub(super) struct Http1 {
    head_request: bool,
    upgrade: bool,
    chunked_request: bool,
    state: ResponsePart,
    interim: u32,
    kept: Option<KeepAlive>,
}

enum ResponsePart {
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
        state: ResponsePart::Head,
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

    fn decode(&mut self, input: &mut BytesMut, ended: bool) -> Result<Decoded, FailureReason> {
        loop {
            match &mut self.state {
                ResponsePart::Head => {
                    let Some(parsed) = head::parse(input, &mut self.interim)? else {
                        return Ok(Decoded::More);
                    };
                    return self.accept(parsed).map(Decoded::Head);
                }
                ResponsePart::Length(0) => self.state = ResponsePart::Over,
                ResponsePart::Length(left) | ResponsePart::ChunkData(left @ 1..) => {
                    if input.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= count as u64;
                    return Ok(Decoded::Data(input.split_to(count).freeze()));
                }
                ResponsePart::ChunkData(_) => self.state = ResponsePart::ChunkEnd,
                ResponsePart::ChunkEnd => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = ResponsePart::ChunkSize;
                    }
                    [] | [b'\r'] => return Ok(Decoded::More),
                    _ => return Err(FailureReason::Malformed("a chunk is longer than announced")),
                },
                ResponsePart::ChunkSize => match chunk_size(input)? {
                    None => return Ok(Decoded::More),
                    Some(0) => self.state = ResponsePart::Trailers,
                    Some(size) => self.state = ResponsePart::ChunkData(size),
                },
                ResponsePart::Trailers => {
                    let Some(trailers) = trailers(input)? else { return Ok(Decoded::More) };
                    self.state = ResponsePart::Over;
                    if !trailers.is_empty() {
                        return Ok(Decoded::Trailers(trailers));
                    }
                }
                ResponsePart::UntilClose => {
                    return Ok(match (input.is_empty(), ended) {
                        (false, _) => Decoded::Data(input.split().freeze()),
                        (true, true) => Decoded::End(None),
                        (true, false) => Decoded::More,
                    });
                }
                ResponsePart::Over => return Ok(Decoded::End(self.kept)),
                ResponsePart::Switched => return Ok(Decoded::Switched),
            }
        }
    }
}

impl Http1 {
    /// Decides from a final head how the response continues.
    fn accept(&mut self, parsed: ParsedHead) -> Result<ResponseHead, FailureReason> {
        let ParsedHead { status, recent, mut headers, framing } = parsed;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let websocket = headers.get(UPGRADE).map(HeaderValue::as_bytes);
            if !self.upgrade || !websocket.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket")) {
                return Err(FailureReason::Malformed(
                    "it switches protocols, but the request did not ask for an upgrade",
                ));
            }
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.remove(CONTENT_LENGTH);
            self.state = ResponsePart::Switched;
            return Ok(ResponseHead { status, headers, length: None, redirect: None });
        }
        let Framing { mut length, codings, chunked, close, keep, time, .. } = framing;
        if codings > 1 || codings == 1 && !(chunked && recent) {
            return Err(FailureReason::Malformed("its Transfer-Encoding is not exactly `chunked`"));
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
            (true, ..) => ResponsePart::Over,
            (_, true, _) => ResponsePart::ChunkSize,
            (_, _, Some(length)) => ResponsePart::Length(length),
            (_, _, None) => ResponsePart::UntilClose,
        };
        let keeps = !close && !doubt && (recent || keep);
        self.kept = keeps.then_some(KeepAlive(time));
        let length = if bodiless { Some(0) } else { length };
        Ok(ResponseHead { status, headers, length, redirect: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(head_request: bool) -> Http1 {
        Http1 {
            head_request,
            upgrade: false,
            chunked_request: false,
            state: ResponsePart::Head,
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
                        Some(KeepAlive(None)) => text + " kept",
                        Some(KeepAlive(Some(time))) => format!("{text} kept {}", time.as_secs()),
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
