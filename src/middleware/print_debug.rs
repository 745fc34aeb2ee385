//! `print_debug`: shows each request as the app sees it, as CGI variables.

use std::fmt::Write;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use schemars::JsonSchema;
use serde::Deserialize;

use super::metrics::uncached;
use super::peers::Peers;
use super::refusal::at_once;
use super::secret::masked;
use crate::body::{App, Request};
use crate::codec::variables;
use crate::config::{Table, is_secret_field};
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Errors, Result};
use crate::escape;

/// Options of a `[middleware.NAME]` table with `use = "print_debug"`.
///
/// Put it at the end of the stack to see what the app sees. Cookies, credentials, and query values that look like secrets are
/// masked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Path that shows its own request, such as `/debug`. By default, all requests are written to the log.
    path: Option<String>,
    /// Clients that may see `path`: addresses, networks, `loopback`, `unix`. For other clients, the path does not exist.
    allow: Peers,
}

impl Default for Options {
    fn default() -> Self {
        Options { path: None, allow: Peers::loopback() }
    }
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    if let Some(path) = options.path.as_ref().filter(|path| !path.starts_with('/')) {
        errors.push(table.error("path", format!("`{path}` is not a path")).help("begin it with `/`"));
    }
    Errors::check(errors)?;
    let options = Arc::new(options);
    Ok(App::from_call(move |request| {
        let Some(path) = &options.path else {
            let (head, body) = request.into_parts();
            tracing::info!("the app sees this request:\n{}", describe(&head));
            return next.handle(Request::from_parts(head, body));
        };
        if request.uri().path() != path || !options.allow.allow(request.extensions().get::<Environ>()) {
            return next.handle(request);
        }
        let (head, _) = request.into_parts();
        at_once(uncached(http::StatusCode::OK, describe(&head)))
    }))
}

/// One `NAME=value` per line.
fn describe(head: &Parts) -> String {
    let Some(environ) = head.extensions.get::<Environ>() else { return String::new() };
    let mut text = String::new();
    for (name, value) in variables::from_request(head, environ, None).iter() {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        let value = match &*name {
            "QUERY_STRING" => masked(&format!("?{value}"))[1..].to_owned(),
            "REQUEST_URI" | "HTTP_REFERER" => masked(&value),
            // `SSL_CLIENT_…` is public.
            name if name.starts_with("HTTP_") && is_secret_field(&name[5..].replace('_', "-")) => {
                "***".to_owned()
            }
            _ => value.into_owned(),
        };
        let _ = writeln!(text, "{name}={}", escape::text(value)); // writing to a string does not fail
    }
    if head.headers.contains_key(AUTHORIZATION) && !text.contains("HTTP_AUTHORIZATION") {
        text += "# Authorization was checked, and is not passed on.\n";
    }
    text
}
