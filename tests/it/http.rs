//! The `http` server: versions, sockets, limits, and what happens to those who are slow or gone.

use std::sync::atomic::Ordering::Relaxed;

use tokio::io::AsyncWriteExt;

use crate::inprocess::{Running, ask, echo, read_to_end, says};

#[tokio::test]
async fn keeps_a_connection() {
    let running = Running::start("", says("hello"));
    let mut stream = running.connect().await;
    for _ in 0..3 {
        let (head, body) = ask(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\ndate: "), "{head}");
        assert_eq!(body, "hello");
    }
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.contains("connection: close"));
    assert_eq!(running.load.requests.load(Relaxed), 4);
    running.end().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let running = Running::start("", echo());
    let requests = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
         POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
         GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = running.exchange(requests.as_bytes()).await;
    let bodies: Vec<_> =
        text.split("\r\n\r\n").skip(1).map(|part| &part[..part.find("HTTP").unwrap_or(part.len())]).collect();
    assert_eq!(bodies, ["GET /1 0", "POST /2 3", "POST /3 2", "GET /4 0"]);
    running.end().await;
}
