//! Peers for `cargo xtask bench`: `bench-peer raw|raw-h2|axum|stack`. Prints `listening 127.0.0.1:PORT`, serves until it is ended.
//! `bench-peer web-socket-load URL SECONDS` sends messages to an echo over WebSockets, and prints how many came back.

use std::convert::Infallible;

use anyhow::{Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tracing::subscriber::NoSubscriber;

/// The plugin's own source: built into the program as it is built into the library, optimised alike.
#[path = "../../../plugins/hello/src/lib.rs"]
#[allow(unreachable_pub, reason = "public in the library")]
mod hello;
mod stack;

#[tokio::main]
async fn main() -> Result<()> {
    // As every program that cares has one. Without any, what h2 tells `tracing` is made into records of `log`, as a
    // dependency that is built along with this asks for, and thrown away.
    tracing::subscriber::set_global_default(NoSubscriber::new())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [task, url, seconds] = &*arguments
        && task == "web-socket-load"
    {
        println!("{}", web_socket_load(url, seconds.parse()?).await?);
        return Ok(());
    }
    let peer = arguments.into_iter().next().unwrap_or_default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?);
    match peer.as_str() {
        "raw-h2" => {
            let service = service_fn(hello_world);
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let mut builder = http2::Builder::new(TokioExecutor::new());
                let connection =
                    builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        }
        "raw" => {
            let service = service_fn(hello_world);
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let mut builder = http1::Builder::new();
                let connection =
                    builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        }
        "axum" => {
            let router = hello::router(hello::Settings::default());
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let mut builder = http1::Builder::new();
                let service = TowerToHyperService::new(router.clone());
                let connection =
                    builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection.with_upgrades());
            }
        }
        "stack" => {
            let service = stack::service();
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let mut builder = http1::Builder::new();
                let service = TowerToHyperService::new(service.clone());
                let connection =
                    builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        }
        other => bail!("unknown peer `{other}`: raw, raw-h2, axum or stack"),
    }
}

/// Echoes over 64 connections.
async fn web_socket_load(url: &str, seconds: u64) -> Result<u64> {
    let url = url.replacen("http", "ws", 1);
    let mut sockets = Vec::new();
    for _ in 0..64 {
        sockets.push(tokio_tungstenite::connect_async(&url).await?.0);
    }
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
    let mut clients = tokio::task::JoinSet::new();
    for mut socket in sockets {
        clients.spawn(async move {
            let mut count = 0_u64;
            while tokio::time::Instant::now() < end {
                socket.send(Message::text("Hello, world!")).await?;
                match socket.next().await.transpose()? {
                    Some(Message::Text(_)) => count += 1,
                    other => bail!("not an echo: {other:?}"),
                }
            }
            anyhow::Ok(count)
        });
    }
    let mut all = 0;
    while let Some(count) = clients.join_next().await {
        all += count??;
    }
    Ok(all)
}

async fn hello_world(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"Hello, world!"))))
}
