//! One request to a process, and its response. Polling the response transfers both bodies, so there is no task.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http_body::{Body as HttpBody, Frame, SizeHint};
use paster_frames::{Kind, LARGEST_DATA, SESSION, WINDOW, push_pair};

use super::failure::{ProcessFailure, unavailable};
use super::link::{BodyPart, ProcessStream};
use super::message::{ProcessSession, Replayed, read_head, whole_body};
use super::pool::{Pool, RequestPermit};
use super::websocket;
use crate::body::{Body, Request, Response};
use crate::codec::variables::from_request;
use crate::environ::Environ;
use crate::error::BoxError;
use crate::inflight::RequestHandle;
use crate::session::Session;

/// Number of bytes of a response body to take before the process gets credit for them.
const STEP: u32 = 32 << 10;
/// Additional bytes in the first credit.
const MORE: u32 = 192 << 10;

/// Passes a request to a process of the pool.
/// # Errors
/// When the application fails before its response.
pub(super) async fn call(pool: &Arc<Pool>, request: Request) -> Result<Response, BoxError> {
    let session = request.extensions().get::<Session>().cloned();
    let mut response = send(pool, request).await?;
    if let (Some(session), Some(ProcessSession(changes))) = (session, response.extensions_mut().remove()) {
        session.change_by(&changes).map_err(|error| format!("the changes in the session: {error}"))?;
    }
    Ok(response)
}

async fn send(pool: &Arc<Pool>, request: Request) -> Result<Response, BoxError> {
    let (mut parts, body) = request.into_parts();
    let mut head = encode(&parts, &body)?;
    if pool.limits.websockets && websocket::is_opening(&parts) {
        let key = match websocket::accept_key(&parts) {
            Ok(key) => key,
            Err(response) => return Ok(*response),
        };
        push_pair(&mut head, b"PASTER_WEBSOCKET", &websocket::protocols(&parts));
        let Some(lease) = pool.lease().await? else { return Ok(unavailable(&pool.app)) };
        let Some(client) = parts.extensions.remove() else {
            return Err("the connection cannot be upgraded".into());
        };
        let exchange = Exchange::open(lease, &parts, &head);
        return websocket::answer(exchange, &pool.app, &key, client).await;
    }
    let mut body = body;
    loop {
        let Some(lease) = pool.lease().await? else { return Ok(unavailable(&pool.app)) };
        let mut exchange = Exchange::start(lease, &parts, &head, body);
        match std::future::poll_fn(|cx| exchange.poll_head(cx)).await {
            Ok(response) => {
                return Ok(response.map(|ready| {
                    ready.unwrap_or_else(|length| Body::new(ProcessResponseBody { exchange, length }))
                }));
            }
            Err(ProcessStop::Client(error)) => return Err(error),
            // Pass it to another process, because the application has not seen any of it.
            Err(ProcessStop::Process(ProcessFailure::NotBegun)) => body = exchange.replay(),
            Err(ProcessStop::Process(failure)) => return failure.into_response(&pool.app),
        }
    }
}

/// The request's head as meta-variables.
fn encode(parts: &Parts, body: &Body) -> Result<Vec<u8>, BoxError> {
    let environ = parts.extensions.get::<Environ>().ok_or("the request did not pass the gate")?;
    let length = body.size_hint().exact();
    let length = length.filter(|length| *length > 0 || parts.headers.contains_key(CONTENT_LENGTH));
    let mut head = Vec::with_capacity(1024);
    for (name, value) in from_request(parts, environ, length).iter() {
        push_pair(&mut head, name, value);
    }
    if let Some(session) = parts.extensions.get::<Session>() {
        push_pair(&mut head, SESSION.as_bytes(), session.to_json().as_bytes());
    }
    Ok(head)
}

/// Why there is no response.
pub(super) enum ProcessStop {
    /// The client's body failed.
    Client(BoxError),
    /// The process, or the application in it, failed.
    Process(ProcessFailure),
}

/// A complete body, or the length of the following body, if the head contains it.
pub(super) type ReadyBody = Result<Body, Option<u64>>;

