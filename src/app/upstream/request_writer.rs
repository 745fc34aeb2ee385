//! The sending side of an exchange: writes a request's head and body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::member::UpstreamConnection;
use super::outgoing::Outgoing;
use super::protocol::Protocol;
use crate::body::Body;
use crate::error::BoxError;

/// The part of a request that is still to be written.
pub(super) struct RequestWriter {
    /// The request's body, until it has ended.
    body: Option<Body>,
    /// Bytes that the body must still have, if its length was announced.
    left: Option<u64>,
    /// Whether any part of the body was taken.
    touched: bool,
    /// Whether there is more to be written, now or later.
    active: bool,
    /// Why writing ended early.
    error: Option<io::Error>,
}

impl RequestWriter {
    /// Begins after the head, which is already in `out`.
    pub(super) fn new(body: Body, protocol: &mut impl Protocol, out: &mut Outgoing) -> RequestWriter {
        let left = body.size_hint().exact();
        let mut body = Some(body);
        if left == Some(0) {
            protocol.end(None, out);
            body = None;
        }
        RequestWriter { body, left, touched: false, active: true, error: None }
    }

    /// Whether everything was written.
    pub(super) fn is_done(&self) -> bool {
        !self.active && self.error.is_none()
    }

    /// Why writing ended early.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// The original body, unless a part of it was taken.
    pub(super) fn take_untouched(&mut self) -> Option<Body> {
        if self.touched { None } else { Some(self.body.take().unwrap_or_else(Body::empty)) }
    }

    /// Writes what can be written now. `true` if the next part of the request's body has not arrived yet.
    /// # Errors
    /// If the body fails, or has not its announced length.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut UpstreamConnection,
        protocol: &mut impl Protocol,
    ) -> Result<bool, BoxError> {
        while self.active {
            match connection.output.poll_write(cx, &mut connection.stream) {
                Poll::Ready(Ok(0)) => {}
                Poll::Ready(Ok(_)) => connection.clock.stop(),
                Poll::Ready(Err(error)) => {
                    // The response may have been sent all the same, for example 413.
                    self.error = Some(error);
                    connection.output.clear();
                    self.body = None;
                    self.active = false;
                    break;
                }
                Poll::Pending => break,
            }
            if !connection.output.is_empty() {
                continue;
            }
            let flush = |cx: &mut _, stream: &mut _| AsyncWrite::poll_flush(Pin::new(stream), cx);
            let Some(body) = &mut self.body else {
                self.active = flush(cx, &mut connection.stream).is_pending();
                if !self.active {
                    connection.stream.close_input();
                }
                break;
            };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                let _ = flush(cx, &mut connection.stream);
                return Ok(true);
            };
            self.touched = true;
            match take_frame(frame.transpose()?, &mut self.left)? {
                Taken::Data(data) if data.is_empty() => {}
                Taken::Data(data) => protocol.data(data, &mut connection.output),
                Taken::End(trailers) => {
                    protocol.end(trailers, &mut connection.output);
                    self.body = None;
                }
            }
        }
        Ok(false)
    }
}

/// A frame of the request's body.
enum Taken {
    Data(Bytes),
    End(Option<HeaderMap>),
}

fn take_frame(frame: Option<Frame<Bytes>>, left: &mut Option<u64>) -> Result<Taken, &'static str> {
    let taken = match frame.map(Frame::into_data) {
        None => Taken::End(None),
        Some(Ok(data)) => Taken::Data(data),
        Some(Err(frame)) => Taken::End(frame.into_trailers().ok()),
    };
    if let Some(left) = left {
        match &taken {
            Taken::Data(data) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or("the request's body is longer than announced")?;
            }
            Taken::End(_) if *left > 0 => return Err("the request's body ended early"),
            Taken::End(_) => {}
        }
    }
    Ok(taken)
}
