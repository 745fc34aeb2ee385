//! Turns an axum `Router`, any tower `Service` or any tower `Layer` into a paster plugin.
//!
//! ```
//! use axum::{Router, routing::get};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     /// Whom to greet.
//!     name: String,
//! }
//!
//! async fn create(settings: Settings, _: paster_sdk::Host) -> Result<paster_sdk::App, paster_sdk::BoxError> {
//!     let greeting = format!("Hello, {}!", settings.name);
//!     Ok(paster_sdk::App::router(Router::new().route("/", get(|| async { greeting }))))
//! }
//!
//! paster_sdk::plugin! { settings: Settings, create: create }
//! # fn main() {}
//! ```
//!
//! with `crate-type = ["cdylib"]` in `Cargo.toml`. Then `use = "plugin"` and `crate = "PATH"` in `server.toml`.
//!
//! - Handlers run on the host's threads, with this library's own tokio runtime entered: `tokio::spawn`,
//!   timers and sockets work as usual. A handler must not block; use `spawn_blocking`.
//! - A request's extensions contain an [`Environ`]: who sent it, who is logged in, at which mount.
//! - With the middleware `session`, they also contain the visitor's [`Session`].
//! - [`ws`] opens WebSockets. A request whose connection can be taken over has `hyper::upgrade::OnUpgrade`
//!   and the [`Host`] in its extensions, so axum's `WebSocketUpgrade` also works unchanged.
//! - After a panic in a handler the host responds with 500; a panic in the middle of a body leaves the
//!   response unfinished. Both are logged and counted. This needs `panic = "unwind"`, cargo's default.
//! - `tracing` events go to the host's log. [`Host::on_log`] passes them to the plugin too.
//! - A plugin with [`Middleware`] wraps the apps of others: `paster_sdk::plugin! { settings: (), middleware: create }`,
//!   then `use = "plugin"` in a table `[middleware.NAME]`.
//! - [`mod@test`] calls an application within the process of its tests.

#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod app;
mod body;
#[doc(hidden)]
pub mod border;
mod environ;
mod host;
mod log;
mod middleware;
mod session;
pub mod test;
#[cfg(feature = "axum")]
pub mod ws;

pub use app::App;
pub use body::Body;
pub use environ::{ClientCertificate, Environ};
pub use host::Host;
pub use log::LogEvent;
pub use middleware::{Middleware, Next, NextError, NextFuture};
#[doc(hidden)]
pub use paster_abi as abi;
pub use session::Session;
/// How serious an event of the log is: the type of [`LogEvent::level`].
pub use tracing::Level;

/// The guide for plugin authors. Its examples are compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/plugins.md")]
struct Guide;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the library a plugin: exports `PASTER_PLUGIN`. Use it once per crate.
///
/// - `settings`: a type with `serde::Deserialize` and `schemars::JsonSchema`. Its schema is exported, and the
///   host checks the config against it. `()` if there are no settings.
/// - `create`: `async fn(Settings, Host) -> Result<App, BoxError>`; or `middleware`:
///   `async fn(Settings, Host) -> Result<Middleware, BoxError>`.
/// - `side`, optional: main functions of side processes by name,
///   `fn(std::os::unix::net::UnixListener) -> i32`. They run in a separate process, without `create`, and
///   return its exit status.
#[macro_export]
macro_rules! plugin {
    (
        settings: $settings:ty,
        create: $create:expr
        $(, side: $side:tt)?
        $(,)?
    ) => {
        $crate::plugin! { @ $crate::App, $settings, $create $(, $side)? }
    };
    (
        settings: $settings:ty,
        middleware: $create:expr
        $(, side: $side:tt)?
        $(,)?
    ) => {
        $crate::plugin! { @ $crate::Middleware, $settings, $create $(, $side)? }
    };
    (
        @ $made:ty, $settings:ty, $create:expr $(, { $($name:literal => $main:expr),* $(,)? })?
    ) => {
        const _: () = {
            struct PluginDefinition;

            impl $crate::border::Definition for PluginDefinition {
                type Settings = $settings;
                type Made = $made;
                const SIDES: &'static [(
                    &'static str,
                    fn(::std::os::unix::net::UnixListener) -> i32,
                )] = &[$($(($name, $main)),*)?];
                fn create(
                    settings: $settings,
                    host: $crate::Host,
                ) -> impl ::std::future::Future<Output = ::std::result::Result<$made, $crate::BoxError>> + Send
                {
                    $create(settings, host)
                }
            }

            #[unsafe(no_mangle)]
            static PASTER_PLUGIN: $crate::abi::Plugin = $crate::border::table::<PluginDefinition>(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                &[$($($crate::abi::Slice::new($name.as_bytes())),*)?],
            );
        };
    };
}
