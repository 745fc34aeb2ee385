//! An application and its hooks.

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

/// An application: a service, and functions that the host may call apart from requests.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// use axum::{Router, routing::get};
/// use paster_sdk::{App, BoxError, Host};
///
/// /// Counts visits; the count survives reloads.
/// async fn create((): (), host: Host) -> Result<App, BoxError> {
///     let saved = host.saved_state().and_then(|saved| saved.try_into().ok());
///     let count = Arc::new(AtomicU64::new(saved.map_or(0, u64::from_le_bytes)));
///     let visits = count.clone();
///     let visit = move || async move { (visits.fetch_add(1, Relaxed) + 1).to_string() };
///     Ok(App::router(Router::new().route("/", get(visit)))
///         .save_state(move || count.load(Relaxed).to_le_bytes().to_vec()))
/// }
///
/// # use paster_sdk::test::{Setup, TestApp};
/// let first = TestApp::create(create, serde_json::json!({}))?;
/// first.get("/");
/// let mut setup = Setup::default();
/// setup.saved_state = first.save_state();
/// assert_eq!(TestApp::with(create, setup)?.get("/").text(), "2");
/// # Ok::<(), BoxError>(())
/// ```
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

/// Work that the host may request by name.
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) run: Box<dyn Fn(serde_json::Value) -> BoxFuture<Result<String, BoxError>> + Send + Sync>,
}

/// Starts to handle a request, with the runtime entered. The concrete future and body share one allocation.
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
        let session = head.extensions.get().cloned();
        Exchange::start(self.0.clone().oneshot(http::Request::from_parts(head, body)), upgrade, session)
    }
}

impl App {
    /// Makes an application from an axum router whose state is set.
    ///
    /// ```
    /// use axum::{Router, extract::State, routing::get};
    ///
    /// let router = Router::new().route("/", get(|State(name): State<String>| async { name }));
    /// paster_sdk::App::router(router.with_state("Ann".to_owned()));
    /// ```
    #[cfg(feature = "axum")]
    pub fn router(router: axum::Router) -> App {
        let router: axum::Router = router.with_state(());
        App { call: Arc::new(Router(router)), hooks: Hooks::default() }
    }

    /// Makes an application from a tower service. It is cloned once per request.
    ///
    /// An error from the service is a failure without a response: the host logs it and responds with 500.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use paster_sdk::{App, Body, BoxError, Host};
    ///
    /// async fn create((): (), _: Host) -> Result<App, BoxError> {
    ///     Ok(App::service(tower::service_fn(|request: Request<Body>| async move {
    ///         let text = format!("You asked for {}", request.uri());
    ///         Ok::<_, std::convert::Infallible>(Response::new(text))
    ///     })))
    /// }
    /// # let app = paster_sdk::test::TestApp::create(create, serde_json::json!({}))?;
    /// # assert_eq!(app.get("/a").text(), "You asked for /a");
    /// # Ok::<(), BoxError>(())
    /// ```
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

    /// Sets the health probe. The host calls it before a generation takes over, when an error keeps the old
    /// generation serving, and for health checks.
    ///
    /// ```
    /// # let router = axum::Router::new();
    /// paster_sdk::App::router(router).health(|| async {
    ///     tokio::net::TcpStream::connect("127.0.0.1:5432").await?;
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// ```
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

    /// Sets the function that writes the state for the next generation, which gets it as
    /// [`Host::saved_state`](crate::Host::saved_state): see the example of [`App`]. It runs when that
    /// generation starts, so it misses later changes, and the state is lost when the server stops. Data that
    /// must not be lost belongs in a store.
    #[must_use]
    pub fn save_state(mut self, save: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> App {
        self.hooks.save_state = Some(Box::new(save));
        self
    }

    /// Sets a function that is called when a newer generation has taken over: new requests only come on open
    /// connections. It must not block.
    ///
    /// ```
    /// # let router = axum::Router::new();
    /// paster_sdk::App::router(router).on_retire(|| tracing::info!("a newer generation serves"));
    /// ```
    #[must_use]
    pub fn on_retire(mut self, retire: impl Fn() + Send + Sync + 'static) -> App {
        self.hooks.retire = Some(Box::new(retire));
        self
    }

    /// Sets what runs when the generation ends: close what is left, and write what is not written yet.
    /// WebSockets of [`ws`](crate::ws) close automatically.
    ///
    /// ```
    /// # let router = axum::Router::new();
    /// # let (jobs, mut done) = tokio::sync::watch::channel(0);
    /// paster_sdk::App::router(router).on_shutdown(move || {
    ///     let mut jobs = jobs.subscribe();
    ///     async move {
    ///         let _ = jobs.wait_for(|running| *running == 0).await;
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn on_shutdown<F, Fut>(mut self, shutdown: F) -> App
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.hooks.shutdown = Some(Box::new(move || Box::pin(shutdown())));
        self
    }

    /// Registers a task. A `[task.NAME]` of the config runs it on a schedule (`task = "…"`), and
    /// `paster task run` runs it manually. `run` gets the table's `arguments` (null if there are none). The
    /// text that it returns is the result. One generation runs it once for the whole server. Its future is
    /// dropped if it takes too long.
    ///
    /// ```
    /// # let router = axum::Router::new();
    /// paster_sdk::App::router(router).task("sweep", "Removes drafts older than a month", |_| async {
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

    /// Registers the application's command line: `paster run APP -- WORD …` calls `run` in a worker of the running server,
    /// with the words after `--`. The text that it returns is printed. An error is printed to standard error,
    /// and the command then exits with 1. It is the task `command`, so an application has one.
    ///
    /// ```
    /// # let router = axum::Router::new();
    /// paster_sdk::App::router(router).command("Manages users", |words| async move {
    ///     match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
    ///         ["users", "list"] => Ok("ann\nbob"),
    ///         _ => Err("usage: users list"),
    ///     }
    ///     .map(str::to_owned)
    /// });
    /// ```
    #[must_use]
    pub fn command<F, Fut, E>(self, summary: &str, run: F) -> App
    where
        F: Fn(Vec<String>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.task("command", summary, move |words| {
            // Unreadable words count as none, so that the application prints its usage.
            run(serde_json::from_value(words).unwrap_or_default())
        })
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
        let session = head.extensions.get().cloned();
        // A router is always ready.
        let answer = self.0.clone().call(http::Request::from_parts(head, body));
        Exchange::start(answer, upgrade, session)
    }
}

#[cfg(feature = "axum")]
impl From<axum::Router> for App {
    fn from(router: axum::Router) -> App {
        App::router(router)
    }
}
