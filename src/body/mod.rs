//! Request, response, body and [`App`]: what servers, middleware and applications pass to one another.
//!
//! Nothing here depends on a protocol, a config or a part.

mod app;
pub mod file;
mod refused;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::error::BoxError;
pub use app::{App, Meter, ObservedCall, Observer};
pub(crate) use app::{ServerParts, Unwrapped};
use file::{FileBody, FilePart};
pub use refused::{Refused, RefusedHead};

/// A request to an application. Its extensions contain an [`Environ`](crate::environ::Environ).
pub type Request = http::Request<Body>;
/// A response to a request.
pub type Response = http::Response<Body>;
/// A short response in plain text.
pub fn text_response(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The future of a boxed call.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A streamed body of [`Bytes`]: complete, from a file, or any [`http_body::Body`].
pub struct Body(BodyKind);

enum BodyKind {
    Full(Option<Bytes>),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
    File(Box<FileBody>),
    Watched(Box<Watched<dyn Watch>>),
}

struct Watched<W: ?Sized> {
    body: Body,
    watch: W,
}

/// Observes a body while it is sent, without changing how it is sent. It is dropped with the body: at its end,
/// or when the rest is no longer needed.
pub trait Watch: Send {
    /// `bytes` more bytes were taken. Up to 512 KiB of them may never reach a client that leaves.
    fn taken(&mut self, bytes: u64);
}

impl Body {
    /// No bytes at all.
    pub fn empty() -> Self {
        Body(BodyKind::Full(None))
    }

    /// Wraps any body; a `Body` is not wrapped again.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut slot = Some(body);
        if let Some(body) = (&mut slot as &mut dyn std::any::Any).downcast_mut::<Option<Body>>() {
            return body.take().unwrap_or_else(Body::empty);
        }
        match slot.take() {
            Some(body) => Body(BodyKind::Boxed(Box::pin(http_body_util::BodyExt::map_err(body, Into::into)))),
            None => Body::empty(),
        }
    }

    /// The same body, observed by `watch`. Middleware that only counts should use this: a wrapping body would
    /// cause every file to be read.
    pub fn watched(self, watch: impl Watch + 'static) -> Self {
        Body(BodyKind::Watched(Box::new(Watched { body: self, watch })))
    }

    /// Whether the whole body is in memory, so that there is nothing to wait for.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.0 {
            BodyKind::Full(_) => true,
            BodyKind::Watched(watched) => watched.body.is_whole(),
            BodyKind::Boxed(_) | BodyKind::File(_) => false,
        }
    }

    /// Takes the next bytes as a part of a file, if they are one that is in memory. Only for servers whose
    /// socket can send files; `None` means that `poll_frame` has what comes next.
    pub fn next_part(&mut self) -> Option<FilePart> {
        match &mut self.0 {
            BodyKind::File(body) => body.next_part(),
            BodyKind::Watched(watched) => {
                let part = watched.body.next_part()?;
                watched.watch.taken(part.length as u64);
                Some(part)
            }
            BodyKind::Full(_) | BodyKind::Boxed(_) => None,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Body::empty()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("size_hint", &self.size_hint()).finish()
    }
}

impl From<FileBody> for Body {
    fn from(body: FileBody) -> Self {
        Body(BodyKind::File(Box::new(body)))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body(BodyKind::Full((!bytes.is_empty()).then_some(bytes)))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            BodyKind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            BodyKind::Boxed(body) => body.as_mut().poll_frame(cx),
            BodyKind::File(body) => Pin::new(&mut **body).poll_frame(cx),
            BodyKind::Watched(watched) => {
                let polled = Pin::new(&mut watched.body).poll_frame(cx);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    watched.watch.taken(frame.data_ref().map_or(0, |data| data.len() as u64));
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            BodyKind::Full(bytes) => bytes.is_none(),
            BodyKind::Boxed(body) => body.is_end_stream(),
            BodyKind::File(body) => body.is_end_stream(),
            BodyKind::Watched(watched) => watched.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            BodyKind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            BodyKind::Boxed(body) => body.size_hint(),
            BodyKind::File(body) => body.size_hint(),
            BodyKind::Watched(watched) => watched.body.size_hint(),
        }
    }
}
