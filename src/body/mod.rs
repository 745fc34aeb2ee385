//! Request, response, body and [`App`]: what servers, middleware and applications pass to one another.
//!
//! Nothing here knows a protocol, a config or a part.

pub mod file;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower::{Service, ServiceExt};

use crate::error::BoxError;
use file::{FileBody, Part};

/// A request on its way to an application. Its extensions hold an [`Environ`](crate::environ::Environ).
pub type Request = http::Request<Body>;
/// A response on its way back.
pub type Response = http::Response<Body>;
/// The future of a boxed call.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A streamed body of [`Bytes`]: whole, of a file, or any [`http_body::Body`].
pub struct Body(Kind);

enum Kind {
    Full(Option<Bytes>),
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
    File(Box<FileBody>),
    Watched(Box<Watched<dyn Watch>>),
}

struct Watched<W: ?Sized> {
    body: Body,
    watch: W,
}

/// Follows a body on its way out without standing in the way of how it is sent. It is dropped with the body: at its
/// end, or when nobody wants the rest.
pub trait Watch: Send {
    /// So many more bytes were taken. Up to 512 KiB of them may never reach a client that goes away.
    fn taken(&mut self, bytes: u64);
}

impl Body {
    /// No bytes at all.
    pub fn empty() -> Self {
        Body(Kind::Full(None))
    }

    /// Wraps any body; a `Body` is passed on unwrapped.
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
            Some(body) => Body(Kind::Boxed(Box::pin(http_body_util::BodyExt::map_err(body, Into::into)))),
            None => Body::empty(),
        }
    }

    /// The same body, followed by `watch`. A middleware that only counts uses this: a body of its own round the
    /// other would have every file read.
    pub fn watched(self, watch: impl Watch + 'static) -> Self {
        Body(Kind::Watched(Box::new(Watched { body: self, watch })))
    }

    /// Whether all of it lies in memory: nothing more is to be waited for.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.0 {
            Kind::Full(_) => true,
            Kind::Watched(watched) => watched.body.is_whole(),
            Kind::Boxed(_) | Kind::File(_) => false,
        }
    }

    /// Takes the next bytes as a part of a file, where they are one that lies in memory. For servers alone, whose
    /// socket can send it; `None` says that `poll_frame` has what comes next.
    pub fn next_part(&mut self) -> Option<Part> {
        match &mut self.0 {
            Kind::File(body) => body.next_part(),
            Kind::Watched(watched) => {
                let part = watched.body.next_part()?;
                watched.watch.taken(part.length as u64);
                Some(part)
            }
            Kind::Full(_) | Kind::Boxed(_) => None,
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
        Body(Kind::File(Box::new(body)))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body(Kind::Full((!bytes.is_empty()).then_some(bytes)))
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
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
            Kind::File(body) => Pin::new(&mut **body).poll_frame(cx),
            Kind::Watched(watched) => {
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
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Boxed(body) => body.is_end_stream(),
            Kind::File(body) => body.is_end_stream(),
            Kind::Watched(watched) => watched.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Kind::Boxed(body) => body.size_hint(),
            Kind::File(body) => body.size_hint(),
            Kind::Watched(watched) => watched.body.size_hint(),
        }
    }
}

/// An application: a cloneable, boxed tower service from [`Request`] to [`Response`], always ready.
///
/// An `Err` is a failure that no response was made for; servers answer 500, `error_page` shows its cause.
#[derive(Clone)]
pub struct App(Arc<dyn Call>);

trait Call: Send + Sync {
    fn call(&self, request: Request) -> BoxFuture<Result<Response, BoxError>>;

    fn metered(&self) -> Option<&Metered> {
        None
    }

    fn followed(&self) -> Option<&Followed> {
        None
    }
}

/// Is told how the calls of an app went.
pub trait Meter: Send + Sync {
    /// A call has given its head, or failed, after that time. One whose client has gone is not told.
    fn ended(&self, took: Duration, result: &Result<Response, BoxError>);
}

/// An app, and who is told of its calls.
struct Metered {
    app: App,
    meter: Arc<dyn Meter>,
}

impl Call for Metered {
    fn call(&self, request: Request) -> BoxFuture<Result<Response, BoxError>> {
        let (meter, began) = (self.meter.clone(), Instant::now());
        let work = self.app.handle(request);
        Box::pin(async move {
            let result = work.await;
            meter.ended(began.elapsed(), &result);
            result
        })
    }

    fn metered(&self) -> Option<&Metered> {
        Some(self)
    }
}

