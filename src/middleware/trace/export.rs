//! Sends spans in batches from a separate thread. Nothing here makes a request wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::encode::{self, Request};

/// A batch is sent when it has this many spans, …
const BATCH: usize = 512;
/// … or this long after its first span.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time limit for one batch.
const SENDING: Duration = Duration::from_secs(5);
/// Pause after a batch that could not be sent; doubled up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often dropped spans are logged.
const TELLING: Duration = Duration::from_secs(60);
/// Longest wait for the remaining spans when the generation ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where spans go, and attributes of all of them.
pub(super) struct Target {
    pub(super) uri: Uri,
    /// For `https`.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) service: String,
    pub(super) generation: u64,
}

/// Accepts spans. On drop, the spans that it holds are sent first, if the collector is quick enough.
pub(super) struct Exporter {
    shared: Arc<ExporterShared>,
    limit: usize,
}

struct ExporterShared {
    target: Target,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Request>,
    spans: usize,
    dropped: u64,
    /// Started by the first span, so that a config that is only checked starts no thread.
    started: bool,
    closed: bool,
    ended: bool,
}

impl Exporter {
    /// `limit` is the maximum number of waiting spans.
    pub(super) fn new(target: Target, limit: usize) -> Exporter {
        let shared = ExporterShared { target, state: Mutex::default(), changed: Condvar::new() };
        Exporter { shared: Arc::new(shared), limit }
    }

    /// Accepts the spans of one request, or drops them if too many are waiting.
    pub(super) fn send(&self, request: Request) {
        let mut state = self.shared.state();
        let spans = request.spans();
        if state.spans + spans > self.limit {
            state.dropped += spans as u64;
            return;
        }
        let before = state.spans;
        state.spans += spans;
        state.waiting.push(request);
        if !std::mem::replace(&mut state.started, true) {
            drop(state);
            let shared = self.shared.clone();
            if let Err(error) = std::thread::Builder::new().name("trace".into()).spawn(move || shared.run()) {
                self.shared.state().started = false; // the next span tries again
                tracing::error!("cannot start the thread that sends spans: {error}");
            }
        } else if before == 0 || (before < BATCH && before + spans >= BATCH) {
            drop(state);
            self.shared.changed.notify_all();
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        self.shared.changed.notify_all();
        if state.started {
            let waits = |state: &mut State| !state.ended;
            self.shared.changed.wait_while_for(&mut state, waits, FAREWELL);
        }
    }
}

impl ExporterShared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn run(&self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => self.send_all(&runtime),
            Err(error) => tracing::error!("cannot send spans: {error}"),
        }
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn send_all(&self, runtime: &tokio::runtime::Runtime) {
        let mut pause = None;
        let (mut lost, mut told) = (0, None::<Instant>);
        loop {
            let (batch, dropped, closed) = self.batch(pause);
            lost += dropped;
            if !batch.is_empty() {
                let spans: usize = batch.iter().map(|request| request.spans()).sum();
                let sent = runtime.block_on(async {
                    match tokio::time::timeout(SENDING, post(&self.target, &batch)).await {
                        Ok(sent) => sent,
                        Err(_) => Err(format!("no response within {} s", SENDING.as_secs())),
                    }
                });
                match sent {
                    Ok(()) => pause = None,
                    Err(why) => {
                        lost += spans as u64;
                        if pause.is_none() {
                            tracing::warn!("cannot send spans to {}: {why}", self.target.uri);
                        }
                        pause = Some(pause.map_or(PAUSE.0, |pause: Duration| (pause * 2).min(PAUSE.1)));
                    }
                }
            }
            if lost > 0 && (closed || told.is_none_or(|told| told.elapsed() >= TELLING)) {
                tracing::warn!("{lost} spans were lost");
                (lost, told) = (0, Some(Instant::now()));
            }
            if closed {
                return;
            }
        }
    }

    /// Waits for the next batch or for the end; after a failure, first for `pause`.
    fn batch(&self, pause: Option<Duration>) -> (Vec<Request>, u64, bool) {
        let mut state = self.state();
        if let Some(pause) = pause {
            self.changed.wait_while_for(&mut state, |state| !state.closed, pause);
        }
        while state.waiting.is_empty() && !state.closed {
            self.changed.wait(&mut state);
        }
        let fills = |state: &mut State| state.spans < BATCH && !state.closed;
        self.changed.wait_while_for(&mut state, fills, PATIENCE);
        state.spans = 0;
        let batch = std::mem::take(&mut state.waiting);
        (batch, std::mem::take(&mut state.dropped), state.closed)
    }
}

/// An HTTP/1 connection over the stream, and the task that runs it.
async fn connect(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<(SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>)> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    Ok((sender, tokio::spawn(connection)))
}

/// Sends one batch on a new connection.
async fn post(target: &Target, batch: &[Request]) -> Result<(), String> {
    let failed = |error: &dyn std::error::Error| error.to_string();
    let authority = target.uri.authority().ok_or("the URL has no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(if target.tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
    let (mut sender, driver) = match &target.tls {
        None => connect(stream).await,
        Some(tls) => {
            let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
            let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
            connect(stream.map_err(|error| failed(&error))?).await
        }
    }
    .map_err(|error| failed(&error))?;
    let body = encode::encode(&target.service, target.generation, batch);
    let mut request = http::Request::post(target.uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(&error))?;
    for (name, value) in &target.headers {
        request.headers_mut().insert(name, value.clone());
    }
    let answered = sender.send_request(request).await;
    let result = match answered {
        Ok(response) if response.status().is_success() => {
            // The body names partially rejected spans; nothing can be done about them here.
            response.into_body().collect().await.map(drop).map_err(|error| failed(&error))
        }
        Ok(response) => Err(format!("it responded with {}", response.status())),
        Err(error) => Err(failed(&error)),
    };
    driver.abort();
    result
}
