//! The handling of requests that all servers share, from the arrival of the head on.
//!
//! It counts every request, and reports refused ones to the access log. For admitted requests it enforces the
//! limit, passes one at a time if the app wants that, catches panics, turns an app's failure into a response,
//! lists requests in flight, drops cancelled ones, and watches the response body. It knows no protocol and no
//! socket.

mod counted_body;

use std::any::Any;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{StatusCode, Version};
use http_body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) use self::counted_body::CountedBody;
use super::control::{Load, RequestOutcome, RequestStats};
use super::gate::{Admitted, Rejection, reply};
use super::throughput::{BodyError, TooSlow};
use crate::body::{
    App, BoxFuture, Meter, ObservedCall, Observer, Refused, RefusedHead, Request, Response, Unwrapped, Watch,
};
use crate::environ::{Environ, RefusalReason};
use crate::error::{BoxError, chain};
use crate::inflight::{RequestEntry, RequestHandle, Shares};
use crate::metrics::class_of;

/// The requests of one server.
pub(super) struct Requests {
    app: App,
    /// Is notified of each call of the app.
    meter: Option<Arc<dyn Meter>>,
    /// Observes the calls.
    follow: Option<Arc<dyn Observer>>,
    /// Is notified of requests that do not reach the app.
    refusals: Option<Arc<dyn Observer>>,
    shares: Option<Arc<Shares>>,
    load: Arc<Load>,
    /// Maximum number of requests in flight.
    limit: usize,
    turn: Option<Arc<Semaphore>>,
}

impl Requests {
    /// `limit` is the maximum number of requests in flight; with `one_at_a_time` the app gets one request at
    /// a time.
    pub(super) fn new(app: App, load: Arc<Load>, limit: usize, one_at_a_time: bool) -> Arc<Requests> {
        let turn = one_at_a_time.then(|| Arc::new(Semaphore::new(1)));
        // Waiting for the turn is not the app's time, so in that case the meter keeps its own clock.
        let Unwrapped { app: inner, mut meter, mut follow, parts } = app.clone().bare();
        let refusals = parts.refusals.or_else(|| follow.clone());
        let app = match turn {
            None => inner,
            Some(_) => {
                (meter, follow) = (None, None);
                app
            }
        };
        if let Some(shares) = &parts.shares {
            shares.limit(limit);
        }
        Arc::new(Requests { app, meter, follow, refusals, shares: parts.shares, load, limit, turn })
    }

    /// The server's counters.
    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Takes in a request that arrived at `came`, and counts it whether or not it is refused.
    pub(super) fn take(self: &Arc<Self>, came: Instant) -> RequestGuard {
        let number = self.load.in_flight.fetch_add(1, Relaxed) + 1;
        RequestGuard {
            requests: self.clone(),
            number,
            entry: None,
            began: came,
            took: None,
            outcome: RequestOutcome::REFUSED,
            bytes: 0,
            following: None,
        }
    }
}

/// One request in the counters, until its response has ended or is dropped.
pub(super) struct RequestGuard {
    requests: Arc<Requests>,
    number: usize,
    /// Its entry in the table of requests in flight, once the app has the request.
    entry: Option<RequestEntry>,
    began: Instant,
    /// The duration of the response, once known.
    took: Option<Duration>,
    outcome: RequestOutcome,
    /// Bytes of the response body so far.
    bytes: u64,
    following: Option<Box<dyn ObservedCall>>,
}

impl RequestGuard {
    /// Whether too many requests are in flight already: refuse it with [`reply::FULL`].
    pub(super) fn is_too_many(&self) -> bool {
        self.number > self.requests.limit
    }

    /// Logs that the request is refused, and with which response.
    pub(super) fn refused(
        &self,
        rejection: &Rejection,
        client: Option<IpAddr>,
        head: RefusedHead<'_>,
        bytes: u64,
    ) {
        let (status, reason) = (rejection.status, &*rejection.explained());
        tracing::debug!(status = status.as_u16(), reason, "request refused");
        if let Some(log) = &self.requests.refusals {
            log.refused(&Refused { came: self.began, client, head, status, reason, bytes });
        }
    }

