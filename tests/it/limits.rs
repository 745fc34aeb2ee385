//! Clients that are slow, greedy or gone, and servers that are full. The limits are short here. A test only
//! sleeps where it plays a slow client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::{BodyExt, Limited, StreamBody};
use paster::body::{App, Body, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::inprocess::{Running, ask, echo, read_response, read_to_end, says, wait_until, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_slow_head_gets_408() {
    let running = Running::start("head_timeout_secs = 1", says("hello"));
    for begun in ["G", "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n"] {
        let mut stream = running.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 408 "), "{begun:?}");
        let mut kept = running.connect().await;
        ask(&mut kept, GET).await;
        kept.write_all(begun.as_bytes()).await.unwrap();
        assert!(read_to_end(&mut kept).await.starts_with("HTTP/1.1 408 "), "{begun:?}");
    }
    running.end().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let running = Running::start("idle_timeout_secs = 1", says("hello"));
    let (mut fresh, mut kept) = (running.connect().await, running.connect().await);
    ask(&mut kept, GET).await;
    assert_eq!(read_to_end(&mut fresh).await, "");
    assert_eq!(read_to_end(&mut kept).await, "");
    running.wait_for_connections(0).await;
    running.end().await;
}

#[tokio::test]
async fn a_connection_that_rested_goes_on() {
    let running = Running::start("", says("hello"));
    let mut stream = running.connect().await;
    for _ in 0..2 {
        ask(&mut stream, GET).await;
        tokio::time::sleep(Duration::from_millis(2500)).await; // the client's own pause
    }
    let halves = GET.split_at(7);
    stream.write_all(halves.0.as_bytes()).await.unwrap();
    assert_eq!(ask(&mut stream, halves.1).await.1, "hello");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // A connection that spoke HTTP/1 does not switch to HTTP/2.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    running.end().await;
}

#[tokio::test]
async fn a_slow_body_gets_408() {
    let running = Running::start("body_pace_bytes = 1000\nbody_pace_secs = 1", crate::gate::mirror());
    for head in ["Content-Length: 5000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let text = running.exchange(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}").as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert!(text.contains("connection: close"), "{text}");
    }
    running.end().await;
}

#[tokio::test]
async fn an_app_that_makes_its_own_answer_of_a_slow_body_keeps_it_unless_it_is_an_error() {
    let running = Running::start("body_pace_bytes = 1000\nbody_pace_secs = 1", echo());
    let text = running.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await;
    assert!(text.ends_with("POST / error: the request's body arrived too slowly"), "{text}");
    running.end().await;
}

/// An endless body, 64 KiB at a time; signals when it is dropped.
fn endless(dropped: Arc<Notify>) -> App {
    struct Tell(Arc<Notify>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    App::from_fn(move |_| {
        let tell = Tell(dropped.clone());
        async move {
            let frames = futures_util::stream::repeat_with(move || {
                let _ = &tell;
                Ok::<_, std::convert::Infallible>(http_body::Frame::data(vec![0; 65536].into()))
            });
            Response::new(Body::new(StreamBody::new(frames)))
        }
    })
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_reset() {
    let dropped = Arc::<Notify>::default();
    let running = Running::start("write_stall_secs = 1", endless(dropped.clone()));
    let mut stream = running.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    within(dropped.notified()).await;
    running.wait_for_connections(0).await;
    let mut rest = Vec::new();
    assert!(within(stream.read_to_end(&mut rest)).await.is_err(), "reset");
    running.end().await;
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    struct Tell(Arc<Notify>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (started, dropped) = <(Arc<Notify>, Arc<Notify>)>::default();
    let app = {
        let (started, dropped) = (started.clone(), dropped.clone());
        App::from_fn(move |_| {
            let (started, tell) = (started.clone(), Tell(dropped.clone()));
            async move {
                started.notify_one();
                std::future::pending::<()>().await;
                drop(tell);
                Response::default()
            }
        })
    };
    let running = Running::start("half_close_secs = 1", app);
    for reset in [false, true] {
        let mut stream = running.connect().await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        within(started.notified()).await;
        if reset {
            stream.set_zero_linger().unwrap();
        }
        drop(stream);
        within(dropped.notified()).await;
    }
    assert_eq!(running.load.in_flight.load(Relaxed), 0);
    running.end().await;
}

#[tokio::test]
async fn at_the_limit_connections_wait_and_are_not_dropped() {
    let (go, inside) = <(Arc<Notify>, Arc<AtomicUsize>)>::default();
    let running = Running::start("max_connections = 2", gated(go.clone(), inside.clone()));
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    first.write_all(GET.as_bytes()).await.unwrap();
    wait_until(|| inside.load(Relaxed) == 1).await;
    second.write_all(GET.as_bytes()).await.unwrap();
    wait_until(|| inside.load(Relaxed) == 2).await;
    let mut third = running.connect().await;
    third.write_all(GET.as_bytes()).await.unwrap();
    // A connection with a request in flight is never closed to make room.
    assert_eq!(running.load.connections.load(Relaxed), 2);
    go.notify_one();
    assert_eq!(read_response(&mut first).await.1, "done");
    assert_eq!(read_to_end(&mut first).await, "", "it is idle now, and makes room");
    wait_until(|| inside.load(Relaxed) == 2).await;
    go.notify_waiters();
    assert_eq!(read_response(&mut second).await.1, "done");
    assert_eq!(read_response(&mut third).await.1, "done");
    running.end().await;
}

#[tokio::test]
async fn a_full_server_closes_what_has_been_idle_longest() {
    let running = Running::start("max_connections = 3", says("hello"));
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    let mut half = running.connect().await;
    ask(&mut second, GET).await;
    ask(&mut first, GET).await;
    half.write_all(b"GET / HT").await.unwrap();
    running.wait_for_connections(3).await;
    let mut third = running.connect().await;
    assert_eq!(ask(&mut third, GET).await.1, "hello");
    assert_eq!(read_to_end(&mut second).await, "", "it was idle for longest");
    let mut fourth = running.connect().await;
    assert_eq!(ask(&mut fourth, GET).await.1, "hello");
    assert_eq!(read_to_end(&mut first).await, "");
    assert_eq!(ask(&mut third, GET).await.1, "hello");
    assert_eq!(ask(&mut half, "TP/1.1\r\nHost: a\r\n\r\n").await.1, "hello", "a half head goes last");
    running.end().await;
}

/// An app that waits until it is released; counts the requests inside.
fn gated(go: Arc<Notify>, inside: Arc<AtomicUsize>) -> App {
    App::from_fn(move |_| {
        let (go, inside) = (go.clone(), inside.clone());
        async move {
            inside.fetch_add(1, Relaxed);
            go.notified().await;
            inside.fetch_sub(1, Relaxed);
            Response::new(Body::from("done"))
        }
    })
}

#[tokio::test]
async fn a_full_server_answers_503() {
    let (go, inside) = <(Arc<Notify>, Arc<AtomicUsize>)>::default();
    let running = Running::start("max_in_flight = 1", gated(go.clone(), inside.clone()));
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    first.write_all(GET.as_bytes()).await.unwrap();
    wait_until(|| inside.load(Relaxed) == 1).await;
    let (head, _) = ask(&mut second, GET).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    let (head, _) = ask(&mut second, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    go.notify_one();
    assert_eq!(read_response(&mut first).await.1, "done");
    go.notify_one();
    assert_eq!(ask(&mut second, GET).await.1, "done");
    running.end().await;
}

#[tokio::test]
async fn one_at_a_time() {
    let (go, inside) = <(Arc<Notify>, Arc<AtomicUsize>)>::default();
    let running = Running::start("one_at_a_time = true", gated(go.clone(), inside.clone()));
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    first.write_all(GET.as_bytes()).await.unwrap();
    second.write_all(GET.as_bytes()).await.unwrap();
    wait_until(|| running.load.in_flight.load(Relaxed) == 2).await;
    wait_until(|| inside.load(Relaxed) == 1).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
        assert_eq!(inside.load(Relaxed), 1);
    }
    go.notify_one();
    wait_until(|| inside.load(Relaxed) == 1 && running.load.in_flight.load(Relaxed) == 1).await;
    go.notify_one();
    read_response(&mut first).await;
    read_response(&mut second).await;
    running.end().await;
}

fn post(length: usize) -> Vec<u8> {
    let mut bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

#[tokio::test]
async fn a_short_body_that_the_app_leaves_is_drained_and_the_connection_goes_on() {
    let running = Running::start("", says("hello"));
    let mut stream = running.connect().await;
    for _ in 0..3 {
        stream.write_all(&post(200_000)).await.unwrap();
        let (head, body) = read_response(&mut stream).await;
        assert_eq!(body, "hello");
        assert!(!head.contains("close"), "{head}");
    }
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    stream.write_all(chunked.as_bytes()).await.unwrap();
    read_response(&mut stream).await;
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, "hello");
    running.end().await;
}

#[tokio::test]
async fn a_long_body_that_the_app_leaves_ends_the_connection_after_the_answer() {
    let running = Running::start("", says("hello"));
    let stream = running.connect().await;
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        // The server closes in the middle of it.
        let _ = writer.write_all(&post(20_000_000)).await;
    });
    let (head, body) = read_response(&mut reader).await;
    assert_eq!(body, "hello");
    assert!(head.contains("connection: close\r\n"), "{head}");
    read_to_end(&mut reader).await;
    within(writing).await.unwrap();
    running.end().await;
}

#[tokio::test]
async fn a_body_that_never_comes_does_not_cut_the_answer() {
    let go = Arc::<Notify>::default();
    let later = go.clone();
    let app = App::from_fn(move |_| {
        let later = later.clone();
        let end = async move {
            later.notified().await;
            Ok::<_, std::convert::Infallible>(http_body::Frame::data("the end".into()))
        };
        async { Response::new(Body::new(StreamBody::new(futures_util::stream::once(end)))) }
    });
    let running = Running::start("", app);
    let mut stream = running.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await; // the client's own pause
    go.notify_one();
    assert!(read_to_end(&mut stream).await.ends_with("\r\n7\r\nthe end\r\n0\r\n\r\n"));
    running.end().await;
}

#[tokio::test]
async fn a_body_limit_of_the_app_is_413() {
    let app = App::new(tower::service_fn(|request: Request| async move {
        let body = Limited::new(request.into_body(), 1000).collect().await?;
        Ok::<_, paster::error::BoxError>(Response::new(Body::from(format!("{}", body.to_bytes().len()))))
    }));
    let running = Running::start("", app);
    let text = running.exchange(&[post(900), post(1001)].concat()).await;
    assert!(text.contains("\r\n\r\n900HTTP/1.1 413 "), "{text}");
    running.end().await;
}

#[tokio::test]
async fn an_invited_body_is_asked_for_and_one_that_is_not_wanted_is_not() {
    let expects = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let running = Running::start("", echo());
    let mut stream = running.connect().await;
    assert!(ask(&mut stream, expects).await.0.starts_with("HTTP/1.1 100 Continue\r\n"));
    assert_eq!(ask(&mut stream, "abc").await.1, "POST / 3");
    running.end().await;
    let running = Running::start("", says("no"));
    let text = running.exchange(expects.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("connection: close"), "{text}");
    running.end().await;
}

#[tokio::test]
async fn uploads_stream() {
    // The app drops each piece before it reads the next one.
    let app = App::from_fn(|request: Request| async move { Response::new(request.into_body()) });
    let running = Running::start("", app);
    let mut stream = running.connect().await;
    let count = 200;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", count * 50_000);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(within(stream.read_u8()).await.unwrap());
    }
    let mut piece = vec![0; 50_000];
    for number in 0..count {
        stream.write_all(&vec![number as u8; 50_000]).await.unwrap();
        within(stream.read_exact(&mut piece)).await.unwrap();
        assert!(piece.iter().all(|byte| *byte == number as u8));
    }
    assert_eq!(ask(&mut stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab").await.1, "ab");
    running.end().await;
}

#[tokio::test]
async fn failures_of_the_app_are_500_without_details() {
    let broken = Arc::<AtomicBool>::default();
    let flag = broken.clone();
    let app = App::new(tower::service_fn(move |request: Request| {
        let flag = flag.clone();
        async move {
            match request.uri().path() {
                "/error" => Err("secret".into()),
                "/panic" => panic!("secret"),
                "/middle" => {
                    flag.store(true, Relaxed);
                    let frames = [Ok(http_body::Frame::data("begun".into())), Err("secret")];
                    Ok(Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames)))))
                }
                _ => Ok::<_, paster::error::BoxError>(Response::new(Body::from("fine"))),
            }
        }
    }));
    let running = Running::start("", app);
    let mut stream = running.connect().await;
    for path in ["/error", "/panic"] {
        let (head, body) = ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!(body, "Internal Server Error\n");
    }
    assert_eq!(ask(&mut stream, GET).await.1, "fine");
    // An aborted response must not look complete: no last chunk.
    let text = running.exchange(b"GET /middle HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!text.contains("\r\n0\r\n"), "{text:?}");
    assert!(broken.load(Relaxed));
    assert_eq!(running.load.failed.load(Relaxed), 3);
    running.end().await;
}

#[tokio::test]
async fn two_listeners_share_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]\nmax_connections = 1", path.display());
    let app = App::from_fn(|request: Request| async move {
        let environ = request.extensions().get::<paster::environ::Environ>().unwrap();
        Response::new(Body::from(format!("{} {:?}", environ.listen, environ.peer.is_some())))
    });
    let running = Running::start(&listen, app);
    assert_eq!(running.addresses[1], format!("unix:{}", path.display()));
    let mut first = TcpStream::connect(running.address()).await.unwrap();
    let found = ask(&mut first, GET).await.1;
    assert_eq!(found, format!("{} true", running.address()));
    let mut second = tokio::net::UnixStream::connect(&path).await.unwrap();
    second.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(read_to_end(&mut first).await, "", "it was idle");
    assert_eq!(read_response(&mut second).await.1, format!("unix:{} false", path.display()));
    running.end().await;
}
