//! The `http` server: versions, sockets, limits, and what happens to clients that are slow or gone.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use paster::body::{App, Body, ObservedCall, Observer, Request, Response, Watch};
use paster::metrics::{Counts, prometheus};
use tokio::io::AsyncWriteExt;

use crate::inprocess::{Running, ask, echo, read_to_end, says, try_server};

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
    assert_eq!(running.load.requests(), 4);
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

#[tokio::test]
async fn a_status_that_is_not_a_final_one_is_500() {
    let app = App::from_fn(|request: Request| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        http::Response::builder().status(status).header("x-own", "1").body(Body::from("own")).unwrap()
    });
    let running = Running::start("", app);
    let mut stream = running.connect().await;
    for (status, sent) in [(200, 200), (599, 599), (600, 500), (999, 500), (100, 500), (103, 500), (101, 500)]
    {
        let request = format!("GET /{status} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, body) = ask(&mut stream, &request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {sent} ")), "{status}: {head}");
        assert_eq!(body == "own" && head.contains("x-own"), sent == status, "{status}: {head}{body}");
    }
    running.end().await;
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let app = App::from_fn(|request: Request| async move {
        let body = request.into_body().collect().await.unwrap();
        let sum = body.trailers().unwrap()["x-sum"].clone();
        let trailers = [("x-sum".parse().unwrap(), sum)].into_iter().collect();
        let frames = [Frame::data(body.to_bytes()), Frame::trailers(trailers)].map(Ok::<_, std::io::Error>);
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        http::Response::builder().header("trailer", "x-sum").body(body).unwrap()
    });
    let running = Running::start("", app);
    let text = running
        .exchange(
            b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\nTransfer-Encoding: chunked\r\n\
              Trailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
        )
        .await;
    assert!(text.ends_with("\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n"), "{text}");
    running.end().await;
}

#[tokio::test]
async fn a_connection_may_close_after_each_request() {
    let running = Running::start("", says("hello"));
    for request in
        ["GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
    {
        assert!(running.exchange(request.as_bytes()).await.ends_with("hello"));
    }
    let mut kept = running.connect().await;
    for _ in 0..2 {
        let (head, _) = ask(&mut kept, "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
        assert!(head.contains("connection: keep-alive\r\n"), "{head}");
    }
    running.end().await;
}

#[test]
fn every_wrong_option_is_named() {
    let check = |options: &str, expected: &[&str]| {
        let errors = try_server(options).err().expect("errors");
        let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{options}");
    };
    check(
        "listen = [\"8080\", \"127.0.0.1:80\", \"127.0.0.1:80\"]\nhosts = [\"a/b\"]\ntrusted_proxies = [\"all\"]",
        &[
            "`8080` has no port",
            "`127.0.0.1:80` is listed twice",
            "`a/b` is not a host",
            "`all` is not an address or a network",
        ],
    );
    check("listen = []", &["`listen` is empty"]);
    check("use = \"console\"\nlisten = []\nmethod = \"G T\"", &["unknown key `listen` in `[server.main]`"]);
    check(
        "use = \"console\" # listen\nmethod = \"G T\"\npath = \"a b\"\nheaders = [\"x\"]\nbody_file = \"/absent\"",
        &[
            "cannot read the body from `/absent`",
            "`G T` is not a method",
            "`a b` is not a path",
            "`x` is not a header field",
        ],
    );
}

/// Records the statuses that it receives.
#[derive(Default)]
struct Told(Mutex<Vec<u16>>);

impl Observer for Told {
    fn begin(self: Arc<Self>, _: &Request, _: Instant) -> Box<dyn ObservedCall> {
        Box::new(Call(self))
    }
}

struct Call(Arc<Told>);

impl Watch for Call {
    fn taken(&mut self, _: u64) {}
}

impl ObservedCall for Call {
    fn answered(&mut self, response: Option<&Response>) {
        self.0.0.lock().unwrap().push(response.unwrap().status().as_u16());
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_sent_is_counted_and_followed_as_the_500_that_is() {
    let app = App::from_fn(|request: Request| async move {
        let mut response = Response::new(Body::from("hello"));
        let length = if request.uri().path() == "/good" { "5" } else { "6" };
        response.headers_mut().insert("content-length", length.parse().unwrap());
        response
    });
    let told = Arc::<Told>::default();
    let running = Running::start("", app.followed(told.clone()));
    let mut stream = running.connect().await;
    for (path, status) in [("/good", "200"), ("/bad", "500"), ("/good", "200")] {
        let (head, _) = ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    assert_eq!(*told.0.lock().unwrap(), [200, 500, 200]);
    assert_eq!(running.load.failed.load(Relaxed), 1);
    let mut counts = Counts::default();
    running.load.count("main", 1, &mut counts);
    let text = prometheus::encode(&counts, prometheus::Format::Text);
    for (outcome, count) in [("2xx", 2), ("5xx", 1)] {
        let line = format!("paster_requests_total{{server=\"main\",outcome=\"{outcome}\"}} {count}\n");
        assert!(text.contains(&line), "{text}");
    }
    running.end().await;
}