    /// The same, for a request that is answered with `response`.
    pub(super) fn refused_with(
        &self,
        rejection: &Rejection,
        client: Option<IpAddr>,
        head: RefusedHead<'_>,
        response: &Response,
    ) {
        let bytes = response.body().size_hint().exact().filter(|_| head.method != "HEAD").unwrap_or(0);
        self.refused(rejection, client, head, bytes);
    }

    /// Passes an admitted request to the app.
    pub(super) fn begin(&mut self, mut request: Request) -> AppCall {
        self.outcome = RequestOutcome::GONE;
        let mut extensions = std::mem::take(request.extensions_mut());
        let environ = extensions.get_mut::<Environ>();
        let client = environ.as_ref().and_then(|environ| environ.client);
        let entry =
            self.requests.load.table.begin(self.began, request.method(), request.uri().path(), client);
        if let Some(environ) = environ {
            environ.handle = entry.handle();
        }
        if let Some(shares) = &self.requests.shares {
            entry.share(shares);
        }
        *request.extensions_mut() = extensions;
        self.entry = Some(entry);
        if let Some(follow) = &self.requests.follow {
            self.following = Some(follow.clone().begin(&request, self.began));
        }
        let app = &self.requests.app;
        if !request.body().is_end_stream() {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = body.watched(ReceivedBytes(self.requests.clone()));
        }
        let mut handle = self.entry.as_ref().map(RequestEntry::handle).unwrap_or_default();
        let call = match &self.requests.turn {
            None => handle.scope(|| app.handle(request)),
            Some(turn) => {
                let (turn, requests, came) = (turn.clone(), self.requests.clone(), Instant::now());
                Box::pin(async move {
                    // The semaphore is never closed.
                    let turn = Turn { _permit: turn.acquire_owned().await.ok() };
                    requests.load.served.waited(came.elapsed());
                    Ok(requests.app.handle(request).await?.map(|body| body.watched(turn)))
                })
            }
        };
        AppCall { call, handle }
    }

    /// Whether `paster cancel` cancelled the request. If not, the task of `waiting` is woken when that
    /// happens.
    fn is_cancelled(&self, waiting: Option<&Context<'_>>) -> bool {
        self.entry.as_ref().is_some_and(|entry| {
            if let Some(cx) = waiting {
                entry.wake(cx.waker());
            }
            entry.cancelled()
        })
    }

    /// The response to a request that was cancelled before it had one.
    fn cancelled(&self) -> Response {
        if let Some(entry) = &self.entry {
            entry.answered();
        }
        tracing::warn!("a request was cancelled by `paster cancel`");
        with_reason(StatusCode::SERVICE_UNAVAILABLE, "the request was cancelled")
    }

    /// Records the outcome of the app's call.
    fn answered(&mut self, answered: &Result<Response, BoxError>) {
        let took = self.began.elapsed();
        if let Some(meter) = &self.requests.meter {
            meter.ended(took, answered);
        }
        // A body in memory is sent together with its head, so the clock is not read again.
        if answered.as_ref().is_ok_and(|response| response.body().is_whole()) {
            self.took = Some(took);
        }
    }

    /// Brings the response to the form in which it is sent ([`reply::settle`]), counted and observed.
    pub(super) fn settle(&mut self, response: &mut Response, method: &Admitted, version: Version) {
        if !reply::settle(response, method, version) {
            self.requests.load.failed.fetch_add(1, Relaxed);
        }
        if self.outcome == RequestOutcome::GONE {
            self.outcome = RequestOutcome(class_of(response.status()) as u8);
        }
        if let Some(following) = &mut self.following {
            following.answered(Some(response));
        }
    }

