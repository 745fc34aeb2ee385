//! The notebook behind axum's own server, on a port that the system chooses, with a kernel host in a child
//! process.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use notebook::http::router;
use notebook::kernel::link::Link;
use notebook::settings::Settings;
use notebook::state::{Notebook, Shared};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::pki::{Pair, TlsListener};
use crate::support::{Host, plain_python, within};

/// The `address` of a server that others reach where it listens.
pub(crate) const OWN: &str = "own";
pub(crate) const TOKEN: &str = "the token of the tests";

/// The settings of a server at `url`, which is its `address` if that is [`OWN`].
pub(crate) fn with_own_address(mut settings: Value, url: &str) -> Value {
    if settings["address"] == OWN {
        settings["address"] = url.into();
    }
    settings
}

/// A running notebook. Several may share a kernel host and a folder, as two generations do.
pub(crate) struct Server {
    pub(crate) host: Arc<Host>,
    notebook: Option<Shared>,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Server {
    /// With the built-in kernel of a Python without ipykernel.
    pub(crate) async fn start() -> Server {
        Server::start_with(
            Arc::new(Host::start()),
            json!({"python": plain_python(), "default_kernel": "paster-python"}),
        )
        .await
    }

    pub(crate) async fn start_with(host: Arc<Host>, more: Value) -> Server {
        Server::start_at(host, more, None).await
    }

    /// With an `address` over TLS, at `localhost`.
    pub(crate) async fn start_with_tls(host: Arc<Host>, more: Value, certificate: &Pair) -> Server {
        Server::start_at(host, more, Some(certificate.acceptor())).await
    }

    async fn start_at(host: Arc<Host>, more: Value, tls: Option<TlsAcceptor>) -> Server {
        let mut settings = json!({
            "data_dir": host.folder.path().join("data"), "state_dir": host.folder.path().join("state"), "token": TOKEN,
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // A separate runtime, as a worker process has.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let socket = host.socket();
        let started = runtime.spawn(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let over_tls = match tls {
                Some(acceptor) => Some(TlsListener::bind(acceptor).await),
                None => None,
            };
            let address = over_tls.as_ref().map_or(url.clone(), TlsListener::url);
            let settings: Settings = serde_json::from_value(with_own_address(settings, &address)).unwrap();
            let notebook = Notebook::open(settings, Link::new(socket)).unwrap();
            let app = router(notebook.clone());
            if let Some(listener) = over_tls {
                let app = app.clone();
                tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
            }
            tokio::spawn(async move {
                axum::serve(
                    axum::serve::ListenerExt::tap_io(listener, |io| io.set_nodelay(true).unwrap()),
                    app,
                )
                .await
                .unwrap()
            });
            (notebook, url)
        });
        let (notebook, url) = started.await.unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Server { host, notebook: Some(notebook), url, client, runtime: Some(runtime) }
    }

    /// One that runs in another process.
    pub(crate) fn elsewhere(host: Arc<Host>, url: String) -> Server {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Server { host, notebook: None, url, client, runtime: None }
    }

    pub(crate) fn notebook(&self) -> &Shared {
        self.notebook.as_ref().expect("it runs in this process")
    }

    /// Ends it like a crash would: nothing is saved or reported. Its tasks run on a separate runtime.
    pub(crate) async fn abandon(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn data(&self, path: &str) -> std::path::PathBuf {
        self.host.folder.path().join("data").join(path)
    }

    /// Sends a request with the token; returns the status and the JSON body (null if there is none).
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let text = body.map(|body| body.to_string());
        self.send(method, path, text, &[("authorization", &format!("token {TOKEN}"))]).await
    }

    /// Sends a request unchanged.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let response = self.raw(method, path, body, headers).await;
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let mut request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn socket(&self, path: &str, subprotocol: Option<&str>) -> Socket {
        self.socket_with(path, subprotocol, &[("authorization", &format!("token {TOKEN}"))]).await
    }

    pub(crate) async fn socket_with(
        &self,
        path: &str,
        subprotocol: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Socket {
        let mut request = format!("{}{path}", self.url.replace("http", "ws")).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        if let Some(subprotocol) = subprotocol {
            request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().unwrap());
        }
        let (stream, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(
            response.headers().get("sec-websocket-protocol").map(|name| name.to_str().unwrap()),
            subprotocol
        );
        Socket(stream, None)
    }

    /// Writes a notebook with code cells `c0`, `c1`, …
    pub(crate) fn write_notebook(&self, path: &str, kernel: &str, sources: &[&str]) {
        let cells: Value = sources
            .iter()
            .enumerate()
            .map(|(at, source)| {
                json!({"cell_type": "code", "id": format!("c{at}"), "metadata": {}, "source": source, "outputs": [], "execution_count": null})
            })
            .collect();
        let metadata = json!({"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}, "kept": [1, {"x": null}]});
        let notebook = json!({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5});
        std::fs::write(self.data(path), notebook.to_string()).unwrap();
    }
}

/// A WebSocket, and the code with which the server closed it.
pub(crate) struct Socket(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    Option<u16>,
);

impl Socket {
    pub(crate) async fn send_json(&mut self, value: &Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap();
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Bytes) {
        self.0.send(Message::Binary(bytes)).await.unwrap();
    }

    /// The next message that is not a ping; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match within(self.0.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    self.1 = frame.map(|frame| frame.code.into());
                    return None;
                }
                Some(Err(_)) | None => return None,
                Some(Ok(message)) => return Some(message),
            }
        }
    }

    /// Closes, and waits until the server has sent a Close frame.
    pub(crate) async fn close(mut self) {
        self.0.send(Message::Close(None)).await.unwrap();
        loop {
            match within(self.0.next())
                .await
                .expect("an answer")
                .expect("a Close frame, not the connection's end")
            {
                Message::Close(_) => return,
                _ => continue,
            }
        }
    }

    /// The code that the server closes with.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            match within(self.0.next()).await.expect("a close frame").unwrap() {
                Message::Close(frame) => return frame.expect("a code").code.into(),
                _ => continue,
            }
        }
    }

    pub(crate) async fn next_json(&mut self) -> Value {
        match self.next().await.expect("a message") {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected text, got {other:?}"),
        }
    }
}

