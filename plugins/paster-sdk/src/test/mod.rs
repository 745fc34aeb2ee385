//! Tests an application in the test's own process: with settings and a host, but without a server or a built
//! library.
//!
//! ```
//! # use axum::{Router, routing::get};
//! # #[derive(serde::Deserialize, schemars::JsonSchema)]
//! # struct Settings { name: String }
//! # async fn create(settings: Settings, host: paster_sdk::Host) -> Result<paster_sdk::App, paster_sdk::BoxError> {
//! #     let hello = move || async move {
//! #         host.counter("greetings", 1);
//! #         format!("Hello, {}!", settings.name)
//! #     };
//! #     Ok(paster_sdk::App::router(Router::new().route("/", get(hello))))
//! # }
//! use paster_sdk::test::TestApp;
//!
//! let app = TestApp::create(create, serde_json::json!({ "name": "Ann" }))?;
//! let answer = app.get("/");
//! assert_eq!((answer.status.as_u16(), answer.text()), (200, "Hello, Ann!"));
//! assert_eq!(app.counter("greetings"), 1);
//! # Ok::<(), paster_sdk::BoxError>(())
//! ```
//!
//! Requests pass through the plugin border, as they do in a server. So handlers find an
//! [`Environ`](crate::Environ), and panics become errors. The calls block: use plain `#[test]` functions, not
//! `#[tokio::test]`. WebSockets are not supported here. [`TestMiddleware`] tests a middleware around an application of the
//! test's choice.

mod exchange;
mod host;
mod middleware;

use std::future::Future;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::Value;

use crate::border::{self, Instance};
use crate::host::Phase;
use crate::{App, BoxError, Host};
use host::FakeHost;
pub use middleware::TestMiddleware;

/// An application under test.
pub struct TestApp {
    instance: Instance,
    /// What comes after it, if it is a middleware.
    next: Option<Instance>,
    host: &'static FakeHost,
}

/// The input of `create`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setup {
    /// The table `[app.NAME.settings]`.
    pub settings: Value,
    /// The application's name in the config.
    pub app: String,
    /// The whole config, as [`Host::config`] reads it.
    pub config: Value,
    /// Number of the generation.
    pub generation: u64,
    /// Whether this is development.
    pub development: bool,
    /// What the previous generation saved.
    pub saved_state: Option<Vec<u8>>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            settings: Value::Object(serde_json::Map::new()),
            app: "main".to_owned(),
            config: Value::Object(serde_json::Map::new()),
            generation: 1,
            development: true,
            saved_state: None,
        }
    }
}

/// What a server would know about a request apart from its head. It becomes the request's
/// [`Environ`](crate::Environ).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facts {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The host, without a port.
    pub host: String,
    /// The prefix that mounts removed from the path: empty or `/a/b`.
    pub script_name: String,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// The user who is logged in.
    pub user: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// The data of the visitor's session, as a JSON object; `None` without the middleware `session`.
    pub session: Option<Value>,
}

impl Default for Facts {
    fn default() -> Facts {
        Facts {
            client: Some(IpAddr::from([127, 0, 0, 1])),
            host: "localhost".to_owned(),
            script_name: String::new(),
            secure: false,
            user: None,
            request_id: None,
            session: None,
        }
    }
}

impl Facts {
    /// The facts of a request from a logged-in user.
    ///
    /// ```
    /// # use axum::{Extension, Router, routing::get};
    /// # use paster_sdk::{App, BoxError, Environ, Host};
    /// # async fn create((): (), _: Host) -> Result<App, BoxError> {
    /// #     let name = |Extension(environ): Extension<Environ>| async move { environ.user().unwrap_or("nobody").to_owned() };
    /// #     Ok(App::router(Router::new().route("/", get(name))))
    /// # }
    /// use paster_sdk::test::{Facts, TestApp};
    ///
    /// let app = TestApp::create(create, serde_json::json!({}))?;
    /// let request = http::Request::get("/").body("")?;
    /// assert_eq!(app.send_as(&Facts::of_user("ann"), request).text(), "ann");
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn of_user(name: &str) -> Facts {
        Facts { user: Some(name.to_owned()), ..Facts::default() }
    }
}