/// Follows the calls of an app and changes nothing: so a server can do it itself, without another future and another
/// body.
pub trait Follow: Send + Sync {
    /// A request that came at that time is on its way to the app.
    fn begin(self: Arc<Self>, request: &Request, came: Instant) -> Box<dyn Following>;
}

/// One followed call. It is dropped when the response has ended, or when nobody wants it any more.
pub trait Following: Watch {
    /// It is answered so; without a response, the app has failed.
    fn answered(&mut self, response: Option<&Response>);
}

/// An app, and who follows its calls.
struct Followed {
    app: App,
    follow: Arc<dyn Follow>,
}

/// Bodies up to this length, in bytes, are followed no further than to where they are handed over: they fit a socket's
/// buffer.
const AT_ONCE: u64 = 64 * 1024;

impl Call for Followed {
    fn call(&self, request: Request) -> BoxFuture<Result<Response, BoxError>> {
        let mut following = self.follow.clone().begin(&request, Instant::now());
        let work = self.app.handle(request);
        Box::pin(async move {
            let answered = work.await;
            following.answered(answered.as_ref().ok());
            let response = answered?;
            match response.body().size_hint().exact() {
                Some(length) if length <= AT_ONCE => {
                    following.taken(length);
                    Ok(response)
                }
                _ => Ok(response.map(|body| body.watched(following))),
            }
        })
    }

    fn followed(&self) -> Option<&Followed> {
        Some(self)
    }
}

impl Watch for Box<dyn Following> {
    fn taken(&mut self, bytes: u64) {
        (**self).taken(bytes);
    }
}

/// An app without what is only told of its calls.
pub(crate) struct Bare {
    pub(crate) app: App,
    pub(crate) meter: Option<Arc<dyn Meter>>,
    pub(crate) follow: Option<Arc<dyn Follow>>,
}

struct Erased<S>(S);

impl<S, B> Call for Erased<S>
where
    S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn call(&self, request: Request) -> BoxFuture<Result<Response, BoxError>> {
        let future = self.0.clone().oneshot(request);
        Box::pin(async move {
            match future.await {
                Ok(response) => Ok(response.map(Body::new)),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// A function that boxes its own future.
struct Direct<F>(F);

impl<F> Call for Direct<F>
where
    F: Fn(Request) -> BoxFuture<Result<Response, BoxError>> + Send + Sync,
{
    fn call(&self, request: Request) -> BoxFuture<Result<Response, BoxError>> {
        (self.0)(request)
    }
}

impl App {
    /// An app from a function that boxes its own future, so that a middleware which passes a request on
    /// unchanged returns `next.handle(request)` and allocates nothing.
    pub fn from_call<F>(f: F) -> Self
    where
        F: Fn(Request) -> BoxFuture<Result<Response, BoxError>> + Send + Sync + 'static,
    {
        App(Arc::new(Direct(f)))
    }

    /// Boxes a service. It is cloned once a request and polled for readiness before each call.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        App(Arc::new(Erased(service)))
    }

    /// An app from an async function that always answers.
    pub fn from_fn<F, Fut>(f: F) -> Self
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        App::new(tower::service_fn(move |request| {
            let response = f(request);
            async move { Ok::<_, Infallible>(response.await) }
        }))
    }

    /// The same app, with `meter` told of its calls.
    #[must_use]
    pub fn metered(self, meter: Arc<dyn Meter>) -> App {
        App(Arc::new(Metered { app: self, meter }))
    }

    /// The same app, whose calls `follow` follows.
    #[must_use]
    pub fn followed(self, follow: Arc<dyn Follow>) -> App {
        App(Arc::new(Followed { app: self, follow }))
    }

    /// Whether its calls are followed, and nothing stands around that.
    pub(crate) fn is_followed(&self) -> bool {
        self.0.followed().is_some()
    }

    /// Takes off what stands around it and is only told: for a server, which tells it by its own clock and without
    /// another future.
    pub(crate) fn bare(self) -> Bare {
        let mut bare = Bare { app: self, meter: None, follow: None };
        if let Some(metered) = bare.app.0.metered() {
            (bare.meter, bare.app) = (Some(metered.meter.clone()), metered.app.clone());
        }
        if let Some(followed) = bare.app.0.followed() {
            (bare.follow, bare.app) = (Some(followed.follow.clone()), followed.app.clone());
        }
        bare
    }

    /// Calls the app.
    /// # Errors
    /// What the application failed with, when it made no response.
    pub fn handle(&self, request: Request) -> BoxFuture<Result<Response, BoxError>> {
        self.0.call(request)
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}

impl Service<Request> for App {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(request)
    }
}
