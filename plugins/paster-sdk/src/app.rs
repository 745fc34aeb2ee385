//! An application with its hooks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use paster_abi as abi;
use tower::{Service, ServiceExt};

use crate::border::exchange::Exchange;
use crate::border::upgrade::Upgrade;
use crate::{Body, BoxError};

type Hook<T> = Box<dyn Fn() -> T + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An application: a service and what the host may ask beside requests.
pub struct App {
    pub(crate) call: Arc<dyn Call>,
    pub(crate) hooks: Hooks,
}

#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) health: Option<Hook<BoxFuture<Result<(), BoxError>>>>,
    pub(crate) save_state: Option<Hook<Vec<u8>>>,
    pub(crate) retire: Option<Hook<()>>,
    pub(crate) shutdown: Option<Hook<BoxFuture<()>>>,
    pub(crate) tasks: Vec<Task>,
}

/// Work that the host may ask for by name.
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) run: Box<dyn Fn(serde_json::Value) -> BoxFuture<Result<String, BoxError>> + Send + Sync>,
}

/// Begins to answer a request, with the runtime entered; the concrete future and body lie in one allocation.
pub(crate) trait Call: Send + Sync {
    fn call(&self, head: http::request::Parts, body: Body, upgrade: Option<Upgrade>) -> *mut abi::Exchange;
}

struct Erased<S>(S);

impl<S, B> Call for Erased<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn call(&self, head: http::request::Parts, body: Body, upgrade: Option<Upgrade>) -> *mut abi::Exchange {
        Exchange::start(self.0.clone().oneshot(http::Request::from_parts(head, body)), upgrade)
    }
}

impl App {
    /// An application from an axum router.
    #[cfg(feature = "axum")]
    pub fn router(router: axum::Router) -> App {
        let router: axum::Router = router.with_state(());
        App { call: Arc::new(Router(router)), hooks: Hooks::default() }
    }

    /// An application from a tower service. It is cloned once a request.
    pub fn service<S, B>(service: S) -> App
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        App { call: Arc::new(Erased(service)), hooks: Hooks::default() }
    }

    /// Asked before a generation takes over, and by health checks: an error keeps the old generation serving.
    #[must_use]
    pub fn health<F, Fut, E>(mut self, probe: F) -> App
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.hooks.health = Some(Box::new(move || {
            let probe = probe();
            Box::pin(async move { probe.await.map_err(Into::into) })
        }));
        self
    }

    /// Writes what the next generation gets as [`Host::saved_state`](crate::Host::saved_state). What must not be
    /// lost belongs in a store.
    #[must_use]
    pub fn save_state(mut self, save: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> App {
        self.hooks.save_state = Some(Box::new(save));
        self
    }

    /// Called when a newer generation has taken over.
    #[must_use]
    pub fn on_retire(mut self, retire: impl Fn() + Send + Sync + 'static) -> App {
        self.hooks.retire = Some(Box::new(retire));
        self
    }

    /// Run when the generation ends: close what is left (WebSockets with 1012).
    #[must_use]
    pub fn on_shutdown<F, Fut>(mut self, shutdown: F) -> App
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.hooks.shutdown = Some(Box::new(move || Box::pin(shutdown())));
        self
    }

    /// Registers work that a `[task.NAME]` of the config runs on a schedule (`task = "…"`), and `paster task run` by
    /// hand. `run` gets the table's `arguments` (null without); the text that it returns is the run's result. One
    /// generation runs it once for the whole server; its future is dropped when it takes too long.
    ///
    /// ```
    /// # let router = axum::Router::new();
    /// paster_sdk::App::router(router).task("sweep", "Removes drafts that nobody opened for a month", |_| async {
    ///     Ok::<_, std::io::Error>("3 drafts removed".to_owned())
    /// });
    /// ```
    #[must_use]
    pub fn task<F, Fut, E>(mut self, name: &str, summary: &str, run: F) -> App
    where
        F: Fn(serde_json::Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let run = move |arguments| -> BoxFuture<Result<String, BoxError>> {
            let work = run(arguments);
            Box::pin(async move { work.await.map_err(Into::into) })
        };
        self.hooks.tasks.push(Task { name: name.into(), summary: summary.into(), run: Box::new(run) });
        self
    }
}

#[cfg(feature = "axum")]
struct Router(axum::Router);

#[cfg(feature = "axum")]
impl Call for Router {
    fn call(&self, head: http::request::Parts, body: Body, upgrade: Option<Upgrade>) -> *mut abi::Exchange {
        // An empty body needs no box.
        let body = match http_body::Body::is_end_stream(&body) {
            true => axum::body::Body::empty(),
            false => axum::body::Body::new(body),
        };
        // A router is always ready.
        let answer = self.0.clone().call(http::Request::from_parts(head, body));
        Exchange::start(answer, upgrade)
    }
}

#[cfg(feature = "axum")]
impl From<axum::Router> for App {
    fn from(router: axum::Router) -> App {
        App::router(router)
    }
}
