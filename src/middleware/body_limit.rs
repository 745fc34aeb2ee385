//! `body_limit`: refuses request bodies that are too long, by their announced length and while they are
//! received.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::body::{App, Body, BoxFuture, Request, Response, text_response};
use crate::config::Table;
use crate::context::Context;
use crate::error::{BoxError, Result};

/// The limit of an app whose stack sets none: 1 MiB.
pub(crate) const DEFAULT_BYTES: u64 = 1024 * 1024;

/// Options of a `[middleware.NAME]` table with `use = "body_limit"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Maximum length of a request body, in bytes.
    #[serde(default = "default_bytes")]
    max_bytes: u64,
}

fn default_bytes() -> u64 {
    DEFAULT_BYTES
}

/// Wraps `next`: longer bodies get 413 (RFC 9110, section 15.5.14).
pub(super) fn build(options: Options, _: &Table, _: &Context, next: App) -> Result<App> {
    Ok(wrap(next, options.max_bytes))
}

/// Wraps `next` with a limit in bytes.
///
/// If `Content-Length` exceeds it, the request is refused before the app is called. A body of unknown length
/// is counted: the app gets [`TooLong`] from the body, and its result becomes 413 unless its response has
/// already begun.
pub(crate) fn wrap(next: App, limit: u64) -> App {
    App::from_call(move |request| within(limit, request, &next))
}

/// Whether a request cannot exceed the limit. Such a request need not be moved into [`within`].
pub(crate) fn passes(limit: u64, request: &Request) -> bool {
    let size = request.body().size_hint();
    // A CONNECT request has no body but a stream in both directions, such as a WebSocket over HTTP/2.
    let endless = || request.method() == Method::CONNECT && size.lower() <= limit;
    size.upper().is_some_and(|most| most <= limit) || endless()
}

/// Passes a request to `next` under the limit.
pub(crate) fn within(limit: u64, request: Request, next: &App) -> BoxFuture<Result<Response, BoxError>> {
    if passes(limit, &request) {
        return next.handle(request);
    }
    if request.body().size_hint().lower() > limit {
        return Box::pin(std::future::ready(Ok(too_long(limit))));
    }
    let exceeded = Arc::new(AtomicBool::new(false));
    let flag = exceeded.clone();
    let future =
        next.handle(request.map(|body| Body::new(CappedBody { body, left: limit, limit, exceeded: flag })));
    Box::pin(async move {
        let result = future.await;
        if exceeded.load(Ordering::Relaxed) { Ok(too_long(limit)) } else { result }
    })
}

fn too_long(limit: u64) -> Response {
    let text = format!("The request's body is longer than {limit} bytes.\n");
    text_response(StatusCode::PAYLOAD_TOO_LARGE, text)
}

/// The error when a body is read past its limit.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is longer than {0} bytes")]
pub(crate) struct TooLong(u64);

struct CappedBody {
    body: Body,
    left: u64,
    limit: u64,
    exceeded: Arc<AtomicBool>,
}

impl HttpBody for CappedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.exceeded.load(Ordering::Relaxed) {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(task);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => {
                    self.exceeded.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(TooLong(self.limit).into())));
                }
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