/// A page with a document. It applies what the server sends, as the front end does.
pub(crate) struct Page {
    socket: Socket,
    pub(crate) instance: String,
    pub(crate) event: u64,
    pub(crate) document: Value,
    /// What its user may do; empty if resumed.
    pub(crate) level: String,
    pub(crate) resumed: bool,
    requests: u32,
}

impl Page {
    pub(crate) async fn open(server: &Server, path: &str, resume: Option<(&str, u64)>) -> Page {
        let query =
            resume.map_or(String::new(), |(instance, after)| format!("?instance={instance}&after={after}"));
        Page::over(server.socket(&format!("/api/documents/{path}{query}"), None).await).await
    }

    /// With these headers instead of the token.
    pub(crate) async fn open_with(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Page {
        Page::over(server.socket_with(&format!("/api/documents/{path}"), None, headers).await).await
    }

    pub(crate) async fn over(mut socket: Socket) -> Page {
        let first = socket.next_json().await;
        let resumed = first["type"] == "resumed";
        assert!(resumed || first["type"] == "opened", "{first}");
        Page {
            instance: first["instance"].as_str().unwrap().to_owned(),
            event: first["event"].as_u64().unwrap(),
            level: first["level"].as_str().unwrap_or_default().to_owned(),
            document: first["document"].clone(),
            socket,
            resumed,
            requests: 0,
        }
    }

    /// Reconnects after a lost connection, with what it knows.
    pub(crate) async fn reopen(self, server: &Server, path: &str) -> Page {
        let Page { instance, event, document, socket, .. } = self;
        drop(socket);
        let mut page = Page::open(server, path, Some((&instance, event))).await;
        if page.resumed {
            page.document = document;
        }
        page
    }

    /// The next frame, applied; `None` at the end of the connection.
    pub(crate) async fn step(&mut self) -> Option<Value> {
        let frame: Value = match self.socket.next().await? {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected text, got {other:?}"),
        };
        if frame["type"] == "changed" {
            assert_eq!(frame["event"].as_u64().unwrap(), self.event + 1, "events have no gaps");
            self.event += 1;
            self.apply(&frame["change"]);
        }
        Some(frame)
    }

    fn apply(&mut self, change: &Value) {
        let at = |document: &Value, id: &Value| {
            document["cells"].as_array().unwrap().iter().position(|cell| cell["id"] == *id)
        };
        let cell = at(&self.document, &change["cell_id"]);
        let cells = self.document["cells"].as_array_mut().unwrap();
        let index = change["index"].as_u64().unwrap_or_default() as usize;
        match change["type"].as_str().unwrap() {
            "outputs_cleared" => cells[cell.unwrap()]["outputs"] = json!([]),
            "output_added" => {
                cells[cell.unwrap()]["outputs"].as_array_mut().unwrap().push(change["output"].clone())
            }
            "output_replaced" => cells[cell.unwrap()]["outputs"][index] = change["output"].clone(),
            "text_appended" => {
                let text = &mut cells[cell.unwrap()]["outputs"][index]["text"];
                *text = format!("{}{}", text.as_str().unwrap(), change["text"].as_str().unwrap()).into();
            }
            "cell_state_changed" => {
                let cell = &mut cells[cell.unwrap()];
                cell["state"] = change["state"].clone();
                cell["execution_count"] = change["execution_count"].clone();
            }
            "source_changed" => {
                cells[cell.unwrap()]["source"] = change["source"].clone();
                cells[cell.unwrap()]["revision"] = change["revision"].clone();
            }
            "cell_inserted" => cells.insert(index, change["cell"].clone()),
            "cell_deleted" => drop(cells.remove(cell.unwrap())),
            "kernel_changed" => self.document["kernel"] = change["kernel"].clone(),
            "input_requested" => self.document["input"] = change["input"].clone(),
            "reloaded" => self.document = change["document"].clone(),
            "conflict" => self.document["conflict"] = true.into(),
            "save_failed" => self.document["save_failed"] = change["message"].clone(),
            "saved" => self.document["save_failed"] = Value::Null,
            "metadata_changed"
            | "cell_moved"
            | "cell_replaced"
            | "cell_metadata_changed"
            | "cell_attachments_changed"
            | "comm_sent"
            | "moved" => {}
            other => panic!("unknown change {other}"),
        }
    }

    /// Sends a request without waiting.
    pub(crate) async fn post(&mut self, op: Value) -> u32 {
        self.requests += 1;
        self.socket.send_json(&json!({"id": self.requests, "op": op})).await;
        self.requests
    }

    /// Sends a request and returns its reply, or the message of its failure.
    pub(crate) async fn ask(&mut self, op: Value) -> Result<Value, String> {
        let id = self.post(op).await;
        loop {
            let frame = self.step().await.expect("the connection is open");
            match frame["type"].as_str().unwrap() {
                "reply" if frame["id"] == id => return Ok(frame["reply"].clone()),
                "failed" if frame["id"] == id => return Err(frame["message"].as_str().unwrap().to_owned()),
                _ => {}
            }
        }
    }

    /// Applies frames until the server closes the connection. Returns its code.
    pub(crate) async fn until_closed(mut self) -> Option<u16> {
        while self.step().await.is_some() {}
        self.socket.1
    }

    /// The next frame of this type.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.step().await.expect("the connection is open");
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Applies frames until `done` accepts the document.
    pub(crate) async fn until(&mut self, mut done: impl FnMut(&Value) -> bool) {
        within(async {
            while !done(&self.document) {
                self.step().await.expect("the connection is open");
            }
        })
        .await;
    }

    pub(crate) async fn until_idle(&mut self) {
        self.until(|document| {
            document["cells"].as_array().unwrap().iter().all(|cell| cell["state"] == "idle")
        })
        .await;
    }

    pub(crate) fn cell(&self, index: usize) -> &Value {
        &self.document["cells"][index]
    }

    /// All text that a cell printed to stdout.
    pub(crate) fn text(&self, index: usize) -> String {
        let outputs = self.cell(index)["outputs"].as_array().unwrap();
        outputs
            .iter()
            .filter(|output| output["name"] == "stdout")
            .map(|output| output["text"].as_str().unwrap())
            .collect()
    }
}
