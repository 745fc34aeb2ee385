//! Successive generations on the same sockets: idle connections are handed over, and no request is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use paster::body::{App, Body, Request, Response};
use paster::server::control::Phase;
use paster::server::listener::{self, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::inprocess::{
    Running, ask, read_response, read_to_end, says, server, try_read_response, wait_until, within,
};

/// Responds with the generation and the body's length, after a few turns of the scheduler.
fn generation(number: usize) -> App {
    App::from_fn(move |request: Request| async move {
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        for _ in 0..number % 7 {
            tokio::task::yield_now().await;
        }
        Response::new(Body::from(format!("{number} {}", body.len())))
    })
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    fn count(&self, (head, body): &(String, String), sent: usize) {
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}{body}");
        assert!(!head.contains("connection: close"), "{head}");
        assert_eq!(body.split_once(' ').unwrap().1, sent.to_string());
        self.answered.fetch_add(1, Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn plain(address: String, load: Arc<Load>) {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    while load.goes_on() {
        load.count(&ask(&mut stream, GET).await, 0);
    }
}

async fn posts(address: String, load: Arc<Load>) {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut length = 0;
    while load.goes_on() {
        length = (length * 7 + 13) % 100_000;
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; length]).await.unwrap();
        load.count(&read_response(&mut stream).await, length);
    }
}

/// Sends three requests in pieces that end in the middle of a head, so that bytes already read are handed
/// over too.
async fn pipelined(address: String, load: Arc<Load>) {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let three = GET.repeat(3);
    let mut cut = 1;
    while load.goes_on() {
        cut = (cut + 5) % (three.len() - 1) + 1;
        let (first, rest) = three.split_at(cut);
        stream.write_all(first.as_bytes()).await.unwrap();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        stream.write_all(rest.as_bytes()).await.unwrap();
        for _ in 0..3 {
            load.count(&read_response(&mut stream).await, 0);
        }
    }
}

async fn connects(address: String, load: Arc<Load>) {
    while load.goes_on() {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        load.count(&ask(&mut stream, GET).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_generations_lose_nothing() {
    let mut running = Running::start("", generation(0));
    let load = Arc::<Load>::default();
    let address = running.address().to_string();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..3 {
        clients.spawn(plain(address.clone(), load.clone()));
        clients.spawn(posts(address.clone(), load.clone()));
        clients.spawn(pipelined(address.clone(), load.clone()));
    }
    clients.spawn(connects(address.clone(), load.clone()));
    for number in 1..=50 {
        let before = load.answered.load(Relaxed);
        within(async {
            while load.answered.load(Relaxed) < before + 20 {
                if let Some(ended) = clients.try_join_next() {
                    ended.unwrap();
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        let (new, ended) = running.next("", generation(number));
        running = new;
        within(ended).await.unwrap();
    }
    load.stop.store(true, Relaxed);
    while let Some(ended) = within(clients.join_next()).await {
        ended.unwrap();
    }
    running.end().await;
}

#[tokio::test]
async fn read_bytes_go_with_the_connection() {
    let running = Running::start("", generation(1));
    let mut fresh = running.connect().await;
    let mut begun = running.connect().await;
    let mut partial = running.connect().await;
    partial.write_all(GET.as_bytes()).await.unwrap();
    read_response(&mut partial).await;
    partial.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    begun.write_all(b"GET / HT").await.unwrap();
    running.wait_for_connections(3).await;
    let (running, ended) = running.next("", generation(2));
    within(ended).await.unwrap();
    running.wait_for_connections(3).await;
    assert_eq!(ask(&mut fresh, GET).await.1, "2 0");
    assert_eq!(ask(&mut begun, "TP/1.1\r\nHost: a\r\n\r\n").await.1, "2 0");
    assert_eq!(ask(&mut partial, "st: a\r\n\r\n").await.1, "2 0");
    running.end().await;
}

/// An app that starts its response, and ends it when told.
fn held(go: Arc<Notify>, started: Arc<Notify>) -> App {
    App::from_fn(move |_| {
        let (go, started) = (go.clone(), started.clone());
        async move {
            started.notify_one();
            go.notified().await;
            Response::new(Body::from("1 0"))
        }
    })
}

#[tokio::test]
async fn a_request_in_flight_is_finished_and_its_connection_goes_on() {
    let (go, started) = <(Arc<Notify>, Arc<Notify>)>::default();
    let running = Running::start("", held(go.clone(), started.clone()));
    let mut stream = running.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    within(started.notified()).await;
    let (running, ended) = running.next("", generation(2));
    // A new connection goes to the new generation while the old one still responds.
    assert_eq!(ask(&mut running.connect().await, GET).await.1, "2 0");
    assert!(!ended.is_finished());
    go.notify_one();
    let (head, body) = read_response(&mut stream).await;
    assert_eq!(body, "1 0");
    assert!(!head.contains("close"), "{head}");
    within(ended).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, "2 0");
    running.end().await;
}

#[tokio::test]
async fn where_nobody_takes_it_the_next_answer_says_close() {
    let mut running = Running::start("", says("hello"));
    running.handed = None;
    let mut stream = running.connect().await;
    ask(&mut stream, GET).await;
    running.phase.send(Phase::Retired).unwrap();
    let (head, body) = ask(&mut stream, GET).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "hello");
    assert_eq!(read_to_end(&mut stream).await, "");
    within(running.task).await.unwrap();
}

#[tokio::test]
async fn draining_finishes_requests_until_time_is_up() {
    let (go, started) = <(Arc<Notify>, Arc<Notify>)>::default();
    let running = Running::start("", held(go.clone(), started.clone()));
    let (mut first, mut second, mut idle) =
        (running.connect().await, running.connect().await, running.connect().await);
    first.write_all(GET.as_bytes()).await.unwrap();
    within(started.notified()).await;
    second.write_all(GET.as_bytes()).await.unwrap();
    within(started.notified()).await;
    let far = Instant::now() + std::time::Duration::from_secs(3600);
    running.phase.send(Phase::Draining { until: far }).unwrap();
    assert!(try_read_response(&mut idle).await.is_none(), "an idle connection is closed");
    go.notify_one();
    let (head, _) = read_response(&mut first).await;
    assert!(head.contains("connection: close"), "{head}");
    running.phase.send(Phase::Draining { until: Instant::now() }).unwrap();
    assert_eq!(read_to_end(&mut second).await, "");
    within(running.task).await.unwrap();
}

#[tokio::test]
async fn a_request_on_its_way_when_the_end_begins_is_answered() {
    let running = Running::start("", says("hello"));
    let mut used = running.connect().await;
    ask(&mut used, GET).await;
    let mut unused = running.connect().await;
    let far = Instant::now() + std::time::Duration::from_secs(3600);
    running.phase.send(Phase::Draining { until: far }).unwrap();
    for stream in [&mut used, &mut unused] {
        let (head, body) = ask(stream, GET).await;
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!((body.as_str(), read_to_end(stream).await.as_str()), ("hello", ""));
    }
    within(running.task).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_changes_hands() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let options = format!("listen = [\"unix:{}\"]", path.display());
    let sockets: Vec<Socket> =
        server(&options).listen().iter().map(|entry| listener::bind(entry, false).unwrap()).collect();
    let running = Running::on(server(&options), sockets, generation(1));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, "1 0");
    let (running, ended) = running.next(&options, generation(2));
    within(ended).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, "2 0");
    running.end().await;
}

#[tokio::test]
async fn an_upgraded_connection_stays_until_time_is_up() {
    let app = App::from_fn(|mut request: Request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let mut byte = [0];
            while let Ok(1) = io.read(&mut byte).await {
                io.write_all(&byte).await.unwrap();
            }
        });
        let response = http::Response::builder().status(101).header("connection", "upgrade");
        response.header("upgrade", "websocket").body(Body::empty()).unwrap()
    });
    let running = Running::start("", app);
    let load = running.load.clone();
    let mut stream = running.connect().await;
    let upgrade =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    let (head, _) = ask(&mut stream, upgrade).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    wait_until(|| load.upgraded.load(Relaxed) == 1).await;
    let phase = running.phase.clone();
    let (new, ended) = running.next("", says("new"));
    stream.write_all(b"x").await.unwrap();
    assert_eq!(within(stream.read_u8()).await.unwrap(), b'x');
    assert!(!ended.is_finished());
    phase.send(Phase::Draining { until: Instant::now() }).unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    within(ended).await.unwrap();
    assert_eq!(load.upgraded.load(Relaxed), 0);
    new.end().await;
}