/// One request in progress.
pub(super) struct Exchange {
    pub(super) lease: RequestPermit,
    pub(super) id: u32,
    pub(super) stream: Arc<ProcessStream>,
    /// The rest of the request body.
    pub(super) body: Option<Body>,
    /// A part of it that waits for credit.
    rest: Bytes,
    /// The sent parts of the body, until the application has begun: at most [`WINDOW`] bytes.
    sent: VecDeque<Bytes>,
    /// The response is complete.
    pub(super) ended: bool,
    /// Number of taken bytes of the response without credit so far.
    taken: u32,
    credited: bool,
    /// The failure was reported.
    failing: bool,
}

fn handle(parts: &Parts) -> RequestHandle {
    parts.extensions.get::<Environ>().map(|environ| environ.handle.clone()).unwrap_or_default()
}

impl Exchange {
    /// Sends the head of a WebSocket's handshake.
    fn open(lease: RequestPermit, parts: &Parts, head: &[u8]) -> Exchange {
        let request = handle(parts);
        let (id, stream) = lease.link.open(ProcessStream { request, ..ProcessStream::default() });
        lease.link.send(|out| out.push(Kind::Request, id, head));
        Exchange {
            lease,
            id,
            stream,
            body: None,
            rest: Bytes::new(),
            sent: VecDeque::new(),
            ended: false,
            taken: 0,
            credited: false,
            failing: false,
        }
    }

