//! One request on a connection: the app's call, its response, and the rest of the request body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use http::Version;
use http_body::Body as _;
use tokio_util::io::poll_read_buf;

use super::inbox::Inbox;
use super::protocol::{RequestEvent, ServerProtocol};
use super::stream::{GatewayStream, HEAD_READ_BYTES, WAITING_BYTES};
use crate::body::Response;
use crate::codec::cgi;
use crate::server::gate::Admitted;
use crate::server::requests::{AppCall, CountedBody, RequestGuard};

/// Bytes of a body that are read at once.
const BODY_READ_BYTES: usize = 64 * 1024;

/// One request in progress.
pub(super) struct GatewayExchange {
    pub(super) state: ResponseState,
    pub(super) inbox: Arc<Inbox>,
    /// Bytes of the body that are still to come, if that is known.
    pub(super) left: Option<u64>,
    /// The body is complete, or will never be.
    pub(super) body_over: bool,
    pub(super) admitted: Admitted,
}

pub(super) enum ResponseState {
    Working(AppCall, RequestGuard),
    Sending(CountedBody),
    /// Everything was passed on; `true`: the connection may go on.
    Ended(bool),
}

/// The connection or the response has broken off.
pub(super) struct Broken;

impl GatewayExchange {
    /// Length of the whole body, if known before any of it was passed on.
    pub(super) fn whole(&self) -> Option<u64> {
        self.left.map(|left| left + self.inbox.waiting() as u64)
    }

    /// Polls the app and its body while there is room. `true`: something was passed on.
    pub(super) fn poll_answer<P: ServerProtocol>(
        &mut self,
        stream: &mut GatewayStream<P>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Broken> {
        let mut progress = false;
        if let ResponseState::Working(work, guard) = &mut self.state {
            let inbox = &self.inbox;
            let Poll::Ready(response) = work.poll(cx, guard, || inbox.fault()) else { return Ok(false) };
            // The app's future ends here, not with the response's body.
            let ResponseState::Working(_, guard) =
                std::mem::replace(&mut self.state, ResponseState::Ended(false))
            else {
                return Err(Broken);
            };
            self.send(stream, response, guard);
            progress = true;
        }
        while let ResponseState::Sending(body) = &mut self.state
            && stream.out.len() < WAITING_BYTES
        {
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        stream.protocol.put(data, &mut stream.out);
                    }
                }
                Poll::Ready(Some(Err(_))) => return Err(Broken),
                Poll::Ready(None) => self.state = ResponseState::Ended(stream.protocol.end(&mut stream.out)),
                Poll::Pending => return Ok(progress),
            }
            progress = true;
        }
        Ok(progress)
    }

    /// Begins the response.
    pub(super) fn send<P: ServerProtocol>(
        &mut self,
        stream: &mut GatewayStream<P>,
        mut response: Response,
        mut guard: RequestGuard,
    ) {
        // As over HTTP/2: `Connection` concerns the web server and its client.
        guard.settle(&mut response, &self.admitted, Version::HTTP_2);
        let (parts, body) = response.into_parts();
        let mut head = Vec::with_capacity(256);
        cgi::encode_head(parts.status, &parts.headers, &mut head);
        stream.protocol.put(head.into(), &mut stream.out);
        self.state = match body.is_end_stream() {
            true => ResponseState::Ended(stream.protocol.end(&mut stream.out)),
            false => ResponseState::Sending(CountedBody::new(body, guard)),
        };
    }

    /// Reads while there is room for the body. `true`: something arrived that the app may be waiting for.
    pub(super) fn poll_read<P: ServerProtocol>(
        &mut self,
        stream: &mut GatewayStream<P>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Broken> {
        // A peer that asks for more replies than it takes is not read from until it has taken them.
        if stream.ended || !self.inbox.has_room() || stream.replies > WAITING_BYTES {
            return Ok(false);
        }
        let size = if self.body_over { HEAD_READ_BYTES } else { BODY_READ_BYTES };
        stream.read.reserve(size);
        match poll_read_buf(Pin::new(&mut stream.socket), cx, &mut stream.read) {
            Poll::Ready(Ok(0)) => {
                stream.ended = true;
                self.inbox.fail();
                let told_all = std::mem::replace(&mut self.body_over, true);
                if told_all && stream.socket.is_gone() { Err(Broken) } else { Ok(true) }
            }
            Poll::Ready(Ok(_)) => {
                if self.take(stream).is_some() {
                    self.state = ResponseState::Ended(stream.protocol.end(&mut stream.out));
                }
                Ok(true)
            }
            Poll::Ready(Err(_)) => Err(Broken),
            Poll::Pending => Ok(false),
        }
    }

    /// Takes what was read: `Some` if the client has gone.
    pub(super) fn take<P: ServerProtocol>(&mut self, stream: &mut GatewayStream<P>) -> Option<Broken> {
        loop {
            let before = stream.out.len();
            let next = stream.protocol.next(&mut stream.read, &mut stream.out);
            stream.replies += stream.out.len() - before;
            match next {
                Ok(None) => return None,
                Ok(Some(RequestEvent::Body(data))) => {
                    match self.left.map(|left| left.checked_sub(data.len() as u64)) {
                        Some(None) => self.break_off(),
                        left => {
                            self.left = left.flatten();
                            self.inbox.push(data);
                        }
                    }
                }
                Ok(Some(RequestEvent::End)) => {
                    match self.left {
                        Some(1..) => self.break_off(),
                        _ => self.inbox.end(),
                    }
                    self.body_over = true;
                }
                Ok(Some(RequestEvent::Abort)) => {
                    self.break_off();
                    return Some(Broken);
                }
                Ok(Some(RequestEvent::Head(_) | RequestEvent::Close)) => {}
                Err(_) => {
                    stream.read.advance(stream.read.len());
                    stream.ended = true; // nothing more can be parsed
                    self.break_off();
                    return None;
                }
            }
        }
    }

    fn break_off(&mut self) {
        self.inbox.fail();
        self.body_over = true;
    }
}
