//! `proxy`: what upstreams see, what clients see, and what happens when either is slow, gone or wrong.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

use crate::bridge::{Program, Scripted, free_port, mirror, resident_kib};
use crate::support::{Connection, Serving, folder, get, patience, wait_until};

/// Serves `[app.main]` with these options of `proxy`, followed by any other tables.
fn serve(options: &str) -> (Serving, TempDir) {
    serve_with("", options)
}

fn serve_with(server: &str, options: &str) -> (Serving, TempDir) {
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n{server}\n[app.main]\nuse = \"proxy\"\n{options}\n"
    );
    let folder = folder(&[("server.toml", &config)]);
    (Serving::start(folder.path(), &[]), folder)
}

fn to(upstreams: &[&Scripted]) -> String {
    let urls: Vec<_> = upstreams.iter().map(|upstream| upstream.url()).collect();
    format!("upstreams = {urls:?}")
}

#[test]
fn an_upstream_sees_one_clean_request() {
    let upstream = mirror();
    let (serving, _folder) = serve(&to(&[&upstream]));
    let head = "GET /a%20b/%7Ec?q=%20 HTTP/1.1\r\nHost: Example.org:81\r\nX-Own: 1\r\nCookie: a=b\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Ssl: on\r\nForwarded: for=6.6.6.6\r\n\
         X-Real-IP: 6.6.6.6\r\nX-Accel-Mapping: /=/etc\r\nX-Sendfile-Type: x\r\nConnection: keep-alive, X-Hop\r\n\
         X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy: x\r\nX_Under: 1\r\n\r\n";
    let (_, seen) = Connection::open(serving.address()).request(head);
    let mut lines: Vec<_> = seen.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /a%20b/~c?q=%20 HTTP/1.1");
    lines.sort();
    let expected = [
        "cookie: a=b",
        "host: Example.org:81",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: Example.org:81",
        "x-forwarded-proto: http",
        "x-own: 1",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn options_change_what_it_sees() {
    let upstream = mirror();
    let url = upstream.url();
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n[app.main.routes]\n\
         \"/strip\" = \"strip\"\n\"/keep\" = \"keep\"\n\
         [app.strip]\nuse = \"proxy\"\nupstreams = [\"{url}/base\"]\nhost = \"upstream\"\nforwarding = \"both\"\n\
         [app.keep]\nuse = \"proxy\"\nupstreams = [\"{url}\"]\nprefix = \"keep\"\nhost = \"in.example\"\n\
         forwarding = \"none\"\n"
    );
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    let seen = get(&serving, "/strip/a?b");
    assert!(
        seen.starts_with(&format!("GET /base/a?b HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n", upstream.port)),
        "{seen}"
    );
    assert!(seen.contains("\r\nx-forwarded-host: localhost\r\nx-forwarded-prefix: /strip\r\n"), "{seen}");
    assert!(seen.contains("\r\nforwarded: for=127.0.0.1;proto=http;host=\"localhost\"\r\n"), "{seen}");
    for target in ["/keep/a?b", "/keep", "/keep?b", "/keep/", "/keep/?b"] {
        let seen = get(&serving, target);
        assert_eq!(seen, format!("GET {target} HTTP/1.1\r\nhost: in.example\r\n\r\n"));
    }
}

#[test]
fn bodies_keep_their_length_and_their_trailers() {
    let upstream = mirror();
    let (serving, _folder) = serve(&to(&[&upstream]));
    let mut connection = Connection::open(serving.address());
    let (_, seen) = connection.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert!(seen.contains("\r\ncontent-length: 5\r\n") && seen.ends_with("\r\n\r\nhello"), "{seen}");
    let (_, seen) = connection.request(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n\
         0\r\nX-Sum: 7\r\n\r\n",
    );
    assert!(
        seen.contains("\r\ntransfer-encoding: chunked\r\n") && seen.ends_with("hello +x-sum: 7"),
        "{seen}"
    );
    let (_, seen) = connection.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(seen.contains("\r\ncontent-length: 0\r\n"), "{seen}");
    assert_eq!(upstream.count(), 1, "one connection served all");
}

#[test]
fn answers_pass_as_they_are() {
    let upstream = Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            peer.write(match head.split(' ').nth(1).unwrap() {
                "/chunked" => "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
                "/odd" => "HTTP/1.1 999 No\r\nContent-Length: 2\r\n\r\nno",
                "/early" => "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/moved" => "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end",
            });
            if head.starts_with("GET /close") {
                return;
            }
        }
    });
    let url = upstream.url();
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n[app.main.routes]\n\
         \"/\" = \"api\"\n\"/api\" = \"api\"\n[app.api]\nuse = \"proxy\"\nupstreams = [\"{url}\"]\n"
    );
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    let mut connection = Connection::open(serving.address());
    let (head, body) = connection.get("/chunked");
    assert!(head.contains("\r\nx-a: 1\r\n") && body == "hello", "{head}{body}");
    let (head, body) = connection.get("/early");
    assert!(head.starts_with("HTTP/1.1 404 ") && body == "no", "{head}{body}");
    let (head, body) = connection.get("/odd");
    assert!(head.starts_with("HTTP/1.1 502 ") && body.contains("the status 999"), "{head}{body}");
    let (head, _) = connection.get("/none");
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let (head, _) = connection.get("/moved");
    assert!(head.contains("\r\nlocation: /there\r\n"), "{head}");
    let (head, _) = connection.get("/api/moved");
    assert!(head.contains("\r\nlocation: /api/there\r\n"), "{head}");
    let (_, body) = connection.get("/close");
    assert_eq!(body, "to the end");
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(b"HEAD /head HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("\r\ncontent-length: 1000\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

/// An upstream that closes each connection when its second request has come.
fn forgetful(requests: Arc<AtomicUsize>) -> Scripted {
    Scripted::start(move |peer| {
        for turn in 0..2 {
            let Some(head) = peer.head() else { return };
            peer.body(&head);
            requests.fetch_add(1, SeqCst);
            if turn == 0 {
                peer.answer("one");
            }
        }
    })
}

#[test]
fn what_may_be_repeated_is_and_nothing_else() {
    let requests = Arc::<AtomicUsize>::default();
    let upstream = forgetful(requests.clone());
    let (serving, _folder) = serve(&to(&[&upstream]));
    let mut connection = Connection::open(serving.address());
    assert_eq!(connection.get("/").1, "one");
    // The kept connection breaks; a new one responds.
    assert_eq!(connection.get("/").1, "one");
    assert_eq!((upstream.count(), requests.load(SeqCst)), (2, 3));
    let (head, body) = connection.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(body.contains("The upstream `main` failed: it closed the connection"), "{body}");
    assert_eq!((upstream.count(), requests.load(SeqCst)), (2, 4), "sent once");
    // No connection is kept now. A PUT whose body was already sent is not sent again either.
    assert_eq!(connection.get("/").1, "one");
    let (head, _) = connection.request("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

/// Whether a TCP connection over IPv4 to `port` of this machine is open at the client's end and its peer has
/// not closed it.
fn has_open_connection_to(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // Local address, remote address and state, in hexadecimal; 01 is ESTABLISHED.
    let wanted = format!(":{port:04X} 01 ");
    table.lines().any(|line| line.contains(&wanted))
}

#[test]
fn a_connection_that_the_upstream_has_closed_is_not_used() {
    let upstream = Scripted::start(|peer| {
        let head = peer.head().unwrap_or_default();
        peer.body(&head);
        peer.answer("one");
    });
    let (serving, _folder) = serve(&to(&[&upstream]));
    let mut connection = Connection::open(serving.address());
    for count in 1..=3 {
        let (head, body) = connection.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "one", "{head}{body}");
        assert_eq!(upstream.count(), count);
        wait_until("the upstream's end has arrived", || !has_open_connection_to(upstream.port));
    }
}

#[test]
fn an_absent_upstream_is_named_and_its_address_only_to_developers() {
    let port = free_port();
    let options = format!("upstreams = [\"http://127.0.0.1:{port}\"]");
    let (serving, folder) = serve(&options);
    let (head, body) = Connection::open(serving.address()).get("/");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert_eq!(body, "The upstream `main` failed: it cannot be reached.\n");
    wait_until("it is logged", || serving.stderr().contains("Connection refused"));
    drop(serving);
    let serving = Serving::start(folder.path(), &["--reload"]);
    let body = get(&serving, "/");
    assert!(body.contains(&format!("Its address is http://127.0.0.1:{port}.")), "{body}");
    assert!(body.contains("Connection refused"), "{body}");
}

#[test]
fn slow_upstreams_are_cut() {
    let upstream = Scripted::start(|peer| {
        let head = peer.head().unwrap_or_default();
        if head.starts_with("GET /pause") {
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        }
        peer.wait_for_close();
    });
    let (serving, _folder) =
        serve(&format!("{}\n[app.main.timeouts]\nhead_secs = 1\npause_secs = 1", to(&[&upstream])));
    let (head, body) = Connection::open(serving.address()).get("/");
    assert!(head.starts_with("HTTP/1.1 504 ") && body.contains("it did not respond in time"), "{head}{body}");
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(b"GET /pause HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.ends_with("\r\n\r\nhello"), "{text}");
    wait_until("it is logged", || serving.stderr().contains("paused too long"));
}

#[test]
fn a_broken_answer_is_not_ended_as_if_it_were_whole() {
    let upstream = Scripted::start(|peer| {
        let head = peer.head().unwrap_or_default();
        peer.write(match head.split(' ').nth(1).unwrap() {
            "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "/both" => "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "/part" => "HTTP/1.1 200 OK\r\nX-A: ",
            _ => "garbage\r\n\r\n",
        });
    });
    let (serving, _folder) = serve(&to(&[&upstream]));
    for path in ["/chunked", "/length"] {
        let mut stream = TcpStream::connect(serving.address()).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.ends_with("0\r\n\r\n") && !text.contains("content-length: 5"), "{text}");
        wait_until("it is logged", || serving.stderr().contains("it broke off its response"));
    }
    for path in ["/both", "/part", "/garbage"] {
        let (head, _) = Connection::open(serving.address()).get(path);
        assert!(head.starts_with("HTTP/1.1 502 "), "{path}: {head}");
    }
}

#[test]
fn several_upstreams_share_the_requests_and_stand_in_for_one_another() {
    let named = |name: &'static str| {
        Scripted::start(move |peer| {
            while peer.head().is_some() {
                peer.answer(name);
            }
        })
    };
    let (one, two) = (named("one"), named("two"));
    let gone = format!("http://127.0.0.1:{}", free_port());
    for balance in ["round_robin", "least_busy"] {
        let (serving, _folder) = serve(&format!(
            "upstreams = [{gone:?}, {:?}, {:?}]\nbalance = \"{balance}\"\nhealth = {{ max_fails = 2, out_secs = 60 }}",
            one.url(),
            two.url()
        ));
        let mut connection = Connection::open(serving.address());
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..30 {
            *counts.entry(connection.get("/").1).or_insert(0) += 1;
        }
        assert_eq!(counts.keys().collect::<Vec<_>>(), ["one", "two"], "{balance}");
        assert!(counts.values().all(|count| *count >= 13), "{balance}: {counts:?}");
        let log = serving.stderr();
        assert_eq!(log.matches("Connection refused").count(), 2, "{balance}: {log}");
        assert!(log.contains("not used for 60 s"), "{log}");
    }
}

#[test]
fn health_checks_leave_out_who_is_not_well() {
    let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = well.clone();
    let upstream = Scripted::start(move |peer| {
        while let Some(head) = peer.head() {
            let health = head.starts_with("GET /health ");
            if health && !asked.load(SeqCst) {
                peer.write("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
            } else {
                peer.answer("well");
            }
        }
    });
    let (serving, _folder) =
        serve(&format!("{}\n[app.main.health]\npath = \"/health\"\ninterval_secs = 1", to(&[&upstream])));
    wait_until("it is left out", || serving.stderr().contains("health check failed: it responded with 503"));
    let (head, body) = Connection::open(serving.address()).get("/");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: "), "{head}");
    assert!(body.contains("it failed its health check"), "{body}");
    well.store(true, SeqCst);
    wait_until("it is in again", || serving.stderr().contains("healthy again"));
    assert_eq!(get(&serving, "/"), "well");
}

#[test]
fn a_full_upstream_makes_requests_wait() {
    let (sender, go) = channel::<()>();
    let go = std::sync::Mutex::new(go);
    let upstream = Scripted::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("GET /slow") {
                go.lock().unwrap().recv().unwrap();
            }
            peer.answer("done");
        }
    });
    let (serving, _folder) = serve(&format!(
        "{}\npool = {{ max_connections = 1 }}\ntimeouts = {{ queue_secs = 1 }}",
        to(&[&upstream])
    ));
    let address = serving.address().to_owned();
    let slow = std::thread::spawn(move || Connection::open(&address).get("/slow").1);
    wait_until("the slow request is there", || upstream.count() == 1);
    let (head, body) = Connection::open(serving.address()).get("/");
    assert!(
        head.starts_with("HTTP/1.1 503 ") && body.contains("its limit of requests in flight"),
        "{head}{body}"
    );
    let address = serving.address().to_owned();
    let waiting = std::thread::spawn(move || Connection::open(&address).get("/").1);
    sender.send(()).unwrap();
    assert_eq!((slow.join().unwrap(), waiting.join().unwrap()), ("done".into(), "done".into()));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_client_that_goes_takes_the_upstream_request_along() {
    let (sender, closed) = channel();
    let sender = std::sync::Mutex::new(sender);
    let upstream = Scripted::start(move |peer| {
        let head = peer.head().unwrap_or_default();
        if head.starts_with("GET /stream") {
            let piece = [b'x'; 65536];
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while peer.write("10000\r\n") && peer.write(piece) && peer.write("\r\n") {}
        } else {
            peer.wait_for_close();
        }
        sender.lock().unwrap().send(()).unwrap();
    });
    let (serving, _folder) = serve(&to(&[&upstream]));
    for (path, first) in [("/wait", 0), ("/stream", 1000)] {
        let count = upstream.count();
        let mut stream = TcpStream::connect(serving.address()).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        wait_until("the upstream is asked", || upstream.count() == count + 1);
        let mut bytes = vec![0; first];
        stream.read_exact(&mut bytes).unwrap();
        drop(stream);
        closed.recv_timeout(patience()).unwrap();
    }
}

