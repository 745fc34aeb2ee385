//! HTTP/2 with prior knowledge: what the gate refuses over HTTP/1.1 is refused here too, frame by frame.

use std::sync::atomic::Ordering::Relaxed;

use http_body_util::StreamBody;
use paster::body::{App, Body, Response};
use paster::server::control::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gate::mirror;
use crate::inprocess::{Running, within};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// The bytes that a client sends first, RFC 9113 section 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client that sends what it is told, well-formed or not.
struct Client {
    stream: TcpStream,
    next: u32,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Status and body.
    Response(u16, String),
    Reset,
    Gone,
}

impl Client {
    async fn connect(running: &Running) -> Client {
        let mut stream = running.connect().await;
        stream.write_all(PREFACE).await.unwrap();
        let mut client = Client { stream, next: 1 };
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // The server may already have closed, as some cases expect.
        let _ = self.stream.write_all(&frame(kind, flags, stream, payload)).await;
    }

    async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.stream.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        within(self.stream.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Sends a head.
    async fn head(&mut self, fields: &[(&str, &str)], flags: u8) -> u32 {
        let block = block(fields);
        let stream = self.next;
        self.next += 2;
        let mut pieces = block.chunks(16_384).peekable();
        let (mut kind, mut flags) = (HEADERS, flags);
        while let Some(piece) = pieces.next() {
            flags |= if pieces.peek().is_none() { END_HEADERS } else { 0 };
            self.send(kind, flags, stream, piece).await;
            (kind, flags) = (CONTINUATION, 0);
        }
        stream
    }

    /// Reads to the end of `stream`; answers settings and pings on the way.
    async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (0, Vec::new());
        while let Some(frame) = self.frame().await {
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await,
                GOAWAY if frame.payload[4..8] != [0; 4] => return Outcome::Gone,
                RST_STREAM if frame.stream == stream => return Outcome::Reset,
                HEADERS if frame.stream == stream && status == 0 => status = status_of(&frame.payload),
                DATA if frame.stream == stream => body.extend(&frame.payload),
                _ => continue,
            }
            if frame.stream == stream && frame.flags & END_STREAM != 0 && matches!(frame.kind, DATA | HEADERS)
            {
                return Outcome::Response(status, String::from_utf8(body).unwrap());
            }
        }
        Outcome::Gone
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The complete frames in what was read.
pub(crate) fn frames(mut seen: &[u8]) -> Vec<Frame> {
    let mut found = Vec::new();
    while let Some((head, rest)) = seen.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        found.push(Frame { kind: head[3], flags: head[4], stream, payload: payload.to_vec() });
        seen = rest;
    }
    found
}

/// A block of literal fields, never indexed and never Huffman coded (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            let length = text.len();
            assert!(length < 127 + 128 * 128);
            match length {
                0..127 => block.push(length as u8),
                _ => {
                    let rest = length - 127;
                    block.push(127);
                    block.push((rest % 128) as u8 | 128);
                    block.push((rest / 128) as u8);
                }
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The status at the start of a field block: indexed, or literal digits in Huffman code (RFC 7541, appendix B).
pub(crate) fn status_of(block: &[u8]) -> u16 {
    // We set the table's size to zero, which is announced first (section 6.3).
    let block = block.strip_prefix(&[0x20]).unwrap_or(block);
    match block[0] {
        0x88 => return 200,
        0x89 => return 204,
        0x8b => return 304,
        0x8c => return 400,
        0x8d => return 404,
        0x8e => return 500,
        0x48 | 0x08 => {}
        other => panic!("unexpected start {other:#x}"),
    }
    let length = usize::from(block[1] & 127);
    let bytes = &block[2..2 + length];
    if block[1] & 128 == 0 {
        return std::str::from_utf8(bytes).unwrap().parse().unwrap();
    }
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut status) = (&bits[..], 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(&rest[..5], 2).unwrap();
        let digit = if five < 3 { five } else { u16::from_str_radix(&rest[..6], 2).unwrap() - 0b01_1001 + 3 };
        rest = &rest[if five < 3 { 5 } else { 6 }..];
        status = status * 10 + digit;
    }
    status
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "a")];

