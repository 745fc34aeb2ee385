//! The `fastcgi` server: malformed records, each with its section; its responses; kept connections; handover.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use paster::body::{App, Body, Response};
use paster::codec::Variables;
use paster::codec::fastcgi::{
    Begin, EndRequest, Ending, Header, RecordReader, encode_pairs, kind, parse_pairs, put, put_end,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::inprocess::{Running, breaks_off, echo, says, within};
use crate::scgi::{endless, mirror, outcome};

/// The records of a head.
pub(crate) fn head(id: u16, keep: bool, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    Begin { role: 1, keep }.put(&mut out, id);
    let mut variables = Variables::new();
    pairs.iter().for_each(|(name, value)| variables.push(name, value));
    put(&mut out, kind::PARAMS, id, &encode_pairs(&variables).unwrap());
    put_end(&mut out, kind::PARAMS, id);
    out
}

const GET: [(&str, &str); 3] = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", "/"), ("HTTP_HOST", "a")];

/// A whole request.
pub(crate) fn ask(id: u16, keep: bool, target: &str, body: &str) -> Vec<u8> {
    let length = body.len().to_string();
    let mut out = head(id, keep, &[GET[0], ("REQUEST_URI", target), GET[2], ("CONTENT_LENGTH", &length)]);
    put(&mut out, kind::STDIN, id, body.as_bytes());
    put_end(&mut out, kind::STDIN, id);
    out
}

fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match content {
        b"" => put_end(&mut out, kind, id),
        _ => put(&mut out, kind, id, content),
    }
    out
}

/// What came back: for each request its response, or `closed` if the connection ended with nothing open.
pub(crate) async fn replies(stream: &mut (impl AsyncRead + Unpin), until: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut reader = RecordReader::default();
    let mut buffer = bytes::BytesMut::new();
    let mut output = Vec::new();
    loop {
        while let Some(part) = reader.next(&mut buffer).unwrap() {
            let Header { kind, id, content_length, .. } = part.header;
            match kind {
                kind::STDOUT => output.extend_from_slice(&part.content),
                kind::END_REQUEST => {
                    let ending = EndRequest::parse(&part.content).unwrap().ending.unwrap();
                    let text = String::from_utf8(std::mem::take(&mut output)).unwrap();
                    found.push(match ending {
                        Ending::RequestComplete => format!("{id}: {}", outcome(&text)),
                        _ => format!("{id}: {ending:?}"),
                    });
                }
                kind::GET_VALUES_RESULT => {
                    let pairs = parse_pairs(&part.content).unwrap();
                    let pairs = pairs.iter().map(|(name, value)| {
                        format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
                    });
                    found.push(format!("values: {}", pairs.collect::<Vec<_>>().join(" ")));
                }
                kind::UNKNOWN_TYPE => found.push(format!("unknown: {:?}", &part.content[..])),
                other => found.push(format!("record {other} of {content_length} bytes")),
            }
        }
        if found.len() >= until {
            return found;
        }
        match within(stream.read_buf(&mut buffer)).await {
            Ok(1..) => {}
            _ => {
                found.push(if output.is_empty() { "closed".into() } else { "broken off".into() });
                return found;
            }
        }
    }
}

/// Sends each case on a separate connection, shuts down its side, and compares everything that comes back.
async fn check(options: &str, cases: &[(&str, Vec<u8>, &[&str])]) {
    let running = Running::start(&format!("use = \"fastcgi\"\nhalf_close_secs = 60\n{options}"), mirror());
    running.check(cases, async |stream| replies(stream, usize::MAX).await).await;
}

