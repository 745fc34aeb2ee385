//! HTTPS: names, versions, client certificates, limits, resumption, and successive generations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use paster::body::{App, Body, Request, Response};
use paster::environ::{ClientCertificate, Environ, RemoteUser};
use paster::server::control::Phase;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use crate::inprocess::{
    Running, ask, echo, read_response, read_to_end, says, server, try_read_response, within,
};
use crate::pki::{Authority, connect, try_connect};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The table for one certificate for `localhost`, and its authority.
fn table(folder: &std::path::Path, more: &str) -> (Authority, String) {
    let authority = Authority::new("test");
    let pair = authority.pair(folder, "localhost", &["localhost"]);
    (authority, format!("[server.main.tls]\ncertificates = [{}]\n{more}", pair.item()))
}

/// Responds with the facts about the connection.
fn facts() -> App {
    App::from_fn(|request: Request| async move {
        let environ = request.extensions().get::<Environ>().unwrap();
        let user = request.extensions().get::<RemoteUser>().map_or("-", |user| &user.name);
        let certificate = request.extensions().get::<Arc<ClientCertificate>>();
        let subject = certificate.map_or("-", |certificate| &certificate.subject);
        Response::new(Body::from(format!(
            "{:?} secure={} {user} {subject}",
            request.version(),
            environ.secure
        )))
    })
}

type Sender<B> = hyper::client::conn::http2::SendRequest<B>;

async fn http2(client: &TlsConnector, address: &str) -> Sender<Empty<bytes::Bytes>> {
    let stream = connect(client, address, "localhost").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask_http2(sender: &mut Sender<Empty<bytes::Bytes>>) -> Result<String, hyper::Error> {
    sender.ready().await?;
    let request = http::Request::get("https://localhost/").body(Empty::new()).unwrap();
    let body = sender.send_request(request).await?.into_body().collect().await?;
    Ok(String::from_utf8(body.to_bytes().into()).unwrap())
}

#[tokio::test]
async fn the_client_chooses_the_version_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "");
    let running = Running::start(&table, facts());
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = connect(&authority.client(protocols, None), running.address(), "localhost").await;
        assert_eq!(ask(&mut stream, GET).await.1, "HTTP/1.1 secure=true - -");
        assert_eq!(ask(&mut stream, GET).await.1, "HTTP/1.1 secure=true - -", "kept alive");
    }
    let mut sender = http2(&authority.client(&["h2", "http/1.1"], None), running.address()).await;
    assert_eq!(ask_http2(&mut sender).await.unwrap(), "HTTP/2.0 secure=true - -");
    let odd = try_connect(&authority.client(&["spdy/3"], None), running.address(), "localhost").await;
    assert!(odd.unwrap_err().to_string().contains("NoApplicationProtocol"), "RFC 7301 section 3.2");
    running.end().await;
}

#[tokio::test]
async fn the_name_chooses_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("test");
    let pairs = [
        authority.pair(folder.path(), "default", &["default.example", "127.0.0.1"]),
        authority.pair(folder.path(), "star", &["*.example.org"]),
        authority.pair(folder.path(), "exact", &["example.org", "deep.www.example.org"]),
    ];
    let items: Vec<String> = pairs.iter().map(crate::pki::Pair::item).collect();
    let table = format!("[server.main.tls]\ncertificates = [{}]", items.join(", "));
    let running = Running::start(&table, says("hello"));
    let client = authority.client(&[], None);
    for name in
        ["example.org", "www.example.org", "WWW.EXAMPLE.ORG", "deep.www.example.org", "default.example"]
    {
        let mut stream = connect(&client, running.address(), name).await;
        assert_eq!(ask(&mut stream, GET).await.1, "hello", "{name}");
    }
    // An address is not a server name, so the first certificate is used.
    connect(&client, running.address(), "127.0.0.1").await;
    let unknown = try_connect(&client, running.address(), "other.example").await.unwrap_err().to_string();
    assert!(unknown.contains("not valid for name") && unknown.contains("default.example"), "{unknown}");
    running.end().await;
}

