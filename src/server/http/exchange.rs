//! One request: through the gate to the app, and its response back.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::arriving::Arriving;
use super::clock;
use super::link::Link;
use super::refused;
use crate::body::{Body, RefusedHead, Response};
use crate::environ::Environ;
use crate::error::BoxError;
use crate::server::desk::{self, Leaving, Work};
use crate::server::gate::{Admitted, Memory, Refusal, Wire, reply};
use crate::server::pace::{Fate, Fault};

/// The service of one connection.
pub(super) struct Exchange {
    link: Arc<Link>,
    wire: Wire,
    memory: Cell<Memory>,
}

impl Exchange {
    pub(super) fn new(link: Arc<Link>, wire: Wire) -> Exchange {
        Exchange { link, wire, memory: Cell::default() }
    }

    /// The app at work on the request, or our own answer where it does not get that far.
    fn begin(&self, mut request: http::Request<Incoming>, head: &mut Head, ticket: &mut Ticket) -> State {
        let (version, shared) = (head.version, &self.link.shared);
        let has_body = !request.body().is_end_stream();
        let chunked =
            has_body && version < Version::HTTP_2 && request.headers().contains_key(TRANSFER_ENCODING);
        // hyper drops a Content-Length beside a Transfer-Encoding before we see it.
        let both = self.link.take_head(chunked.then_some(b"content-length"));
        let admitted = if both {
            Err(Refusal::new(StatusCode::BAD_REQUEST, "Content-Length beside Transfer-Encoding"))
        } else if version >= Version::HTTP_2 && fields_bytes(request.headers()) > shared.limits.head_bytes {
            Err(refused::HEAD_TOO_LONG)
        } else {
            let mut memory = self.memory.take();
            let admitted = shared.gate.admit(&mut request, &self.wire, &mut memory);
            self.memory.set(memory);
            admitted
        };
        match admitted {
            Ok(admitted) => head.admitted = admitted,
            Err(refusal) => {
                let response = reply::refusal(refusal, version);
                let client = shared.gate.client(request.headers(), &self.wire);
                ticket.desk.refused_with(&refusal, client, RefusedHead::of_request(&request), &response);
                return State::made(response);
            }
        }
        if ticket.desk.is_too_many() {
            let response = reply::full(reply::FULL.reason);
            let client = request.extensions().get::<Environ>().and_then(|environ| environ.client);
            ticket.desk.refused_with(&reply::FULL, client, RefusedHead::of_request(&request), &response);
            if has_body && version < Version::HTTP_2 {
                self.link.body_open.store(true, Relaxed);
                self.link.leave_body(request.into_body());
            }
            return State::made(response);
        }
        let invited = has_body && request.headers().contains_key(EXPECT);
        let request = request.map(|body| {
            if !has_body {
                return Body::empty();
            }
            let link = (version < Version::HTTP_2).then(|| self.link.clone());
            let kept = head.fate.insert(Arc::<Fate>::default()).clone();
            Body::new(Arriving::new(body, link, invited, shared.limits.body_pace, kept))
        });
        if self.link.served.load(Relaxed) == 0
            && self.link.busy.load(Relaxed) == 1
            && let Some(accepted) = self.link.accepted.get()
        {
            shared.load.served.first_calls.add(accepted.elapsed());
        }
        State::Running(ticket.desk.begin(request))
    }
}

impl hyper::service::Service<http::Request<Incoming>> for Exchange {
    type Response = http::Response<Departing>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: http::Request<Incoming>) -> Answering {
        let mut ticket = Ticket::new(&self.link);
        let admitted = Admitted { head: *request.method() == http::Method::HEAD, upgrade: false };
        let mut head = Head { version: request.version(), admitted, fate: None };
        let state = self.begin(request, &mut head, &mut ticket);
        Answering { state, head, ticket: Some(ticket) }
    }
}

/// A response that is being made.
pub(super) struct Answering {
    state: State,
    head: Head,
    ticket: Option<Ticket>,
}

/// What the way back has to know of the request.
struct Head {
    version: Version,
    admitted: Admitted,
    /// That of its body, where it has one.
    fate: Option<Arc<Fate>>,
}

