//! The request gate over HTTP/1.1: raw bytes in; the status, or what the application received, out.

use paster::body::{App, Body, Request, Response};
use paster::environ::Environ;
use tokio::io::AsyncWriteExt;

use crate::inprocess::{Running, read_to_end};

/// Responds with method, target, host and body length; with all fields if the path is `/fields`. An error in
/// the body fails the app.
pub(crate) fn mirror() -> App {
    App::new(tower::service_fn(|request: Request| async move {
        let (parts, body) = request.into_parts();
        let length = http_body_util::BodyExt::collect(body).await?.to_bytes().len();
        let environ = parts.extensions.get::<Environ>().unwrap();
        let port = environ.port.map(|port| format!(":{port}")).unwrap_or_default();
        let mut text = format!("{} {} {}{port} {length}", parts.method, parts.uri, environ.host);
        if parts.uri.path() == "/fields" {
            for (name, value) in &parts.headers {
                text.push_str(&format!("\n{name}: {}", value.to_str().unwrap()));
            }
        }
        if parts.uri.path() == "/client" {
            text = format!("{} {}", environ.client.unwrap(), environ.secure);
        }
        Ok::<_, paster::error::BoxError>(Response::new(Body::from(text)))
    }))
}

/// Describes a response: its status, and for 200 its body; `closed` if there is none.
fn outcome(response: &str) -> String {
    let Some(rest) = response.strip_prefix("HTTP/1.1 ").or(response.strip_prefix("HTTP/1.0 ")) else {
        return if response.is_empty() { "closed".into() } else { format!("garbage: {response:?}") };
    };
    match (&rest[..3], response.split_once("\r\n\r\n")) {
        ("200", Some((_, body))) => body.into(),
        (status, _) => status.into(),
    }
}

