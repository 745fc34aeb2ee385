//! The response of an exchange: the head, and a body that continues the exchange.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::exchange::{UpstreamExchange, UpstreamStop};
use super::failure::FailureReason;
use super::protocol::{Decoded, Protocol, ResponseHead};
use crate::body::{Body, Response};
use crate::error::BoxError;

/// How long to read what follows a response without a body.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// The response; its body reads on from here.
pub(in crate::app) fn into_response<P: Protocol>(
    mut exchange: UpstreamExchange<P>,
    head: ResponseHead,
) -> Response {
    // Very often the whole body arrived with the head: then it needs no stream.
    let mut over = exchange.look_ahead();
    let first = exchange.take_data();
    if !first.is_empty() {
        over = exchange.look_ahead();
    }
    let body = match over {
        true => first.into(),
        false => Body::new(UpstreamBody { first, exchange: Some(exchange), left: head.length }),
    };
    response(head, body)
}

/// The response to a request that needs only the head, or one whose status has no body. A body that arrives
/// all the same is read for a while and discarded, so that the upstream is not stopped in the middle of its
/// work. A separate task does that, because no other task waits for it.
pub(in crate::app) fn into_bodiless<P: Protocol>(
    exchange: UpstreamExchange<P>,
    head: ResponseHead,
) -> Response {
    // Its size is that of the body that is left out.
    let body = Body::new(UpstreamBody::<P> { first: Bytes::new(), exchange: None, left: head.length });
    let upstream = exchange.member().name.clone();
    let mut rest = Box::pin(tokio::time::timeout(AFTERWARDS, discard(exchange)));
    // Very often everything has arrived with the head.
    if rest.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::spawn(async move {
            if rest.await.is_err() {
                tracing::warn!(
                    upstream,
                    "the upstream sent data after a response without a body: closing the connection"
                );
            }
        });
    }
    response(head, body)
}

fn response(head: ResponseHead, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// Reads the rest of the response.
async fn discard<P: Protocol>(mut exchange: UpstreamExchange<P>) {
    loop {
        match std::future::poll_fn(|cx| exchange.poll(cx)).await {
            Ok(Decoded::Data(_) | Decoded::Trailers(_)) => {}
            Ok(Decoded::End(kept)) => return exchange.finish(kept),
            // The head may announce a body that is not sent.
            Err(UpstreamStop::Upstream(FailureReason::BrokenOff)) => return exchange.finish(None),
            _ => return,
        }
    }
}

/// The body of a response.
struct UpstreamBody<P> {
    first: Bytes,
    exchange: Option<UpstreamExchange<P>>,
    /// Bytes left, if the head said how many.
    left: Option<u64>,
}

impl<P: Protocol> UpstreamBody<P> {
    fn give(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(data.len() as u64);
        }
        // The end of the body may have arrived too. Detecting it now saves another poll.
        if self.exchange.as_mut().is_some_and(UpstreamExchange::look_ahead) {
            self.exchange = None;
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl<P: Protocol> http_body::Body for UpstreamBody<P> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let first = std::mem::take(&mut this.first);
            return this.give(first);
        }
        let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
        match ready!(exchange.poll(cx)) {
            Ok(Decoded::Data(data)) => this.give(data),
            Ok(Decoded::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(Decoded::End(kept)) => {
                exchange.finish(kept);
                this.exchange = None;
                Poll::Ready(None)
            }
            Ok(_) => Poll::Ready(Some(Err("the upstream responded twice".into()))),
            Err(stop) => {
                let error = match stop {
                    UpstreamStop::Client(error) => error,
                    UpstreamStop::Upstream(reason) => exchange.fault(reason).into(),
                };
                this.exchange = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none() && self.first.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
