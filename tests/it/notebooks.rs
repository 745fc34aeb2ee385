//! The notebook on two servers of paster, which share a database and reach each other over TLS; and in processes of its own.

use std::net::TcpStream;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::bridge::free_port;
use crate::inprocess::within;
use crate::pki::{self, Authority};
use crate::stores::Database;
use crate::support::{Connection, Serving, folder, paster, patience, plugin, text, wait_until};

const TOKEN: &str = "token of-the-tests";

/// Two servers with the same folder of notebooks.
struct Two {
    servers: Vec<Serving>,
    authority: Authority,
    ports: Vec<u16>,
    _postgres: Database,
    _folder: tempfile::TempDir,
}

impl Two {
    fn start() -> Option<Two> {
        let postgres = Database::postgres()?;
        let (folder, authority) = (folder(&[]), Authority::new("servers"));
        let here = folder.path();
        let ca_file = authority.file(here);
        let database = postgres.table.trim().trim_start_matches("url = ");
        let (mut servers, mut ports) = (Vec::new(), Vec::new());
        for name in ["one", "two"] {
            let pair = authority.pair(here, name, &["localhost"]);
            let port = free_port();
            let config = format!(
                "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:{port}\"]\n[server.main.tls]\ncertificates = [{}]\n\
                 [app.main]\nuse = \"plugin\"\nlibrary = {:?}\n[app.main.settings]\ndata_dir = \"data\"\nstate_dir = \"state-{name}\"\n\
                 token = \"of-the-tests\"\npython = \"python3\"\ndefault_kernel = \"paster-python\"\ndatabase = {database}\n\
                 address = \"https://localhost:{port}/\"\nservers_ca_file = {ca_file:?}\n",
                pair.item(),
                plugin("notebook"),
            );
            std::fs::write(here.join(format!("{name}.toml")), config).unwrap();
            servers.push(Serving::start(here, &[&format!("{name}.toml")]));
            ports.push(port);
        }
        Some(Two { servers, authority, ports, _postgres: postgres, _folder: folder })
    }

    fn address(&self, server: usize) -> String {
        format!("localhost:{}", self.ports[server])
    }

    /// A connection over HTTP/2.
    async fn http2(&self, server: usize) -> SendRequest<Full<Bytes>> {
        let client = self.authority.client(&["h2"], None);
        let stream = pki::connect(&client, &self.address(server), "localhost").await;
        let io = TokioIo::new(stream);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Sends a request over HTTP/2. Returns the status and the JSON.
    async fn call(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        method: Method,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        let request = request.header("authorization", TOKEN).body(Full::new(body)).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        let status = response.status().as_u16();
        let body = within(response.into_body().collect()).await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Opens a WebSocket over HTTP/2 (RFC 8441).
    async fn socket_http2(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        server: usize,
        path: &str,
    ) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
        let uri = format!("https://{}{path}", self.address(server));
        let request =
            Request::builder().method(Method::CONNECT).uri(uri).extension(Protocol::from_static("websocket"));
        let request = request.header("sec-websocket-version", "13").header("authorization", TOKEN);
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        for name in ["connection", "upgrade", "sec-websocket-accept", "x-paster-relayed"] {
            assert!(!response.headers().contains_key(name), "{:?}", response.headers());
        }
        let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        WebSocketStream::from_raw_socket(io, Role::Client, None).await
    }

    /// Opens a WebSocket over HTTP/1.1, as browsers do with a server that does not support RFC 8441.
    async fn socket_http1(
        &self,
        server: usize,
        path: &str,
    ) -> WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let client = self.authority.client(&["http/1.1"], None);
        let stream = pki::connect(&client, &self.address(server), "localhost").await;
        let mut request = format!("wss://{}{path}", self.address(server)).into_client_request().unwrap();
        request.headers_mut().insert("authorization", TOKEN.parse().unwrap());
        within(tokio_tungstenite::client_async(request, stream)).await.unwrap().0
    }
}

/// The next frame of a document.
async fn next(socket: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) -> Value {
    loop {
        match within(socket.next()).await.expect("it is open").unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("expected text, got {other:?}"),
        }
    }
}