/// The size of a stream of 100 MiB.
const LARGE: usize = 100 << 20;

#[test]
fn large_bodies_stream_both_ways_in_little_memory() {
    let upstream = Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("POST") {
                // However slowly: the client waits, and memory does not grow.
                let mut piece = vec![0; 1 << 20];
                for _ in 0..LARGE >> 20 {
                    peer.0.read_exact(&mut piece).unwrap();
                }
                peer.answer("taken");
            } else {
                peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
                let piece = vec![b'x'; 1 << 20];
                for _ in 0..LARGE >> 20 {
                    peer.write(&piece);
                }
            }
        }
    });
    let (serving, _folder) = serve(&format!(
        "{}\nmiddleware = [\"big\"]\n[middleware.big]\nuse = \"body_limit\"\nmax_bytes = 1000000000",
        to(&[&upstream])
    ));
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    let before = resident_kib(serving.pid());
    let mut most = 0;
    write!(stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
    let piece = vec![b'y'; 1 << 20];
    for _ in 0..LARGE >> 20 {
        stream.write_all(&piece).unwrap();
        most = most.max(resident_kib(serving.pid()));
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"taken") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    write!(stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let (mut total, mut piece) = (0, vec![0; 1 << 20]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        total += count;
        most = most.max(resident_kib(serving.pid()));
    }
    assert!(total > LARGE && total < LARGE + 1000, "{total}");
    let grown = most.saturating_sub(before);
    assert!(grown < 8 * 1024, "grew by {grown} KiB");
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let upstream = Scripted::start(|peer| {
        peer.head();
        peer.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        peer.wait_for_close();
    });
    let (serving, _folder) = serve(&to(&[&upstream]));
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn a_unix_socket_is_an_upstream() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let count = stream.read(&mut head).unwrap();
        assert!(head[..count].starts_with(b"GET /x HTTP/1.1\r\nhost: localhost\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").unwrap();
    });
    let (serving, _folder) = serve(&format!("upstreams = [\"unix:{}\"]", path.display()));
    assert_eq!(get(&serving, "/x"), "unix");
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
            socket.send(message).await.unwrap();
        }
    });
    let options = format!("upstreams = [\"http://127.0.0.1:{port}\"]");
    let (serving, _folder) = tokio::task::spawn_blocking(move || serve(&options)).await.unwrap();
    let url = format!("ws://{}/socket", serving.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for text in ["hello", &"x".repeat(300_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    tokio::time::timeout(patience(), upstream).await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || drop(serving)).await.unwrap();
}

#[test]
fn an_upgrade_that_nobody_asked_for_is_refused() {
    let upstream = Scripted::start(|peer| {
        peer.head();
        peer.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
        peer.wait_for_close();
    });
    let (serving, _folder) = serve(&to(&[&upstream]));
    let (head, _) = Connection::open(serving.address())
        .request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_upstreams_take_requests_side_by_side() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::<AtomicUsize>::default();
    let count = connections.clone();
    let both = Arc::new(tokio::sync::Barrier::new(2));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, SeqCst);
            let both = both.clone();
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let both = both.clone();
                async move {
                    if request.uri().path() == "/together" {
                        both.wait().await;
                    }
                    let version = format!("{:?} {}", request.version(), request.uri());
                    let forwarded = format!("{:?}", request.headers().get("x-forwarded-for"));
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let text = format!("{version} {forwarded} {}", body.len());
                    Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(bytes::Bytes::from(
                        text,
                    ))))
                }
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    let options = format!(
        "upstreams = [\"http://127.0.0.1:{port}\"]\nprotocol = \"http2\"\nhost = \"upstream\"\n\
         health = {{ path = \"/health\" }}"
    );
    let (serving, _folder) = tokio::task::spawn_blocking(move || serve(&options)).await.unwrap();
    let client = reqwest::Client::new();
    let url = serving.url().to_owned();
    let post = client.post(format!("{url}/a?b")).body(vec![b'x'; 300_000]).send().await.unwrap();
    let expected = format!("HTTP/2.0 http://127.0.0.1:{port}/a?b Some(\"127.0.0.1\") 300000");
    assert_eq!(post.text().await.unwrap(), expected);
    let together = || async { client.get(format!("{url}/together")).send().await.unwrap().status() };
    let (one, two) = tokio::join!(together(), together());
    assert!(one.is_success() && two.is_success());
    assert_eq!(connections.load(SeqCst), 1);
    tokio::task::spawn_blocking(move || drop(serving)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_a_mute_http2_upstream_do_not_add_up() {
    // The kernel accepts connections, but nobody answers on them.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = format!(
        "upstreams = [\"https://{}\"]\nprotocol = \"http2\"\ntimeouts = {{ connect_secs = 2 }}",
        mute.local_addr().unwrap()
    );
    let (serving, _folder) = tokio::task::spawn_blocking(move || serve(&options)).await.unwrap();
    let client = reqwest::Client::new();
    let begun = Instant::now();
    let requests: Vec<_> = (0..30).map(|_| tokio::spawn(client.get(serving.url()).send())).collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status(), 504);
    }
    // One after the other would take sixty seconds.
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    tokio::task::spawn_blocking(move || drop(serving)).await.unwrap();
}

