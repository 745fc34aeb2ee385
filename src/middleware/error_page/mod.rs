//! `error_page`: answers every failed request in a format that its client can read.
//!
//! [`negotiate`] chooses the format, [`page`] writes it, [`debug`] is the developer's page.

mod debug;
mod negotiate;
mod page;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ACCEPT, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED,
    VARY,
};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::failure::Panicked;
use crate::body::{App, Body, Response};
use crate::config::{ReadPath, Table, join};
use crate::context::Context;
use crate::environ::{Environ, RequestId};
use crate::error::{BoxError, Error, Errors, Result};
use crate::inflight::{LoggedIds, TraceIds};
use negotiate::{Form, form};
use page::Texts;

/// Options of a `[middleware.NAME]` table with `use = "error_page"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// HTML files by status: `"404" = "errors/404.html"`, `"5xx" = "errors/sorry.html"`. They are read when
    /// the app is built.
    #[serde(default)]
    pages: BTreeMap<String, ReadPath>,
}

/// Longest text of an app that a page includes, in bytes.
const DETAIL: u64 = 2048;

struct Pages {
    files: BTreeMap<String, Bytes>,
    development: bool,
}

/// Wraps `next`. Errors and panics of the app become 500 and are logged once, with their causes. Responses
/// with a status from 400 on that are empty or plain text get a page in the client's format. A response of
/// any other type is the app's own page and is left alone.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let mut files = BTreeMap::new();
    for (status, file) in &options.pages {
        let key = join("pages", status);
        if !is_status(status) {
            errors.push(
                Error::config(format!("`{status}` is not a status for errors"))
                    .at(table.key_origin(&key))
                    .help("write a number from 400 to 599, or `4xx` or `5xx` for a whole class"),
            );
        }
        match table.files().read(file) {
            Ok(content) => drop(files.insert(status.clone(), content.into())),
            Err(error) => {
                let message = format!("cannot read the error page `{}`", file.display());
                errors.push(table.error(&key, message).because(error));
            }
        }
    }
    Errors::check(errors)?;
    let pages = Arc::new(Pages { files, development: context.development });
    Ok(App::from_call(move |request| {
        let (mut head, body) = request.into_parts();
        if pages.development && is_local(&head) {
            debug::observe(&mut head);
        }
        // What a page may need from the request; cloning costs a few reference counts.
        let seen = Parts::clone(&head);
        let called = std::panic::catch_unwind(AssertUnwindSafe(|| {
            next.handle(crate::body::Request::from_parts(head, body))
        }));
        let pages = pages.clone();
        Box::pin(async move {
            let result = match called {
                Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            match result.unwrap_or_else(|panic| Err(Panicked::new(&*panic).into())) {
                Ok(response)
                    if !response.status().is_client_error() && !response.status().is_server_error() =>
                {
                    Ok(response)
                }
                Ok(response) => pages.dress(&seen, response).await,
                Err(error) => Ok(pages.failed(&seen, &error)),
            }
        })
    }))
}

fn is_status(text: &str) -> bool {
    matches!(text, "4xx" | "5xx") || text.parse::<u16>().is_ok_and(|status| (400..600).contains(&status))
}

impl Pages {
    /// The response for an error: logged in full, but shown in full only to a developer on this machine.
    fn failed(&self, request: &Parts, error: &BoxError) -> Response {
        let causes = causes(error, |error| error.to_string());
        // Of the time before this line.
        let debug = (self.development && is_local(request)).then(|| debug::Observed::of(request));
        tracing::error!(
            method = %request.method,
            path = request.uri.path(),
            "the application failed: {}",
            causes.join(": ")
        );
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let form = form(&request.headers);
        let (media, body) = match (form, self.file(status), &debug) {
            (Form::Html, _, Some(observed)) => {
                let causes = self::causes(error, debug::described);
                (Form::Html.media(), debug::html(request, &causes, observed).into())
            }
            (Form::Html, Some(file), None) => (Form::Html.media(), file),
            (form, _, debug) => {
                let causes = debug.as_ref().map(|_| &causes);
                page::write(form, status, &Texts { detail: None, causes, ids: &ids(request) })
            }
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        fill(request, &mut response, media, body);
        response
    }

    /// Gives a response with a status from 400 on its page.
    async fn dress(&self, request: &Parts, mut response: Response) -> Result<Response, BoxError> {
        let media = response.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or("");
        let media = media.split(';').next().unwrap_or("").trim();
        let size = response.body().size_hint();
        let is_plain = media.is_empty() || media.eq_ignore_ascii_case("text/plain");
        // The response to a HEAD is always empty. Only its type shows whether there would be a page.
        let empty = size.exact() == Some(0) && (is_plain || request.method != Method::HEAD);
        let form = form(&request.headers);
        let short = size.upper().is_some_and(|most| most <= DETAIL)
            && !response.headers().contains_key(CONTENT_ENCODING);
        // Text for a client that reads text, and text too long to be a message, are left alone.
        if !(empty || is_plain && short && form != Form::Plain) {
            if is_plain && short {
                response.headers_mut().append(VARY, ACCEPT.into());
            }
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let detail = String::from_utf8_lossy(&body.collect().await?.to_bytes()).trim().to_owned();
        let detail = Some(detail.as_str()).filter(|detail| !detail.is_empty());
        let (media, body) = match self.file(head.status) {
            Some(file) if form == Form::Html => (form.media(), file),
            _ => page::write(form, head.status, &Texts { detail, causes: None, ids: &ids(request) }),
        };
        let mut response = Response::from_parts(head, Body::empty());
        fill(request, &mut response, media, body);
        Ok(response)
    }

    /// The configured page for a status, or for its class.
    fn file(&self, status: StatusCode) -> Option<Bytes> {
        let class = if status.is_server_error() { "5xx" } else { "4xx" };
        self.files.get(status.as_str()).or_else(|| self.files.get(class)).cloned()
    }
}

/// The ids of the request, by which its lines of the log are found.
fn ids(request: &Parts) -> LoggedIds {
    let handle =
        request.extensions.get::<Environ>().map(|environ| environ.handle.logged()).unwrap_or_default();
    // Those of the middleware around this one, if the request is in no table (`paster request`).
    LoggedIds {
        request: handle.request.or_else(|| request.extensions.get::<RequestId>().map(|id| id.0.clone())),
        trace: handle.trace.or_else(|| request.extensions.get::<TraceIds>().copied()),
    }
}

/// Puts the page into the response and removes fields that described the old body.
fn fill(request: &Parts, response: &mut Response, media: &'static str, body: Bytes) {
    let headers = response.headers_mut();
    for name in [ETAG, LAST_MODIFIED, ACCEPT_RANGES, CONTENT_ENCODING] {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.append(VARY, ACCEPT.into());
    if request.method != Method::HEAD {
        *response.body_mut() = body.into();
    }
}

/// The messages of an error and of its causes, outermost first.
fn causes(error: &BoxError, message: impl Fn(&(dyn std::error::Error + 'static)) -> String) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = next {
        causes.push(message(error));
        next = error.source();
    }
    causes
}

/// Whether the request comes from this machine, according to its connection and to trusted proxies.
fn is_local(request: &Parts) -> bool {
    let Some(environ) = request.extensions.get::<Environ>() else { return false };
    let loopback = |address: std::net::IpAddr| address.to_canonical().is_loopback();
    let near = environ.peer.is_some_and(|peer| loopback(peer.ip())) && environ.client.is_some_and(loopback);
    near && !environ.relayed
}
