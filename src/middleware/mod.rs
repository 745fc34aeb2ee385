//! Middleware: one file each, from its `Options` and the app that it wraps to an app.

use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::error::Result;
use crate::registry::Entry;

/// Wraps `next`.
pub type Build = fn(&Table, &Context, App) -> Result<App>;

/// Every kind of middleware.
pub static MIDDLEWARE: &[Entry<Build>] = &[];