/// Each row: the section of the FastCGI Specification 1.0, the bytes, and what comes back.
#[tokio::test]
async fn records() {
    let answer = "1: GET http://a[]/ 0";
    let good = || ask(1, false, "/", "");
    let kept = || ask(1, true, "/", "");
    let of_role = |role, keep| {
        let mut out = Vec::new();
        Begin { role, keep }.put(&mut out, 1);
        out
    };
    let names = |names: &[&str]| {
        let mut variables = Variables::new();
        names.iter().for_each(|name| variables.push(name, ""));
        record(kind::GET_VALUES, 0, &encode_pairs(&variables).unwrap())
    };
    let with_params = |params: &[u8]| {
        [
            of_role(1, false),
            record(kind::PARAMS, 1, params),
            record(kind::PARAMS, 1, b""),
            record(kind::STDIN, 1, b""),
        ]
        .concat()
    };
    let with_get = |more: &[u8]| {
        let mut variables = Variables::new();
        GET.iter().for_each(|(name, value)| variables.push(name, value));
        [&encode_pairs(&variables).unwrap()[..], more].concat()
    };
    let padded = |padding: u8| {
        let mut out = Vec::new();
        let whole = good();
        let (mut reader, mut buffer) = (RecordReader::default(), bytes::BytesMut::from(&whole[..]));
        while let Some(part) = reader.next(&mut buffer).unwrap() {
            out.extend(Header { padding_length: padding, ..part.header }.encode());
            out.extend_from_slice(&part.content);
            out.extend(vec![0xff; padding.into()]);
        }
        out
    };
    let version = |version: u8| {
        let mut out = good();
        out[0] = version;
        out
    };
    let piecewise = || {
        let mut out = of_role(1, false);
        with_get(b"").iter().for_each(|byte| out.extend(record(kind::PARAMS, 1, &[*byte])));
        out.extend(record(kind::PARAMS, 1, b""));
        for byte in b"hello" {
            out.extend(record(kind::STDIN, 1, &[*byte]));
        }
        out.extend(record(kind::STDIN, 1, b""));
        out
    };
    let open = || head(1, true, &GET);
    let end = || record(kind::STDIN, 1, b"");
    let sized = |length: &str, body: &str| {
        let mut out = head(1, false, &[GET[0], GET[1], GET[2], ("CONTENT_LENGTH", length)]);
        out.extend(record(kind::STDIN, 1, body.as_bytes()));
        if !body.is_empty() {
            out.extend(record(kind::STDIN, 1, b""));
        }
        out
    };
    let two = |id: u16| {
        let mut out = Vec::new();
        Begin { role: 1, keep: true }.put(&mut out, id);
        out
    };
    check(
        "",
        &[
            ("5.1: the good one", good(), &[answer, "closed"]),
            ("3.3: version 0", version(0), &["closed"]),
            ("3.3: version 2", version(2), &["closed"]),
            ("3.3: version 255", version(255), &["closed"]),
            (
                "3.3: the reserved byte means nothing",
                {
                    let mut out = good();
                    out[7] = 0xff;
                    out
                },
                &[answer, "closed"],
            ),
            ("3.3: an HTTP request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), &["closed"]),
            ("3.3: a header cut off", good()[..5].to_vec(), &["closed"]),
            ("3.3: content cut off", good()[..20].to_vec(), &["closed"]),
            ("3.3: no padding", padded(0), &[answer, "closed"]),
            ("3.3: 255 bytes of padding, not zero", padded(255), &[answer, "closed"]),
            ("3.3: streams byte by byte", piecewise(), &["1: GET http://a[]/ 5", "closed"]),
            (
                "3.3: an id that is not open",
                [record(kind::STDIN, 7, b"x"), good()].concat(),
                &[answer, "closed"],
            ),
            ("3.3: id 65535", ask(65535, false, "/", ""), &["65535: GET http://a[]/ 0", "closed"]),
            ("3.4: a pair's lengths cut off", with_params(&[4]), &["1: 400", "closed"]),
            ("3.4: a long length cut off", with_params(&[0x80, 0, 0]), &["1: 400", "closed"]),
            ("3.4: a name cut off", with_params(&[4, 0, b'a']), &["1: 400", "closed"]),
            ("3.4: a value cut off", with_params(&[1, 4, b'a', b'b']), &["1: 400", "closed"]),
            (
                "3.4: CVE-2025-23016: lengths that overflow",
                with_params(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, b'a']),
                &["1: 400", "closed"],
            ),
            (
                "3.4: four bytes for a short length",
                with_params(
                    &[
                        &[0x80, 0, 0, 14, 0x80, 0, 0, 3][..],
                        b"REQUEST_METHODGET",
                        &[11, 1],
                        b"REQUEST_URI/",
                        &[9, 1],
                        b"HTTP_HOSTa",
                    ]
                    .concat(),
                ),
                &[answer, "closed"],
            ),
            ("3.4: an empty name means nothing", with_params(&with_get(&[0, 1, b'a'])), &[answer, "closed"]),
            (
                "RFC 9110 5.1: a NUL in a field's name",
                with_params(&with_get(b"\x07\x01HTTP_A\0b")),
                &["1: 400", "closed"],
            ),
            (
                "RFC 9110 5.5: a line end in a field",
                with_params(&with_get(b"\x06\x04HTTP_Aa\r\nb")),
                &["1: 400", "closed"],
            ),
            ("3.4: no pairs", with_params(b""), &["1: 400", "closed"]),
            (
                "3.5: the connection is closed unless it is to be kept",
                [good(), good()].concat(),
                &[answer, "closed"],
            ),
            ("3.5: a kept connection ends with its peer", kept(), &[answer, "closed"]),
            (
                "4.1: values",
                names(&["FCGI_MPXS_CONNS", "FCGI_MAX_CONNS", "FCGI_MAX_REQS"]),
                &["values: FCGI_MPXS_CONNS=0 FCGI_MAX_CONNS=4096 FCGI_MAX_REQS=4096", "closed"],
            ),
            ("4.1: no value at all", record(kind::GET_VALUES, 0, b""), &["values: ", "closed"]),
            ("4.1: lengths cut off", record(kind::GET_VALUES, 0, &[0x80, 0]), &["values: ", "closed"]),
            (
                "4.1: a result that nobody asked for",
                [record(kind::GET_VALUES_RESULT, 0, b"x"), good()].concat(),
                &["unknown: [10, 0, 0, 0, 0, 0, 0, 0]", answer, "closed"],
            ),
            ("4.1: a value that is not known", names(&["FCGI_NEWS"]), &["values: ", "closed"]),
            (
                "4.1: values within a request",
                [open(), names(&["FCGI_MPXS_CONNS"]), end()].concat(),
                &["values: FCGI_MPXS_CONNS=0", answer, "closed"],
            ),
            (
                "4.2: an unknown management record",
                record(99, 0, b"x"),
                &["unknown: [99, 0, 0, 0, 0, 0, 0, 0]", "closed"],
            ),
            (
                "4.2: and on it goes",
                [record(99, 0, b"x"), good()].concat(),
                &["unknown: [99, 0, 0, 0, 0, 0, 0, 0]", answer, "closed"],
            ),
            (
                "4.2: a request's record of the id 0",
                [record(kind::BEGIN_REQUEST, 0, &[0, 1, 0, 0, 0, 0, 0, 0]), good()].concat(),
                &["unknown: [1, 0, 0, 0, 0, 0, 0, 0]", answer, "closed"],
            ),
            (
                "3.3: a stream of the id 0 belongs to nothing",
                [record(kind::PARAMS, 0, b"x"), record(kind::STDIN, 0, b"x"), good()].concat(),
                &[answer, "closed"],
            ),
            (
                "5.1: a long BEGIN_REQUEST",
                [&record(kind::BEGIN_REQUEST, 1, &[0, 1, 0, 0, 0, 0, 0, 0, 0]), &good()[16..]].concat(),
                &["closed"],
            ),
            ("5.1: a short BEGIN_REQUEST", record(kind::BEGIN_REQUEST, 1, &[0, 1, 0]), &["closed"]),
            ("5.1: an authorizer", of_role(2, false), &["1: UnknownRole", "closed"]),
            (
                "5.1: a filter, and on it goes",
                [of_role(3, true), good()].concat(),
                &["1: UnknownRole", answer, "closed"],
            ),
            ("5.1: role 0", of_role(0, false), &["1: UnknownRole", "closed"]),
            (
                "5.1: flags that are not known",
                {
                    let mut out = good();
                    out[10] = 0xfe;
                    out
                },
                &[answer, "closed"],
            ),
            ("5.1: begun twice", [open(), two(1)].concat(), &["1: 400", "closed"]),
            (
                "5.2: PARAMS after its end",
                [open(), record(kind::PARAMS, 1, b"x")].concat(),
                &["1: 400", "closed"],
            ),
            (
                "5.3: STDIN before the end of PARAMS",
                [of_role(1, false), end()].concat(),
                &["1: 400", "closed"],
            ),
            (
                "5.3: STDIN after its end",
                [open(), end(), record(kind::STDIN, 1, b"x")].concat(),
                &[answer, "closed"],
            ),
            (
                "5.3: what only the application sends",
                [open(), record(kind::STDOUT, 1, b"x"), record(kind::STDERR, 1, b"x"), end()].concat(),
                &[answer, "closed"],
            ),
            (
                "5.5: END_REQUEST of the web server",
                [open(), record(kind::END_REQUEST, 1, &[0; 8]), end()].concat(),
                &[answer, "closed"],
            ),
            ("5.3: the body breaks off", open(), &["1: 400", "closed"]),
            ("5.3: shorter than CONTENT_LENGTH", sized("9", "hello"), &["1: 400", "closed"]),
            ("5.3: longer than CONTENT_LENGTH", sized("3", "hello"), &["1: 400", "closed"]),
            ("5.3: without CONTENT_LENGTH", sized("", "hello"), &["1: GET http://a[]/ 5", "closed"]),
            ("5.3: without a body", sized("", ""), &[answer, "closed"]),
            ("RFC 3875 4.1.2: CONTENT_LENGTH", sized("x", ""), &["1: 400", "closed"]),
            ("RFC 3875 4.1.2: CONTENT_LENGTH", sized("-1", ""), &["1: 400", "closed"]),
            (
                "5.4: ABORT_REQUEST",
                [open(), record(kind::ABORT_REQUEST, 1, b""), good()].concat(),
                &["1: closed", answer, "closed"],
            ),
            (
                "5.4: before the end of PARAMS",
                [of_role(1, true), record(kind::ABORT_REQUEST, 1, b""), good()].concat(),
                &["1: closed", answer, "closed"],
            ),
            (
                "5.4: twice",
                [open(), record(kind::ABORT_REQUEST, 1, b"").repeat(2), good()].concat(),
                &["1: closed", answer, "closed"],
            ),
            (
                "5.4: of what is not open",
                [record(kind::ABORT_REQUEST, 9, b""), good()].concat(),
                &[answer, "closed"],
            ),
            ("5.5: multiplexing", [open(), two(2), end()].concat(), &["2: CantMultiplex", answer, "closed"]),
            (
                "6.3: DATA is a filter's",
                [open(), record(kind::DATA, 1, b"x"), end()].concat(),
                &[answer, "closed"],
            ),
            (
                "8: a type that is not known, of a request",
                [open(), record(77, 1, b"x"), end()].concat(),
                &[answer, "closed"],
            ),
        ],
    )
    .await;
    let long = "x".repeat(3000);
    let params = [GET[0], GET[1], GET[2], ("X", &long[..])];
    check("head_limit_bytes = 2000", &[("head_limit_bytes", head(1, true, &params), &["1: 431", "closed"])])
        .await;
    let long = "x".repeat(60_000);
    let params = [GET[0], ("REQUEST_URI", "/fields"), GET[2], ("HTTP_X", &long[..])];
    let expected = format!("1: GET http://a[]/fields 0\nhost: a\nx: {long}");
    let asked = [head(1, false, &params), end()].concat();
    check("", &[("3.4: a value of four bytes' length", asked, &[&expected, "closed"])]).await;
}

