//! `profile`: a flame graph of the native code of a worker, while it serves.
//!
//! [`graph`] draws it: the crates for that have a licence that this project does not use.

mod graph;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use self::graph::Samples;
use super::metrics::uncached;
use super::options::{path, value};
use super::peers::Peers;
use super::refusal::at_once;
use crate::body::{App, Response};
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{BoxError, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "profile"`.
///
/// A GET request for the path samples all threads of the worker that handles it, and returns a flame graph (SVG).
/// `/debug/profile?secs=5` samples for five seconds. For the processes of Python applications, use py-spy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// The path.
    path: String,
    /// Clients that may use the path: addresses, networks, `loopback`, `unix`. For other clients, the path does not exist.
    allow: Peers,
    /// Samples per second.
    #[schemars(range(min = 1, max = 1000))]
    frequency: u16,
    /// Maximum duration of a profile in seconds.
    max_secs: u32,
}

impl Default for Options {
    fn default() -> Self {
        // Not a divisor of usual periods, so that periodic work is not always or never seen.
        Options { path: "/debug/profile".into(), allow: Peers::loopback(), frequency: 99, max_secs: 60 }
    }
}

/// Default duration of a profile.
const DEFAULT_SECS: u32 = 5;

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    value(table, "path", &options.path, &mut errors, path);
    Errors::check(errors)?;
    let busy = Arc::new(AtomicBool::new(false));
    Ok(App::from_call(move |request| {
        let environ = request.extensions().get::<Environ>();
        if request.uri().path() != options.path || !options.allow.allow(environ) {
            return next.handle(request);
        }
        let secs = request.uri().query().and_then(|query| query.strip_prefix("secs=")?.parse().ok());
        let secs: u32 = secs.unwrap_or(DEFAULT_SECS).clamp(1, options.max_secs.max(1));
        if busy.swap(true, SeqCst) {
            return at_once(uncached(StatusCode::CONFLICT, "Another profile is being taken.\n"));
        }
        let (busy, frequency) = (Busy(busy.clone()), options.frequency);
        Box::pin(async move {
            let graph = flame_graph(frequency.into(), Duration::from_secs(secs.into())).await?;
            drop(busy);
            let mut response = Response::new(graph.into());
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        })
    }))
}

/// The profile that is being taken; one at a time, because the process has one timer for it.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

async fn flame_graph(frequency: i32, time: Duration) -> Result<String, BoxError> {
    // A signal during an unwinding of these libraries would deadlock.
    let skipped = ["libc", "libgcc", "pthread", "vdso"];
    let profiler = pprof::ProfilerGuardBuilder::default().frequency(frequency).blocklist(&skipped).build()?;
    tokio::time::sleep(time).await;
    let graph = tokio::task::spawn_blocking(move || {
        let mut samples = Samples::default();
        for (stack, count) in &profiler.report().build()?.data {
            let thread = std::iter::once(stack.thread_name.clone());
            let names =
                stack.frames.iter().rev().flat_map(|frame| frame.iter().rev().map(|symbol| symbol.name()));
            samples.add(thread.chain(names), u64::try_from(*count).unwrap_or(0));
        }
        Ok::<_, pprof::Error>(samples.svg())
    });
    Ok(graph.await??)
}
