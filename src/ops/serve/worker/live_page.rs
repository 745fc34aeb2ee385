//! The live page of development: browsers refresh once a new generation serves, and show why one does not.
//!
//! It wraps everything that a server serves, adds a script to HTML pages and serves two paths itself. Only
//! clients on this machine get it, because compiler output and paths are private.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::watch;

use crate::body::{App, Body, BoxFuture, Request, Response};
use crate::environ::Environ;
use crate::error::{BoxError, Error};
use crate::ops::serve::ipc::message::{Role, Start, Status};

const SCRIPT: &str = include_str!("live_page.js");
const SCRIPT_PATH: &str = "/.paster/live.js";
const EVENTS_PATH: &str = "/.paster/events";
/// Pings, so that proxies and the server's own stall limit do not close a silent stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The live page's state in one worker.
#[derive(Clone)]
pub(super) struct Live {
    development: bool,
    /// Identifies this generation among all runs.
    generation: String,
    /// `None` once the generation is retired.
    shown: watch::Sender<Option<Shown>>,
}

/// What pages show.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    status: Status,
    /// How often files changed that are served directly: older pages are refreshed.
    refreshes: u64,
}

/// One message to a page.
#[derive(Serialize)]
struct PageMessage<'a> {
    generation: &'a str,
    #[serde(flatten)]
    status: &'a Status,
}

impl Live {
    pub(super) fn new(start: &Start) -> Live {
        let status = match &start.role {
            Role::Tell(errors) => Status::Failed { errors: errors.clone() },
            Role::Serve | Role::Try => Status::Serving,
        };
        Live {
            development: start.development,
            generation: format!("{}.{}", start.run, start.generation),
            shown: watch::Sender::new(Some(Shown { status, refreshes: start.refreshes })),
        }
    }

    /// Sends a status to all pages.
    pub(super) fn set(&self, status: Status) {
        self.change(|shown| shown.status = status);
    }

    /// Refreshes all older pages.
    pub(super) fn refresh(&self, refreshes: u64) {
        self.change(|shown| shown.refreshes = refreshes);
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        self.shown.send_if_modified(|now| {
            let Some(shown) = now else { return false };
            let before = shown.clone();
            change(shown);
            *shown != before
        });
    }

    /// The version of a page: a page with another version is refreshed.
    fn version(&self, shown: Option<&Shown>) -> String {
        format!("{}.{}", self.generation, shown.map_or(0, |shown| shown.refreshes))
    }

    /// Ends the streams to the pages, which then reconnect to the next generation.
    pub(super) fn end(&self) {
        self.shown.send_replace(None);
    }

    /// Wraps `app` with the live page, in development.
    pub(super) fn wrap(&self, app: App) -> App {
        if !self.development {
            return app;
        }
        let live = self.clone();
        App::from_call(move |request| live.call(&app, request))
    }

    /// An app that shows why nothing else can be served yet.
    pub(super) fn placeholder(&self) -> App {
        let live = self.clone();
        App::from_fn(move |request: Request| {
            let errors = match &*live.shown.borrow() {
                Some(Shown { status: Status::Failed { errors }, .. }) if is_near(&request) => {
                    errors.iter().map(text).collect()
                }
                _ => String::new(),
            };
            let page = format!(
                "<!doctype html><meta charset=utf-8><title>The build failed</title><h1>The build failed</h1><pre>{}</pre>",
                escape(&errors)
            );
            let mut response = Response::new(page.into());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            std::future::ready(response)
        })
    }

    fn call(&self, app: &App, mut request: Request) -> BoxFuture<Result<Response, BoxError>> {
        if !is_near(&request) {
            return app.handle(request);
        }
        match request.uri().path() {
            SCRIPT_PATH => return answer(script()),
            EVENTS_PATH => return answer(self.events()),
            _ => {}
        }
        if !is_navigation(&request) {
            return app.handle(request);
        }
        for name in [header::ACCEPT_ENCODING, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE]
        {
            // The script cannot be added to a compressed, partial or cached page.
            request.headers_mut().remove(name);
        }
        let head = request.method() == Method::HEAD;
        let version = self.version(self.shown.borrow().as_ref());
        let tag = format!("\n<script src=\"{SCRIPT_PATH}?g={version}\" async></script>\n");
        let response = app.handle(request);
        Box::pin(async move { response.await.map(|response| inject(response, tag, head)) })
    }