#[tokio::test]
async fn a_request_must_be_for_the_host_of_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("test");
    let pair = authority.pair(folder.path(), "hosts", &["a.example", "b.example", "127.0.0.1"]);
    let table = |more: &str| format!("[server.main.tls]\ncertificates = [{}]\n{more}", pair.item());
    let clients = authority.file(folder.path());
    let certificates = format!("client_certificates = \"optional\"\nclient_ca_file = {clients:?}");
    let client = authority.client(&[], None);
    let status = async |running: &Running, named: &str, host: &str| {
        let mut stream = connect(&client, running.address(), named).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await.split(' ').nth(1).unwrap().to_owned()
    };
    for (more, strict) in [
        ("strict_sni_host = true", true),
        (&*certificates, true),
        (&*format!("{certificates}\nstrict_sni_host = false"), false),
        ("", false),
    ] {
        let running = Running::start(&table(more), says("hello"));
        for (named, host, fits) in [
            ("a.example", "a.example", true),
            ("a.example", "A.Example:8443", true),
            ("a.example", "b.example", false),
            ("a.example", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "a.example", false),
        ] {
            let expected = if fits || !strict { "200" } else { "421" };
            assert_eq!(status(&running, named, host).await, expected, "{more:?}: {named} {host}");
        }
        running.end().await;
    }
}

#[tokio::test]
async fn old_versions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "min_version = \"1.3\"");
    let running = Running::start(&table, says("hello"));
    let old = authority.client_with(&[], None, &[&rustls::version::TLS12]);
    let refused = try_connect(&old, running.address(), "localhost").await.unwrap_err().to_string();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
    connect(&authority.client(&[], None), running.address(), "localhost").await;
    running.end().await;
    let (authority, table) = self::table(folder.path(), "");
    let running = Running::start(&table, says("hello"));
    let old = authority.client_with(&[], None, &[&rustls::version::TLS12]);
    let mut stream = connect(&old, running.address(), "localhost").await;
    assert_eq!(ask(&mut stream, GET).await.1, "hello");
    running.end().await;
}

#[tokio::test]
async fn clients_are_known_by_their_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let clients = Authority::new("clients");
    let ada = clients.pair(folder.path(), "ada", &["ada"]);
    let strangers = Authority::new("clients");
    let eve = strangers.pair(folder.path(), "eve", &["ada"]);
    let file = clients.file(folder.path());
    for kind in ["required", "optional"] {
        let more = format!("client_certificates = \"{kind}\"\nclient_ca_file = \"{}\"", file.display());
        let (authority, table) = table(folder.path(), &more);
        let running = Running::start(&table, facts());
        // Fields have no effect.
        let claim = "GET / HTTP/1.1\r\nHost: localhost\r\nRemote-User: root\r\nX-Forwarded-User: root\r\n\
                     X-SSL-Client-S-DN: CN=root\r\n\r\n";
        let mut stream = connect(&authority.client(&[], Some(&ada)), running.address(), "localhost").await;
        assert_eq!(ask(&mut stream, claim).await.1, "HTTP/1.1 secure=true ada O=Example,CN=ada");
        let mut sender = http2(&authority.client(&["h2"], Some(&ada)), running.address()).await;
        assert_eq!(ask_http2(&mut sender).await.unwrap(), "HTTP/2.0 secure=true ada O=Example,CN=ada");
        // In TLS 1.3 a client learns only after its own handshake that it is refused.
        let client = authority.client(&[], Some(&eve));
        if let Ok(mut stream) = try_connect(&client, running.address(), "localhost").await {
            let _ = stream.write_all(claim.as_bytes()).await;
            assert!(try_response(&mut stream).await.is_none(), "another authority of the same name");
        }
        let client = authority.client(&[], None);
        let answer = match try_connect(&client, running.address(), "localhost").await {
            Err(_) => None,
            Ok(mut stream) => {
                let _ = stream.write_all(claim.as_bytes()).await;
                try_response(&mut stream).await
            }
        };
        match kind {
            "required" => assert_eq!(answer, None),
            _ => assert_eq!(answer.unwrap(), "HTTP/1.1 secure=true - -"),
        }
        running.end().await;
    }
}

/// The body of a response; `None` if there is none.
async fn try_response(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut first = [0];
    match within(stream.read(&mut first)).await {
        Ok(1) => {
            let mut rest = (&first[..]).chain(stream);
            try_read_response(&mut rest).await.map(|(_, body)| body)
        }
        _ => None,
    }
}

#[tokio::test]
async fn bodies_of_any_size_pass_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "");
    let long = vec![b'x'; 5 << 20];
    let answer = long.clone();
    let app = App::from_fn(move |request: Request| {
        let answer = answer.clone();
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), answer.len());
            Response::new(Body::from(answer))
        }
    });
    let running = Running::start(&table, app);
    let mut stream = connect(&authority.client(&[], None), running.address(), "localhost").await;
    for _ in 0..3 {
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", long.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&long).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(read_response(&mut stream).await.1.len(), long.len());
    }
    let stream = connect(&authority.client(&["h2"], None), running.address(), "localhost").await;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let body = Full::new(bytes::Bytes::from(long.clone()));
    let response = sender.send_request(http::Request::post("https://localhost/").body(body).unwrap()).await;
    assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes().len(), long.len());
    drop(sender);
    running.end().await;
}

