//! [`App`], and what is only told of its calls.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body as HttpBody;
use tower::{Service, ServiceExt};

use super::{Body, BoxFuture, Refused, Request, Response, Watch};
use crate::error::BoxError;
use crate::inflight::Shares;

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

    fn served(&self) -> Option<&Served> {
        None
    }
}

/// What the server that serves an app is given along with it.
#[derive(Clone, Default)]
pub(crate) struct ServerParts {
    /// Is told of requests that the server refuses.
    pub(crate) refusals: Option<Arc<dyn Observer>>,
    /// How the apps share the requests in flight.
    pub(crate) shares: Option<Arc<Shares>>,
}

/// An app, and what its server is given along with it.
struct Served {
    app: App,
    parts: ServerParts,
}

impl Call for Served {
    fn call(&self, request: Request) -> BoxFuture<Result<Response, BoxError>> {
        self.app.handle(request)
    }

    fn served(&self) -> Option<&Served> {
        Some(self)
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
pub trait Observer: Send + Sync {
    /// A request that came at that time is on its way to the app.
    fn begin(self: Arc<Self>, request: &Request, came: Instant) -> Box<dyn ObservedCall>;

    /// A request was refused before any app got it.
    fn refused(&self, request: &Refused<'_>) {
        let _ = request;
    }
}

/// One followed call. It is dropped when the response has ended, or when nobody wants it any more.
pub trait ObservedCall: Watch {
    /// It is answered so; without a response, the app has failed.
    fn answered(&mut self, response: Option<&Response>);
}

/// An app, and who follows its calls.
struct Followed {
    app: App,
    follow: Arc<dyn Observer>,
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

impl Watch for Box<dyn ObservedCall> {
    fn taken(&mut self, bytes: u64) {
        (**self).taken(bytes);
    }
}

/// An app without what is only told of its calls.
pub(crate) struct Unwrapped {
    pub(crate) app: App,
    pub(crate) meter: Option<Arc<dyn Meter>>,
    pub(crate) follow: Option<Arc<dyn Observer>>,
    pub(crate) parts: ServerParts,
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
    pub fn followed(self, follow: Arc<dyn Observer>) -> App {
        App(Arc::new(Followed { app: self, follow }))
    }

    /// Who follows its calls, where nothing stands around that.
    pub(crate) fn follower(&self) -> Option<&Arc<dyn Observer>> {
        self.0.followed().map(|followed| &followed.follow)
    }

    /// The same app for a server, which is given `parts` too.
    #[must_use]
    pub(crate) fn served_with(self, parts: ServerParts) -> App {
        App(Arc::new(Served { app: self, parts }))
    }

    /// The same app with `wrap` around it, seen by who follows its calls and by its server.
    #[must_use]
    pub(crate) fn within(self, wrap: impl FnOnce(App) -> App) -> App {
        let Unwrapped { app, meter, follow, parts } = self.bare();
        let app = meter.into_iter().fold(app, App::metered);
        follow.into_iter().fold(wrap(app), App::followed).served_with(parts)
    }

    /// Takes off what stands around it and is only told: for a server, which tells it by its own clock and without
    /// another future.
    pub(crate) fn bare(self) -> Unwrapped {
        let mut bare = Unwrapped { app: self, meter: None, follow: None, parts: ServerParts::default() };
        if let Some(served) = bare.app.0.served() {
            (bare.parts, bare.app) = (served.parts.clone(), served.app.clone());
        }
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
