//! `health`: paths that report whether the process is alive and whether the apps are ready.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::metrics::uncached;
use super::peers::Peers;
use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "health"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Liveness path: 200 as long as the process serves. If it fails, restart the server.
    alive: String,
    /// Readiness path: 200 if the health probe of every app succeeds, otherwise 503. Also 503 while the
    /// server shuts down. A result is cached for one second.
    ready: String,
    /// Clients that see why an app is not ready: addresses, networks, `loopback`, `unix`. Others get only the
    /// status.
    allow: Peers,
}

impl Default for Options {
    fn default() -> Self {
        Options { alive: "/healthz".into(), ready: "/readyz".into(), allow: Peers::loopback() }
    }
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    for (key, path) in [("alive", &options.alive), ("ready", &options.ready)] {
        if !path.starts_with('/') {
            errors.push(table.error(key, format!("`{path}` is not a path")).help("begin it with `/`"));
        }
    }
    Errors::check(errors)?;
    let health = context.health.clone();
    Ok(App::from_call(move |request| {
        let path = request.uri().path();
        if path == options.alive {
            return Box::pin(std::future::ready(Ok(uncached(StatusCode::OK, "alive\n"))));
        }
        if path != options.ready {
            return next.handle(request);
        }
        let told = options.allow.allow(request.extensions().get::<Environ>());
        let health = health.clone();
        Box::pin(async move {
            if health.is_ending() {
                return Ok(uncached(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n"));
            }
            let faults = health.faults().await;
            Ok(match faults.is_empty() {
                true => uncached(StatusCode::OK, "ready\n"),
                false if told => uncached(StatusCode::SERVICE_UNAVAILABLE, faults.join("\n") + "\n"),
                false => uncached(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            })
        })
    }))
}