    /// Sends the head, and the body if it is small and already in memory.
    fn start(lease: RequestPermit, parts: &Parts, head: &[u8], mut body: Body) -> Exchange {
        let request = handle(parts);
        let expects = parts.headers.contains_key(EXPECT);
        let (id, stream) = lease.link.open(ProcessStream { request, ..ProcessStream::default() });
        let (mut rest, mut ended) = (Bytes::new(), body.is_end_stream());
        if !ended && body.is_whole() {
            // It is in memory, so there is nothing to wait for.
            let mut cx = Context::from_waker(std::task::Waker::noop());
            if let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
                rest = frame.into_data().unwrap_or_default();
            }
            ended = true;
        }
        let empty = ended && rest.is_empty();
        if expects {
            // The client waits for `100 Continue`, which is sent when the body is read.
            stream.state.lock().credit = 0;
        }
        lease.link.send(|out| match empty {
            true => out.push_last(Kind::Request, id, head),
            false => out.push(Kind::Request, id, head),
        });
        let body = if ended { None } else { Some(body) };
        let mut exchange = Exchange {
            lease,
            id,
            stream,
            body,
            rest,
            sent: VecDeque::new(),
            ended: false,
            taken: 0,
            credited: false,
            failing: false,
        };
        if !empty && exchange.body.is_none() {
            exchange.send_rest();
        }
        exchange
    }

    /// Sends as much of `rest` as the credit allows.
    fn send_rest(&mut self) {
        let mut state = self.stream.state.lock();
        let count = usize::try_from(state.credit).unwrap_or(usize::MAX).min(self.rest.len());
        state.credit -= count as u64;
        drop(state);
        let last = self.body.is_none() && count == self.rest.len();
        if count > 0 {
            let part = self.rest.split_to(count);
            self.sent.push_back(part.clone());
            if self.sent.iter().map(Bytes::len).sum::<usize>() > WINDOW as usize {
                self.sent.clear(); // the application reads it
            }
            self.lease.link.send(|out| out.push_data(self.id, part, last));
        }
    }

    /// The request body from its beginning, of which the application has not read anything.
    fn replay(&mut self) -> Body {
        let mut parts = std::mem::take(&mut self.sent);
        parts.push_back(std::mem::take(&mut self.rest));
        match self.body.take() {
            None => Bytes::from(Vec::from(parts).concat()).into(),
            Some(body) => Body::new(Replayed { parts, body }),
        }
    }

    /// Sends the available part of the request body. The waker must be registered.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        loop {
            if !self.rest.is_empty() {
                self.send_rest();
                if !self.rest.is_empty() {
                    return Ok(()); // a credit wakes
                }
            }
            if self.stream.state.lock().credit == 0 {
                return Ok(());
            }
            let Some(body) = &mut self.body else { return Ok(()) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(frame))) => self.rest = frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Ready(None) => {
                    self.body = None;
                    self.lease.link.send(|out| out.push_data(self.id, Bytes::new(), true));
                }
            }
        }
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<http::Response<ReadyBody>, ProcessStop>> {
        self.stream.state.lock().waker = Some(cx.waker().clone());
        if let Err(error) = self.poll_send(cx) {
            return Poll::Ready(Err(ProcessStop::Client(error)));
        }
        let mut state = self.stream.state.lock();
        if state.head.is_none() || (state.parts.is_empty() && !state.ended) {
            // The first part comes with the head.
            return match state.failure.take() {
                Some(failure) => {
                    self.ended = true;
                    Poll::Ready(Err(ProcessStop::Process(failure)))
                }
                None => Poll::Pending,
            };
        }
        let head = state.head.take().unwrap_or_default();
        let whole = if state.ended { whole_body(&mut state.parts) } else { None };
        drop(state);
        self.ended = whole.is_some();
        self.sent.clear();
        match read_head(&head) {
            Ok((response, length)) => Poll::Ready(Ok(response.map(|()| whole.ok_or(length)))),
            Err(failure) => Poll::Ready(Err(ProcessStop::Process(failure))),
        }
    }

    /// The next part of the response body.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        self.stream.state.lock().waker = Some(cx.waker().clone());
        let sent = self.poll_send(cx);
        let mut state = self.stream.state.lock();
        if let Some(part) = state.parts.pop_front() {
            drop(state);
            return Poll::Ready(Some(self.take(part)));
        }
        if state.ended {
            self.ended = true;
            return Poll::Ready(None);
        }
        if state.failure.is_some() && !std::mem::replace(&mut self.failing, true) {
            // Send the previous data first, because an error discards the buffer.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(failure) = state.failure.take() {
            self.ended = true;
            return Poll::Ready(Some(Err(failure.into_error())));
        }
        match sent {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn take(&mut self, part: BodyPart) -> Result<Bytes, BoxError> {
        match part {
            BodyPart::Data(data) => {
                self.taken += u32::try_from(data.len()).unwrap_or(u32::MAX);
                if self.taken >= STEP {
                    let more = if std::mem::replace(&mut self.credited, true) { 0 } else { MORE };
                    let bytes = std::mem::take(&mut self.taken).saturating_add(more);
                    self.lease.link.send(|out| out.push_credit(self.id, bytes));
                }
                Ok(data)
            }
            BodyPart::Message(..) => Err("its process sent a message of a WebSocket".into()),
            BodyPart::File(file, part) => {
                // Only if bytes precede the file, which is usually the whole body. The rest follows.
                let step = (LARGEST_DATA as u64).min(part.length);
                let bytes = crate::body::file::read_at(&file, part.offset, step)?;
                if bytes.is_empty() && part.length > 0 {
                    return Err("the file became shorter while it was sent".into());
                }
                let read = bytes.len() as u64;
                let rest = paster_frames::FilePart { offset: part.offset + read, length: part.length - read };
                if rest.length > 0 {
                    self.stream.state.lock().parts.push_front(BodyPart::File(file, rest));
                }
                Ok(bytes.into())
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended || self.body.is_some() {
            self.lease.link.send(|out| out.push(Kind::Abort, self.id, &[]));
        }
        self.lease.link.close(self.id);
    }
}

/// A response body that is still arriving.
struct ProcessResponseBody {
    exchange: Exchange,
    /// The number of remaining bytes, if the head contains it.
    length: Option<u64>,
}

impl HttpBody for ProcessResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.exchange.ended {
            return Poll::Ready(None);
        }
        this.exchange.poll_part(cx).map(|part| {
            part.map(|part| {
                part.map(|data| {
                    this.length = this.length.map(|length| length.saturating_sub(data.len() as u64));
                    Frame::data(data)
                })
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