/// The next frame with the source of a cell.
async fn next_source(socket: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) -> (Value, Value) {
    loop {
        let frame = next(socket).await;
        if frame["change"]["type"] == "source_changed" {
            return (frame["change"]["source"].clone(), frame["change"]["revision"].clone());
        }
    }
}

/// A page over HTTP/2, one over HTTP/1.1, and one at the server that has the notebook edit the same document.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_over_http2_are_relayed_to_another_server() {
    let Some(mut two) = tokio::task::block_in_place(Two::start) else { return };
    let mut first = two.http2(0).await;
    let mut second = two.http2(1).await;
    let cell = json!({"cell_type": "code", "id": "c0", "metadata": {}, "source": "0", "outputs": [], "execution_count": null});
    let content = json!({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5});
    let body = json!({"type": "notebook", "content": content});
    let (status, made) = two.call(&mut first, Method::PUT, "/api/contents/n.ipynb", body).await;
    assert_eq!(status, 201, "{made}");
    let mut own = two.socket_http1(0, "/api/documents/n.ipynb").await;
    let opened = next(&mut own).await;
    let mut direct = two.socket_http2(&mut first, 0, "/api/documents/n.ipynb").await;
    assert_eq!(next(&mut direct).await["instance"], opened["instance"]);
    let (status, _) = two.call(&mut second, Method::GET, "/api/status", Value::Null).await;
    assert_eq!(status, 200, "the settings of the server have arrived");
    let mut over_http2 = two.socket_http2(&mut second, 1, "/api/documents/n.ipynb").await;
    let mut over_http1 = two.socket_http1(1, "/api/documents/n.ipynb").await;
    for (frame, what) in [(next(&mut over_http2).await, "HTTP/2"), (next(&mut over_http1).await, "HTTP/1.1")]
    {
        assert_eq!((&frame["type"], &frame["instance"]), (&json!("opened"), &opened["instance"]), "{what}");
    }
    let mut revision = opened["document"]["cells"][0]["revision"].clone();
    for (id, text) in ["short".to_owned(), "x".repeat(400_000), "last".to_owned()].into_iter().enumerate() {
        let op = json!({"type": "set_source", "cell_id": "c0", "source": text, "base_revision": revision});
        let request = Message::text(json!({"id": id, "op": op}).to_string());
        over_http2.send(request).await.unwrap();
        let (source, next_revision) = next_source(&mut own).await;
        assert_eq!(source, text);
        assert_eq!(next_source(&mut over_http1).await.0, text);
        assert_eq!(next_source(&mut over_http2).await.0, text);
        revision = next_revision;
        // Other requests share the connection.
        let (status, read) = two.call(&mut second, Method::GET, "/api/contents/n.ipynb", Value::Null).await;
        assert_eq!((status, &read["content"]["cells"][0]["source"]), (200, &json!(text)));
    }
    over_http2.close(None).await.unwrap();
    // The server that has it goes away in order: the other pages are told to connect again.
    let mut stopping = two.servers.remove(0);
    let stopped = tokio::task::spawn_blocking(move || stopping.stop());
    let reason = loop {
        match within(over_http1.next()).await {
            Some(Ok(Message::Close(reason))) => break reason,
            Some(Ok(_)) => {}
            other => panic!("expected a close frame, got {other:?}"),
        }
    };
    assert_eq!(reason.map(|reason| u16::from(reason.code)), Some(1012));
    assert_eq!(stopped.await.unwrap(), Some(0));
    let mut socket = two.socket_http2(&mut second, 1, "/api/documents/n.ipynb").await;
    let opened = next(&mut socket).await;
    assert_eq!(opened["document"]["cells"][0]["source"], "last");
}

/// Opens a WebSocket of the server that has the isolated notebook.
fn open(serving: &Serving, path: &str) -> tungstenite::WebSocket<TcpStream> {
    let stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    let mut request = format!("ws://{}{path}", serving.address()).into_client_request().unwrap();
    request.headers_mut().insert("authorization", TOKEN.parse().unwrap());
    tungstenite::client(request, stream).unwrap().0
}

