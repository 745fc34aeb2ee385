//! `timeout`: limits the wait for the head of a response.

use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tower::Layer;
use tower_http::timeout::TimeoutLayer;

use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::error::Result;

/// Options of a `[middleware.NAME]` table with `use = "timeout"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Maximum time to wait for the response head, in whole seconds.
    #[serde(default = "half_a_minute")]
    after_secs: NonZeroU32,
}

fn half_a_minute() -> NonZeroU32 {
    const { NonZeroU32::new(30).unwrap() }
}

/// Wraps `next`: a late response is replaced by 504 (RFC 9110, section 15.6.5). The app's future is dropped.
/// A body that has begun has no time limit.
pub(super) fn build(options: Options, _: &Table, _: &Context, next: App) -> Result<App> {
    let after = Duration::from_secs(options.after_secs.get().into());
    let layer = TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, after);
    Ok(App::new(layer.layer(next)))
}
