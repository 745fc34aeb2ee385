//! `profile`: a flame graph of a worker's native code or of a Python application, while it serves.
//!
//! [`graph`] draws it: the crates for that have a licence that this project does not use.

mod graph;
mod native;
mod python;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::metrics::uncached;
use super::options::{path, value};
use super::peers::Peers;
use super::refusal::at_once;
use crate::body::{App, Response};
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{BoxError, Errors, Result};
use crate::profilers::Profilers;

/// Options of a `[middleware.NAME]` table with `use = "profile"`.
///
/// A GET request for the path samples all threads of the worker that handles it, and returns a flame graph (SVG) of its native
/// code. `/debug/profile?secs=5` samples for five seconds.
///
/// `/debug/profile?app=wiki&secs=5` samples the Python functions of the app `wiki` instead, in all its processes, or in the worker
/// for `mode = "embedded"`. This does not slow the application down noticeably. Threads that wait are left out. Kinds: `wsgi`,
/// `asgi` and those of frameworks, except `tornado`.
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
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    value(table, "path", &options.path, &mut errors, path);
    Errors::check(errors)?;
    let (busy, profilers) = (Arc::new(AtomicBool::new(false)), context.profilers.clone());
    Ok(App::from_call(move |request| {
        let environ = request.extensions().get::<Environ>();
        if request.uri().path() != options.path || !options.allow.allow(environ) {
            return next.handle(request);
        }
        let wanted = match Wanted::read(request.uri().query().unwrap_or_default(), options.max_secs) {
            Ok(wanted) => wanted,
            Err(text) => return at_once(uncached(StatusCode::BAD_REQUEST, text)),
        };
        if busy.swap(true, SeqCst) {
            return at_once(uncached(StatusCode::CONFLICT, "Another profile is being taken.\n"));
        }
        let (busy, profilers, frequency) = (Busy(busy.clone()), profilers.clone(), options.frequency.max(1));
        Box::pin(async move {
            let response = wanted.profile(&profilers, frequency).await;
            drop(busy);
            response
        })
    }))
}

/// What the query asks for.
struct Wanted {
    app: Option<String>,
    secs: u32,
}

impl Wanted {
    /// Reads `app=NAME&secs=5`. More seconds than `max_secs` become `max_secs`.
    /// # Errors
    /// What is wrong, for the client.
    fn read(query: &str, max_secs: u32) -> Result<Wanted, String> {
        let mut wanted = Wanted { app: None, secs: DEFAULT_SECS.clamp(1, max_secs.max(1)) };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, value.parse::<u32>()) {
                ("app", _) => {
                    let app = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
                    wanted.app = Some(app.into_owned());
                }
                ("secs", Ok(secs)) => wanted.secs = secs.clamp(1, max_secs.max(1)),
                ("secs", Err(_)) => return Err("`secs` must be a whole number of seconds.\n".to_owned()),
                _ => return Err("The query may contain `app` and `secs`.\n".to_owned()),
            }
        }
        Ok(wanted)
    }

    async fn profile(self, profilers: &Profilers, frequency: u16) -> Result<Response, BoxError> {
        let graph = match &self.app {
            None => native::flame_graph(self.secs, frequency).await?,
            Some(app) => match profilers.get(app) {
                Some(profiled) => match python::flame_graph(app, profiled, self.secs, frequency).await {
                    Ok(graph) => graph,
                    Err(text) => return Ok(uncached(StatusCode::BAD_GATEWAY, text)),
                },
                None => return Ok(uncached(StatusCode::NOT_FOUND, no_app(&profilers.names()))),
            },
        };
        let mut response = Response::new(graph.into());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

fn no_app(names: &[String]) -> String {
    match names {
        [] => "There is no Python application here. Without `app`, the profile shows paster's worker.\n"
            .to_owned(),
        names => format!("There is no such Python application. There are: {}.\n", names.join(", ")),
    }
}

/// The profile that is being taken; one at a time, because the process has one timer for it.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}