#[test]
fn an_upstream_hands_a_file_off_and_a_client_cannot() {
    let upstream = Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            let field = match head.split(' ').nth(1).unwrap() {
                "/report" => {
                    "X-Accel-Redirect: /protected/a%20b.txt\r\nContent-Type: text/x-report\r\n\
                              Content-Disposition: attachment\r\nSet-Cookie: a=b\r\nETag: \"mine\"\r\n"
                }
                "/raw" => "X-Accel-Redirect: /protected/a b.txt\r\n",
                "/utf8" => "X-Accel-Redirect: /protected/Größe 100%.txt\r\n",
                "/utf8-encoded" => "X-Accel-Redirect: /protected/Gr%C3%B6%C3%9Fe%20100%25.txt\r\n",
                "/climb" => "X-Accel-Redirect: /protected/../server.toml\r\n",
                "/other" => "X-Accel-Redirect: /elsewhere/a.txt\r\n",
                _ => "X-Plain: 1\r\n",
            };
            peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{field}\r\nnone"));
        }
    });
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"proxy\"\n{}\n\
         hand_off = {{ \"/protected\" = \"files\" }}\n[app.files]\nuse = \"static\"\npublish_dir = \"private\"\n",
        to(&[&upstream])
    );
    let folder = folder(&[
        ("server.toml", &config),
        ("private/a b.txt", "0123456789"),
        ("private/Größe 100%.txt", "measured"),
    ]);
    let serving = Serving::start(folder.path(), &[]);
    let mut connection = Connection::open(serving.address());
    let (head, body) = connection.get("/report");
    assert_eq!(body, "0123456789", "{head}");
    for field in ["content-type: text/x-report", "content-disposition: attachment", "set-cookie: a=b"] {
        assert!(head.contains(field), "{head}");
    }
    assert!(!head.contains("x-accel-redirect") && !head.contains("\"mine\""), "{head}");
    let (head, body) = connection.request("GET /report HTTP/1.1\r\nHost: a\r\nRange: bytes=2-4\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 206 ") && body == "234", "{head}{body}");
    for (path, expected) in [("/raw", "0123456789"), ("/utf8", "measured"), ("/utf8-encoded", "measured")] {
        let (head, body) = connection.get(path);
        assert_eq!(body, expected, "{path}: {head}");
    }
    for (path, reason) in
        [("/climb", "it contains a dot segment"), ("/other", "no prefix of `hand_off` matches it")]
    {
        let (head, _) = connection.get(path);
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        wait_until("the log has the reason", || serving.stderr().contains(reason));
    }
    let forged = "GET /plain HTTP/1.1\r\nHost: a\r\nX-Accel-Redirect: /protected/a%20b.txt\r\n\r\n";
    assert_eq!(connection.request(forged).1, "none");
    assert_eq!(connection.get("/protected/a%20b.txt").1, "none", "no route leads there");
}

