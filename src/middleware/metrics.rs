//! `metrics`: the sum of all workers' counters, for Prometheus.

use std::sync::Arc;

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::peers::Peers;
use crate::body::{App, Body, Response, text_response};
use crate::config::Table;
use crate::context::{Context, Host};
use crate::environ::Environ;
use crate::error::{Errors, Result};
use crate::metrics::prometheus::{Format, encode};
use crate::metrics::{Counts, StackMetrics};

/// Options of a `[middleware.NAME]` table with `use = "metrics"`.
///
/// To use a separate address, add it to an app without other content, such as a `respond` with `status = 404`, and give that
/// app its own server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Path to answer; other requests are passed on.
    path: String,
    /// Clients that may read the metrics: addresses, networks (`10.0.0.0/8`), `loopback`, `unix` for any peer
    /// on a Unix socket. For other clients, the path does not exist. If a proxy runs on this machine, list it in the server's
    /// `trusted_proxies`. Otherwise, all clients seem to come from loopback.
    allow: Peers,
}

impl Default for Options {
    fn default() -> Self {
        Options { path: "/metrics".into(), allow: Peers::loopback() }
    }
}

struct Metrics {
    path: String,
    allow: Peers,
    host: Arc<dyn Host>,
    parts: Arc<StackMetrics>,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    if !options.path.starts_with('/') {
        errors
            .push(table.error("path", format!("`{}` is not a path", options.path)).help("begin it with `/`"));
    }
    Errors::check(errors)?;
    let (host, parts) = (context.host.clone(), context.parts.clone());
    let metrics = Arc::new(Metrics { path: options.path, allow: options.allow, host, parts });
    Ok(App::from_call(move |request| {
        if request.uri().path() != metrics.path || !metrics.allow.allow(request.extensions().get::<Environ>())
        {
            return next.handle(request);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response = uncached(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Box::pin(std::future::ready(Ok(response)));
        }
        let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let format = Format::accepted(accept);
        let alone = request.extensions().get::<Environ>().is_some_and(Environ::is_console);
        let metrics = metrics.clone();
        Box::pin(async move { Ok(metrics.answer(format, alone).await) })
    }))
}

impl Metrics {
    /// With `alone`, in a process without a supervisor, only that process is counted (`paster request`).
    async fn answer(&self, format: Format, alone: bool) -> Response {
        let counts = match self.host.counts().await {
            Ok(counts) => counts,
            Err(error) if !alone => return uncached(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
            Err(_) => {
                let mut counts = Counts::default();
                self.parts.count(&mut counts);
                counts
            }
        };
        let mut response = Response::new(Body::from(encode(&counts, format)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("accept"));
        response
    }
}

/// A short response that no cache keeps.
pub(super) fn uncached(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = text_response(status, text);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
