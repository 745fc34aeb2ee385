//! One request: through the gate to the app, and its response back.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::arriving::{Arriving, Fate, Fault, TooSlow};
use super::link::Link;
use super::run::Shared;
use crate::body::{Body, BoxFuture, Request, Response};
use crate::error::BoxError;
use crate::server::gate::{Admitted, Memory, Refusal, Wire, reply};

/// The service of one connection.
pub(super) struct Exchange {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Link>,
    pub(super) wire: Wire,
    pub(super) memory: Mutex<Memory>,
}

impl Exchange {
    pub(super) fn new(shared: Arc<Shared>, link: Arc<Link>, wire: Wire) -> Exchange {
        Exchange { shared, link, wire, memory: Mutex::default() }
    }

    #[expect(
        clippy::result_large_err,
        reason = "a refusal is a whole response; boxing it would cost the usual case"
    )]
    fn begin(&self, request: http::Request<Incoming>) -> Result<Answering, (Response, Ticket)> {
        let ticket = Ticket::new(&self.shared, &self.link);
        let version = request.version();
        let (parts, body) = request.into_parts();
        let mut request = http::Request::from_parts(parts, ());
        let chunked = version < Version::HTTP_2 && request.headers().contains_key(TRANSFER_ENCODING);
        // hyper drops a Content-Length beside a Transfer-Encoding before we see it.
        let both = self.link.take_head(chunked.then_some(b"content-length"));
        let admitted = if both {
            let reason = "Content-Length beside Transfer-Encoding";
            Err(Refusal { status: StatusCode::BAD_REQUEST, reason })
        } else {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.gate.admit(&mut request, &self.wire, &mut memory)
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                tracing::debug!(status = refusal.status.as_u16(), reason = refusal.reason, "request refused");
                return Err((reply::refusal(refusal, version), ticket));
            }
        };
        if ticket.number > self.shared.limits.in_flight {
            if version < Version::HTTP_2 && !body.is_end_stream() {
                self.link.body_open.store(true, Relaxed);
                self.link.leave(body);
            }
            return Err((reply::full(), ticket));
        }
        let mut fate = None;
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            let link = (version < Version::HTTP_2).then(|| self.link.clone());
            let kept = fate.insert(Arc::<Fate>::default()).clone();
            let invited = request.headers().contains_key(EXPECT);
            Body::new(Arriving::new(body, link, invited, self.shared.limits.body_pace, kept))
        };
        let (parts, ()) = request.into_parts();
        let request = Request::from_parts(parts, body);
        let answer = match &self.shared.one_at_a_time {
            None => self.shared.call(request),
            Some(turn) => {
                let (turn, shared) = (turn.clone(), self.shared.clone());
                Box::pin(async move {
                    // The semaphore is never closed.
                    let permit = turn.acquire_owned().await.ok();
                    let mut response = shared.call(request).await?;
                    let body = std::mem::take(response.body_mut());
                    *response.body_mut() = Body::new(Held { body, _permit: permit });
                    Ok(response)
                })
            }
        };
        Ok(Answering { state: State::Running(answer), admitted, version, fate, ticket: Some(ticket) })
    }
}

impl hyper::service::Service<http::Request<Incoming>> for Exchange {
    type Response = http::Response<Departing>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: http::Request<Incoming>) -> Answering {
        let version = request.version();
        let head = *request.method() == http::Method::HEAD;
        self.begin(request).unwrap_or_else(|(response, ticket)| Answering {
            state: State::Made(Some(response)),
            admitted: Admitted { head, upgrade: false },
            version,
            fate: None,
            ticket: Some(ticket),
        })
    }
}

/// A response that is being made.
pub(super) struct Answering {
    state: State,
    admitted: Admitted,
    version: Version,
    fate: Option<Arc<Fate>>,
    ticket: Option<Ticket>,
}

enum State {
    Made(Option<Response>),
    Running(BoxFuture<Result<Response, BoxError>>),
}

impl Future for Answering {
    type Output = Result<http::Response<Departing>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let response = match &mut this.state {
            State::Made(response) => response.take().unwrap_or_else(|| reply::plain(StatusCode::OK, "")),
            State::Running(answer) => {
                let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)));
                let answered = match polled {
                    Ok(polled) => ready!(polled),
                    Err(panic) => Err(panic_text(&*panic).into()),
                };
                // The app's future ends here, not with the response's body.
                this.state = State::Made(None);
                this.judge(answered)
            }
        };
        let mut response = reply::settle(response, &this.admitted, this.version);
        let Some(ticket) = this.ticket.take() else {
            return Poll::Pending; // polled after its end, which hyper never does
        };
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => ticket.upgrade(),
            status if this.version < Version::HTTP_2 && (this.ends(status) || ticket.must_close()) => {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        Poll::Ready(Ok(response.map(|body| Departing { body, ticket })))
    }
}

