//! [`App`], and the parts that only observe its calls.

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
/// An `Err` is a failure without a response: servers answer 500, and `error_page` shows its cause.
#[derive(Clone)]
pub struct App(Arc<dyn Call>);

trait Call: Send + Sync {
    fn call(&self, request: Request) -> BoxFuture<Result<Response, BoxError>>;

    fn metered(&self) -> Option<&Metered> {
        None
    }

    fn followed(&self) -> Option<&ObservedApp> {
        None
    }

    fn served(&self) -> Option<&ServedApp> {
        None
    }
}

/// What an app gives to the server that serves it.
#[derive(Clone, Default)]
pub(crate) struct ServerParts {
    /// Is notified of requests that the server refuses.
    pub(crate) refusals: Option<Arc<dyn Observer>>,
    /// How the apps share the requests in flight.
    pub(crate) shares: Option<Arc<Shares>>,
}

/// An app, and what it gives to its server.
struct ServedApp {
    app: App,
    parts: ServerParts,
}

impl Call for ServedApp {
    fn call(&self, request: Request) -> BoxFuture<Result<Response, BoxError>> {
        self.app.handle(request)
    }

    fn served(&self) -> Option<&ServedApp> {
        Some(self)
    }
}

/// Is notified of the outcome of each call of an app.
pub trait Meter: Send + Sync {
    /// A call returned its head or failed, after the time `took`. Calls whose client has left are not
    /// reported.
    fn ended(&self, took: Duration, result: &Result<Response, BoxError>);
}

/// An app, and the meter of its calls.
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

/// Observes the calls of an app and changes nothing, so a server can do it itself, without another future and
/// another body.
pub trait Observer: Send + Sync {
    /// A request that arrived at `came` is being passed to the app.
    fn begin(self: Arc<Self>, request: &Request, came: Instant) -> Box<dyn ObservedCall>;

    /// A request was refused before any app got it.
    fn refused(&self, request: &Refused<'_>) {
        let _ = request;
    }
}

/// One observed call. It is dropped when the response has ended or is no longer needed.
pub trait ObservedCall: Watch {
    /// The call has this response; without one, the app has failed.
    fn answered(&mut self, response: Option<&Response>);
}

/// An app, and the observer of its calls.
struct ObservedApp {
    app: App,
    follow: Arc<dyn Observer>,
}

/// Bodies of up to this length, in bytes, are observed only up to the hand-over: they fit a socket's buffer.
const AT_ONCE: u64 = 64 * 1024;

impl Call for ObservedApp {
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

    fn followed(&self) -> Option<&ObservedApp> {
        Some(self)
    }
}

impl Watch for Box<dyn ObservedCall> {
    fn taken(&mut self, bytes: u64) {
        (**self).taken(bytes);
    }
}

/// An app, separated from the parts that only observe its calls.
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
    /// An app from a function that boxes its own future. A middleware that passes a request on unchanged
    /// returns `next.handle(request)` and allocates nothing.
    pub fn from_call<F>(f: F) -> Self
    where
        F: Fn(Request) -> BoxFuture<Result<Response, BoxError>> + Send + Sync + 'static,
    {
        App(Arc::new(Direct(f)))
    }

    /// Boxes a service. It is cloned once per request and polled for readiness before each call.
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

    /// An app from an async function that never fails.
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

    /// The same app; `meter` is notified of its calls.
    #[must_use]
    pub fn metered(self, meter: Arc<dyn Meter>) -> App {
        App(Arc::new(Metered { app: self, meter }))
    }

    /// The same app; `follow` observes its calls.
    #[must_use]
    pub fn followed(self, follow: Arc<dyn Observer>) -> App {
        App(Arc::new(ObservedApp { app: self, follow }))
    }

    /// The observer of its calls, if that is the outermost part.
    pub(crate) fn follower(&self) -> Option<&Arc<dyn Observer>> {
        self.0.followed().map(|followed| &followed.follow)
    }

    /// The same app, which gives `parts` to its server.
    #[must_use]
    pub(crate) fn served_with(self, parts: ServerParts) -> App {
        App(Arc::new(ServedApp { app: self, parts }))
    }

    /// The same app wrapped by `wrap`, inside its observer and the server's parts.
    #[must_use]
    pub(crate) fn within(self, wrap: impl FnOnce(App) -> App) -> App {
        let Unwrapped { app, meter, follow, parts } = self.bare();
        let app = meter.into_iter().fold(app, App::metered);
        follow.into_iter().fold(wrap(app), App::followed).served_with(parts)
    }

    /// Removes the outer parts that only observe. A server notifies them itself, with its own clock and
    /// without another future.
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
    /// The application's failure, if it made no response.
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
