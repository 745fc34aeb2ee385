//! What the host offers to an application.

use std::path::PathBuf;
use std::sync::Arc;

use paster_abi as abi;
use tokio::sync::watch;

use crate::BoxError;

/// The host's services for one application. Cheap to clone, and usable from any thread.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    table: &'static abi::Host,
    saved: Option<Vec<u8>>,
    phase: watch::Sender<Phase>,
}

/// The phase of the generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    Retired,
    Shutdown,
}

impl Host {
    pub(crate) fn new(table: &'static abi::Host, saved: Option<Vec<u8>>) -> Host {
        Host(Arc::new(Inner { table, saved, phase: watch::Sender::new(Phase::Serving) }))
    }

    pub(crate) fn advance(&self, phase: Phase) {
        self.0.phase.send_if_modified(|now| {
            let later = *now < phase;
            *now = (*now).max(phase);
            later
        });
    }

    /// The application's name in the config: `shop` of `[app.shop]`.
    pub fn app(&self) -> &'static str {
        // SAFETY: the host's table and its texts live as long as the process.
        std::str::from_utf8(unsafe { self.0.table.app.bytes() }).unwrap_or_default()
    }

    /// Makes sure that the side process `name` runs, and returns the path of its Unix socket. It outlives
    /// workers and generations; one that already runs is kept. May block: call it in `create` or on a
    /// blocking thread.
    ///
    /// ```no_run
    /// use std::io::Write;
    /// use std::os::unix::net::{UnixListener, UnixStream};
    ///
    /// use paster_sdk::{App, BoxError, Host};
    ///
    /// async fn create((): (), host: Host) -> Result<App, BoxError> {
    ///     let socket = host.side_process("greeter")?;
    ///     UnixStream::connect(socket)?;
    ///     Ok(App::router(axum::Router::new()))
    /// }
    ///
    /// fn greet(listener: UnixListener) -> i32 {
    ///     while let Ok((mut stream, _)) = listener.accept() {
    ///         let _ = stream.write_all(b"hello");
    ///     }
    ///     0
    /// }
    ///
    /// paster_sdk::plugin! { settings: (), create: create, side: { "greeter" => greet } }
    /// # fn main() {}
    /// ```
    /// # Errors
    /// If [`plugin!`](crate::plugin!) lists no side process of that name, if there is no supervisor
    /// (`paster request`, `paster check`), or if the process did not start.
    pub fn side_process(&self, name: &str) -> Result<PathBuf, BoxError> {
        let mut out = abi::Buffer::EMPTY;
        let table = self.0.table;
        // SAFETY: the table's function with its own context; the name lives for the call; `out` is written.
        let (status, text) = unsafe {
            let status = (table.side_process)(table.context, abi::Slice::new(name.as_bytes()), &mut out);
            (status, out.into_text())
        };
        if status == abi::READY { Ok(text.into()) } else { Err(text.into()) }
    }

    /// Sets the path of the application that the user should open. The path may have a query, such as a
    /// token. Once the host serves, it shows the full address on the last line of the terminal, and never
    /// logs it. Call it in `create`; the host shows only the first generation's address. An older host
    /// ignores it.
    ///
    /// ```
    /// use paster_sdk::{App, BoxError, Host};
    ///
    /// async fn create((): (), host: Host) -> Result<App, BoxError> {
    ///     host.announce("/?token=4f1c");
    ///     Ok(App::router(axum::Router::new()))
    /// }
    /// # paster_sdk::test::TestApp::create(create, serde_json::json!({}))?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn announce(&self, path: &str) {
        let table = self.0.table;
        let known = std::mem::offset_of!(abi::Host, announce) + size_of::<fn()>();
        if table.size_bytes >= known {
            // SAFETY: the table has the function, which is called with the table's context; the path lives for the call.
            unsafe { (table.announce)(table.context, abi::Slice::new(path.as_bytes())) }
        }
    }

    /// Calls `observe` with each event that this library logs from now on, including panics, for example to report errors.
    /// Events below the host's log level are not passed on, nor are those that `observe` logs itself. It is called on the
    /// thread that logs, so it must not block. If the library has several apps in one process, it gets the events of all of
    /// them.
    ///
    /// ```
    /// use paster_sdk::{App, BoxError, Host, Level};
    ///
    /// async fn create((): (), host: Host) -> Result<App, BoxError> {
    ///     let counted = host.clone();
    ///     host.on_log(move |event| {
    ///         if event.level == Level::ERROR {
    ///             counted.counter("errors", 1);
    ///         }
    ///     });
    ///     Ok(App::router(axum::Router::new()))
    /// }
    /// # paster_sdk::test::TestApp::create(create, serde_json::json!({}))?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn on_log(&self, observe: impl Fn(&crate::LogEvent<'_>) + Send + Sync + 'static) {
        crate::log::observe(Box::new(observe));
    }

    /// What the previous generation saved with [`App::save_state`](crate::App::save_state), if there was one
    /// and it saved something. Another version of the code may have written it, so check it.
    pub fn saved_state(&self) -> Option<&[u8]> {
        self.0.saved.as_deref()
    }

    /// The whole merged config, as JSON. Each call parses it, so keep what you need.
    ///
    /// ```
    /// # use paster_sdk::{App, BoxError, Host};
    /// async fn create((): (), host: Host) -> Result<App, BoxError> {
    ///     let config = host.config();
    ///     let others = config["app"].as_object().map_or(0, |apps| apps.len() - 1);
    ///     tracing::info!("there are {others} other applications");
    ///     # assert_eq!(others, 1);
    ///     Ok(App::router(axum::Router::new()))
    /// }
    /// # let mut setup = paster_sdk::test::Setup::default();
    /// # setup.config = serde_json::json!({ "app": { "main": {}, "other": {} } });
    /// # paster_sdk::test::TestApp::with(create, setup)?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn config(&self) -> serde_json::Value {
        let mut out = abi::Buffer::EMPTY;
        // SAFETY: the table's function with its own context; `out` is written.
        unsafe {
            (self.0.table.config)(self.0.table.context, &mut out);
            serde_json::from_slice(out.bytes()).unwrap_or_default()
        }
    }

    /// The number of the generation, from 1. Each reload of the config or the library starts the next one.
    pub fn generation(&self) -> u64 {
        self.0.table.generation
    }

    /// Whether this is development: pages may show the causes of errors.
    pub fn development(&self) -> bool {
        self.0.table.development != 0
    }

    /// Waits until a newer generation has taken over. Returns at once if one already has.
    ///
    /// ```
    /// # use paster_sdk::{App, BoxError, Host};
    /// # async fn refresh_cache() {}
    /// async fn create((): (), host: Host) -> Result<App, BoxError> {
    ///     let retired = host.clone();
    ///     tokio::spawn(async move {
    ///         let mut hour = tokio::time::interval(std::time::Duration::from_secs(3600));
    ///         loop {
    ///             tokio::select! {
    ///                 _ = hour.tick() => refresh_cache().await,
    ///                 () = retired.retired() => return,
    ///             }
    ///         }
    ///     });
    ///     Ok(App::router(axum::Router::new()))
    /// }
    /// # paster_sdk::test::TestApp::create(create, serde_json::json!({}))?.retire();
    /// # Ok::<(), BoxError>(())
    /// ```
    pub async fn retired(&self) {
        self.reached(Phase::Retired).await;
    }

    /// Waits until the generation ends. Then close what is left, such as endless streams.
    pub async fn shutdown(&self) {
        self.reached(Phase::Shutdown).await;
    }

    async fn reached(&self, phase: Phase) {
        // The sender is in `self`, so the wait cannot fail.
        let _ = self.0.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Receives the next message of one of axum's own WebSockets; [`ws`](crate::ws) does more. When the
    /// generation ends, this closes the WebSocket with 1012 (service restart), so that clients reconnect to
    /// the next generation, and returns `None`. If the client closes, this first responds to the close.
    /// # Errors
    /// Errors of the client and of the connection.
    #[cfg(feature = "axum")]
    pub async fn receive(
        &self,
        socket: &mut axum::extract::ws::WebSocket,
    ) -> Option<Result<axum::extract::ws::Message, axum::Error>> {
        use axum::extract::ws::{CloseFrame, Message, close_code};
        let message = tokio::select! {
            message = socket.recv() => message,
            () = self.shutdown() => {
                let close = CloseFrame { code: close_code::RESTART, reason: "service restart".into() };
                crate::ws::goodbye_to(socket, close).await;
                return None;
            }
        };
        if let Some(Ok(Message::Close(_))) = &message {
            crate::ws::answer_close(socket).await;
        }
        message
    }

    /// Adds `count` to the application's counter `name`, which the `metrics` middleware shows, summed over
    /// workers and generations.
    ///
    /// ```
    /// use axum::{Extension, Router, routing::post};
    /// use paster_sdk::{App, BoxError, Host};
    ///
    /// async fn order(Extension(host): Extension<Host>) -> &'static str {
    ///     host.counter("orders", 1);
    ///     "thank you"
    /// }
    ///
    /// async fn create((): (), host: Host) -> Result<App, BoxError> {
    ///     Ok(App::router(Router::new().route("/orders", post(order)).layer(Extension(host))))
    /// }
    ///
    /// let app = paster_sdk::test::TestApp::create(create, serde_json::json!({}))?;
    /// app.send(http::Request::post("/orders").body("").unwrap());
    /// assert_eq!(app.counter("orders"), 1);
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn counter(&self, name: &str, count: u64) {
        let table = self.0.table;
        // SAFETY: the table's function with its own context; the name lives for the call.
        unsafe { (table.count)(table.context, abi::Slice::new(name.as_bytes()), count) }
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("app", &self.app()).field("generation", &self.generation()).finish()
    }
}
