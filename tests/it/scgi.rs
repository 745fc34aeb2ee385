//! The `scgi` server: malformed heads, each with its section; what the app sees; limits, streams, clients
//! that leave.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use paster::body::{App, Body, Request, Response};
use paster::environ::{ClientCertificate, Environ, RemoteUser};
use paster::server::control::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::inprocess::{Running, breaks_off, echo, read_to_end, says, within};

/// Responds with the request as an app behind a web server sees it.
pub(crate) fn mirror() -> App {
    App::new(tower::service_fn(|request: Request| async move {
        let (parts, body) = request.into_parts();
        let length = BodyExt::collect(body).await?.to_bytes().len();
        let environ = parts.extensions.get::<Environ>().unwrap();
        let port = environ.port.map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = if environ.secure { "https" } else { "http" };
        let mut text = format!(
            "{} {scheme}://{}{port}[{}]{} {length}",
            parts.method, environ.host, environ.script_name, parts.uri
        );
        if parts.uri.path() == "/client" {
            let user = parts.extensions.get::<RemoteUser>().map_or("-", |user| &user.name);
            text = format!("{:?} {:?} {user}", environ.client, parts.version);
            if let Some(certificate) = parts.extensions.get::<Arc<ClientCertificate>>() {
                text += &format!(" {}", certificate.subject);
            }
        }
        if parts.uri.path() == "/fields" {
            for (name, value) in &parts.headers {
                text.push_str(&format!("\n{name}: {}", value.to_str().unwrap()));
            }
        }
        Ok::<_, paster::error::BoxError>(Response::new(Body::from(text)))
    }))
}

/// A netstring of alternating names and values.
fn head(fields: &[&str]) -> Vec<u8> {
    let text: String = fields.iter().map(|field| format!("{field}\0")).collect();
    format!("{}:{text},", text.len()).into_bytes()
}

/// A good request for `target`, with additional variables.
pub(crate) fn ask(target: &str, more: &[&str], body: &str) -> Vec<u8> {
    let length = body.len().to_string();
    let mut fields = vec!["CONTENT_LENGTH", &length, "SCGI", "1", "REQUEST_URI", target];
    for usual in [["REQUEST_METHOD", "GET"], ["HTTP_HOST", "a.example"]] {
        if !more.contains(&usual[0]) {
            fields.extend(usual);
        }
    }
    fields.extend(more);
    [head(&fields), body.as_bytes().to_vec()].concat()
}

/// Describes a response: its status, and for 200 its body; `closed` if there is none.
pub(crate) fn outcome(response: &str) -> String {
    let Some(rest) = response.strip_prefix("Status: ") else {
        return if response.is_empty() { "closed".into() } else { format!("garbage: {response:?}") };
    };
    match (&rest[..3], response.split_once("\r\n\r\n")) {
        ("200", Some((_, body))) => body.into(),
        (status, _) => status.into(),
    }
}

/// Sends each case on a separate connection, shuts down its side, and compares what comes back.
async fn check(options: &str, cases: &[(&str, Vec<u8>, &str)]) {
    let running = Running::start(&format!("use = \"scgi\"\nhalf_close_secs = 60\n{options}"), mirror());
    running.check(cases, async |stream| outcome(&read_to_end(stream).await)).await;
}