#[tokio::test]
async fn every_split_of_a_request_is_the_same() {
    let running = Running::start("use = \"fastcgi\"", mirror());
    let bytes = ask(1, true, "/x", "hello, world");
    let mut stream = running.connect().await;
    for at in 1..bytes.len() {
        stream.write_all(&bytes[..at]).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&bytes[at..]).await.unwrap();
        assert_eq!(replies(&mut stream, 1).await, ["1: GET http://a[]/x 12"], "split at {at}");
    }
    running.end().await;
}

#[tokio::test]
async fn bodies_longer_than_a_record() {
    let app = App::from_fn(|request| async move {
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        Response::new(Body::from(body))
    });
    let running = Running::start("use = \"fastcgi\"", app);
    let body: String = (0..100_000).map(|number| format!("{number:07} ")).collect();
    let mut stream = running.connect().await;
    let (mut reader, mut writer) = stream.split();
    let asked = ask(1, true, "/", &body);
    let (_, found) = tokio::join!(async { writer.write_all(&asked).await.unwrap() }, replies(&mut reader, 1));
    assert!(found == [format!("1: {body}")], "the body came back changed");
    running.end().await;
}

#[tokio::test]
async fn a_client_that_goes_takes_the_work_along() {
    let dropped = Arc::new(Notify::new());
    let running = Running::start("use = \"fastcgi\"\nhalf_close_secs = 1", endless(dropped.clone()));
    let mut stream = running.connect().await;
    // Because it was told to, or because the connection is gone.
    stream.write_all(&ask(1, true, "/never", "")).await.unwrap();
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    stream.write_all(&record(kind::ABORT_REQUEST, 1, b"")).await.unwrap();
    within(dropped.notified()).await;
    assert_eq!(replies(&mut stream, 1).await, ["1: closed"]);
    stream.write_all(&ask(2, true, "/never", "")).await.unwrap();
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    drop(stream);
    within(dropped.notified()).await;
    running.wait_for_connections(0).await;
    running.end().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_whole() {
    let running = Running::start("use = \"fastcgi\"", breaks_off());
    let mut stream = running.connect().await;
    stream.write_all(&ask(1, true, "/", "")).await.unwrap();
    // No END_REQUEST; perhaps not even the start of the response.
    assert!(["closed", "broken off"].contains(&&*replies(&mut stream, usize::MAX).await.remove(0)));
    running.end().await;
}

#[tokio::test]
async fn an_upload_that_nobody_wants_leaves_the_connection() {
    let running = Running::start("use = \"fastcgi\"", says("hello"));
    let mut stream = running.connect().await;
    let body = "x".repeat(150 * 1024);
    for _ in 0..3 {
        stream.write_all(&ask(1, true, "/", &body)).await.unwrap();
        assert_eq!(replies(&mut stream, 1).await, ["1: hello"]);
    }
    running.end().await;
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let running = Running::start("use = \"fastcgi\"\nidle_timeout_secs = 1\nhead_timeout_secs = 1", echo());
    let (mut idle, mut begun) = (running.connect().await, running.connect().await);
    idle.write_all(&ask(1, true, "/", "")).await.unwrap();
    begun.write_all(&ask(1, true, "/", "")[..30]).await.unwrap();
    assert_eq!(replies(&mut idle, usize::MAX).await, ["1: GET / 0", "closed"]);
    assert_eq!(replies(&mut begun, usize::MAX).await, ["closed"]);
    running.end().await;
}

/// An app that reads everything, then responds with `text`.
fn waits_for_the_body(text: &'static str) -> App {
    App::from_fn(move |request| async move {
        http_body_util::BodyExt::collect(request.into_body()).await.unwrap();
        Response::new(Body::from(text))
    })
}

#[tokio::test]
async fn retired_it_hands_idle_connections_over() {
    let old = Running::start("use = \"fastcgi\"", waits_for_the_body("old"));
    let (mut idle, mut busy) = (old.connect().await, old.connect().await);
    idle.write_all(&ask(1, true, "/", "")).await.unwrap();
    assert_eq!(replies(&mut idle, 1).await, ["1: old"]);
    let asked = ask(1, true, "/", "hello");
    let (begun, rest) = asked.split_at(asked.len() - 4);
    busy.write_all(begun).await.unwrap();
    crate::inprocess::wait_until(|| old.load.in_flight.load(Relaxed) == 1).await;
    let (new, ended) = old.next("use = \"fastcgi\"", says("new"));
    idle.write_all(&ask(2, true, "/", "")).await.unwrap();
    assert_eq!(replies(&mut idle, 1).await, ["2: new"]);
    // The old generation finishes requests that it started, then hands the connection over.
    busy.write_all(rest).await.unwrap();
    assert_eq!(replies(&mut busy, 1).await, ["1: old"]);
    busy.write_all(&ask(1, true, "/", "")).await.unwrap();
    assert_eq!(replies(&mut busy, 1).await, ["1: new"]);
    within(ended).await.unwrap();
    new.end().await;
}

#[tokio::test]
async fn replies_that_nobody_takes_are_not_made_without_end() {
    let running = Running::start("use = \"fastcgi\"", App::from_fn(|_| std::future::pending()));
    let mut stream = running.connect().await;
    stream.write_all(&[head(1, true, &GET), record(kind::STDIN, 1, b"")].concat()).await.unwrap();
    // Section 4.2: each is answered by a record twice as long.
    let questions = record(200, 0, b"").repeat(8 << 10);
    let (most, mut sent) = (64 << 20, 0);
    while sent < most {
        let room = tokio::time::timeout(std::time::Duration::from_secs(2), stream.writable()).await;
        match room.is_ok().then(|| stream.try_write(&questions)) {
            Some(Ok(count)) => sent += count,
            Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Some(Err(error)) => panic!("{error} after {sent} bytes"),
            None => break,
        }
    }
    assert!(sent < most, "all was read, and none of the replies");
    drop(stream);
    running.end().await;
}