/// Sends each case on a separate connection, half closes it, and compares what comes back.
async fn check(options: &str, cases: &[(&[u8], &str)]) {
    let running = Running::start(options, mirror());
    let mut wrong = Vec::new();
    for (bytes, expected) in cases {
        let mut stream = running.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let found = outcome(&read_to_end(&mut stream).await);
        if found != *expected {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
            wrong.push(format!("{shown:?}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    running.end().await;
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test]
async fn framing() {
    check(
        "",
        &[
            // RFC 9112 section 6.1 and 11.2: both framings in one message.
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\ncONTENT-lENGTH: 5\r\ntRANSFER-eNCODING: CHUNKED\r\n\r\n0\r\n\r\n", "400"),
            // Section 6.1: chunked is applied once, and last.
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \r\n\r\n0\r\n\r\n", "400"),
            // An unknown coding: 501.
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"),
            // HTTP/1.0 has no Transfer-Encoding.
            (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
            // Names of codings ignore case.
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "POST / a 2"),
            // Section 5.1: no space before the colon.
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n \r\n\r\n0\r\n\r\n", "400"),
            // Section 6.3: a valid length, and one.
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", "POST / a 2"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", "POST / a 2"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 3\r\n\r\nabc", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -2\r\n\r\nab", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nab", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2 2\r\n\r\nab", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2a\r\n\r\nab", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nab", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nab", "400"),
            // Section 8: an incomplete message.
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", "400"),
        ],
    )
    .await;
}

#[tokio::test]
async fn chunks() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    // RFC 9112 section 7.1.
    let bodies: &[(&[u8], &str)] = &[
        (b"5\r\nhello\r\n0\r\n\r\n", "POST / a 5"),
        (b"00005\r\nhello\r\n0\r\n\r\n", "POST / a 5"),
        (b"5;name=value\r\nhello\r\n0\r\n\r\n", "POST / a 5"),
        (b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", "POST / a 5"),
        (b"5\r\nhello\r\n", "400"),
        (b"5\r\nhel", "400"),
        (b"5\r\nhello\r\n0\r\n", "400"),
        (b"5\r\nhelloX0\r\n\r\n", "400"),
        (b"5\r\nhello\n0\r\n\r\n", "400"),
        (b"5\nhello\r\n0\r\n\r\n", "400"),
        (b"5;a\nhello\r\n0\r\n\r\n", "400"),
        (b"5;a\rb\r\nhello\r\n0\r\n\r\n", "400"),
        (b"g\r\nhello\r\n0\r\n\r\n", "400"),
        (b"-5\r\nhello\r\n0\r\n\r\n", "400"),
        (b"+5\r\nhello\r\n0\r\n\r\n", "400"),
        (b"0x5\r\nhello\r\n0\r\n\r\n", "400"),
        (b" 5\r\nhello\r\n0\r\n\r\n", "400"),
        (b"5 5\r\nhello\r\n0\r\n\r\n", "400"),
        (b"\r\nhello\r\n0\r\n\r\n", "400"),
        (b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", "400"),
        (b"10000000000000005\r\nhello\r\n0\r\n\r\n", "400"),
    ];
    let whole: Vec<_> = bodies.iter().map(|(body, expected)| ([head, *body].concat(), *expected)).collect();
    let cases: Vec<_> = whole.iter().map(|(bytes, expected)| (&bytes[..], *expected)).collect();
    check("", &cases).await;
}

#[tokio::test]
async fn request_lines_and_fields() {
    check(
        "",
        &[
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / a 0"),
            // RFC 9112 section 2.2: empty lines before the first line, and a bare LF as a line end.
            (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / a 0"),
            (b"GET / HTTP/1.1\nHost: a\n\n", "GET / a 0"),
            // Section 2.2: no bare CR; no space between the start line and the first field.
            (b"GET / HTTP/1.1\rHost: a\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", "400"),
            // Section 3: method, one space, target, one space, version.
            (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "400"),
            (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET /\r\n\r\n", "400"),
            (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", "PROPFIND / a 0"),
            // Section 2.3: versions.
            (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "400"),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "400"),
            (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", "400"),
            (b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET / http/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n", "400"),
            // TLS on a plain port, and noise.
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"),
            // Section 5: fields.
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "400"), // 5.2, obsolete folding
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX\xe4: b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\r\n\r\n", "GET / a 0"), // RFC 9110 section 5.5, obs-text
            // Not a request at all.
            (b"", "closed"),
            (b"\r\n", "closed"),
        ],
    )
    .await;
}

#[tokio::test]
async fn targets() {
    check(
        "",
        &[
            // RFC 9112 section 3.2.1: origin form.
            (b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a?b=c a 0"),
            (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET //b/c HTTP/1.1\r\nHost: a\r\n\r\n", "GET //b/c a 0"),
            // Section 3.2.2: absolute form. Its host wins, and Host is still required.
            (b"GET http://b:81/c?d HTTP/1.1\r\nHost: a\r\n\r\n", "GET /c?d b:81 0"),
            (b"GET HTTP://B HTTP/1.1\r\nHost: b\r\n\r\n", "GET / b 0"),
            (b"GET https://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET / b 0"),
            (b"GET http://b/ HTTP/1.1\r\n\r\n", "400"),
            (b"GET http://b/ HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
            (b"GET http://b/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
            (b"GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
            (b"GET http://u:p@b/ HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
            (b"GET http:///a HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
            (b"GET http://b:x/ HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
            (b"GET ftp://b/ HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
            (b"GET http://b/../c HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
            // Section 3.2.3: authority form and CONNECT.
            (b"CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n", "501"),
            (b"CONNECT /a HTTP/1.1\r\nHost: b\r\n\r\n", "501"),
            (b"GET b:80 HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
            // Section 3.2.4: asterisk form.
            (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * a 0"),
            (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ],
    )
    .await;
}

#[tokio::test]
async fn hosts() {
    check(
        "",
        &[
            // RFC 9112 section 3.2, RFC 9110 section 7.2.
            (b"GET / HTTP/1.1\r\nHost: Example.ORG:8080\r\n\r\n", "GET / example.org:8080 0"),
            (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / [::1]:80 0"),
            (b"GET / HTTP/1.1\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
            (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a%20b\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: ../etc\r\n\r\n", "400"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_misdirected() {
    check(
        "hosts = [\"example.org\", \"*.example.org\", \"localhost:81\"]",
        &[
            // RFC 9110 section 15.5.20.
            (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "GET / example.org 0"),
            (b"GET / HTTP/1.1\r\nHost: EXAMPLE.org.:9\r\n\r\n", "GET / example.org:9 0"),
            (b"GET / HTTP/1.1\r\nHost: a.b.example.org\r\n\r\n", "GET / a.b.example.org 0"),
            (b"GET / HTTP/1.1\r\nHost: localhost:81\r\n\r\n", "GET / localhost:81 0"),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "421"),
            (b"GET / HTTP/1.1\r\nHost: evil.org\r\n\r\n", "421"),
            (b"GET / HTTP/1.1\r\nHost: evil-example.org\r\n\r\n", "421"),
            (b"GET http://evil.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n", "421"),
            (b"GET http://example.org/ HTTP/1.1\r\nHost: evil.org\r\n\r\n", "GET / example.org 0"),
            (b"GET / HTTP/1.0\r\n\r\n", "400"),
        ],
    )
    .await;
}

#[tokio::test]
async fn http_1_0_without_a_host_is_for_our_own_address() {
    let running = Running::start("", mirror());
    let text = running.exchange(b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(outcome(&text), format!("GET / {} 0", running.address()));
    running.end().await;
}

#[tokio::test]
async fn paths() {
    let case = |path: &[u8]| [b"GET ", path, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    // RFC 3986 sections 2.1, 3.3 and 6.2.2; the rules themselves are tested beside the parser.
    let table: Vec<(Vec<u8>, &str)> = [
        (&b"/%41%7Eb"[..], "GET /A~b a 0"),
        (b"/a%20b?%2f%00", "GET /a%20b?%2f%00 a 0"),
        (b"/%c3%a4", "GET /%C3%A4 a 0"),
        (b"/\xc3\xa4", "GET /%C3%A4 a 0"),
        (b"/.well-known/a", "GET /.well-known/a a 0"),
        (b"/\xff", "400"),
        (b"/..", "400"),
        (b"/../etc/passwd", "400"),
        (b"/a/../../b", "400"),
        (b"/a/./b", "400"),
        (b"/%2e%2e/b", "400"),
        (b"/%2E%2E%2Fb", "400"),
        (b"/..%2fb", "400"),
        (b"/..%5cb", "400"),
        (b"/..\\b", "400"),
        (b"/a%2fb", "400"),
        (b"/a%5Cb", "400"),
        (b"/a\\b", "400"),
        (b"/a%00.txt", "400"),
        (b"/a%0d%0aX:y", "400"),
        (b"/a%7f", "400"),
        (b"/a%", "400"),
        (b"/a%4", "400"),
        (b"/a%zz", "400"),
        (b"/%c0%ae%c0%ae/", "400"),
        (b"/%ff", "400"),
        (b"/a\x01", "400"),
        (b"/a\x7f", "400"),
    ]
    .into_iter()
    .map(|(path, expected)| (case(path), expected))
    .collect();
    let cases: Vec<_> = table.iter().map(|(bytes, expected)| (&bytes[..], *expected)).collect();
    check("", &cases).await;
    let slash = case(b"/a%2fb");
    check("encoded_slashes = true", &[(&slash, "GET /a%2Fb a 0"), (&case(b"/a%2f.."), "400")]).await;
}

#[tokio::test]
async fn sizes() {
    let with = |target: usize, fields: usize, value: usize| {
        let mut text = format!("GET /{} HTTP/1.1\r\nHost: a\r\n", "t".repeat(target - 1));
        for number in 1..fields {
            text.push_str(&format!("x-{number}: {}\r\n", "v".repeat(value)));
        }
        (text + "\r\n").into_bytes()
    };
    let fits = format!("GET /{} a 0", "t".repeat(8191));
    check(
        "",
        &[
            // RFC 9110 section 15.5.15, RFC 6585 section 5.
            (&with(8192, 1, 0), &fits),
            (&with(8193, 1, 0), "414"),
            (&with(63_000, 1, 0), "414"),
            (&with(70_000, 1, 0), "431"),
            (&with(1, 100, 10), "GET / a 0"),
            (&with(1, 101, 10), "431"),
            (&with(1, 2, 60_000), "GET / a 0"),
            (&with(1, 2, 70_000), "431"),
            (&with(1, 90, 800), "431"),
        ],
    )
    .await;
    let small = "head_limit_bytes = 1000\nfields_limit = 5\ntarget_limit_bytes = 10";
    check(
        small,
        &[
            (&with(10, 5, 100), "GET /ttttttttt a 0"),
            (&with(11, 1, 1), "414"),
            (&with(1, 6, 1), "431"),
            (&with(1, 3, 500), "431"),
        ],
    )
    .await;
}

#[tokio::test]
async fn fields_that_do_not_pass() {
    let fields = |lines: &str| format!("GET /fields HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let given = |lines: &str| format!("GET /fields a 0\nhost: a{lines}");
    check(
        "",
        &[
            // CVE-2016-5385, and names that collide in an environment.
            (&fields("Proxy: evil\r\nproxy: evil\r\n"), &given("")),
            (&fields("X_Forwarded_For: 1\r\nContent_Length: 3\r\n"), &given("")),
            // RFC 9110 section 7.6.1.
            (&fields("Connection: close, X-A\r\nX-A: 1\r\nX-B: 2\r\n"), &given("\nx-b: 2")),
            (&fields("Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: close\r\n"), &given("")),
            // A client cannot remove fields that inner parts rely on by naming them in Connection.
            (&fields("Connection: Cookie, Authorization, Host\r\nCookie: a=b\r\n"), &given("\ncookie: a=b")),
            // Only a WebSocket is an upgrade here; RFC 9113 section 3.1 removed `h2c`.
            (&fields("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n"), &given("")),
            (
                &fields("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"),
                &given("\nsec-websocket-version: 13\nconnection: Upgrade\nupgrade: websocket"),
            ),
            (&fields("Upgrade: websocket\r\n"), &given("")),
            // RFC 7239 section 8.1: anyone may send these.
            (
                &fields("Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: b\r\nX-Real-IP: 6.6.6.6\r\n"),
                &given(""),
            ),
            // RFC 9440 section 2.4: only what a proxy has verified counts as a certificate, not what a client
            // sends.
            (&fields("Client-Cert: :MIIB:\r\nClient-Cert-Chain: :MIIB:\r\nClient-Certain: x\r\n"), &given("\nclient-certain: x")),
        ],
    )
    .await;
    let lines = "Connection: Client-Cert\r\nClient-Cert: :MIIB:\r\n";
    check("trusted_proxies = [\"127.0.0.1\"]", &[(&fields(lines), &given("\nclient-cert: :MIIB:"))]).await;
}

#[tokio::test]
async fn forwarded_fields_of_trusted_peers() {
    let fields = |lines: &str| format!("GET /client HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let lines = "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n";
    check("", &[(&fields(lines), "127.0.0.1 false")]).await;
    check(
        "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]",
        &[
            (&fields(lines), "192.0.2.1 true"),
            (&fields("Forwarded: for=192.0.2.1\r\n"), "127.0.0.1 false"),
            (&fields("X-Forwarded-For: <script>\r\n"), "400"),
            (&fields("X-Forwarded-Host: a b\r\n"), "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: b:81\r\n\r\n", "GET / b:81 0"),
        ],
    )
    .await;
    check(
        "trusted_proxies = [\"127.0.0.0/8\"]\nforwarded_fields = \"forwarded\"",
        &[
            (&fields("Forwarded: for=6.6.6.6, for=\"[2001:db8::1]:80\";proto=https\r\n"), "2001:db8::1 true"),
            (&fields(lines), "127.0.0.1 false"),
            (&fields("Forwarded: for\r\n"), "400"),
        ],
    )
    .await;
}