/// Runs code in the kernel `id`. Returns what it prints.
fn execute(serving: &Serving, id: &str, code: &str) -> String {
    let mut socket = open(serving, &format!("/api/kernels/{id}/channels?session_id=s"));
    let request = json!({
        "channel": "shell", "parent_header": {}, "metadata": {}, "buffers": [],
        "header": {"msg_id": code, "msg_type": "execute_request", "session": "s", "username": "", "date": "", "version": "5.4"},
        "content": {"code": code, "silent": false, "store_history": false, "user_expressions": {}, "allow_stdin": false, "stop_on_error": true},
    });
    socket.send(Message::text(request.to_string())).unwrap();
    let (mut printed, mut replied, mut idle) = (String::new(), false, false);
    while !(replied && idle) {
        let Message::Text(frame) = socket.read().unwrap() else { continue };
        let message: Value = serde_json::from_str(&frame).unwrap();
        if message["parent_header"]["msg_id"] != code {
            continue;
        }
        let content = &message["content"];
        match message["header"]["msg_type"].as_str().unwrap() {
            "stream" => printed += content["text"].as_str().unwrap(),
            "execute_reply" => {
                assert_eq!(content["status"], "ok", "{message}");
                replied = true;
            }
            "status" => idle |= content["execution_state"] == "idle",
            _ => {}
        }
    }
    printed
}

/// The first frame of a document.
fn opened(socket: &mut tungstenite::WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[test]
fn an_isolated_notebook_runs_cells_and_a_reload_keeps_its_kernels() {
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\n\
         isolation = \"process\"\n[app.main.settings]\ndata_dir = \"data\"\nstate_dir = \"state\"\n\
         token = \"of-the-tests\"\npython = \"python3\"\ndefault_kernel = \"paster-python\"\n",
        plugin("notebook")
    );
    let folder = folder(&[("server.toml", &config)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let ask = |serving: &Serving, line: &str, body: &str| {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Connection::open(serving.address()).request(&head)
    };
    let content = json!({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5});
    let body = json!({"type": "notebook", "content": content}).to_string();
    assert!(ask(&serving, "PUT /api/contents/n.ipynb", &body).0.starts_with("HTTP/1.1 201"));
    let mut page = open(&serving, "/api/documents/n.ipynb");
    assert_eq!(opened(&mut page)["type"], "opened");
    let started = ask(&serving, "POST /api/kernels", "{}").1;
    let kernel: Value = serde_json::from_str(&started).unwrap();
    let id = kernel["id"].as_str().unwrap_or_else(|| panic!("{started}"));
    assert_eq!(execute(&serving, id, "answer = 6 * 7\nprint('set')"), "set\n");
    let processes = || {
        let output = paster().args(["ps", "--json"]).current_dir(folder.path()).output().unwrap();
        let ps: Value = serde_json::from_slice(&output.stdout).unwrap();
        let pid = |name: &str| {
            let sides = ps["side_processes"].as_array().unwrap();
            sides.iter().find(|side| side["name"] == name).map(|side| side["pid"].clone())
        };
        (pid("kernels").unwrap(), pid("process 0").unwrap())
    };
    let (kernels, process) = processes();
    let output = paster().args(["restart", "main", "--wait"]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serving.wait_for("reloaded");
    assert_eq!(execute(&serving, id, "print(answer)"), "42\n");
    // The old process gives its documents up for the new one.
    let reason = loop {
        if let Message::Close(reason) = page.read().unwrap() {
            break reason;
        }
    };
    assert_eq!(reason.map(|reason| u16::from(reason.code)), Some(1012));
    drop(page);
    wait_until("the page can come back", || {
        let mut again = open(&serving, "/api/documents/n.ipynb");
        opened(&mut again)["type"] == "opened"
    });
    wait_until("the old process has ended", || {
        processes().1 != process && !crate::support::runs(process.as_u64().unwrap() as u32)
    });
    assert_eq!(processes().0, kernels, "the kernels have their process still");
    assert_eq!(serving.stop(), Some(0));
}