    /// The response to a request that the app failed.
    fn failed(&self, error: &BoxError) -> Response {
        let status = status_of(&**error);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            self.requests.load.failed.fetch_add(1, Relaxed);
            tracing::error!(error = chain(&**error), "the application failed");
        }
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => with_reason(status, "the body is too long"),
            StatusCode::REQUEST_TIMEOUT => with_reason(status, "the body arrived too slowly"),
            _ => reply::plain(status, ""),
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.requests.load.in_flight.fetch_sub(1, Relaxed);
        let took = self.took.unwrap_or_else(|| self.began.elapsed());
        let (load, outcome, bytes) = (&self.requests.load, self.outcome, self.bytes);
        let count = |stats: &mut RequestStats| stats.ended(outcome, took, bytes);
        match self.entry.take() {
            Some(entry) => load.table.end(entry, count),
            None => load.table.note(count),
        }
        if let Some(following) = &mut self.following {
            following.taken(self.bytes);
        }
    }
}

/// The app's call for one request; dropping it ends the call.
pub(super) struct AppCall {
    call: BoxFuture<Result<Response, BoxError>>,
    handle: RequestHandle,
}

impl AppCall {
    /// Polls the app and turns a failure or panic into a response. `fault` returns the state of the request's
    /// body at that time.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        guard: &mut RequestGuard,
        fault: impl FnOnce() -> BodyError,
    ) -> Poll<Response> {
        let AppCall { call, handle } = self;
        handle.scope(|| poll_call(call, cx, guard, fault))
    }
}

fn poll_call(
    call: &mut BoxFuture<Result<Response, BoxError>>,
    cx: &mut Context<'_>,
    guard: &mut RequestGuard,
    fault: impl FnOnce() -> BodyError,
) -> Poll<Response> {
    let polled = match guard.is_cancelled(None) {
        true => Ok(Poll::Pending),
        false => catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))),
    };
    let answered = match polled {
        Ok(Poll::Ready(answered)) => Some(answered),
        Ok(Poll::Pending) if guard.is_cancelled(Some(cx)) => None,
        Ok(Poll::Pending) => return Poll::Pending,
        Err(panic) => Some(Err(panic_text(&*panic).into())),
    };
    if let Some(answered) = &answered {
        guard.answered(answered);
    }
    let fault = fault();
    let response = match answered {
        None => guard.cancelled(),
        Some(Ok(response)) if fault != BodyError::Slow || response.status().as_u16() < 400 => response,
        Some(Err(error)) if fault == BodyError::None => guard.failed(&error),
        // The app failed because of the request's body.
        Some(_) => {
            let slow = fault == BodyError::Slow;
            let status = if slow { StatusCode::REQUEST_TIMEOUT } else { StatusCode::BAD_REQUEST };
            let reason = if slow { "the body arrived too slowly" } else { "the body is incomplete" };
            with_reason(status, reason)
        }
    };
    Poll::Ready(response)
}

/// A short response with a reason, for the client and the access log.
fn with_reason(status: StatusCode, reason: &'static str) -> Response {
    let mut response = reply::plain(status, reason);
    response.extensions_mut().insert(RefusalReason(reason));
    response
}

/// The status for an app's error: 413 for a body limit, 408 for a slow body, else 500.
fn status_of(error: &(dyn std::error::Error + 'static)) -> StatusCode {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<http_body_util::LengthLimitError>() {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        if error.is::<TooSlow>() {
            return StatusCode::REQUEST_TIMEOUT;
        }
        next = error.source();
    }
    StatusCode::INTERNAL_SERVER_ERROR
}

/// The message of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("panic: {text}")
}

/// Counts the bytes of a request body.
struct ReceivedBytes(Arc<Requests>);

impl Watch for ReceivedBytes {
    fn taken(&mut self, bytes: u64) {
        self.0.load.served.received(bytes);
    }
}

/// The permit of `one_at_a_time`, held until the response body ends.
struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Watch for Turn {
    fn taken(&mut self, _: u64) {}
}
