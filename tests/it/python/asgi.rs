//! ASGI applications: HTTP, WebSockets, lifespan.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{MODES, Site};
use crate::support::{Connection, Serving, get, patience, wait_until};

pub(super) const APP: &str = "application = \"asgi_checks:application\"\n";

pub(super) fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python").join(name);
    std::fs::read_to_string(path).unwrap()
}

pub(super) fn site() -> Option<Site> {
    Site::new(&[("asgi_checks.py", &fixture("asgi_checks.py"))])
}

/// Serves over ASGI.
pub(super) fn serve(site: &Site, app: &str, more: &str, args: &[&str]) -> Serving {
    site.write("server.toml", &site.config(app, more).replace("use = \"wsgi\"", "use = \"asgi\""));
    Serving::spawn(site.paster(&[&["serve", "--json"], args].concat()))
}

fn talk(serving: &Serving, request: &str) -> String {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a response that is broken off may end with a reset
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

const MOUNT: &str = "[app.site]\nuse = \"mount\"\n[app.site.routes]\n\"/below\" = \"main\"\n";

#[test]
fn the_scope_describes_the_request() {
    let Some(site) = site() else { return };
    let serving = serve(&site, &format!("{APP}event_loop = \"asyncio\"\n"), MOUNT, &["--app", "site"]);
    let head = "GET /below/a%20%C3%A9/describe?q=%20 HTTP/1.1\r\nHost: example.org:81\r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\n\r\n";
    let answer = talk(&serving, head);
    for words in [
        r#""type": "'http'""#,
        r#""method": "'GET'""#,
        r#""http_version": "'1.1'""#,
        r#""scheme": "'http'""#,
        r#""path": "'/below/a é/describe'""#,
        r#""raw_path": "b'/below/a%20%C3%A9/describe'""#,
        r#""root_path": "'/below'""#,
        r#""query_string": "b'q=%20'""#,
        r#""server": "('example.org', 81)""#,
        r#""client": "('127.0.0.1', "#,
        r#"(b'x-a', b'1, 2')"#,
        r#"(b'host', b'example.org:81')"#,
        r#"'version': '3.0'"#,
        r#""state": "{'made': 'at startup'}""#,
        r#""loop": "asyncio"#,
    ] {
        let answer = answer.replace("\\u00e9", "é");
        assert!(answer.contains(words), "{words}\n{answer}");
    }
}

#[test]
fn bodies_and_errors() {
    MODES.into_iter().for_each(check_bodies_and_errors);
}

fn check_bodies_and_errors(mode: &str) {
    let Some(site) = site() else { return };
    let more = "[middleware.large]\nuse = \"body_limit\"\nmax_bytes = 50_000_000\n";
    let mut serving = serve(&site, &format!("{APP}{mode}middleware = [\"large\"]\n"), more, &[]);
    assert_eq!(get(&serving, "/hello"), "hello\n");
    let body = "0123456789".repeat(500_000);
    assert!(talk(&serving, &post("/length", &body)).ends_with("\r\n\r\n5000000"));
    let answer = talk(&serving, &post("/echo", &body));
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("transfer-encoding: chunked") && answer.len() > body.len(), "{head}");
    assert!(get(&serving, "/file").starts_with("\"\"\"An ASGI application for each check"));
    for (path, cause) in [
        ("/fails", "ValueError: told by the application"),
        ("/silent", "the application returned without a response"),
        ("/bad_header", "contains a control character"),
    ] {
        let (head, body) = Connection::open(serving.address()).get(path);
        assert!(
            head.starts_with("HTTP/1.1 500 ") && !body.contains("told") && !head.contains("evil"),
            "{head}{body}"
        );
        wait_until("it is logged", || serving.stderr().contains(cause));
    }
    let answer = talk(&serving, "GET /fails_midway HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("a part") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    // Many at a time on one loop.
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let mut connection = Connection::open(serving.address());
            std::thread::spawn(move || connection.get("/sleeps").1)
        })
        .collect();
    assert!(requests.into_iter().all(|one| one.join().unwrap() == "slept"));
    assert_eq!(serving.stop(), Some(0));
    wait_until("it is shut down", || serving.stderr().contains("the application was shut down"));
}

#[test]
fn a_client_that_leaves_is_told_to_the_application() {
    MODES.into_iter().for_each(check_client_that_leaves);
}

