//! Middleware and its hooks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, Service};

use crate::app::{Call, Hooks};
use crate::border::next::{NextHandle, NextResponse};
use crate::{App, Body, BoxError};

/// Middleware: a function or a tower layer around the next part of a stack, and functions that the host may call apart
/// from requests.
///
/// ```
/// use http::{Request, Response};
/// use paster_sdk::{Body, BoxError, Host, Middleware, Next};
///
/// async fn create((): (), _: Host) -> Result<Middleware, BoxError> {
///     Ok(Middleware::from_fn(|request: Request<Body>, next: Next| async move {
///         let mut response = next.run(request).await?;
///         response.headers_mut().insert("x-seen", "yes".parse()?);
///         Ok::<Response<Body>, BoxError>(response)
///     }))
/// }
/// # use paster_sdk::test::TestMiddleware;
/// # let middleware = TestMiddleware::create(create, serde_json::json!({}))?;
/// # assert_eq!(middleware.get("/").header("x-seen"), Some("yes"));
/// # Ok::<(), BoxError>(())
/// ```
///
/// Any tower layer will do, such as those of tower-http:
///
/// ```
/// # use paster_sdk::{BoxError, Host, Middleware};
/// async fn create((): (), _: Host) -> Result<Middleware, BoxError> {
///     Ok(Middleware::layer(tower::limit::ConcurrencyLimitLayer::new(100)))
/// }
/// # paster_sdk::test::TestMiddleware::create(create, serde_json::json!({}))?;
/// # Ok::<(), BoxError>(())
/// ```
///
/// All apps that name the middleware share it, so a limit counts the requests of all of them.
pub struct Middleware {
    pub(crate) call: Arc<dyn Call>,
    pub(crate) hooks: Hooks,
}

impl Middleware {
    /// Makes middleware of a tower layer. It wraps the next part once; the service is cloned once per request.
    ///
    /// An error from the service is a failure without a response: the host responds with 500. If the next part failed
    /// and its [`NextError`] is returned, the host reports that failure.
    pub fn layer<L, B>(layer: L) -> Middleware
    where
        L: Layer<Next>,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let App { call, hooks } = App::service(layer.layer(Next(None)));
        Middleware { call, hooks }
    }

    /// Makes middleware of an async function. It may change the request, pass it on with [`Next::run`] any number of
    /// times, or not at all, and change or replace the response.
    pub fn from_fn<F, Fut, B, E>(f: F) -> Middleware
    where
        F: Fn(Request<Body>, Next) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<B>, E>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Into<BoxError> + 'static,
    {
        let service = tower::service_fn(move |request: Request<Body>| {
            let next = Next(request.extensions().get().cloned());
            f(request, next)
        });
        let App { call, hooks } = App::service(service);
        Middleware { call, hooks }
    }

    /// Sets the health probe: see [`App::health`].
    #[must_use]
    pub fn health<F, Fut, E>(self, probe: F) -> Middleware
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.with(|app| app.health(probe))
    }

    /// Sets the function that writes the state for the next generation: see [`App::save_state`].
    #[must_use]
    pub fn save_state(self, save: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Middleware {
        self.with(|app| app.save_state(save))
    }

    /// Sets a function that is called when a newer generation has taken over: see [`App::on_retire`].
    #[must_use]
    pub fn on_retire(self, retire: impl Fn() + Send + Sync + 'static) -> Middleware {
        self.with(|app| app.on_retire(retire))
    }

    /// Sets what runs when the generation ends: see [`App::on_shutdown`].
    #[must_use]
    pub fn on_shutdown<F, Fut>(self, shutdown: F) -> Middleware
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.with(|app| app.on_shutdown(shutdown))
    }

    fn with(self, set: impl FnOnce(App) -> App) -> Middleware {
        let App { call, hooks } = set(App { call: self.call, hooks: self.hooks });
        Middleware { call, hooks }
    }
}

/// The next part of a stack: a tower service that passes requests on. It is always ready.
///
/// The extensions of a request lead to the next part, so pass on the request that arrived, or one with its extensions;
/// [`Next::run`] of [`Middleware::from_fn`] also takes others. A changed [`Environ`](crate::Environ) in them is what the
/// next part sees. Dropping the future of the response cancels the request there.
#[derive(Clone)]
pub struct Next(Option<NextHandle>);

impl Next {
    /// Passes a request on, and waits for the head of its response. The body is streamed.
    /// # Errors
    /// [`NextError`] if the next part failed without a response.
    pub async fn run<B>(&self, request: Request<B>) -> Result<Response<Body>, BoxError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.start(request).await
    }

    fn start<B>(&self, request: Request<B>) -> NextResponse
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let handle = request.extensions().get().or(self.0.as_ref()).cloned();
        NextResponse(Some(match handle {
            Some(handle) => Ok(handle.call(request.map(Body::new))),
            None => Err("the request that is passed on lacks the extensions of the original request".into()),
        }))
    }
}

impl<B> Service<Request<B>> for Next
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = NextFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> NextFuture {
        NextFuture(self.start(request))
    }
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Next")
    }
}

/// The future of [`Next`] as a service.
pub struct NextFuture(NextResponse);

impl Future for NextFuture {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl std::fmt::Debug for NextFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NextFuture")
    }
}

/// Why the next part made no response, or did not finish one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NextError {
    /// The reason.
    pub reason: String,
    /// Whether it panicked. A panic in the middle of a body cannot be distinguished from an error.
    pub panicked: bool,
}

impl std::fmt::Display for NextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for NextError {}
