//! `lint`: checks that the server and the application keep the rules of the gateway interface, like Python's
//! wsgiref.validate.

use std::pin::Pin;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, LOCATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{App, Body, Request, Response};
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{BoxError, Result};

/// Options of a `[middleware.NAME]` table with `use = "lint"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Fail the request on a violation (500, or an aborted body) instead of only logging it.
    #[serde(default)]
    strict: bool,
}

/// Names that belong to one connection (RFC 9110, section 7.6.1): an application must neither see nor send
/// them.
const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "transfer-encoding"];

/// The rules that one request broke.
#[derive(Debug, thiserror::Error)]
#[error("lint: {}", .0.join("; "))]
struct Findings(Vec<String>);

/// Wraps `next`.
pub(super) fn build(options: Options, _: &Table, _: &Context, next: App) -> Result<App> {
    let Options { strict } = options;
    Ok(App::from_call(move |request| {
        let line = format!("{} {}", request.method(), request.uri().path());
        let head = request.method() == Method::HEAD;
        if let Err(error) = report(check_request(&request), &line, strict) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let response = next.handle(request);
        Box::pin(async move {
            let response = response.await?;
            report(check_response(&response, head), &line, strict)?;
            Ok(watch_length(response, head, line, strict))
        })
    }))
}

/// Logs the findings, or turns them into an error.
fn report(findings: Vec<String>, line: &str, strict: bool) -> Result<(), BoxError> {
    if findings.is_empty() {
        return Ok(());
    }
    if strict {
        return Err(Findings(findings).into());
    }
    for finding in findings {
        tracing::warn!(request = line, "lint: {finding}");
    }
    Ok(())
}

/// The rules for the server.
fn check_request(request: &Request) -> Vec<String> {
    let mut found = Vec::new();
    let path = request.uri().path();
    let asterisk = request.method() == Method::OPTIONS && path == "*";
    if !path.starts_with('/') && !asterisk && request.method() != Method::CONNECT {
        found.push(format!("the request's path `{path}` does not begin with `/`"));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        found.push(format!("the request's path `{path}` has dot segments"));
    }
    match request.extensions().get::<Environ>() {
        None => found.push("the request has no environ".into()),
        Some(environ) => {
            let mount = &*environ.script_name;
            if !mount.is_empty() && (!mount.starts_with('/') || mount.ends_with('/')) {
                found.push(format!("the mount `{mount}` is neither empty nor `/…` without a trailing slash"));
            }
            if environ.host.chars().any(char::is_uppercase) {
                found.push(format!("the effective host `{}` is not in lower case", environ.host));
            }
        }
    }
    let headers = request.headers();
    let upgrade = headers.contains_key(UPGRADE);
    for name in HOP_BY_HOP {
        let allowed = (name == CONNECTION && upgrade) || name == TE;
        if headers.contains_key(name) && !allowed {
            found.push(format!("the request has the hop-by-hop field `{name}`"));
        }
    }
    if headers.get_all(HOST).iter().count() > 1 {
        found.push("the request has more than one `host`".into());
    }
    for name in headers.keys().map(HeaderName::as_str) {
        if name == "proxy" || name.contains('_') {
            found.push(format!(
                "the request has the field `{name}`, which CGI cannot distinguish from another one"
            ));
        }
    }
    found.extend(check_length(headers, "request"));
    found
}

/// The rules for the application.
fn check_response(response: &Response, head: bool) -> Vec<String> {
    let mut found = Vec::new();
    let (status, headers) = (response.status(), response.headers());
    let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_informational() && !upgraded {
        found.push(format!("the status {status} is not a final status"));
    }
    for name in HOP_BY_HOP {
        if headers.contains_key(name) && !(upgraded && name == CONNECTION) {
            found.push(format!(
                "the response has the hop-by-hop field `{name}`, which only the server may set"
            ));
        }
    }
    let bodiless =
        matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT);
    let size = response.body().size_hint();
    if bodiless && size.lower() > 0 {
        found.push(format!("the status {status} has a body"));
    }
    if status == StatusCode::NO_CONTENT && headers.contains_key(CONTENT_LENGTH) {
        found.push("the status 204 has a `content-length`".into());
    }
    if size.lower() > 0 && !headers.contains_key(CONTENT_TYPE) {
        found.push("the response has a body and no `content-type`".into());
    }
    for (wanted, name) in [
        (StatusCode::METHOD_NOT_ALLOWED, ALLOW),
        (StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE),
        (StatusCode::MOVED_PERMANENTLY, LOCATION),
        (StatusCode::FOUND, LOCATION),
        (StatusCode::SEE_OTHER, LOCATION),
        (StatusCode::TEMPORARY_REDIRECT, LOCATION),
        (StatusCode::PERMANENT_REDIRECT, LOCATION),
    ] {
        if status == wanted && !headers.contains_key(&name) {
            found.push(format!("the status {status} has no `{name}`"));
        }
    }
    if headers.contains_key(TRAILER) && headers.contains_key(CONTENT_LENGTH) {
        found.push("the response announces trailers and a `content-length`".into());
    }
    found.extend(check_length(headers, "response"));
    if let (Some(announced), Some(exact), false) = (length(headers), size.exact(), head || bodiless)
        && announced != exact
    {
        found.push(format!("the `content-length` is {announced}, but the body has {exact} bytes"));
    }
    found
}

fn check_length(headers: &HeaderMap, what: &str) -> Option<String> {
    let mut fields = headers.get_all(CONTENT_LENGTH).iter();
    let first = fields.next()?;
    if fields.next().is_some() {
        return Some(format!("the {what} has more than one `content-length`"));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        return Some(format!("the {what} has a `content-length` and a `transfer-encoding`"));
    }
    length(headers).is_none().then(|| format!("the {what}'s `content-length` {first:?} is not a number"))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Counts the body if its length is announced but not known.
fn watch_length(response: Response, head: bool, line: String, strict: bool) -> Response {
    let announced = length(response.headers());
    match announced {
        Some(announced) if !head && response.body().size_hint().exact().is_none() => {
            response.map(|body| Body::new(Measured { body, announced, seen: 0, line, strict }))
        }
        _ => response,
    }
}

struct Measured {
    body: Body,
    announced: u64,
    seen: u64,
    line: String,
    strict: bool,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(task);
        let wrong = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let before = self.seen;
                self.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
                before <= self.announced && self.seen > self.announced
            }
            Poll::Ready(None) => self.seen < self.announced,
            _ => false,
        };
        if wrong {
            let than = if self.seen > self.announced { "more" } else { "fewer" };
            let finding = format!("the body has {than} bytes than the {} announced", self.announced);
            if let Err(error) = report(vec![finding], &self.line, self.strict) {
                return Poll::Ready(Some(Err(error)));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
