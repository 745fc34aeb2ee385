//! The body of a request or a response.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use paster_abi as abi;

use crate::BoxError;
use crate::border::next::NextBody;

/// A request's body, streamed from the client with backpressure, or the response body of the next part of a stack. Its
/// bytes belong to the host and are not copied.
///
/// A middleware can also make one, from text, bytes, or any [`http_body::Body`].
pub struct Body(Kind);

enum Kind {
    Full(Option<Bytes>),
    Request(Foreign),
    Response(NextBody),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
}

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
    /// No bytes at all.
    pub fn empty() -> Body {
        Body(Kind::Full(None))
    }

    /// Wraps any body; a `Body` is not wrapped again.
    pub fn new<B>(body: B) -> Body
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut slot = Some(body);
        if let Some(body) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Body>>() {
            return body.take().unwrap_or_default();
        }
        slot.map_or_else(Body::empty, |body| Body(Kind::Boxed(Box::pin(body.map_err(Into::into)))))
    }

    /// Takes over the body of a request.
    /// # Safety
    /// `body` must be null, or an object by the ABI's rules that the caller owns.
    pub(crate) unsafe fn of(body: *mut abi::Body, length: u64) -> Body {
        match body.is_null() {
            true => Body::empty(),
            false => Body(Kind::Request(Foreign { body, length })),
        }
    }

    /// The response body of the next part.
    pub(crate) fn of_next(body: NextBody) -> Body {
        Body(Kind::Response(body))
    }

    /// Gives the host's body back; otherwise returns the body.
    pub(crate) fn into_foreign(self) -> Result<(*mut abi::Body, u64), Body> {
        match self.0 {
            Kind::Request(foreign) => {
                let foreign = std::mem::ManuallyDrop::new(foreign);
                Ok((foreign.body, foreign.length))
            }
            kind => Err(Body(kind)),
        }
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body(Kind::Full((!bytes.is_empty()).then_some(bytes)))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("ended", &self.is_end_stream()).finish()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let foreign = match &mut self.0 {
            Kind::Full(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Response(body) => return body.poll_frame(cx),
            Kind::Boxed(body) => return body.as_mut().poll_frame(cx),
            Kind::Request(foreign) => foreign,
        };
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
            self.0 = Kind::Full(None);
        }
        Poll::Ready(read.frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Request(_) => false,
            Kind::Response(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Request(Foreign { length: abi::LENGTH_UNKNOWN, .. }) => SizeHint::default(),
            Kind::Request(Foreign { length, .. }) => SizeHint::with_exact(*length),
            Kind::Response(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}