#[tokio::test]
async fn a_slow_handshake_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "handshake_timeout_secs = 1");
    let running = Running::start(&format!("max_connections = 2\n{table}"), says("hello"));
    let mut silent = running.connect().await;
    let mut partial = running.connect().await;
    // The header of a handshake record that does not come.
    partial.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    running.wait_for_connections(2).await;
    // Both count: one is closed to make room for a third client, the other is cut by its limit.
    let mut stream = connect(&authority.client(&[], None), running.address(), "localhost").await;
    assert_eq!(ask(&mut stream, GET).await.1, "hello");
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut partial).await, "");
    running.end().await;
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, table) = table(folder.path(), "");
    let running = Running::start(&table, says("hello"));
    let answer = running.exchange(GET.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("use https://\n"), "{answer}");
    let length: usize =
        answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), length);
    assert_eq!(running.exchange(b"\0\0\0\0").await, "");
    assert!(!running.exchange(b"\x16\x03\x01\x00\x01\x00").await.contains("HTTP"));
    running.end().await;
}

#[tokio::test]
async fn a_session_is_resumed_by_the_next_generation() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = authority.client_with(&[], None, &[version]);
        let first = Running::start(&table, says("first"));
        let mut stream = connect(&client, first.address(), "localhost").await;
        assert_eq!(ask(&mut stream, GET).await.1, "first");
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        let sockets = first.sockets;
        first.phase.send(Phase::Draining { until: tokio::time::Instant::now() }).unwrap();
        within(first.task).await.unwrap();
        let second = Running::on(server(&table), sockets, says("second"));
        let mut stream = connect(&client, second.address(), "localhost").await;
        assert_eq!(ask(&mut stream, GET).await.1, "second");
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        second.end().await;
    }
}

#[tokio::test]
async fn a_resumed_client_is_known_and_other_rules_end_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let clients = Authority::new("clients");
    let ada = clients.pair(folder.path(), "ada", &["ada"]);
    let others = Authority::new("others").file(folder.path());
    let others = std::fs::read_to_string(others).unwrap();
    let file = clients.file(folder.path());
    let more = format!("client_certificates = \"required\"\nclient_ca_file = \"{}\"", file.display());
    let (authority, table) = table(folder.path(), &more);
    let client = authority.client(&[], Some(&ada));
    let running = Running::start(&table, facts());
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = connect(&client, running.address(), "localhost").await;
        assert_eq!(ask(&mut stream, GET).await.1, "HTTP/1.1 secure=true ada O=Example,CN=ada");
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
    }
    running.end().await;
    std::fs::write(&file, others).unwrap();
    let running = Running::start(&table, facts());
    if let Ok(mut stream) = try_connect(&client, running.address(), "localhost").await {
        let _ = stream.write_all(GET.as_bytes()).await;
        assert_eq!(try_response(&mut stream).await, None, "her authority is no longer trusted");
    }
    running.end().await;
}

#[tokio::test]
async fn a_retired_generation_answers_once_more_and_says_close() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "");
    let running = Running::start(&table, says("old"));
    let client = authority.client(&[], None);
    let mut used = connect(&client, running.address(), "localhost").await;
    ask(&mut used, GET).await;
    let mut fresh = connect(&client, running.address(), "localhost").await;
    let mut sender = http2(&authority.client(&["h2"], None), running.address()).await;
    assert_eq!(ask_http2(&mut sender).await.unwrap(), "old");
    running.wait_for_connections(3).await;
    let (running, ended) = running.next(&table, says("new"));
    for stream in [&mut used, &mut fresh] {
        let (head, body) = ask(stream, GET).await;
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(body, "old");
        // The end is announced, so that it is not a truncation.
        assert_eq!(within(stream.read(&mut [0])).await.unwrap(), 0);
    }
    // HTTP/2 gets a GOAWAY, and announces it before a request is lost.
    within(async { while ask_http2(&mut sender).await.is_ok() {} }).await;
    assert!(sender.is_closed());
    within(ended).await.unwrap();
    let mut stream = connect(&client, running.address(), "localhost").await;
    assert_eq!(ask(&mut stream, GET).await.1, "new");
    running.end().await;
}