    /// A stream of server-sent events that ends with the generation.
    fn events(&self) -> Response {
        let mut shown = self.shown.subscribe();
        shown.mark_changed();
        let live = self.clone();
        let begin = futures_util::stream::once(async { Bytes::from_static(b"retry: 100\n\n") });
        let told = futures_util::stream::unfold((shown, live), |(mut shown, live)| async move {
            let text = match tokio::time::timeout(HEARTBEAT, shown.changed()).await {
                Err(_) => Bytes::from_static(b":\n\n"),
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {
                    let now = shown.borrow_and_update();
                    let generation = live.version(now.as_ref());
                    let told = PageMessage { generation: &generation, status: &now.as_ref()?.status };
                    format!("data: {}\n\n", serde_json::to_string(&told).ok()?).into()
                }
            };
            Some((text, (shown, live)))
        });
        let frames = begin.chain(told).map(|text| Ok::<_, BoxError>(Frame::data(text)));
        let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn answer(response: Response) -> BoxFuture<Result<Response, BoxError>> {
    Box::pin(std::future::ready(Ok(response)))
}

fn script() -> Response {
    let mut response = Response::new(SCRIPT.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether the client is on this machine and used a name of this machine. A page of another site whose name
/// resolves to this machine (DNS rebinding) must not see anything.
fn is_near(request: &Request) -> bool {
    request.extensions().get::<Environ>().is_some_and(|environ| {
        let client = environ.client.or(environ.peer.map(|peer| peer.ip()));
        // A client behind an untrusted relay may be anywhere.
        let near = !environ.relayed && client.is_some_and(|ip| ip.to_canonical().is_loopback());
        let host = environ.host.trim_start_matches('[').trim_end_matches(']');
        near && (host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
    })
}

/// Whether the request is for a page that a person will see, rather than for a part of one.
fn is_navigation(request: &Request) -> bool {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let page = text("sec-fetch-dest").is_none_or(|to| matches!(to, "document" | "iframe" | "frame"));
    let html = text("accept").is_some_and(|accept| accept.contains("text/html"));
    page && html && !request.headers().contains_key(header::UPGRADE)
}

fn inject(response: Response, tag: String, head: bool) -> Response {
    let html = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let html = html.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"));
    let none = [StatusCode::NO_CONTENT, StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED];
    let plain = !response.headers().contains_key(header::CONTENT_ENCODING);
    let bodiless = none.contains(&response.status()) || response.status().is_informational();
    if !html || !plain || bodiless {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    lengthen(&mut parts.headers, tag.len());
    // The validators belong to the page without the script, and a cached page would contain the script tag of
    // an older generation.
    parts.headers.remove(header::ETAG);
    parts.headers.remove(header::LAST_MODIFIED);
    parts.headers.remove(header::ACCEPT_RANGES);
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let body = if head { body } else { Body::new(Tagged { body, tag: Some(tag.into()), trailers: None }) };
    Response::from_parts(parts, body)
}

fn lengthen(headers: &mut HeaderMap, by: usize) {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length + by));
    }
}

/// A body followed by the script tag: browsers accept it after the end of the page.
struct Tagged {
    body: Body,
    tag: Option<Bytes>,
    trailers: Option<Frame<Bytes>>,
}

impl HttpBody for Tagged {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.tag.is_none() {
            return Poll::Ready(self.trailers.take().map(Ok));
        }
        match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_trailers() => self.trailers = Some(frame),
            Some(frame) => return Poll::Ready(Some(frame)),
            None => {}
        }
        Poll::Ready(self.tag.take().map(|tag| Ok(Frame::data(tag))))
    }

    fn is_end_stream(&self) -> bool {
        self.tag.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let added = self.tag.as_ref().map_or(0, |tag| tag.len() as u64);
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + added);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + added);
        }
        hint
    }
}

/// A fault as plain text.
fn text(fault: &Error) -> String {
    let mut text = String::new();
    if !fault.output.is_empty() {
        text += &fault.output;
        text += "\n\n";
    }
    text += &format!("error: {}\n", fault.message);
    if let Some(origin) = &fault.origin {
        text += &format!("  at {origin}\n");
    }
    fault.causes().for_each(|cause| text += &format!("  caused by: {cause}\n"));
    fault.helps.iter().for_each(|help| text += &format!("  help: {help}\n"));
    text + "\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