fn check_client_that_leaves(mode: &str) {
    let Some(site) = site() else { return };
    let serving = serve(&site, &format!("{APP}{mode}"), "", &[]);
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    let count = |at: usize| get(&serving, "/how_much").split(' ').nth(at).unwrap().parse::<usize>().unwrap();
    let mut last = 0;
    wait_until("it waits for the client", || {
        std::thread::sleep(std::time::Duration::from_millis(100)); // nothing tells that nothing happens
        let now = count(0);
        now > 0 && std::mem::replace(&mut last, now) == now
    });
    assert!(last * 65536 < 20 << 20, "{last} parts were sent");
    drop(stream);
    wait_until("the application knows", || count(1) == 1);
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(get(&serving, "/hello"), "hello\n");
    drop(stream);
    wait_until("the application knows", || count(2) == 1);
}

#[tokio::test]
async fn web_sockets() {
    for mode in MODES {
        check_web_sockets(mode).await;
    }
}

async fn check_web_sockets(mode: &str) {
    let Some(site) = site() else { return };
    let serving = serve(&site, &format!("{APP}{mode}"), MOUNT, &[]);
    let url = format!("ws://{}", serving.address());
    let mut request = format!("{url}/echo").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "chat, other".parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert_eq!(response.headers()["x-made"], "here");
    for message in [
        Message::text("hello"),
        Message::binary(vec![7; 10]),
        Message::text("x".repeat(3_000_000)),
        Message::text(""),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    for number in 0..2000 {
        socket.feed(Message::text(number.to_string())).await.unwrap();
    }
    socket.flush().await.unwrap();
    for number in 0..2000 {
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(number.to_string()));
    }
    socket.send(Message::text("close")).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!("no close") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "as asked"));
    // The client closes.
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("{url}/echo")).await.unwrap();
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    // The application fails.
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("{url}/echo")).await.unwrap();
    socket.send(Message::text("fail")).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!("no close") };
    assert_eq!(u16::from(frame.code), 1011);
    // It does not accept.
    for (path, status) in [("reject", 403), ("answer", 401)] {
        match tokio_tungstenite::connect_async(format!("{url}/{path}")).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), status),
            other => panic!("{path}: {other:?}"),
        }
    }
    let gone = tokio::task::spawn_blocking(move || {
        wait_until("the application knows", || get(&serving, "/how_much").ends_with(" 1"));
        wait_until("it is logged", || serving.stderr().contains("ValueError: in a WebSocket"));
    });
    gone.await.unwrap();
}

#[test]
fn lifespan() {
    let Some(site) = site() else { return };
    let text = site.config("application = \"asgi_checks:failing\"\n", "").replace("\"wsgi\"", "\"asgi\"");
    site.write("server.toml", &text);
    let output = site.paster(&["check"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(78) && told.contains("no database"), "{told}");
    let serving = serve(&site, "application = \"asgi_checks:without_lifespan\"\n", "", &[]);
    assert_eq!(get(&serving, "/"), "no lifespan");
}

#[test]
fn the_wrong_kind_is_explained() {
    let Some(site) =
        Site::new(&[("asgi_checks.py", &fixture("asgi_checks.py")), ("checks.py", &super::checks())])
    else {
        return;
    };
    for (kind, application, words) in [
        ("wsgi", "asgi_checks:application", "set `use = \"asgi\"`"),
        ("asgi", "checks:application", "set `use = \"wsgi\"`"),
    ] {
        let text = site.config(&format!("application = \"{application}\"\n"), "");
        site.write("server.toml", &text.replace("\"wsgi\"", &format!("{kind:?}")));
        let output = site.paster(&["check"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test]
async fn fastapi() {
    let Some(site) = super::frameworks::site_with("fastapi", "fastapi_site.py") else { return };
    let serving = serve(&site, "application = \"fastapi_site:application\"\n", "", &[]);
    let base = serving.url().to_owned();
    let client = reqwest::Client::new();
    let text = client.get(format!("{base}/")).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("made at startup") && text.contains(&format!("{base}/")), "{text}");
    let item = client.post(format!("{base}/items")).header("Content-Type", "application/json");
    let text = item.body("{\"name\": \"tea\", \"price\": 2.5}").send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "{\"total\":5.0}");
    let text = client.get(format!("{base}/events")).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{}/ws", serving.address())).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("{\"said\":\"hello\"}"));
    drop(socket);
    let text = client.get(format!("{base}/done")).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "[\"tea\"]");
}
