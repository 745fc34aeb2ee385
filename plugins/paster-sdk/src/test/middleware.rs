//! A middleware under test.

use std::future::Future;
use std::ops::Deref;

use http::{Request, Response};
use serde_json::Value;

use super::host::FakeHost;
use super::{Setup, TestApp};
use crate::border::{self, Instance};
use crate::{App, Body, BoxError, Host, Middleware};

/// A middleware under test, around an application. It has the methods of [`TestApp`].
///
/// ```
/// # use paster_sdk::{BoxError, Host, Middleware};
/// # async fn create((): (), _: Host) -> Result<Middleware, BoxError> {
/// #     Ok(Middleware::layer(tower::layer::util::Identity::new()))
/// # }
/// use paster_sdk::App;
/// use paster_sdk::test::TestMiddleware;
///
/// let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
/// let middleware = TestMiddleware::create(create, serde_json::json!({}))?.around(App::router(app));
/// assert_eq!(middleware.get("/").text(), "hello");
/// # Ok::<(), BoxError>(())
/// ```
#[derive(Debug)]
pub struct TestMiddleware(TestApp);

impl TestMiddleware {
    /// Creates the middleware with `settings`, as a server does with the table `[middleware.NAME.settings]`. It is around
    /// an application that responds with an empty page.
    /// # Errors
    /// Settings that the type refuses, and the error of `create`.
    pub fn create<S, F, Fut>(create: F, settings: Value) -> Result<TestMiddleware, BoxError>
    where
        S: serde::de::DeserializeOwned + 'static,
        F: FnOnce(S, Host) -> Fut,
        Fut: Future<Output = Result<Middleware, BoxError>>,
    {
        TestMiddleware::with(
            create,
            Setup { settings, app: "middleware.main".to_owned(), ..Setup::default() },
        )
    }

    /// Creates the middleware with everything that a host can pass.
    /// # Errors
    /// Same as [`TestMiddleware::create`].
    pub fn with<S, F, Fut>(create: F, setup: Setup) -> Result<TestMiddleware, BoxError>
    where
        S: serde::de::DeserializeOwned + 'static,
        F: FnOnce(S, Host) -> Fut,
        Fut: Future<Output = Result<Middleware, BoxError>>,
    {
        let settings = border::settings::<S>(setup.settings.to_string().as_bytes())?;
        let (fake, host) = FakeHost::make(setup);
        let made = border::runtime::start()?.block_on(create(settings, host.clone()))?;
        let Middleware { call, hooks } = made;
        let app = TestApp { instance: Instance { call, hooks, host }, next: None, host: fake };
        let empty =
            |_: Request<Body>| async { Ok::<_, std::convert::Infallible>(Response::new(Body::empty())) };
        Ok(TestMiddleware(app).around(App::service(tower::service_fn(empty))))
    }

    /// Puts it around another application.
    #[must_use]
    pub fn around(mut self, next: App) -> TestMiddleware {
        let App { call, hooks } = next;
        self.0.next = Some(Instance { call, hooks, host: self.0.instance.host.clone() });
        self
    }
}

impl Deref for TestMiddleware {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.0
    }
}
