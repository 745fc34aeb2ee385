//! Servers in the test's own process, on a port that the system chooses, and a raw client.
#![allow(dead_code, reason = "each helper serves some of the files")]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use paster::body::{App, Body, Request, Response};
use paster::config::{Config, Sources};
use paster::error::Errors;
use paster::server::control::{Control, Idle, Load, Phase};
use paster::server::listener::{self, Socket};
use paster::server::tickets::Secret;
use paster::server::{Server, ServerKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::support::patience;

/// One generation of one server.
pub(crate) struct Running {
    pub(crate) addresses: Vec<String>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) adopted: mpsc::Sender<Idle>,
    pub(crate) handed: Option<mpsc::Receiver<Idle>>,
    pub(crate) load: Arc<Load>,
    pub(crate) task: JoinHandle<()>,
}

/// The secret for the tickets of all generations in this process.
fn tickets() -> Secret {
    static SECRET: std::sync::OnceLock<Secret> = std::sync::OnceLock::new();
    SECRET.get_or_init(Secret::random).clone()
}

/// The server `main` of a table's text (its `listen` is a free port unless given).
pub(crate) fn server(options: &str) -> Box<dyn Server> {
    try_server(options).unwrap()
}

/// The same; returns the errors of building it.
pub(crate) fn try_server(options: &str) -> Result<Box<dyn Server>, Errors> {
    let folder = tempfile::tempdir().unwrap();
    let listen = if options.contains("listen") { "" } else { "listen = [\"127.0.0.1:0\"]\n" };
    let kind = if options.contains("use =") { "" } else { "use = \"http\"\n" };
    let file = folder.path().join("server.toml");
    std::fs::write(&file, format!("[server.main]\n{kind}{listen}{options}\n")).unwrap();
    let config = Config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
    let table = config.table("server", "main").unwrap();
    ServerKind::of(&table)?.kind.build(&table)
}

impl Running {
    /// Binds and serves.
    pub(crate) fn start(options: &str, app: App) -> Running {
        let server = server(options);
        let sockets: Vec<_> =
            server.listen().iter().map(|entry| listener::bind(entry, false).unwrap()).collect();
        Running::on(server, sockets, app)
    }

    /// Serves on sockets that are already bound, as the next generation does.
    pub(crate) fn on(server: Box<dyn Server>, sockets: Vec<Socket>, app: App) -> Running {
        let (phase, phases) = watch::channel(Phase::Serving);
        let (adopted, adoptions) = mpsc::channel(16);
        let (hand_over, handed) = mpsc::channel(16);
        let load = Arc::<Load>::default();
        let control = Control {
            tickets: tickets(),
            server: "main".into(),
            phase: phases,
            adopted: adoptions,
            hand_over,
            load: load.clone(),
        };
        let copies = sockets.iter().map(|socket| socket.try_clone().unwrap()).collect();
        let addresses = sockets.iter().map(Socket::address).collect();
        let task = tokio::spawn(server.run(copies, app, control));
        Running { addresses, sockets, phase, adopted, handed: Some(handed), load, task }
    }

    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends `bytes` on a separate connection and reads until the server closes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// Retires it and hands its connections over to the next generation, which serves on the same sockets.
    /// The task ends with the old one.
    pub(crate) fn next(mut self, options: &str, app: App) -> (Running, JoinHandle<()>) {
        let new = Running::on(server(options), self.sockets, app);
        let (mut handed, adopted) = (self.handed.take().unwrap(), new.adopted.clone());
        tokio::spawn(async move {
            while let Some(idle) = handed.recv().await {
                adopted.send(idle).await.unwrap();
            }
        });
        self.phase.send(Phase::Retired).unwrap();
        let (task, phase) = (self.task, self.phase);
        let ended = tokio::spawn(async move {
            task.await.unwrap();
            drop(phase);
        });
        (new, ended)
    }

    /// Sends each case (its name, its bytes, the expected result) on a separate connection, shuts down its
    /// side, and compares what `read` returns; then ends.
    pub(crate) async fn check<F, E>(
        self,
        cases: &[(&str, Vec<u8>, &E)],
        read: impl AsyncFn(&mut TcpStream) -> F,
    ) where
        F: PartialEq<E> + std::fmt::Debug,
        E: std::fmt::Debug + ?Sized,
    {
        let mut wrong = Vec::new();
        for (what, bytes, expected) in cases {
            let mut stream = self.connect().await;
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let found = read(&mut stream).await;
            if found != **expected {
                wrong.push(format!("{what}\n  expected {expected:?}\n  found    {found:?}"));
            }
        }
        self.end().await;
        assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }

    /// Ends at once and waits for the end.
    pub(crate) async fn end(self) {
        self.phase.send(Phase::Draining { until: tokio::time::Instant::now() }).unwrap();
        within(self.task).await.unwrap();
    }

    /// Waits until `count` connections are open.
    pub(crate) async fn wait_for_connections(&self, count: usize) {
        wait_until(|| self.load.connections.load(Relaxed) == count).await;
    }
}

/// Waits for a future, with a limit.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(patience(), future).await.expect("in time")
}

/// Yields until a condition in this process is true.
pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await; // poll of a counter
        }
    })
    .await;
}

/// Reads to the end of the stream, which may also be a reset.
pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    let _ = within(stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads one response with a Content-Length: its head and its body.
pub(crate) async fn read_response(stream: &mut (impl AsyncRead + Unpin)) -> (String, String) {
    try_read_response(stream).await.expect("a whole response")
}

/// The same; `None` if the stream ends before the first byte, an error if it ends later.
pub(crate) async fn try_read_response(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match within(stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return None,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    within(stream.read_exact(&mut body)).await.unwrap();
    Some((head, String::from_utf8(body).unwrap()))
}

/// Sends a whole request and reads its response, on a connection that stays open.
pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
) -> (String, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    read_response(stream).await
}

/// An app that responds to everything with `text`.
pub(crate) fn says(text: &'static str) -> App {
    App::from_fn(move |_: Request| async move { Response::new(Body::from(text)) })
}

/// An app that aborts its response in the middle.
pub(crate) fn breaks_off() -> App {
    App::from_fn(|_| async {
        let frames = [Ok(http_body::Frame::data(bytes::Bytes::from_static(b"begun"))), Err("broken off")];
        Response::new(Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames))))
    })
}

/// An app that responds with the request's method, target and body length.
pub(crate) fn echo() -> App {
    App::from_fn(|request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = http_body_util::BodyExt::collect(body).await;
        let text = match body {
            Ok(body) => format!("{} {} {}", parts.method, parts.uri, body.to_bytes().len()),
            Err(error) => format!("{} {} error: {error}", parts.method, parts.uri),
        };
        Response::new(Body::from(text))
    })
}
