//! A body of two bodies, one after the other.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::Body;
use crate::error::BoxError;

/// `first`, which has no trailers, then `rest`.
pub(super) fn chain(first: Body, rest: Body) -> Chain {
    Chain { first: Some(first), rest }
}

/// See [`chain`].
pub(super) struct Chain {
    first: Option<Body>,
    rest: Body,
}

impl HttpBody for Chain {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(first) = &mut self.first {
            if let Some(frame) = ready!(Pin::new(first).poll_frame(task)) {
                return Poll::Ready(Some(frame));
            }
            self.first = None;
        }
        Pin::new(&mut self.rest).poll_frame(task)
    }

    fn is_end_stream(&self) -> bool {
        self.first.as_ref().is_none_or(HttpBody::is_end_stream) && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (first, rest) =
            (self.first.as_ref().map(HttpBody::size_hint).unwrap_or_default(), self.rest.size_hint());
        let mut both = SizeHint::new();
        let first_upper = if self.first.is_some() { first.upper() } else { Some(0) };
        both.set_lower(first.lower() + rest.lower());
        if let (Some(first), Some(rest)) = (first_upper, rest.upper()) {
            both.set_upper(first + rest);
        }
        both
    }
}