#[tokio::test]
async fn a_request_in_flight_ends_with_close() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "");
    let (go, started) = <(Arc<Notify>, Arc<Notify>)>::default();
    let (wait, begun) = (go.clone(), started.clone());
    let app = App::from_fn(move |_| {
        let (wait, begun) = (wait.clone(), begun.clone());
        async move {
            begun.notify_one();
            wait.notified().await;
            Response::new(Body::from("old"))
        }
    });
    let running = Running::start(&table, app);
    let mut stream = connect(&authority.client(&[], None), running.address(), "localhost").await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    within(started.notified()).await;
    let (running, ended) = running.next(&table, says("new"));
    let mut new = connect(&authority.client(&[], None), running.address(), "localhost").await;
    assert_eq!(ask(&mut new, GET).await.1, "new");
    go.notify_one();
    let (head, body) = read_response(&mut stream).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "old");
    within(ended).await.unwrap();
    running.end().await;
}

/// The whole body of a response of h2. Its own client, because hyper's fails a request that it has sent, if GOAWAY arrives at that
/// moment, although the server responds to it.
async fn body_of(response: h2::client::ResponseFuture) -> Result<String, h2::Error> {
    let mut body = response.await?.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data?);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_over_generations() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "");
    // What an application has started must get a response; anything else may be sent again.
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = || {
        let (begun, echo) = (begun.clone(), echo());
        App::from_call(move |request| {
            begun.fetch_add(1, Relaxed);
            echo.handle(request)
        })
    };
    let mut running = Running::start(&table, counted());
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, address) = (authority.client(&["http/1.1"], None), running.address().to_owned());
        let (stop, answered) = (stop.clone(), answered.clone());
        clients.spawn(async move {
            while !stop.load(Relaxed) {
                let mut stream = connect(&client, &address, "localhost").await;
                loop {
                    let post = "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
                    let (head, body) = ask(&mut stream, post).await;
                    assert_eq!(body, "POST /a 5");
                    answered.fetch_add(1, Relaxed);
                    if head.contains("connection: close") || stop.load(Relaxed) {
                        break;
                    }
                }
            }
        });
    }
    for _ in 0..2 {
        let (client, address) = (authority.client(&["h2"], None), running.address().to_owned());
        let (stop, answered) = (stop.clone(), answered.clone());
        clients.spawn(async move {
            while !stop.load(Relaxed) {
                let stream = connect(&client, &address, "localhost").await;
                let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                while !stop.load(Relaxed) {
                    // The connection is closed, or the server has sent GOAWAY: nothing is sent.
                    let Ok(ready) = sender.ready().await else { break };
                    sender = ready;
                    let request = http::Request::get("https://localhost/").body(()).unwrap();
                    let Ok((response, _)) = sender.send_request(request, true) else { break };
                    match body_of(response).await {
                        Ok(body) => assert_eq!(body, "GET / 0"),
                        // RFC 9113 section 6.8: a stream above GOAWAY's was not started, and may be sent
                        // again.
                        Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                            break;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                    answered.fetch_add(1, Relaxed);
                }
            }
        });
    }
    for round in 1..=20 {
        let wanted = answered.load(Relaxed) + 30;
        crate::inprocess::wait_until(|| answered.load(Relaxed) >= wanted).await;
        let ended;
        (running, ended) = running.next(&table, counted());
        within(ended).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    stop.store(true, Relaxed);
    while let Some(client) = within(clients.join_next()).await {
        client.unwrap();
    }
    assert_eq!(answered.load(Relaxed), begun.load(Relaxed));
    running.end().await;
}

#[tokio::test]
async fn plain_clients_are_led_to_https() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, table) = table(folder.path(), "");
    let running = Running::start(&format!("redirect_http = \"127.0.0.1:0\"\n{table}"), facts());
    let port = running.address().rsplit_once(':').unwrap().1.to_owned();
    let mut plain = tokio::net::TcpStream::connect(&running.addresses[1]).await.unwrap();
    let post = "POST /a%20b?c=d HTTP/1.1\r\nHost: Example.org:80\r\nContent-Length: 1\r\n\r\nx";
    let (head, _) = ask(&mut plain, post).await;
    assert!(head.starts_with("HTTP/1.1 308 "), "{head}");
    assert!(head.contains(&format!("location: https://example.org:{port}/a%20b?c=d\r\n")), "{head}");
    let (head, _) = ask(&mut plain, "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 308 "), "no challenge is waited for: {head}");
    let mut stream = connect(&authority.client(&[], None), running.address(), "localhost").await;
    assert_eq!(ask(&mut stream, GET).await.1, "HTTP/1.1 secure=true - -");
    // The plain connection is handed over, and the next generation redirects it.
    let (running, _) = running.next(&format!("redirect_http = \"127.0.0.1:0\"\n{table}"), facts());
    let (head, _) = ask(&mut plain, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 308 ") && !head.contains("close"), "{head}");
    running.end().await;
}