enum State {
    /// In a box, as it is rare: the future moves several times before it is polled.
    Made(Option<Box<Response>>),
    Running(Work),
}

impl State {
    fn made(response: Response) -> State {
        State::Made(Some(Box::new(response)))
    }
}

impl Future for Answering {
    type Output = Result<http::Response<Departing>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut response = match &mut this.state {
            State::Made(response) => {
                response.take().map_or_else(|| reply::plain(StatusCode::OK, ""), |made| *made)
            }
            State::Running(work) => {
                let Some(ticket) = &mut this.ticket else { return Poll::Pending }; // as below
                let fate = &this.head.fate;
                let fault = || fate.as_ref().map_or(Fault::None, |fate| fate.fault());
                let response = ready!(work.poll(cx, &mut ticket.desk, fault));
                // The app's future ends here, not with the response's body.
                this.state = State::Made(None);
                response
            }
        };
        let Some(Ticket { mut desk, seat }) = this.ticket.take() else {
            return Poll::Pending; // polled after its end, which hyper never does
        };
        desk.settle(&mut response, &this.head.admitted, this.head.version);
        if this.head.version < Version::HTTP_2 && !this.head.admitted.head {
            refused::mark(&mut response);
        }
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => seat.upgrade(),
            status if this.head.version < Version::HTTP_2 && (this.ends(status) || seat.must_close()) => {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        Poll::Ready(Ok(response.map(|body| Departing {
            body: Leaving::new(body, desk),
            seat,
            promised: false,
        })))
    }
}

impl Answering {
    /// Whether the connection is of no further use: whoever sent too much or too slowly may send on.
    fn ends(&self, status: StatusCode) -> bool {
        matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT)
            || self.head.fate.as_ref().is_some_and(|fate| fate.fault() != Fault::None)
    }
}

/// Size of a header section as HTTP/2 counts it, RFC 9113 section 6.5.2.
fn fields_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// One request at the desk and on its connection.
struct Ticket {
    desk: desk::Ticket,
    seat: Seat,
}

/// One request on its connection, until its response has ended or is dropped.
struct Seat {
    link: Arc<Link>,
}

impl Ticket {
    fn new(link: &Arc<Link>) -> Ticket {
        link.enter();
        Ticket { desk: link.shared.desk.take(clock::now()), seat: Seat { link: link.clone() } }
    }
}

impl Seat {
    fn upgrade(&self) {
        if !self.link.upgraded.swap(true, Relaxed) {
            self.link.shared.desk.load().upgraded.fetch_add(1, Relaxed);
        }
    }

    fn must_close(&self) -> bool {
        self.link.close_next.load(Relaxed) || self.link.shared.closes_connections()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.link.leave();
    }
}

/// A response's body on its way out.
pub(super) struct Departing {
    body: Leaving,
    seat: Seat,
    /// A part of a file was given out.
    promised: bool,
}

/// What a response's body tells the task of its stream of HTTP/2.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taking {
    /// A frame was given out, and nobody has come back for the next: the client takes nothing.
    pub(super) waits: bool,
    /// Frames given out so far.
    pub(super) frames: u64,
}

thread_local! {
    /// That of the stream which is polled.
    pub(super) static TAKING: Cell<Taking> = const { Cell::new(Taking { waits: false, frames: 0 }) };
}

impl http_body::Body for Departing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let outgoing = &this.seat.link.outgoing;
        if outgoing.is_allowed()
            && let Some(part) = this.body.next_part()
        {
            let first = !std::mem::replace(&mut this.promised, true);
            return Poll::Ready(Some(Ok(Frame::data(outgoing.promise(part, first)))));
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if this.seat.link.multiplexed.load(Relaxed) {
            let waits = matches!(frame, Poll::Ready(Some(Ok(_))));
            TAKING.set(Taking { waits, frames: TAKING.get().frames + 1 });
        } else if let Poll::Ready(Some(Ok(frame))) = &frame
            && frame.data_ref().is_some_and(|data| refused::looks_alike(data))
        {
            this.seat.link.lookalike.store(true, Relaxed);
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
