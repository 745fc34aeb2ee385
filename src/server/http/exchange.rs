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

use super::clock;
use super::conn_state::ConnState;
use super::executor::{SEND_PROGRESS, SendProgress};
use super::refused;
use super::request_body::{RequestBody, leave_body};
use crate::body::{Body, RefusedHead, Response};
use crate::environ::Environ;
use crate::error::BoxError;
use crate::server::gate::{Admitted, ConnInfo, HostCache, Rejection, reply};
use crate::server::requests::{AppCall, CountedBody, RequestGuard};
use crate::server::throughput::{BodyError, BodyOutcome};

/// The service of one connection.
pub(super) struct HttpExchange {
    conn: Arc<ConnState>,
    info: ConnInfo,
    memory: Cell<HostCache>,
}

impl HttpExchange {
    pub(super) fn new(conn: Arc<ConnState>, info: ConnInfo) -> HttpExchange {
        HttpExchange { conn, info, memory: Cell::default() }
    }

    /// Calls the app, or makes our own response if the request is refused.
    fn begin(
        &self,
        mut request: http::Request<Incoming>,
        head: &mut RequestHead,
        guard: &mut CallGuard,
    ) -> CallState {
        let (version, shared) = (head.version, &self.conn.shared);
        let has_body = !request.body().is_end_stream();
        let chunked =
            has_body && version < Version::HTTP_2 && request.headers().contains_key(TRANSFER_ENCODING);
        // hyper drops a Content-Length beside a Transfer-Encoding before we see it.
        let both = self.conn.socket.take_head(chunked.then_some(b"content-length"));
        let admitted = if both {
            Err(Rejection::new(StatusCode::BAD_REQUEST, "Content-Length beside Transfer-Encoding"))
        } else if version >= Version::HTTP_2 && fields_bytes(request.headers()) > shared.limits.head_bytes {
            Err(refused::HEAD_TOO_LONG)
        } else {
            let mut memory = self.memory.take();
            let admitted = shared.gate.admit(&mut request, &self.info, &mut memory);
            self.memory.set(memory);
            admitted
        };
        match admitted {
            Ok(admitted) => head.admitted = admitted,
            Err(rejection) => {
                let response = reply::rejection(rejection, version);
                let client = shared.gate.client(request.headers(), &self.info);
                guard.request.refused_with(&rejection, client, RefusedHead::of_request(&request), &response);
                return CallState::made(response);
            }
        }
        if guard.request.is_too_many() {
            let response = reply::full(reply::FULL.reason);
            let client = request.extensions().get::<Environ>().and_then(|environ| environ.client);
            guard.request.refused_with(&reply::FULL, client, RefusedHead::of_request(&request), &response);
            if has_body && version < Version::HTTP_2 {
                leave_body(&self.conn, request.into_body());
            }
            return CallState::made(response);
        }
        let invited = has_body && request.headers().contains_key(EXPECT);
        let request = request.map(|body| {
            if !has_body {
                return Body::empty();
            }
            let conn = (version < Version::HTTP_2).then(|| self.conn.clone());
            let kept = head.fate.insert(Arc::<BodyOutcome>::default()).clone();
            Body::new(RequestBody::new(body, conn, invited, shared.limits.body_pace, kept))
        });
        let requests = &self.conn.requests;
        if requests.served() == 0
            && requests.busy() == 1
            && let Some(accepted) = self.conn.accepted
        {
            shared.load.served.first_calls.add(accepted.elapsed());
        }
        CallState::Running(guard.request.begin(request))
    }
}

impl hyper::service::Service<http::Request<Incoming>> for HttpExchange {
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: http::Request<Incoming>) -> Answering {
        let mut guard = CallGuard::new(&self.conn);
        let admitted = Admitted { head: *request.method() == http::Method::HEAD, upgrade: false };
        let mut head = RequestHead { version: request.version(), admitted, fate: None };
        let state = self.begin(request, &mut head, &mut guard);
        Answering { state, head, guard: Some(guard) }
    }
}

/// A response in progress.
pub(super) struct Answering {
    state: CallState,
    head: RequestHead,
    guard: Option<CallGuard>,
}

