//! The process of an isolated app: serves the app on a socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::UnixListener;

use super::calls;
use super::facts::{FACTS, FAILURE, put_changes, restore};
use crate::body::{App, Body, Response, text_response};
use crate::error::chain;
use crate::plugin::Instance;
use crate::session::Session;

/// The pause after a connection could not be accepted because no descriptor was free.
const PAUSE: Duration = Duration::from_millis(50);

/// The load of the process.
#[derive(Debug, Default)]
pub struct IsolatedCounts {
    requests: AtomicU64,
    /// When the requests without a response head began, by number.
    waiting: Mutex<std::collections::BTreeMap<u64, Instant>>,
}

impl IsolatedCounts {
    /// The number of requests that have begun.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// How long the oldest request without a response has waited.
    pub fn stuck(&self) -> Duration {
        self.waiting.lock().values().next().map_or(Duration::ZERO, Instant::elapsed)
    }
}

/// A request without a response.
struct WaitingRequest {
    counts: Arc<IsolatedCounts>,
    number: u64,
}

impl WaitingRequest {
    fn begin(counts: &Arc<IsolatedCounts>) -> WaitingRequest {
        let number = counts.requests.fetch_add(1, Relaxed);
        counts.waiting.lock().insert(number, Instant::now());
        WaitingRequest { counts: counts.clone(), number }
    }
}

impl Drop for WaitingRequest {
    fn drop(&mut self) {
        self.counts.waiting.lock().remove(&self.number);
    }
}

/// Serves `app` forever to the workers that connect to `listener`. If it is a plugin, `plugin` runs its tasks.
pub async fn serve(
    listener: UnixListener,
    app: App,
    plugin: Option<Instance>,
    counts: Arc<IsolatedCounts>,
) -> Infallible {
    let mut builder = http1::Builder::new();
    // The worker's server has already checked the header fields, and adds some.
    builder.timer(TokioTimer::new()).auto_date_header(false).max_headers(1024).max_buf_size(1 << 20);
    builder.header_read_timeout(None);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (app, plugin, counts) = (app.clone(), plugin.clone(), counts.clone());
        let service = service_fn(move |request| {
            let (app, plugin, counts) = (app.clone(), plugin.clone(), counts.clone());
            async move { Ok::<_, Infallible>(answer(&app, plugin.as_ref(), &counts, request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::spawn(async move {
            let _ = connection.await; // the worker notices it
        });
    }
}

async fn answer(
    app: &App,
    plugin: Option<&Instance>,
    counts: &Arc<IsolatedCounts>,
    request: http::Request<Incoming>,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut body = Body::new(body);
    // A task is no request, and may take as long as its table allows.
    if let Some(response) = calls::answer(plugin, &parts.headers, &mut body).await {
        return response;
    }
    let _waiting = WaitingRequest::begin(counts);
    let facts = parts.headers.remove(FACTS);
    let version = facts.and_then(|facts| restore(facts.as_bytes(), &mut parts.extensions).ok());
    let Some(version) = version else {
        return text_response(StatusCode::BAD_REQUEST, "Only paster's workers can use this socket.\n");
    };
    parts.version = version;
    let session = parts.extensions.get::<Session>().cloned();
    match app.handle(http::Request::from_parts(parts, body)).await {
        Ok(mut response) => {
            put_changes(session.as_ref(), response.headers_mut());
            *response.version_mut() = http::Version::HTTP_11;
            response
        }
        Err(error) => {
            let mut response = text_response(StatusCode::INTERNAL_SERVER_ERROR, "");
            let reason = utf8_percent_encode(&chain(&*error), NON_ALPHANUMERIC).to_string();
            if let Ok(reason) = HeaderValue::try_from(reason) {
                response.headers_mut().insert(FAILURE, reason);
            }
            response
        }
    }
}
