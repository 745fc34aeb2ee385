//! The plugin border, with real libraries: streams, upgrades, cancellation, panics, and files that are not
//! libraries.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use paster::body::{App, Body, Request};
use paster::context::Context;
use paster::environ::{ClientCertificate, Environ, RemoteUser, RequestId};
use paster::plugin::{CallError, Instance, Library};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::inprocess::within;
use crate::support::{patience, plugin, root};

/// What the host's log received, one JSON object per line.
static LOG: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());

struct LogWriter;

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Loads a plugin. Its events and panics go to [`LOG`]; it reads the log's level when its first app is
/// created.
pub(crate) fn library(name: &str) -> Library {
    static LOGGED: std::sync::Once = std::sync::Once::new();
    LOGGED.call_once(|| {
        let log = tracing_subscriber::fmt().json().with_max_level(tracing::Level::INFO);
        let _ = log.with_writer(|| LogWriter).try_init();
    });
    Library::load(&plugin(name)).unwrap()
}

pub(crate) fn instance(name: &str, settings: Value) -> Instance {
    let library = library(name);
    Instance::create(&library, "main", &settings, &Context::alone(true)).unwrap()
}

fn get(path: &str) -> Request {
    Request::new(Body::empty()).map_uri(path)
}

trait MapUri {
    fn map_uri(self, path: &str) -> Self;
}

impl MapUri for Request {
    fn map_uri(mut self, path: &str) -> Request {
        *self.uri_mut() = path.parse().unwrap();
        self
    }
}

async fn text(app: &App, path: &str) -> String {
    let body = app.handle(get(path)).await.unwrap().into_body();
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json_of(app: &App, path: &str) -> Value {
    serde_json::from_str(&text(app, path).await).unwrap()
}

/// Serves `app` with plain hyper on a port that the system chooses, until the test's runtime ends.
pub(crate) async fn serve(app: App) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_on(stream, app.clone()));
        }
    });
    address
}

/// The same on one connection.
async fn serve_on(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, app: App) {
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answer = app.handle(request.map(Body::new));
        async move { answer.await.map_err(std::io::Error::other) }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await; // it may break off
}