/// The state of the request that the response path needs.
struct RequestHead {
    version: Version,
    admitted: Admitted,
    /// The outcome of its body, if it has one.
    fate: Option<Arc<BodyOutcome>>,
}

enum CallState {
    /// Boxed because it is rare: the future moves several times before it is polled.
    Made(Option<Box<Response>>),
    Running(AppCall),
}

impl CallState {
    fn made(response: Response) -> CallState {
        CallState::Made(Some(Box::new(response)))
    }
}

impl Future for Answering {
    type Output = Result<http::Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut response = match &mut this.state {
            CallState::Made(response) => {
                response.take().map_or_else(|| reply::plain(StatusCode::OK, ""), |made| *made)
            }
            CallState::Running(work) => {
                let Some(guard) = &mut this.guard else { return Poll::Pending }; // as below
                let fate = &this.head.fate;
                let fault = || fate.as_ref().map_or(BodyError::None, |fate| fate.fault());
                let response = ready!(work.poll(cx, &mut guard.request, fault));
                // The app's future ends here, not with the response's body.
                this.state = CallState::Made(None);
                response
            }
        };
        let Some(CallGuard { mut request, connection }) = this.guard.take() else {
            return Poll::Pending; // polled after completion, which hyper never does
        };
        let switches = this.head.admitted.upgrade && response.status() == StatusCode::SWITCHING_PROTOCOLS;
        request.settle(&mut response, &this.head.admitted, this.head.version);
        if switches && this.head.version == Version::HTTP_2 {
            // Its stream stays open after the response, so the connection is busy until it ends.
            connection.conn.enter();
        }
        if this.head.version < Version::HTTP_2 && !this.head.admitted.head {
            refused::mark(&mut response);
        }
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => connection.upgrade(),
            status
                if this.head.version < Version::HTTP_2 && (this.ends(status) || connection.must_close()) =>
            {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody {
            body: CountedBody::new(body, request),
            connection,
            promised: false,
        })))
    }
}

impl Answering {
    /// Whether the connection must end: a client that sent too much or too slowly may keep sending.
    fn ends(&self, status: StatusCode) -> bool {
        matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT)
            || self.head.fate.as_ref().is_some_and(|fate| fate.fault() != BodyError::None)
    }
}

/// Size of a header section as HTTP/2 counts it, RFC 9113 section 6.5.2.
fn fields_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// One request and its connection.
struct CallGuard {
    request: RequestGuard,
    connection: ConnectionRef,
}

/// One request on its connection, until its response has ended or is dropped.
struct ConnectionRef {
    conn: Arc<ConnState>,
}

impl CallGuard {
    fn new(conn: &Arc<ConnState>) -> CallGuard {
        conn.enter();
        CallGuard {
            request: conn.shared.requests.take(clock::now()),
            connection: ConnectionRef { conn: conn.clone() },
        }
    }
}

impl ConnectionRef {
    fn upgrade(&self) {
        if !self.conn.requests.upgraded.get() {
            self.conn.requests.upgraded.set(true);
            self.conn.shared.requests.load().upgraded.fetch_add(1, Relaxed);
        }
    }

    fn must_close(&self) -> bool {
        self.conn.close_next.get() || self.conn.shared.closes_connections()
    }
}

impl Drop for ConnectionRef {
    fn drop(&mut self) {
        self.conn.leave();
    }
}

/// A response body that is being sent.
pub(super) struct ResponseBody {
    body: CountedBody,
    connection: ConnectionRef,
    /// A part of a file was passed to hyper.
    promised: bool,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let outgoing = &this.connection.conn.socket.outgoing;
        if outgoing.is_allowed()
            && let Some(part) = this.body.next_part()
        {
            let first = !std::mem::replace(&mut this.promised, true);
            return Poll::Ready(Some(Ok(Frame::data(outgoing.promise(part, first)))));
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if this.connection.conn.http2.active.get() {
            let waits = matches!(frame, Poll::Ready(Some(Ok(_))));
            SEND_PROGRESS.set(SendProgress { waits, frames: SEND_PROGRESS.get().frames + 1 });
        } else if let Poll::Ready(Some(Ok(frame))) = &frame
            && frame.data_ref().is_some_and(|data| refused::looks_alike(data))
        {
            this.connection.conn.requests.lookalike.set(true);
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
