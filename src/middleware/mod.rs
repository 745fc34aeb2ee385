//! Middleware: one file each, with its `Options` and a function that wraps an app into another app.
//!
//! A layer that passes a request on unchanged returns the inner future ([`App::from_call`]) and boxes
//! nothing. `ops/assemble.rs` tells what the others cost.

mod access_log;
mod auth_basic;
pub(crate) mod body_limit;
#[cfg(feature = "compress")]
mod compress;
mod error_page;
pub mod failure;
mod headers;
mod health;
mod lint;
mod lowercase;
mod metrics;
pub mod password;
mod peers;
mod request_id;
mod secret;
mod timeout;
mod trace;

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::body::App;
use crate::config::{ReadOptions, Table};
use crate::context::Context;
use crate::error::{Errors, Result};
use crate::registry::{Entries, Entry};

/// Every kind of middleware.
pub static MIDDLEWARE: Entries<MiddlewareKind> = LazyLock::new(|| {
    vec![
        Entry::of(
            "access_log",
            "Writes one line per request in the common, combined or JSON format",
            access_log::build,
        ),
        Entry::of(
            "auth_basic",
            "Asks for a name and a password, and checks them against an htpasswd file",
            auth_basic::build,
        ),
        Entry::of("body_limit", "Answers 413 if the request body is too long", body_limit::build)
            .limits_bodies(),
        #[cfg(feature = "compress")]
        Entry::of("compress", "Compresses responses with zstd, br or gzip", compress::build),
        #[cfg(not(feature = "compress"))]
        Entry::lacking("compress", "Not in this build: needs the feature `compress`"),
        Entry::of(
            "error_page",
            "Turns errors, panics and empty error responses into readable pages",
            error_page::build,
        ),
        Entry::of(
            "headers",
            "Sets, appends and removes header fields of requests and responses",
            headers::build,
        ),
        Entry::of(
            "health",
            "Answers health checks: whether the process is alive and the apps are ready",
            health::build,
        ),
        Entry::of(
            "lint",
            "Checks that servers and applications keep the rules of the gateway interface",
            lint::build,
        ),
        Entry::of(
            "lowercase",
            "Converts text to lower case: the smallest example of a middleware",
            lowercase::build,
        ),
        Entry::of("metrics", "Answers with the metrics of all workers, for Prometheus", metrics::build)
            .needs_times(),
        Entry::of(
            "request_id",
            "Gives each request an id that appears in the app, the log and the response",
            request_id::build,
        ),
        Entry::of("timeout", "Answers 504 if the application is too slow", timeout::build),
        Entry::of(
            "trace",
            "Sends spans for each request and each middleware to an OpenTelemetry collector",
            trace::build,
        )
        .needs_times(),
    ]
});

/// What a kind of middleware is, apart from its name.
pub struct MiddlewareKind {
    build: Box<BuildMiddleware>,
    /// Whether it reports the times of the other parts. Each timed call costs an allocation, so the parts are
    /// timed only if a stack has such a middleware.
    pub needs_times: bool,
    /// Whether it limits the bodies of requests. A stack without such a middleware has the default limit.
    pub limits_bodies: bool,
}

type BuildMiddleware = dyn Fn(&Table, &Context, App) -> Result<App> + Send + Sync;

impl MiddlewareKind {
    /// Wraps `next`, with the options in `table`.
    /// # Errors
    /// Every fault of the options.
    pub fn build(&self, table: &Table, context: &Context, next: App) -> Result<App> {
        (self.build)(table, context, next)
    }

    /// The entry of the kind that `table` names.
    /// # Errors
    /// A table without a kind, and an unknown kind.
    pub fn of(table: &Table) -> Result<&'static Entry<MiddlewareKind>> {
        table.kind_in(&MIDDLEWARE, "middleware")
    }
}

impl Entry<MiddlewareKind> {
    /// A kind whose `build` wraps the next app. It gets the options, and the table for the places of errors.
    fn of<O: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        summary: &'static str,
        build: fn(O, &Table, &Context, App) -> Result<App>,
    ) -> Self {
        let build = move |table: &Table, context: &Context, next| {
            let ReadOptions { options, table, wrong_entries } = table.read()?;
            Errors::join(build(options, &table, context, next), wrong_entries)
        };
        let kind = MiddlewareKind { build: Box::new(build), needs_times: false, limits_bodies: false };
        Entry::new::<O>(name, summary, kind)
    }

    /// A kind that this build lacks: it takes any options, and to build it is an error.
    #[cfg(not(feature = "compress"))]
    fn lacking(name: &'static str, summary: &'static str) -> Self {
        let build = move |table: &Table, _: &Context, _: App| {
            Err(crate::registry::lacking(name).at(table.origin("use")).into())
        };
        let kind = MiddlewareKind { build: Box::new(build), needs_times: false, limits_bodies: false };
        Entry::new::<serde_json::Map<String, serde_json::Value>>(name, summary, kind)
    }

    /// See [`MiddlewareKind::needs_times`].
    fn needs_times(mut self) -> Self {
        self.kind.needs_times = true;
        self
    }

    /// See [`MiddlewareKind::limits_bodies`].
    fn limits_bodies(mut self) -> Self {
        self.kind.limits_bodies = true;
        self
    }
}
