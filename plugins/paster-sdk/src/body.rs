//! A request's body, as the application reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use paster_abi as abi;

use crate::BoxError;

/// A request's body, streamed from the client with backpressure. Its bytes belong to the host and are not
/// copied.
pub struct Body(Option<Foreign>);

struct Foreign {
    body: *mut abi::Body,
    length: u64,
}

// SAFETY: the ABI guarantees that any thread may use an object, one at a time.
unsafe impl Send for Foreign {}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: we own the body, and it ends here, once.
        unsafe { ((*(*self.body).table).drop)(self.body) }
    }
}

impl Body {
    /// Takes over the body of a request.
    /// # Safety
    /// `body` must be null, or an object by the ABI's rules that the caller owns.
    pub(crate) unsafe fn of(body: *mut abi::Body, length: u64) -> Body {
        Body((!body.is_null()).then(|| Foreign { body, length }))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("ended", &self.0.is_none()).finish()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(foreign) = &mut self.0 else { return Poll::Ready(None) };
        let mut frame = abi::Frame::NONE;
        let waker = abi::task::lend(cx.waker());
        // SAFETY: we own the body, one thread polls it (`&mut`), and the waker lives for the call.
        let read = unsafe {
            if ((*(*foreign.body).table).poll_frame)(foreign.body, &waker, &mut frame) == abi::PENDING {
                return Poll::Pending;
            }
            abi::http::read_frame(&mut frame)
        };
        if let Some(Ok(data)) = read.frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
            let count = data.map_or(0, |data| data.len() as u64);
            if foreign.length != abi::LENGTH_UNKNOWN {
                foreign.length = foreign.length.saturating_sub(count);
            }
        }
        if read.ended {
            self.0 = None;
        }
        Poll::Ready(read.frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(Foreign { length: abi::LENGTH_UNKNOWN, .. }) => SizeHint::default(),
            Some(Foreign { length, .. }) => SizeHint::with_exact(*length),
        }
    }
}