impl Answering {
    /// Whether the connection is of no further use: whoever sent too much or too slowly may send on.
    fn ends(&self, status: StatusCode) -> bool {
        matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT)
            || self.fate.as_ref().is_some_and(|fate| fate.fault() != Fault::None)
    }

    /// The app's response, or ours where it made none or made one only because the body failed it.
    fn judge(&self, answered: Result<Response, BoxError>) -> Response {
        let fault = self.fate.as_ref().map_or(Fault::None, |fate| fate.fault());
        match answered {
            Ok(response) if fault != Fault::Slow || response.status().as_u16() < 400 => response,
            Err(error) if fault == Fault::None => {
                let status = status_of(&*error);
                if status == StatusCode::INTERNAL_SERVER_ERROR {
                    if let Some(ticket) = &self.ticket {
                        ticket.shared.load.failed.fetch_add(1, Relaxed);
                    }
                    tracing::error!(error = reply::chain(&*error), "the application failed");
                }
                reply::plain(status, "")
            }
            _ => {
                let status = match fault {
                    Fault::Slow => StatusCode::REQUEST_TIMEOUT,
                    _ => StatusCode::BAD_REQUEST,
                };
                reply::plain(status, "the body did not come whole")
            }
        }
    }
}

/// The status for an app's error: what a body limit or a slow body means, else 500.
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

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("panic: {text}")
}

/// One request in the counts, until its response has ended or is dropped.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    link: Arc<Link>,
    number: usize,
}

impl Ticket {
    fn new(shared: &Arc<Shared>, link: &Arc<Link>) -> Ticket {
        link.busy.fetch_add(1, Relaxed);
        shared.load.requests.fetch_add(1, Relaxed);
        let number = shared.load.in_flight.fetch_add(1, Relaxed) + 1;
        Ticket { shared: shared.clone(), link: link.clone(), number }
    }

    fn upgrade(&self) {
        if !self.link.upgraded.swap(true, Relaxed) {
            self.shared.load.upgraded.fetch_add(1, Relaxed);
        }
    }

    fn must_close(&self) -> bool {
        self.link.close_next.load(Relaxed) || self.shared.closes_connections()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.load.in_flight.fetch_sub(1, Relaxed);
        self.link.served.fetch_add(1, Relaxed);
        if self.link.busy.fetch_sub(1, Relaxed) == 1 && self.link.multiplexed.load(Relaxed) {
            self.link.task.wake();
        }
    }
}

/// A response's body on its way out.
pub(super) struct Departing {
    body: Body,
    ticket: Ticket,
}

/// What a stream of HTTP/2 tells the task that watches it.
#[derive(Debug, Default)]
pub(super) struct Taking {
    /// A frame was given out, and nobody has come back for the next: the client takes nothing.
    pub(super) waits: AtomicBool,
    /// Frames given out so far.
    pub(super) frames: AtomicU64,
}

tokio::task_local! {
    /// Set in the task of each stream of HTTP/2.
    pub(super) static TAKING: Arc<Taking>;
}

impl http_body::Body for Departing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_frame(cx))) {
            Ok(frame) => frame,
            // A panic in the middle of a body must not look like its end.
            Err(panic) => Poll::Ready(Some(Err(panic_text(&*panic).into()))),
        };
        if let Poll::Ready(Some(Err(error))) = &frame {
            this.ticket.shared.load.failed.fetch_add(1, Relaxed);
            tracing::error!(error = reply::chain(&**error), "the application failed in the middle of a body");
        }
        if this.ticket.link.multiplexed.load(Relaxed) {
            let taken = matches!(frame, Poll::Ready(Some(Ok(_))));
            // Outside a stream's task there is nobody to tell.
            let _ = TAKING.try_with(|taking| {
                taking.waits.store(taken, Relaxed);
                taking.frames.fetch_add(1, Relaxed);
            });
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that keeps the turn of `one_at_a_time` until it ends.
struct Held {
    body: Body,
    _permit: Option<OwnedSemaphorePermit>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
