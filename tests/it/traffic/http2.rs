//! Requests over HTTP/2, as many at the same time as are due.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio_rustls::TlsConnector;

use super::{Traffic, body};
use crate::support::patience;

/// The most requests in flight, so that a server that hangs is not flooded.
const MOST: u32 = 64;

/// GET and POST in turn, on one connection for as long as the server keeps it; over TLS with `tls`.
pub(crate) fn http2(traffic: &Arc<Traffic>, per_second: u32, address: &str, tls: Option<&Arc<ClientConfig>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let kind = if tls.is_some() { "HTTP/2, TLS" } else { "HTTP/2" };
    let client = Arc::new(Client {
        address: address.to_owned(),
        tls: tls.map(|config| TlsConnector::from(config.clone())),
        sender: Mutex::default(),
    });
    let room = Arc::new(Semaphore::new(MOST as usize));
    traffic.pace(per_second, |turn, due| {
        let permit = runtime.block_on(room.clone().acquire_owned()).unwrap();
        let (client, traffic) = (client.clone(), traffic.clone());
        runtime.spawn(async move {
            let outcome = tokio::time::timeout(patience(), client.once(turn)).await;
            traffic.ended(kind, due, outcome.unwrap_or_else(|_| Err("no answer came".into())));
            drop(permit);
        });
    });
    let _all = runtime.block_on(room.acquire_many(MOST)).unwrap();
}

type Sender = SendRequest<Full<Bytes>>;

struct Client {
    address: String,
    tls: Option<TlsConnector>,
    /// The connection for new requests.
    sender: Mutex<Option<Sender>>,
}

impl Client {
    async fn once(&self, turn: u64) -> Result<(), String> {
        let sent = turn.is_multiple_of(2).then(|| body(turn));
        let (method, path) = if sent.is_some() { (Method::POST, "/echo") } else { (Method::GET, "/") };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let response = loop {
            let request = Request::builder().method(&method).uri(format!("{scheme}://localhost{path}"));
            let request = request.body(Full::from(sent.clone().unwrap_or_default())).unwrap();
            match self.sender().await?.try_send_request(request).await {
                Ok(response) => break response,
                Err(mut error) => {
                    if error.take_message().is_none() && !is_refused(error.error()) {
                        return Err(format!("{path}: {:?}", error.into_error()));
                    }
                }
            }
        };
        if response.status() != 200 {
            return Err(format!("{path}: {}", response.status()));
        }
        let back = response.into_body().collect().await;
        let back = back.map_err(|error| format!("{path}, in its body: {error:?}"))?;
        match back.to_bytes() == sent.as_deref().unwrap_or("Hello, world!").as_bytes() {
            true => Ok(()),
            false => Err(format!("{path}: the body came back changed")),
        }
    }

    async fn sender(&self) -> Result<Sender, String> {
        let mut current = self.sender.lock().await;
        if let Some(sender) = &mut *current
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let sender = self.connect().await.map_err(|error| format!("connecting: {error}"))?;
        *current = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(sender);
        };
        let stream = tls.connect(ServerName::try_from("localhost")?, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("no HTTP/2 was agreed on".into());
        }
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Whether the connection's GOAWAY came before the request was started: then another connection may take it
/// (RFC 9113 section 6.8).
fn is_refused(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}