/// A response, read completely.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What the application has changed in the session, as the host gets it: `{"set": {"KEY": VALUE}, "remove": ["KEY"]}`.
    pub session: Option<Value>,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    /// # Panics
    /// If it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body, parsed as JSON.
    /// # Panics
    /// If it is not JSON of that type.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the body is JSON of the expected type")
    }

    /// The first value of a header field, if the field exists and its value is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl TestApp {
    /// Creates the application with `settings`, as a server does with the table `[app.NAME.settings]`.
    /// # Errors
    /// Settings that the type refuses, and the error of `create`.
    pub fn create<S, F, Fut>(create: F, settings: Value) -> Result<TestApp, BoxError>
    where
        S: serde::de::DeserializeOwned + 'static,
        F: FnOnce(S, Host) -> Fut,
        Fut: Future<Output = Result<App, BoxError>>,
    {
        TestApp::with(create, Setup { settings, ..Setup::default() })
    }

    /// Creates the application with everything that a host can pass. [`Setup`] may get more fields, so write
    /// `let mut setup = Setup::default(); setup.generation = 2;`.
    /// # Errors
    /// Same as [`TestApp::create`].
    pub fn with<S, F, Fut>(create: F, setup: Setup) -> Result<TestApp, BoxError>
    where
        S: serde::de::DeserializeOwned + 'static,
        F: FnOnce(S, Host) -> Fut,
        Fut: Future<Output = Result<App, BoxError>>,
    {
        let settings = border::settings::<S>(setup.settings.to_string().as_bytes())?;
        let (fake, host) = FakeHost::make(setup);
        let App { call, hooks } = border::runtime::start()?.block_on(create(settings, host.clone()))?;
        Ok(TestApp { instance: Instance { call, hooks, host }, next: None, host: fake })
    }

    /// Sends a GET for `target`, a path that may have a query: `/notes?page=2`.
    /// # Panics
    /// Same as [`TestApp::send`]; also if the target is not valid.
    pub fn get(&self, target: &str) -> Answer {
        self.send(Request::get(target).body(Bytes::new()).expect("the target is valid"))
    }

    /// Sends a request from a user who is not logged in.
    /// # Panics
    /// If the application returns no response, because its service failed or panicked.
    pub fn send(&self, request: Request<impl Into<Bytes>>) -> Answer {
        self.send_as(&Facts::default(), request)
    }

    /// Sends a request with these facts.
    /// # Panics
    /// Same as [`TestApp::send`].
    pub fn send_as(&self, facts: &Facts, request: Request<impl Into<Bytes>>) -> Answer {
        match self.try_send(facts, request) {
            Ok(answer) => answer,
            Err(reason) => panic!("the application returned no response: {reason}"),
        }
    }

    /// Sends a request with these facts.
    /// # Errors
    /// Why there is no complete response. A server would respond with 500 or abort the body.
    pub fn try_send(&self, facts: &Facts, request: Request<impl Into<Bytes>>) -> Result<Answer, String> {
        exchange::send(&self.instance, self.next.as_ref(), facts, request.map(Into::into))
    }

    /// Calls the health probe.
    /// # Errors
    /// The error of the probe.
    pub fn health(&self) -> Result<(), BoxError> {
        let Some(probe) = &self.instance.hooks.health else { return Ok(()) };
        border::runtime::start()?.block_on(probe())
    }

    /// The state that the next generation would get.
    pub fn save_state(&self) -> Option<Vec<u8>> {
        self.instance.hooks.save_state.as_ref().map(|save| save())
    }

    /// Runs a task that was registered with [`App::task`].
    /// # Errors
    /// The error of the task; an unknown name.
    pub fn run_task(&self, name: &str, arguments: Value) -> Result<String, BoxError> {
        let task = self.instance.hooks.tasks.iter().find(|task| task.name == name);
        let task = task.ok_or_else(|| format!("there is no task `{name}`"))?;
        border::runtime::start()?.block_on((task.run)(arguments))
    }

    /// Tells the application that a newer generation has taken over.
    pub fn retire(&self) {
        self.instance.host.advance(Phase::Retired);
        if let Some(retire) = &self.instance.hooks.retire {
            retire();
        }
    }

    /// Tells the application that the generation ends, and waits for its hook.
    /// # Errors
    /// If the system refuses a thread.
    pub fn shutdown(&self) -> Result<(), BoxError> {
        self.instance.host.advance(Phase::Shutdown);
        if let Some(shutdown) = &self.instance.hooks.shutdown {
            border::runtime::start()?.block_on(shutdown());
        }
        Ok(())
    }

    /// What the application has counted with [`Host::counter`].
    pub fn counter(&self, name: &str) -> u64 {
        self.host.counter(name)
    }
}

impl std::fmt::Debug for TestApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestApp").field("host", &self.instance.host).finish()
    }
}
