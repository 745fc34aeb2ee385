//! Long transfers: responses that the app has returned and the client has not read yet, and bodies that the
//! app reads after it has responded.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use paster::body::{App, Body, Request};
use paster::server::control::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::http2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, block, frame, frames,
};
use crate::inprocess::{Running, ask, echo, read_response, says, within};

/// More than the kernel's buffers hold.
const LONG: usize = 32 << 20;
/// All limits that could apply to a slow client.
const LIMITS: &str =
    "idle_timeout_secs = 1\nhead_timeout_secs = 1\nhalf_close_secs = 1\nwrite_stall_secs = 1\n";

fn long() -> App {
    let body = bytes::Bytes::from(vec![b'x'; LONG]);
    App::from_fn(move |_| {
        let body = body.clone();
        async move { http::Response::new(Body::from(body)) }
    })
}

/// A client with a small receive buffer.
async fn connect(running: &Running) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.connect(running.address().parse().unwrap()).await.unwrap()
}

/// Reads 256 KiB from time to time, until `done` or the end.
async fn sip(stream: &mut TcpStream, pause: Duration, done: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut seen = Vec::new();
    while !done(&seen) {
        let before = seen.len();
        let mut piece = (&mut *stream).take(256 << 10);
        while !done(&seen) && matches!(within(piece.read_buf(&mut seen)).await, Ok(1..)) {}
        if seen.len() == before {
            break;
        }
        sleep(pause).await; // a slow client
    }
    seen
}

/// The length of an HTTP/1 response's body.
fn body_of(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(answer.len() - head - 4)
}

#[tokio::test]
async fn a_slow_client_gets_the_whole_answer() {
    let running = Running::start(LIMITS, long());
    let mut stream = connect(&running).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let whole = |seen: &[u8]| body_of(seen) == Some(LONG);
    let seen = sip(&mut stream, Duration::from_millis(20), whole).await;
    assert_eq!(body_of(&seen), Some(LONG));
    running.end().await;
}

#[tokio::test]
async fn a_client_that_has_said_all_gets_the_whole_answer() {
    let running = Running::start(LIMITS, long());
    let mut stream = connect(&running).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let seen = sip(&mut stream, Duration::ZERO, |_| false).await;
    assert_eq!(body_of(&seen), Some(LONG), "and the connection ends");
    running.end().await;
}

#[tokio::test]
async fn over_http2_too_while_the_generation_retires() {
    let running = Running::start(LIMITS, long());
    let mut stream = connect(&running).await;
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let more = (0x7fff_ffff_u32 - 65_535).to_be_bytes();
    let head = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]);
    let begun = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[&[0, 4][..], &most].concat()),
        &frame(WINDOW_UPDATE, 0, 0, &more),
        &frame(HEADERS, END_STREAM | END_HEADERS, 1, &head),
    ];
    stream.write_all(&begun.concat()).await.unwrap();
    let first = sip(&mut stream, Duration::ZERO, |seen| seen.len() > 100_000).await;
    running.phase.send(Phase::Retired).unwrap();
    // Longer than an idle client's connection may take to close.
    let rest = sip(&mut stream, Duration::from_millis(100), |_| false).await;
    let seen = frames(&[first, rest].concat());
    let got: usize = seen.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len()).sum();
    assert_eq!(got, LONG);
    drop(stream);
    within(running.task).await.unwrap();
}

/// Responds at once, keeps reading, and reports how much it was.
fn reads_on(told: mpsc::UnboundedSender<Option<usize>>) -> App {
    App::from_fn(move |request: Request| {
        let told = told.clone();
        async move {
            tokio::spawn(async move {
                let body = request.into_body().collect().await;
                told.send(body.ok().map(|body| body.to_bytes().len())).unwrap();
            });
            let mut response = http::Response::new(Body::from("later"));
            *response.status_mut() = StatusCode::ACCEPTED;
            response
        }
    })
}

#[tokio::test]
async fn a_body_that_is_read_after_the_answer_comes_whole() {
    let (told, mut heard) = mpsc::unbounded_channel();
    let running = Running::start(LIMITS, reads_on(told));
    let mut stream = running.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n").await.unwrap();
    assert!(read_response(&mut stream).await.0.starts_with("HTTP/1.1 202 "));
    for _ in 0..3 {
        sleep(Duration::from_millis(1200)).await; // a slow client: each pause is longer than the limits
        stream.write_all(b"0123456789").await.unwrap();
    }
    assert_eq!(within(heard.recv()).await, Some(Some(30)));
    // What was a body does not count as a request, and the connection stays open.
    assert_eq!(ask(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.1, "later");
    running.end().await;
}

#[tokio::test]
async fn what_is_left_of_a_body_is_no_head() {
    let running = Running::start("head_timeout_secs = 1", says("no"));
    let mut stream = running.connect().await;
    let body = "x".repeat(100_000);
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut stream).await.1, "no");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut byte = [0];
    let unasked = timeout(Duration::from_millis(1500), stream.read(&mut byte)).await;
    assert!(unasked.is_err(), "nobody has asked: {unasked:?}, {byte:?}");
    assert_eq!(ask(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.1, "no");
    running.end().await;
}

#[tokio::test]
async fn a_chunked_request_behind_one_with_a_length_is_a_good_one() {
    let running = Running::start("", echo());
    let requests = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    let text = running.exchange(requests.as_bytes()).await;
    assert!(text.contains("POST /1 3") && text.ends_with("POST /2 2"), "{text}");
    running.end().await;
}