#[test]
fn nginx_is_an_upstream_that_may_be_killed_and_comes_back() {
    let place = folder(&[("www/a.txt", "from nginx")]);
    let start = |port: u16| {
        let config = format!(
            "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\nevents {{}}\nhttp {{\n\
             access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;\n\
             uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;\n\
             server {{ listen 127.0.0.1:{port}; root {dir}/www; }}\n}}\n",
            dir = place.path().display()
        );
        let file = place.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut nginx = Program::start(Command::new("nginx").arg("-c").arg(file).arg("-p").arg(place.path()));
        nginx.wait_for_port(port).then_some(nginx)
    };
    let (port, nginx) =
        (0..10).find_map(|_| Some(free_port()).and_then(|port| Some((port, start(port)?)))).unwrap();
    let (serving, _folder) = serve(&format!("upstreams = [\"http://127.0.0.1:{port}\"]"));
    let mut connection = Connection::open(serving.address());
    for _ in 0..3 {
        let (head, body) = connection.get("/a.txt");
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "from nginx", "{head}{body}");
    }
    drop(nginx);
    let (head, _) = connection.get("/a.txt");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    let _nginx = start(port).expect("the port is still free");
    assert_eq!(connection.get("/a.txt").1, "from nginx");
}

#[test]
fn tls_upstreams_are_believed_by_their_certificate() {
    let certified = rcgen::generate_simple_self_signed(vec!["up.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config = config.clone();
            std::thread::spawn(move || {
                let session = rustls::ServerConnection::new(config).unwrap();
                let mut stream = rustls::StreamOwned::new(session, stream);
                let mut head = [0; 4096];
                while let Ok(1..) = stream.read(&mut head) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").unwrap();
                }
            });
        }
    });
    let place = folder(&[("ca.pem", &certified.cert.pem())]);
    let ca = place.path().join("ca.pem");
    let upstream = format!("upstreams = [\"https://127.0.0.1:{port}\"]");
    let (serving, _folder) =
        serve(&format!("{upstream}\ntls = {{ ca_file = {ca:?}, server_name = \"up.example\" }}"));
    let mut connection = Connection::open(serving.address());
    for _ in 0..2 {
        assert_eq!(connection.get("/").1, "secret");
    }
    drop(serving);
    for wrong in
        [format!("tls = {{ ca_file = {ca:?} }}"), "tls = { server_name = \"up.example\" }".to_owned()]
    {
        let (serving, _folder) = serve(&format!("{upstream}\n{wrong}"));
        let (head, _) = Connection::open(serving.address()).get("/");
        assert!(head.starts_with("HTTP/1.1 502 "), "{wrong}: {head}");
        wait_until("it is logged", || serving.stderr().contains("certificate"));
    }
}