/// Waits until `check` is true for the faulty plugin's counters.
async fn until(app: &App, what: &str, check: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + patience();
    loop {
        let counters = json_of(app, "/counters").await;
        if check(&counters) {
            return counters;
        }
        assert!(Instant::now() < end, "{what}: {counters}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_says_what_its_settings_say() {
    let app = instance("hello", json!({})).app();
    let response = app.handle(get("/")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.headers()["content-length"], "13");
    assert_eq!(text(&app, "/").await, "Hello, world!");
    assert_eq!(app.handle(get("/nothing")).await.unwrap().status(), 404);
    let json = text(&app, "/json").await;
    assert!((9_000..11_000).contains(&json.len()), "{}", json.len());
    let other = instance("hello", json!({ "greeting": "" })).app();
    assert_eq!(text(&other, "/").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways() {
    let app = instance("hello", json!({})).app();
    let address = serve(app.clone()).await;
    let client = reqwest::Client::new();
    let url = format!("http://{address}");
    let streamed = client.get(format!("{url}/stream?bytes=3000001")).send().await.unwrap();
    assert_eq!(streamed.bytes().await.unwrap().len(), 3_000_001);

    let mut sent = Sha256::new();
    let pieces: Vec<Bytes> = (0..200_u8).map(|n| Bytes::from(vec![n; 10_007 + usize::from(n)])).collect();
    pieces.iter().for_each(|piece| sent.update(piece));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces.map_ok()));
    let answer = client.post(format!("{url}/echo")).body(body).send().await.unwrap();
    let mut received = Sha256::new();
    let mut stream = answer.bytes_stream();
    while let Some(piece) = within(stream.next()).await {
        received.update(piece.unwrap());
    }
    assert_eq!(received.finalize(), sent.finalize());
}

trait MapOk {
    fn map_ok(self) -> Vec<Result<Bytes, std::convert::Infallible>>;
}

impl MapOk for Vec<Bytes> {
    fn map_ok(self) -> Vec<Result<Bytes, std::convert::Infallible>> {
        self.into_iter().map(Ok).collect()
    }
}

/// A body crosses without a copy: what the echo sends back has the same address as the request's body.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_not_copied() {
    let app = instance("hello", json!({})).app();
    let sent = Bytes::from(vec![1; 1 << 20]);
    let mut request = Request::new(sent.clone().into()).map_uri("/echo");
    *request.method_mut() = http::Method::POST;
    let mut body = app.handle(request).await.unwrap().into_body();
    let back = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((back.as_ptr(), back.len()), (sent.as_ptr(), sent.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_wait_for_the_plugins_own_runtime() {
    let app = instance("faulty", json!({})).app();
    assert_eq!(text(&app, "/pending").await, "head 0 head 1 head 2 ");
    // Also polled by a task that runs on another thread than the caller's.
    let task = tokio::spawn(async move { text(&app, "/pending").await });
    assert_eq!(task.await.unwrap(), "head 0 head 1 head 2 ");
}

/// A body is only polled as its client reads. Everything runs on one thread, in turns, so no waiting is
/// needed to see that it stops.
#[tokio::test]
async fn an_unread_body_stops() {
    const HOLDS: usize = 64 << 10;
    let app = instance("faulty", json!({})).app();
    let (mut client, server) = tokio::io::duplex(HOLDS);
    tokio::spawn(serve_on(server, app.clone()));
    client.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut read, mut piece) = (0, vec![0; HOLDS]);
    for _ in 0..10 {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let produced = json_of(&app, "/counters").await["produced"].as_u64().unwrap();
        // What is buffered in between: the pipe, and hyper's buffer.
        assert!(
            produced > read && produced <= read + (1 << 20),
            "{produced} bytes for {read} that were read"
        );
        for _ in 0..32 {
            read += within(client.read(&mut piece)).await.unwrap() as u64;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_noticed() {
    let app = instance("faulty", json!({})).app();
    let address = serve(app.clone()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let before = until(&app, "it waits", |counters| counters["started"] != counters["dropped"]).await;
    drop(stream);
    until(&app, "the app is told", |counters| counters["dropped"] == before["started"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_cross_both_ways() {
    let app = instance("faulty", json!({})).app();
    let mut map = http::HeaderMap::new();
    map.insert("x-sum", http::HeaderValue::from_static("42"));
    let frames = [http_body::Frame::data(Bytes::from_static(b"data")), http_body::Frame::trailers(map)];
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, std::io::Error>))));
    let mut request = Request::new(body).map_uri("/trailers");
    *request.method_mut() = http::Method::POST;
    let answer = app.handle(request).await.unwrap().into_body().collect().await.unwrap();
    let trailers = answer.trailers().unwrap().clone();
    assert_eq!(answer.to_bytes(), "data");
    assert_eq!((&trailers["x-sum"], &trailers["x-seen"]), (&"42".parse().unwrap(), &"yes".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_and_counted() {
    let instance = instance("faulty", json!({}));
    let app = instance.app();
    let error = app.handle(get("/panic")).await.unwrap_err();
    let error = error.downcast::<CallError>().unwrap();
    assert_eq!((error.to_string().as_str(), error.panicked), ("panicked: a handler fell", true));
    for (path, reason, pieces, panics) in [
        ("/panic-first", "panicked: a body fell", 0, 2),
        ("/panic-later", "panicked: a body fell", 1, 3),
        ("/break-off", "the disk is gone", 1, 3),
    ] {
        let mut body = app.handle(get(path)).await.unwrap().into_body();
        for _ in 0..pieces {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a piece");
        }
        assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), reason, "{path}");
        assert!(body.frame().await.is_none());
        assert_eq!(instance.counters()["panics"], panics, "{path}");
    }
    assert_eq!(text(&app, "/pending").await, "head 0 head 1 head 2 ", "the library lives on");
}

/// A chunked response whose body panics is left unfinished, so that the client does not take it as complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_body_leaves_a_chunked_answer_unfinished() {
    let app = instance("faulty", json!({})).app();
    let address = serve(app).await;
    for path in ["/panic-first", "/panic-later", "/break-off"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The connection may end with a reset. What came before counts.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.is_empty() || answer.contains("transfer-encoding: chunked"), "{answer}");
        assert!(!answer.contains("\r\n0\r\n"), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_echoes_in_order() {
    let app = instance("hello", json!({})).app();
    let address = serve(app).await;
    let (mut socket, response) =
        tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    assert_eq!(response.status(), 101);
    for size in [0_usize, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let message = tokio_tungstenite::tungstenite::Message::binary(vec![7; size]);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    within(async { while let Some(Ok(_)) = socket.next().await {} }).await;

    // An upgrade that the request did not offer is refused, as in process.
    let response = reqwest::get(format!("http://{address}/ws")).await.unwrap();
    assert_eq!(response.status(), 426);
}

#[tokio::test(flavor = "multi_thread")]
async fn web_sockets_are_told_to_come_back_when_the_generation_ends() {
    let instance = instance("hello", json!({}));
    let address = serve(instance.app()).await;
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let message = tokio_tungstenite::tungstenite::Message::text("one");
    sink.send(message.clone()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), message);
    // One that keeps sending is told too.
    let sending = tokio::spawn(async move { while sink.send(message.clone()).await.is_ok() {} });
    instance.shutdown();
    let code = within(async {
        loop {
            match stream.next().await.unwrap().unwrap() {
                tokio_tungstenite::tungstenite::Message::Close(frame) => {
                    break u16::from(frame.unwrap().code);
                }
                echo => assert!(echo.is_text()),
            }
        }
    });
    assert_eq!(code.await, 1012);
    drop(stream);
    within(sending).await.unwrap();
}

/// Messages that nobody reads stop the client, because the echo waits for its own writes.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_stream_has_back_pressure() {
    let app = instance("hello", json!({})).app();
    let address = serve(app).await;
    let (socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let message = tokio_tungstenite::tungstenite::Message::binary(vec![1; 1 << 20]);
    let mut sent = 0;
    let quiet = std::time::Duration::from_millis(300);
    while let Ok(done) = tokio::time::timeout(quiet, sink.send(message.clone())).await {
        done.unwrap();
        sent += 1;
        assert!(sent < 64, "nothing holds the client back");
    }
    let mut received = 0;
    while received < sent {
        received += usize::from(within(stream.next()).await.unwrap().unwrap().is_binary());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_told_of_its_request_and_host() {
    let library = library("faulty");
    let mut context = Context::alone(true);
    context.generation = 5;
    context.config = Arc::new(json!({ "server": { "main": {} } }));
    context.states.insert("shop".to_owned(), b"from before".to_vec());
    let instance = Instance::create(&library, "shop", &json!({}), &context).unwrap();
    let app = instance.app();
    let mut request = get("/environ?a=%20b");
    request.headers_mut().append("cookie", http::HeaderValue::from_static("a=1"));
    request.headers_mut().append("cookie", http::HeaderValue::from_static("b=2"));
    request.headers_mut().append("x-own", http::HeaderValue::from_static("x"));
    request.extensions_mut().insert(Environ {
        peer: Some("[::1]:1234".parse().unwrap()),
        client: Some("192.0.2.7".parse().unwrap()),
        relayed: false,
        trusted: false,
        listen: "127.0.0.1:80".into(),
        host: "shop.example".into(),
        port: Some(8080),
        secure: true,
        script_name: "/shop".into(),
        server: "main".into(),
        handle: Default::default(),
    });
    let certificate = ClientCertificate {
        subject: "CN=ann,O=Example".into(),
        common_name: Some("ann".into()),
        names: vec!["email:ann@a.example".into(), "DNS:a.example".into()],
        ..ClientCertificate::default()
    };
    request.extensions_mut().insert(Arc::new(certificate));
    request.extensions_mut().insert(RemoteUser::new("ann", "Basic"));
    request.extensions_mut().insert(RequestId("id-1".into()));
    let answer = app.handle(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<Value>(&answer).unwrap(),
        json!({
            "user": "ann", "auth_type": "Basic", "groups": [], "request_id": "id-1",
            "certificate": {
                "subject": "CN=ann,O=Example", "common_name": "ann", "serial": null, "sha256": null,
                "names": ["email:ann@a.example", "DNS:a.example"],
            },
            "client": "192.0.2.7", "peer": "[::1]:1234", "listen": "127.0.0.1:80", "host": "shop.example",
            "port": 8080, "secure": true, "script_name": "/shop", "server": "main", "method": "GET",
            "uri": "/environ?a=%20b", "version": "HTTP/1.1",
            "headers": [["cookie", "a=1"], ["cookie", "b=2"], ["x-own", "x"]],
        })
    );
    let about = json_of(&app, "/host").await;
    assert_eq!(
        about,
        json!({
            "app": "shop", "generation": 5, "development": true, "saved": "from before",
            "config": { "server": { "main": {} } },
            "side": { "Err": "app `shop` asked for the side process `echo`, which needs a supervisor" },
        })
    );
    assert_eq!(instance.counters()["asked"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_handed_over_and_the_end_is_told() {
    let first = instance("faulty", json!({}));
    first.health().await.unwrap();
    let saved = first.save_state().unwrap();
    assert_eq!(saved, b"saved by generation 1");
    let mut context = Context::alone(false);
    context.states.insert("main".to_owned(), saved);
    let library = library("faulty");
    let second = Instance::create(&library, "main", &json!({}), &context).unwrap();
    assert_eq!(json_of(&second.app(), "/host").await["saved"], "saved by generation 1");
    first.retire();
    until(&first.app(), "retired", |counters| counters["retired"].as_u64() >= Some(1)).await;
    first.shutdown();
    until(&first.app(), "shut down", |counters| counters["retired"].as_u64() >= Some(111)).await;

    let ill = instance("faulty", json!({ "healthy": false }));
    assert_eq!(ill.health().await.unwrap_err(), "the store is gone");
    assert!(instance("hello", json!({})).save_state().is_none());
}

/// A plugin in C of the examples, built with the command in its README; `change` changes its source.
pub(crate) fn c_example(name: &str, folder: &Path, change: impl Fn(String) -> String) -> PathBuf {
    let example = root().join("examples").join(name);
    let readme = std::fs::read_to_string(example.join("README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with("cc ")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let [.., file, source] = words[..] else { panic!("{line}") };
    let (library, changed) = (folder.join(file), folder.join(source));
    std::fs::write(&changed, change(std::fs::read_to_string(example.join(source)).unwrap())).unwrap();
    let line = line.replace(file, library.to_str().unwrap()).replace("-Wall", "-Wall -Werror");
    let line = line.replace(&format!(" {source}"), &format!(" {}", changed.display()));
    let status = std::process::Command::new("sh").args(["-c", &line]).current_dir(&example).status();
    assert!(status.unwrap().success(), "{line}");
    library
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_in_c_is_served_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::load(&c_example("hello-c", folder.path(), |source| source)).unwrap();
    assert_eq!(library.info().functions, ["settings_schema", "create", "call", "destroy"]);
    let instance = Instance::create(&library, "main", &json!({}), &Context::alone(false)).unwrap();
    instance.health().await.unwrap();
    let address = serve(instance.app()).await;
    let url = |path: &str| format!("http://{address}{path}");
    let client = reqwest::Client::new();
    let get = async |path: &str| client.get(url(path)).send().await.unwrap();
    let hello = get("/").await;
    assert_eq!(hello.headers()["content-length"], "13");
    assert_eq!(hello.text().await.unwrap(), "Hello from C\n");
    let lines: String = (1..=1000).map(|n| format!("line {n}\n")).collect();
    assert_eq!(get("/stream").await.text().await.unwrap(), lines);
    assert_eq!(get("/nothing").await.status(), 404);
    let refused = get("/count?x").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["allow"]), (405, &"POST".parse().unwrap()));

    let pieces: Vec<Bytes> = (0..50_u8).map(|n| Bytes::from(vec![n; 30_011])).collect();
    let sum = pieces
        .iter()
        .flatten()
        .fold(2_166_136_261_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(16_777_619));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces.map_ok()));
    let answer = client.post(url("/count")).body(body).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), format!("1500550 bytes, FNV-1a {sum:08x}\n"));
    let empty = client.post(url("/count")).send().await.unwrap();
    assert_eq!(empty.text().await.unwrap(), "0 bytes, FNV-1a 811c9dc5\n");

    // A client that leaves in the middle of its body.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc").await.unwrap();
    drop(stream);
    assert_eq!(get("/").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_panics_go_to_the_hosts_log() {
    let app = instance("faulty", json!({})).app();
    assert!(app.handle(get("/wait")).now_or_never().is_none());
    app.handle(get("/panic")).await.unwrap_err();
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |message: &str| {
        let event = events.iter().find(|event| event["fields"]["message"] == message);
        event.unwrap_or_else(|| panic!("no `{message}` in {log}"))
    };
    let event = find("waits for ever");
    assert_eq!((&event["level"], &event["target"]), (&json!("INFO"), &json!("plugin")));
    assert_eq!(
        (&event["fields"]["from"], &event["fields"]["fields"]),
        (&json!("faulty"), &json!("{\"who\":\"wait\"}"))
    );
    let event = find("a handler fell");
    assert_eq!((&event["level"], &event["fields"]["from"]), (&json!("ERROR"), &json!("panic")));
    assert!(
        event["fields"]["fields"]
            .as_str()
            .unwrap()
            .starts_with("{\"place\":\"tests/fixtures/plugins/faulty/")
    );
}