/// Each row: the section (of "SCGI: A Simple Common Gateway Interface alternative", or of djb's
/// "Netstrings"), the bytes, and the outcome.
#[tokio::test]
async fn malformed() {
    let good =
        ["CONTENT_LENGTH", "0", "SCGI", "1", "REQUEST_METHOD", "GET", "REQUEST_URI", "/", "HTTP_HOST", "a"];
    let raw = |text: &str| text.as_bytes().to_vec();
    let with = |at: usize, value: &str| {
        let mut fields = good.map(str::to_owned);
        fields[at] = value.to_owned();
        head(&fields.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let plus = |more: &[&str]| head(&[&good[..], more].concat());
    // Bytes that are not UTF-8 in place of `@@`.
    let raw_bytes = |mut bytes: Vec<u8>| {
        bytes.iter_mut().filter(|byte| **byte == b'@').for_each(|byte| *byte = 0xff);
        bytes
    };
    let good_head = String::from_utf8(head(&good)).unwrap();
    let (length, rest) = good_head.split_once(':').unwrap();
    check(
        "",
        &[
            ("the good one", head(&good), "GET http://a[]/ 0"),
            ("Netstrings: [len] is ASCII digits", raw("x:,"), "400"),
            ("Netstrings: [len] is not empty", raw(":,"), "400"),
            ("Netstrings: no sign", raw(&format!("+{good_head}")), "400"),
            ("Netstrings: no sign", raw(&format!("-{good_head}")), "400"),
            ("Netstrings: no space before", raw(&format!(" {good_head}")), "400"),
            ("Netstrings: no space behind [len]", raw(&format!("{length} :{rest}")), "400"),
            ("Netstrings: no zero in front", raw(&format!("0{good_head}")), "400"),
            ("Netstrings: no hexadecimal", raw(&format!("0x{good_head}")), "400"),
            ("Netstrings: another character than the colon", raw(&format!("{length};{rest}")), "400"),
            ("Netstrings: no comma at the end", raw(&good_head.replace("\0,", "\0;")), "400"),
            (
                "Netstrings: length one too short",
                raw(&format!("{}:{rest}", length.parse::<usize>().unwrap() - 1)),
                "400",
            ),
            ("Netstrings: overflow", raw("99999999999999999999999999:"), "431"),
            ("Netstrings: 1 GiB is claimed", raw("1073741824:"), "431"),
            ("Netstrings: ends early", raw(&good_head[..good_head.len() - 1]), "closed"),
            ("Netstrings: only a length", raw("70"), "closed"),
            ("SCGI 3: no headers", raw("0:,"), "400"),
            ("SCGI 3: an HTTP request", raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "400"),
            ("SCGI 3: headers end with NUL", raw("24:CONTENT_LENGTH\x000\0SCGI\x001 ,"), "400"),
            ("SCGI 3: a name without a value", head(&[&good[..], &["X"]].concat()), "400"),
            ("SCGI 3: an empty name", plus(&["", "x"]), "400"),
            ("SCGI 3: an empty value", plus(&["X", ""]), "GET http://a[]/ 0"),
            ("SCGI 3: CONTENT_LENGTH is first", head(&["SCGI", "1", "CONTENT_LENGTH", "0"]), "400"),
            ("SCGI 3: CONTENT_LENGTH is always there", head(&good[2..]), "400"),
            ("SCGI 3: CONTENT_LENGTH is a number", with(1, "x"), "400"),
            ("SCGI 3: CONTENT_LENGTH is not empty", with(1, ""), "400"),
            ("SCGI 3: CONTENT_LENGTH has no sign", with(1, "-1"), "400"),
            ("SCGI 3: CONTENT_LENGTH has no sign", with(1, "+1"), "400"),
            ("SCGI 3: CONTENT_LENGTH has no space", with(1, " 0"), "400"),
            ("SCGI 3: CONTENT_LENGTH overflows", with(1, "18446744073709551616"), "400"),
            ("SCGI 3: CONTENT_LENGTH twice", plus(&["CONTENT_LENGTH", "1"]), "400"),
            ("SCGI 3: SCGI is always there", head(&[&good[..2], &good[4..]].concat()), "400"),
            ("SCGI 3: SCGI is 1", with(3, "2"), "400"),
            ("SCGI 3: SCGI twice", plus(&["SCGI", "0"]), "400"),
            ("SCGI 3: names are case sensitive", with(0, "Content_Length"), "400"),
            // The document forbids all repeated names, but nginx sends these.
            ("SCGI 3: a field twice", plus(&["HTTP_X", "1", "HTTP_X", "2"]), "GET http://a[]/ 0"),
            ("SCGI 3: a variable twice", plus(&["REQUEST_URI", "/b"]), "GET http://a[]/b 0"),
            ("SCGI 3: CONTENT_LENGTH is decimal", with(1, "0x0"), "400"),
            ("SCGI 3: CONTENT_LENGTH is digits, zeros in front too", with(1, "00"), "GET http://a[]/ 0"),
            (
                "SCGI 3: CONTENT_LENGTH is the largest, and nothing comes",
                with(1, "18446744073709551615"),
                "400",
            ),
            ("SCGI 3: the body is as long as CONTENT_LENGTH", [with(1, "5"), raw("hell")].concat(), "400"),
            ("SCGI 3: and no longer", [with(1, "5"), raw("hello, world")].concat(), "GET http://a[]/ 5"),
            ("RFC 3875 4.1.12: REQUEST_METHOD is there", with(4, "X"), "400"),
            ("RFC 3875 4.1.12: REQUEST_METHOD is a token", with(5, "G T"), "400"),
            ("RFC 3875 4.1.8: REMOTE_ADDR is no address", plus(&["REMOTE_ADDR", "x"]), "GET http://a[]/ 0"),
            (
                "RFC 3875 4.1.15: SERVER_PORT is not a number",
                plus(&["SERVER_PORT", "x"]),
                "GET http://a[]/ 0",
            ),
            (
                "RFC 3875 4.1.16: SERVER_PROTOCOL is none",
                plus(&["SERVER_PROTOCOL", "x"]),
                "GET http://a[]/ 0",
            ),
            (
                "RFC 3875 4.1.18: no REQUEST_URI, but PATH_INFO",
                {
                    let path = ["PATH_INFO", "/b c", "QUERY_STRING", "d", "HTTP_HOST", "a"];
                    head(&[&good[..6], &path[..]].concat())
                },
                "GET http://a[]/b%20c?d 0",
            ),
            (
                "RFC 9110 5.5: bytes that are no text, in a field",
                raw_bytes(plus(&["HTTP_X", "@@"])),
                "GET http://a[]/ 0",
            ),
            ("RFC 9110 5.1: bytes that are no text, in a name", raw_bytes(plus(&["HTTP_@@", "x"])), "400"),
            ("RFC 9110 9.1: bytes that are no text, in the method", raw_bytes(with(5, "G@@")), "400"),
            ("RFC 9112 3.2: bytes that are no text, in the target", raw_bytes(with(7, "/@@")), "400"),
            ("RFC 9110 7.2: bytes that are no text, in the host", raw_bytes(with(9, "@@")), "400"),
            ("RFC 9110 7.2: no host", with(8, "X"), "400"),
            ("RFC 9110 7.2: an invalid host", with(9, "a/b"), "400"),
            ("RFC 9110 5.5: a line end in a field", plus(&["HTTP_X", "a\r\nHost: b"]), "400"),
            ("RFC 9110 5.1: a field's name", plus(&["HTTP_X Y", "a"]), "400"),
            ("RFC 9112 3.2: no target", with(7, ""), "400"),
            ("RFC 9112 3.2: the target is not a path", with(7, "a b"), "400"),
            ("RFC 3986 6.2.2: a dot segment", with(7, "/../etc"), "400"),
            ("RFC 3986 2.2: an encoded slash", with(7, "/a%2fb"), "400"),
            (
                "CVE-2019-11043: a line end in PATH_INFO",
                plus(&["SCRIPT_NAME", "/a", "PATH_INFO", "/\n"]),
                "400",
            ),
        ],
    )
    .await;
    let long = "x".repeat(3000);
    check(
        "head_limit_bytes = 2000\ntarget_limit_bytes = 100\nfields_limit = 3",
        &[
            ("head_limit_bytes", plus(&["X", &long]), "431"),
            ("target_limit_bytes", ask(&format!("/{}", &long[..100]), &[], ""), "414"),
            ("fields_limit", ask("/", &["HTTP_A", "", "HTTP_B", "", "HTTP_C", ""], ""), "431"),
        ],
    )
    .await;
}

/// What nginx, Apache and lighttpd send, and what the app receives.
#[tokio::test]
async fn variables() {
    let script = |name, info| ["SCRIPT_NAME", name, "PATH_INFO", info];
    let from = ["REMOTE_ADDR", "192.0.2.7", "REMOTE_USER", "eve", "SERVER_PROTOCOL", "HTTP/2.0"];
    check(
        "hosts = [\"a.example\", \"b.example:8443\"]",
        &[
            ("method", ask("/x?y=1", &["REQUEST_METHOD", "DELETE"], ""), "DELETE http://a.example[]/x?y=1 0"),
            ("body", ask("/", &[], "hello"), "GET http://a.example[]/ 5"),
            ("TLS", ask("/", &["HTTPS", "on"], ""), "GET https://a.example[]/ 0"),
            ("no TLS", ask("/", &["HTTPS", "off"], ""), "GET http://a.example[]/ 0"),
            ("SCRIPT_NAME", ask("/m/x?q", &script("/m", "/x"), ""), "GET http://a.example[/m]/x?q 0"),
            ("its root", ask("/m/", &script("/m", "/"), ""), "GET http://a.example[/m]/ 0"),
            ("the prefix itself", ask("/m", &script("/m", ""), ""), "GET http://a.example[/m]/ 0"),
            ("no prefix", ask("/m/x", &script("", "/m/x"), ""), "GET http://a.example[]/m/x 0"),
            (
                "nginx: all is SCRIPT_NAME",
                ask("/m/x", &["SCRIPT_NAME", "/m/x"], ""),
                "GET http://a.example[]/m/x 0",
            ),
            ("encoded", ask("/m/%41%20b", &script("/m", "/A b"), ""), "GET http://a.example[/m]/A%20b 0"),
            ("rewritten", ask("/old", &script("/m", "/new x"), ""), "GET http://a.example[/m]/new%20x 0"),
            (
                "rewritten query",
                ask("/m/x?a", &[&script("/m", "/x")[..], &["QUERY_STRING", "b"]].concat(), ""),
                "GET http://a.example[/m]/x?b 0",
            ),
            ("a prefix with dots", ask("/old", &script("/m/..", "/x"), ""), "400"),
            ("another host", ask("/", &["HTTP_HOST", "c.example"], ""), "421"),
            (
                "no Host",
                ask("/", &["HTTP_HOST", "", "SERVER_NAME", "b.example", "SERVER_PORT", "8443"], ""),
                "GET http://b.example:8443[]/ 0",
            ),
            ("absolute target", ask("http://b.example:8443/x", &[], ""), "GET http://b.example:8443[]/x 0"),
            (
                "all of the server",
                ask("*", &["REQUEST_METHOD", "OPTIONS"], ""),
                "OPTIONS http://a.example[]* 0",
            ),
            ("the client", ask("/client", &from, ""), "Some(192.0.2.7) HTTP/2.0 -"),
            (
                "fields",
                ask(
                    "/fields",
                    &[
                        "HTTP_X_A",
                        "1",
                        "HTTP_X_A",
                        "2",
                        "HTTP_PROXY",
                        "evil",
                        "HTTP_CONNECTION",
                        "upgrade",
                        "HTTP_UPGRADE",
                        "x",
                        "HTTP_TRANSFER_ENCODING",
                        "chunked",
                        "HTTP_CONTENT_LENGTH",
                        "9",
                        "CONTENT_TYPE",
                        "text/x",
                        "HTTP_X_FORWARDED_FOR",
                        "192.0.2.9",
                        "HTTP_FORWARDED",
                        "for=192.0.2.9",
                    ],
                    "",
                ),
                "GET http://a.example[]/fields 0\nhost: a.example\nx-a: 1\nx-a: 2\ncontent-type: text/x",
            ),
        ],
    )
    .await;
    check(
        "remote_user = true",
        &[("REMOTE_USER", ask("/client", &from, ""), "Some(192.0.2.7) HTTP/2.0 eve")],
    )
    .await;
    // A certificate that the web server has verified. What the client writes in fields does not count as one.
    let shown = ["SSL_CLIENT_VERIFY", "SUCCESS", "SSL_CLIENT_S_DN", "CN=ada"];
    let claimed =
        ["HTTP_SSL_CLIENT_VERIFY", "SUCCESS", "HTTP_SSL_CLIENT_S_DN", "CN=root", "HTTP_REMOTE_USER", "root"];
    check(
        "remote_user = true",
        &[
            (
                "a certificate",
                ask("/client", &[&from[..], &shown].concat(), ""),
                "Some(192.0.2.7) HTTP/2.0 eve CN=ada",
            ),
            ("fields", ask("/client", &[&from[..2], &claimed].concat(), ""), "Some(192.0.2.7) HTTP/1.1 -"),
        ],
    )
    .await;
    // A peer that is not a listed front is itself the client.
    let forged = ask("/client", &[&from[..], &["HTTPS", "on"], &shown].concat(), "");
    check(
        "fronts = [\"unix\"]\nremote_user = true",
        &[
            ("the client", forged.clone(), "Some(127.0.0.1) HTTP/2.0 -"),
            ("HTTPS", ask("/", &["HTTPS", "on"], ""), "GET http://a.example[]/ 0"),
            ("SERVER_NAME", ask("/", &["HTTP_HOST", "", "SERVER_NAME", "b.example"], ""), "400"),
        ],
    )
    .await;
    // A proxy in front of the web server.
    let behind =
        ["REMOTE_ADDR", "10.0.0.1", "HTTP_X_FORWARDED_FOR", "192.0.2.9", "HTTP_X_FORWARDED_PROTO", "https"];
    check(
        "trusted_proxies = [\"10.0.0.0/8\"]",
        &[
            ("listed", ask("/client", &behind, ""), "Some(192.0.2.9) HTTP/1.1 -"),
            (
                "not listed",
                ask("/client", &["REMOTE_ADDR", "11.0.0.1", "HTTP_X_FORWARDED_FOR", "1.2.3.4"], ""),
                "Some(11.0.0.1) HTTP/1.1 -",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn every_split_of_a_request_is_the_same() {
    let running = Running::start("use = \"scgi\"", mirror());
    let bytes = ask("/x", &[], "hello, world");
    for at in 1..bytes.len() {
        let mut stream = running.connect().await;
        stream.write_all(&bytes[..at]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&bytes[at..]).await.unwrap();
        assert_eq!(outcome(&read_to_end(&mut stream).await), "GET http://a.example[]/x 12", "split at {at}");
    }
    running.end().await;
}

#[tokio::test]
async fn answers() {
    let answer = |status: u16, body: &'static str| {
        App::from_fn(move |_| async move {
            http::Response::builder().status(status).header("x-a", "1").body(Body::from(body)).unwrap()
        })
    };
    let of = async |app: App, method: &'static str| {
        let running = Running::start("use = \"scgi\"", app);
        let text = running.exchange(&ask("/", &["REQUEST_METHOD", method], "")).await;
        running.end().await;
        text
    };
    assert_eq!(of(answer(200, "hello"), "GET").await, "Status: 200 OK\r\nx-a: 1\r\n\r\nhello");
    assert_eq!(
        of(answer(200, "hello"), "HEAD").await,
        "Status: 200 OK\r\nx-a: 1\r\ncontent-length: 5\r\n\r\n"
    );
    assert_eq!(of(answer(204, "hello"), "GET").await, "Status: 204 No Content\r\nx-a: 1\r\n\r\n");
    let failing = App::new(tower::service_fn(|_: Request| async { Err::<Response, _>("no".to_owned()) }));
    assert_eq!(outcome(&of(failing, "GET").await), "500");
    let panicking = App::from_fn(|_| async { panic!("for the test") });
    assert_eq!(outcome(&of(panicking, "GET").await), "500");
}

#[tokio::test]
async fn limits() {
    // The body comes too slowly, or not at all.
    let running = Running::start("use = \"scgi\"\nbody_pace_bytes = 1000\nbody_pace_secs = 1", mirror());
    let mut bytes = ask("/", &[], "hello");
    bytes.truncate(bytes.len() - 2);
    assert_eq!(outcome(&running.exchange(&bytes).await), "408");
    running.end().await;
    // So does the head.
    let running =
        Running::start("use = \"scgi\"\nhead_timeout_secs = 1\nidle_timeout_secs = 1", says("hello"));
    assert_eq!(running.exchange(b"").await, "");
    assert_eq!(running.exchange(b"7").await, "");
    running.wait_for_connections(0).await;
    running.end().await;
    // Too many at once.
    let running = Running::start("use = \"scgi\"\nmax_in_flight = 1", mirror());
    let mut first = running.connect().await;
    first.write_all(&bytes).await.unwrap();
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    assert_eq!(outcome(&running.exchange(&ask("/", &[], "")).await), "503");
    first.write_all(b"lo").await.unwrap();
    assert_eq!(outcome(&read_to_end(&mut first).await), "GET http://a.example[]/ 5");
    running.end().await;
    // One at a time.
    let running = Running::start("use = \"scgi\"\none_at_a_time = true", mirror());
    let mut first = running.connect().await;
    first.write_all(&bytes).await.unwrap();
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    let mut second = running.connect().await;
    second.write_all(&ask("/second", &[], "")).await.unwrap();
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 2).await;
    first.write_all(b"lo").await.unwrap();
    assert_eq!(outcome(&read_to_end(&mut first).await), "GET http://a.example[]/ 5");
    assert_eq!(outcome(&read_to_end(&mut second).await), "GET http://a.example[]/second 0");
    running.end().await;
}

/// Signals when it is dropped.
struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// An app that streams forever, or never responds (`/never`).
pub(crate) fn endless(dropped: Arc<Notify>) -> App {
    App::from_fn(move |request: Request| {
        let tell = Tell(dropped.clone());
        async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            let frames = futures_util::stream::unfold(tell, |tell| async move {
                let data = http_body::Frame::data(bytes::Bytes::from_static(&[b'x'; 16 * 1024]));
                Some((Ok::<_, std::io::Error>(data), tell))
            });
            Response::new(Body::new(StreamBody::new(frames)))
        }
    })
}

#[tokio::test]
async fn a_client_that_goes_takes_the_work_along() {
    let dropped = Arc::new(Notify::new());
    let running = Running::start("use = \"scgi\"\nhalf_close_secs = 1", endless(dropped.clone()));
    for target in ["/never", "/stream"] {
        let mut stream = running.connect().await;
        stream.write_all(&ask(target, &[], "")).await.unwrap();
        crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
        drop(stream);
        within(dropped.notified()).await;
        crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 0).await;
    }
    running.end().await;
    // On a Unix socket it is noticed at once.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let options = format!("use = \"scgi\"\nhalf_close_secs = 10000\nlisten = [\"unix:{}\"]", path.display());
    let running = Running::start(&options, endless(dropped.clone()));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(&ask("/never", &[], "")).await.unwrap();
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    drop(stream);
    within(dropped.notified()).await;
    running.end().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut() {
    let dropped = Arc::new(Notify::new());
    let running = Running::start("use = \"scgi\"\nwrite_stall_secs = 1", endless(dropped.clone()));
    let mut stream = running.connect().await;
    stream.write_all(&ask("/stream", &[], "")).await.unwrap();
    within(dropped.notified()).await;
    running.wait_for_connections(0).await;
    running.end().await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_whole() {
    let running = Running::start("use = \"scgi\"", breaks_off());
    let mut stream = running.connect().await;
    stream.write_all(&ask("/", &[], "")).await.unwrap();
    let mut text = Vec::new();
    assert!(within(stream.read_to_end(&mut text)).await.is_err(), "ended as if it were whole");
    assert_eq!(running.load.failed.load(Relaxed), 1);
    running.end().await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_cost_the_answer() {
    let running = Running::start("use = \"scgi\"", says("hello"));
    let body = "x".repeat(200 * 1024);
    assert_eq!(outcome(&running.exchange(&ask("/", &[], &body)).await), "hello");
    running.end().await;
}

#[tokio::test]
async fn retired_it_finishes_what_it_has() {
    let running = Running::start("use = \"scgi\"", echo());
    let mut stream = running.connect().await;
    let bytes = ask("/", &["REQUEST_METHOD", "POST"], "hello");
    let (begun, rest) = bytes.split_at(bytes.len() - 2);
    stream.write_all(begun).await.unwrap();
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    // Accepted, and nothing sent yet: the web server is about to send.
    let mut fresh = running.connect().await;
    running.wait_for_connections(2).await;
    running.phase.send(Phase::Retired).unwrap();
    within(running.load.closed.notified()).await;
    stream.write_all(rest).await.unwrap();
    assert_eq!(outcome(&read_to_end(&mut stream).await), "POST / 5");
    fresh.write_all(&ask("/", &[], "")).await.unwrap();
    assert_eq!(outcome(&read_to_end(&mut fresh).await), "GET / 0");
    within(running.task).await.unwrap();
}

#[tokio::test]
async fn draining_ends_in_time() {
    let dropped = Arc::new(Notify::new());
    let running = Running::start("use = \"scgi\"", endless(dropped.clone()));
    let mut stream = running.connect().await;
    stream.write_all(&ask("/never", &[], "")).await.unwrap();
    crate::inprocess::wait_until(|| running.load.in_flight.load(Relaxed) == 1).await;
    let until = tokio::time::Instant::now() + Duration::from_millis(100);
    running.phase.send(Phase::Draining { until }).unwrap();
    within(dropped.notified()).await;
    within(running.task).await.unwrap();
}