#[test]
fn idle_connections_are_closed() {
    let (sender, closed) = channel();
    let sender = std::sync::Mutex::new(sender);
    let upstream = Scripted::start(move |peer| {
        while peer.head().is_some() {
            peer.write("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 2\r\n\r\nok");
        }
        sender.lock().unwrap().send(Instant::now()).unwrap();
    });
    let (serving, _folder) = serve(&to(&[&upstream]));
    assert_eq!(get(&serving, "/"), "ok");
    closed.recv_timeout(patience()).unwrap();
    assert_eq!(get(&serving, "/"), "ok");
    assert_eq!(upstream.count(), 2);
}

#[test]
fn the_pool_keeps_as_many_and_as_long_as_stated() {
    let (sender, closed) = channel();
    let sender = std::sync::Mutex::new(sender);
    let upstream = Scripted::start(move |peer| {
        let mut path = String::new();
        while let Some(head) = peer.head() {
            path = head.split(' ').nth(1).unwrap().to_owned();
            peer.answer("ok");
        }
        let _ = sender.lock().unwrap().send(path);
    });
    let url = upstream.url();
    let app = |name: &str, pool: &str| {
        format!(
            "[app.{name}]\nuse = \"proxy\"\nupstreams = [\"{url}\"]\nprefix = \"keep\"\npool = {{ {pool} }}\n"
        )
    };
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n\
                  routes = { \"/none\" = \"none\", \"/short\" = \"short\", \"/long\" = \"long\" }\n"
        .to_owned()
        + &app("none", "max_idle = 0")
        + &app("short", "idle_secs = 1")
        + &app("long", "max_idle = 1, idle_secs = 3600");
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    for (path, connections) in [("/none", 2), ("/long", 1), ("/short", 1)] {
        let before = upstream.count();
        for _ in 0..2 {
            assert_eq!(get(&serving, path), "ok");
        }
        assert_eq!(upstream.count() - before, connections, "{path}");
    }
    let ended: Vec<_> = (0..3).map(|_| closed.recv_timeout(patience()).unwrap()).collect();
    assert_eq!(ended, ["/none", "/none", "/short"]);
}

#[test]
fn failures_count_together_within_their_window() {
    for (window, is_out) in [(1, false), (3600, true)] {
        let bad = Scripted::start(|peer| drop(peer.head()));
        let good = Scripted::start(|peer| while peer.head().is_some() && peer.answer("ok") {});
        let health = format!("[app.main.health]\nmax_fails = 2\nout_secs = 3600\nwindow_secs = {window}\n");
        let (serving, _folder) = serve(&format!("{}\n{health}", to(&[&bad, &good])));
        let fail = |count: usize| {
            wait_until("the failing one is asked", || {
                assert_eq!(get(&serving, "/"), "ok");
                bad.count() >= count
            });
        };
        fail(1);
        let first = Instant::now();
        wait_until("the window is over", || first.elapsed() > Duration::from_millis(1200));
        fail(2);
        match is_out {
            true => wait_until("it is left out", || serving.stderr().contains("not used for 3600 s")),
            false => fail(3), // it is still asked
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_websocket_is_closed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    let options = format!("upstreams = [\"http://127.0.0.1:{port}\"]\nwebsocket_idle_secs = 1");
    let (serving, _folder) = tokio::task::spawn_blocking(move || serve(&options)).await.unwrap();
    let url = format!("ws://{}/socket", serving.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    tokio::time::timeout(patience(), async { while let Some(Ok(_)) = socket.next().await {} }).await.unwrap();
    tokio::time::timeout(patience(), upstream).await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || drop(serving)).await.unwrap();
}

#[test]
fn a_redirect_to_the_clients_own_host_stays_below_the_mount() {
    let upstream = Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
            peer.write(format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{host}/there\r\nContent-Length: 0\r\n\r\n"
            ));
        }
    });
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n\
         routes = {{ \"/api\" = \"api\" }}\n[app.api]\nuse = \"proxy\"\nupstreams = [\"{}\"]\n",
        upstream.url()
    );
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    for (host, own) in [("Example.org:81", "example.org:81"), ("[::1]:81", "[::1]:81"), ("a", "a")] {
        let head = format!("GET /api/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (head, _) = Connection::open(serving.address()).request(&head);
        assert!(head.contains(&format!("\r\nlocation: http://{own}/api/there\r\n")), "{head}");
    }
}

#[test]
fn wrong_options_are_named() {
    let config = "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"proxy\"\n\
                  upstreams = [\"ftp://a\", \"http://a:0\"]\nhost = \"a b\"\nhealth = { path = \"x\" }\n\
                  hand_off = { \"/a/../b\" = \"main2\" }\ntls = { ca_file = \"none.pem\" }\n";
    let folder = folder(&[("server.toml", config)]);
    let output = crate::support::paster().arg("check").current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "`ftp://a` is not the address of an upstream: `ftp` is not supported",
        "its port is not from 1 to 65535",
        "`a b` is not a host",
        "it is not a path",
        "`/a/../b` is not a prefix for `X-Accel-Redirect`",
        "unknown app `main2`",
        "cannot read the authorities' certificates",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert_eq!(output.status.code(), Some(78));
}
