//! Middleware: one file each, from its `Options` and the app that it wraps to an app.
//!
//! A stack is put together at run time, from the names in a config, so each layer calls the next one through
//! [`App`]: one dynamic call, and one box where the layer has something to do after the call. A layer that
//! passes a request on unchanged (`body_limit` without a body) returns the inner future and boxes nothing.

pub(crate) mod body_limit;
pub mod failure;
mod headers;
mod timeout;

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
        name: "body_limit",
        summary: "Answers 413 when a request's body is too long",
        options: options::<body_limit::Options>,
        build: body_limit::build,
    },
    Entry {
        name: "headers",
        summary: "Sets, appends and removes header fields of requests and responses",
        options: options::<headers::Options>,
        build: headers::build,
    },
    Entry {
        name: "timeout",
        summary: "Answers 504 when the application is slow",
        options: options::<timeout::Options>,
        build: timeout::build,
    },
];