fn response(status: u16, body: &str) -> Outcome {
    Outcome::Response(status, body.into())
}

/// The request with each change: a value replaced; `None` removes the field.
fn with<'a>(changes: &[(&'a str, Option<&'a str>)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = GET.to_vec();
    for (name, value) in changes {
        match (fields.iter().position(|(known, _)| known == name), value) {
            (Some(index), Some(value)) => fields[index].1 = value,
            (Some(index), None) => drop(fields.remove(index)),
            (None, Some(value)) => fields.push((name, value)),
            (None, None) => {}
        }
    }
    fields
}

#[tokio::test]
async fn requests() {
    let running = Running::start("", mirror());
    let refused = |reason: &str| response(400, &format!("Bad Request: {reason}\n"));
    let long = format!("/{}", "a".repeat(8192));
    let cases: Vec<(Vec<(&str, &str)>, Outcome)> = vec![
        (with(&[]), response(200, "GET /a a 0")),
        (with(&[(":authority", Some("Example.org:8080"))]), response(200, "GET /a example.org:8080 0")),
        // RFC 9113 section 8.3.1: `:authority`, else Host; both must agree.
        (with(&[(":authority", None), ("host", Some("b"))]), response(200, "GET /a b 0")),
        (with(&[("host", Some("A"))]), response(200, "GET /a a 0")),
        (with(&[("host", Some("b"))]), refused("Host and :authority differ")),
        (with(&[("host", Some("a b"))]), refused("invalid Host")),
        (with(&[(":authority", None)]), refused("no Host")),
        (with(&[(":authority", Some("u@a"))]), refused("invalid Host")),
        (with(&[(":authority", Some("a..b"))]), refused("invalid Host")),
        // The path rules are the same.
        (with(&[(":path", Some("/%41?b"))]), response(200, "GET /A?b a 0")),
        (with(&[(":path", Some("/../b"))]), refused("a dot segment in the path")),
        (with(&[(":path", Some("/%2e%2e/b"))]), refused("a dot segment in the path")),
        (with(&[(":path", Some("/a%2fb"))]), refused("an encoded slash in the path")),
        (with(&[(":path", Some("/a%5cb"))]), refused("an encoded slash in the path")),
        (with(&[(":path", Some("/a\\b"))]), refused("a backslash in the path")),
        (with(&[(":path", Some("/a%00"))]), refused("NUL in the path")),
        (with(&[(":path", Some("/a%0d%0ab"))]), refused("a control character in the path")),
        (with(&[(":path", Some("/a%zz"))]), refused("an escape is not two hexadecimal digits")),
        (with(&[(":path", Some(&long))]), response(414, "URI Too Long: the request target is too long\n")),
        (with(&[(":path", Some("*"))]), refused("the target `*` is only valid for OPTIONS")),
        (with(&[(":path", Some("*")), (":method", Some("OPTIONS"))]), response(200, "OPTIONS * a 0")),
        // Section 8.3.1: no path, no scheme, no method.
        (with(&[(":path", Some(""))]), Outcome::Reset),
        (with(&[(":path", None)]), Outcome::Reset),
        (with(&[(":path", Some("a"))]), Outcome::Reset),
        (with(&[(":scheme", None)]), Outcome::Reset),
        (with(&[(":method", None)]), Outcome::Reset),
        (with(&[(":scheme", Some("ftp"))]), refused("the target's scheme is not served")),
        (
            vec![(":method", "CONNECT"), (":authority", "a:80")],
            response(501, "Not Implemented: CONNECT: this server is not a proxy\n"),
        ),
        // Section 8.2.2: connection-specific fields.
        (with(&[("connection", Some("close"))]), Outcome::Reset),
        (with(&[("transfer-encoding", Some("chunked"))]), Outcome::Reset),
        (with(&[("upgrade", Some("websocket"))]), Outcome::Reset),
        (with(&[("te", Some("gzip"))]), Outcome::Reset),
        // Section 8.2.1: names in lower case, no CR or LF in values. Section 8.3: no other pseudo-field.
        (with(&[("X-A", Some("b"))]), Outcome::Reset),
        (with(&[("x-a", Some("b\r\nc: d"))]), Outcome::Reset),
        (with(&[(":status", Some("200"))]), Outcome::Reset),
        (with(&[("content-length", Some("5"))]), Outcome::Reset),
        (with(&[("content-length", Some("x"))]), Outcome::Reset),
        // Fields that are not passed on, and cookies joined into one (section 8.2.3).
        (
            [
                &with(&[(":path", Some("/fields"))])[..],
                &[
                    ("proxy", "a"),
                    ("x_a", "b"),
                    ("x-forwarded-for", "6.6.6.6"),
                    ("cookie", "a=b"),
                    ("cookie", "c=d"),
                ],
            ]
            .concat(),
            response(200, "GET /fields a 0\nhost: a\ncookie: a=b; c=d"),
        ),
        // A second path or authority.
        ([&GET[..], &[(":path", "/b")]].concat(), Outcome::Reset),
        ([&GET[..], &[(":authority", "b")]].concat(), Outcome::Reset),
        ([&GET[..], &[("host", "a"), ("host", "a")]].concat(), refused("more than one Host")),
    ];
    let mut wrong = Vec::new();
    for (fields, expected) in cases {
        let mut client = Client::connect(&running).await;
        let stream = client.head(&fields, END_STREAM).await;
        let found = client.outcome(stream).await;
        let malformed = expected == Outcome::Reset && found == Outcome::Gone;
        if found != expected && !malformed {
            wrong.push(format!("{fields:?}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    running.end().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn too_many_fields() {
    let running = Running::start("", mirror());
    let names: Vec<String> = (0..101).map(|number| format!("x-{number}")).collect();
    let mut fields = GET.to_vec();
    fields.extend(names.iter().map(|name| (&name[..], "v")));
    let mut client = Client::connect(&running).await;
    let stream = client.head(&fields, END_STREAM).await;
    assert!(matches!(client.outcome(stream).await, Outcome::Response(431, _)));
    let value = "v".repeat(15_000);
    let long = [&GET[..], &[("x-a", &value[..]); 6]].concat();
    let mut client = Client::connect(&running).await;
    let stream = client.head(&long, END_STREAM).await;
    assert!(matches!(client.outcome(stream).await, Outcome::Response(431, _)));
    running.end().await;
}

#[tokio::test]
async fn bodies_and_several_streams_at_once() {
    let running = Running::start("", mirror());
    let mut client = Client::connect(&running).await;
    let post = with(&[(":method", Some("POST"))]);
    let (first, second) = (client.head(&post, 0).await, client.head(&post, 0).await);
    client.send(DATA, 0, second, b"abc").await;
    client.send(DATA, END_STREAM, first, b"ab").await;
    assert_eq!(client.outcome(first).await, response(200, "POST /a a 2"));
    client.send(DATA, END_STREAM, second, b"de").await;
    assert_eq!(client.outcome(second).await, response(200, "POST /a a 5"));
    running.end().await;
}

#[tokio::test]
async fn head_has_no_body() {
    let app = App::from_fn(|_| async { Response::new(Body::from("hello")) });
    let running = Running::start("", app);
    let mut client = Client::connect(&running).await;
    let stream = client.head(&with(&[(":method", Some("HEAD"))]), END_STREAM).await;
    assert_eq!(client.outcome(stream).await, response(200, ""));
    let text = running.exchange(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(text.contains("\r\ncontent-length: 5\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    running.end().await;
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_reset() {
    let app = App::from_fn(|_| async {
        let frames = futures_util::stream::repeat_with(|| {
            Ok::<_, std::convert::Infallible>(http_body::Frame::data(vec![0; 16384].into()))
        });
        Response::new(Body::new(StreamBody::new(frames)))
    });
    let running = Running::start("write_stall_secs = 1", app);
    let mut client = Client::connect(&running).await;
    // No WINDOW_UPDATE is ever sent: 65,535 bytes arrive, then nothing.
    let stream = client.head(&GET, END_STREAM).await;
    assert_eq!(client.outcome(stream).await, Outcome::Reset);
    assert_eq!(running.load.in_flight.load(Relaxed), 0);
    running.end().await;
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let running = Running::start("idle_timeout_secs = 1", mirror());
    let mut client = Client::connect(&running).await;
    let stream = client.head(&GET, END_STREAM).await;
    client.outcome(stream).await;
    loop {
        let frame = client.frame().await.expect("GOAWAY");
        if frame.kind == GOAWAY {
            assert_eq!(frame.payload[4..8], [0; 4], "without an error");
            break;
        }
    }
    running.wait_for_connections(0).await;
    running.end().await;
}

#[tokio::test]
async fn retired_it_finishes_its_streams_and_goes() {
    let running = Running::start("", mirror());
    let mut client = Client::connect(&running).await;
    let stream = client.head(&with(&[(":method", Some("POST"))]), 0).await;
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    running.phase.send(Phase::Retired).unwrap();
    loop {
        let frame = client.frame().await.expect("GOAWAY");
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => client.send(SETTINGS, ACK, 0, &[]).await,
            GOAWAY => break,
            _ => {}
        }
    }
    client.send(DATA, END_STREAM, stream, b"abc").await;
    assert_eq!(client.outcome(stream).await, response(200, "POST /a a 3"));
    while let Some(frame) = client.frame().await {
        if frame.kind == PING && frame.flags & ACK == 0 {
            client.send(PING, ACK, 0, &frame.payload).await;
        }
    }
    drop(client);
    within(running.task).await.unwrap();
}

#[tokio::test]
async fn a_client_that_resets_its_stream_takes_the_request_along() {
    let app = App::from_fn(|_| std::future::pending());
    let running = Running::start("", app);
    let mut client = Client::connect(&running).await;
    let stream = client.head(&GET, END_STREAM).await;
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    client.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]).await;
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 0).await;
    running.end().await;
}

#[tokio::test]
async fn a_client_that_hears_late_that_it_is_to_go_loses_no_word_of_it() {
    let running = Running::start("", mirror());
    let mut client = Client::connect(&running).await;
    let stream = client.head(&GET, END_STREAM).await;
    assert!(matches!(client.outcome(stream).await, Outcome::Response(200, _)));
    running.phase.send_replace(Phase::Retired);
    // The client's library answers the ping before it sends what its application has started.
    loop {
        match client.frame().await.expect("a ping") {
            Frame { kind: PING, flags: 0, payload, .. } => break client.send(PING, ACK, 0, &payload).await,
            _ => continue,
        }
    }
    let mut seen = [0; 9 + 8];
    within(async { while client.stream.peek(&mut seen).await.unwrap() < seen.len() {} }).await;
    for _ in 0..2 {
        let stream = client.head(&GET, 0).await;
        let body = frame(DATA, END_STREAM, stream, &[0; 9000]);
        client.stream.write_all(&body).await.expect("the server still reads");
    }
    let last = client.frame().await.expect("the last word");
    assert_eq!(
        (last.kind, &last.payload[..4]),
        (GOAWAY, &1_u32.to_be_bytes()[..]),
        "what came later was not begun"
    );
    assert!(client.frame().await.is_none());
    drop(client);
    within(running.task).await.unwrap();
}
