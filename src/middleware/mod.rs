//! Middleware: one file each, with its `Options` and a function that wraps an app into another app.
//!
//! A layer that passes a request on unchanged returns the inner future ([`App::from_call`]) and boxes
//! nothing. `ops/assemble.rs` tells what the others cost.

mod access_log;
mod auth_basic;
pub(crate) mod body_limit;
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

use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::error::Result;
use crate::registry::{Entry, options};

/// Wraps `next`.
pub type Build = fn(&Table, &Context, App) -> Result<App>;

/// Every kind of middleware.
pub static MIDDLEWARE: &[Entry<Build>] = &[
    Entry {
        name: "access_log",
        summary: "Writes one line per request in the common, combined or JSON format",
        options: options::<access_log::Options>,
        build: access_log::build,
    },
    Entry {
        name: "auth_basic",
        summary: "Asks for a name and a password, and checks them against an htpasswd file",
        options: options::<auth_basic::Options>,
        build: auth_basic::build,
    },
    Entry {
        name: "body_limit",
        summary: "Answers 413 if the request body is too long",
        options: options::<body_limit::Options>,
        build: body_limit::build,
    },
    Entry {
        name: "compress",
        summary: "Compresses responses with zstd, br or gzip",
        options: options::<compress::Options>,
        build: compress::build,
    },
    Entry {
        name: "error_page",
        summary: "Turns errors, panics and empty error responses into readable pages",
        options: options::<error_page::Options>,
        build: error_page::build,
    },
    Entry {
        name: "headers",
        summary: "Sets, appends and removes header fields of requests and responses",
        options: options::<headers::Options>,
        build: headers::build,
    },
    Entry {
        name: "health",
        summary: "Answers health checks: whether the process is alive and the apps are ready",
        options: options::<health::Options>,
        build: health::build,
    },
    Entry {
        name: "lint",
        summary: "Checks that servers and applications keep the rules of the gateway interface",
        options: options::<lint::Options>,
        build: lint::build,
    },
    Entry {
        name: "lowercase",
        summary: "Converts text to lower case: the smallest example of a middleware",
        options: options::<lowercase::Options>,
        build: lowercase::build,
    },
    Entry {
        name: "metrics",
        summary: "Answers with the metrics of all workers, for Prometheus",
        options: options::<metrics::Options>,
        build: metrics::build,
    },
    Entry {
        name: "request_id",
        summary: "Gives each request an id that appears in the app, the log and the response",
        options: options::<request_id::Options>,
        build: request_id::build,
    },
    Entry {
        name: "timeout",
        summary: "Answers 504 if the application is too slow",
        options: options::<timeout::Options>,
        build: timeout::build,
    },
    Entry {
        name: "trace",
        summary: "Sends spans for each request and each middleware to an OpenTelemetry collector",
        options: options::<trace::Options>,
        build: trace::build,
    },
];
