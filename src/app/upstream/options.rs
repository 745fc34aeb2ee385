//! Options that the kinds with upstreams share, flattened into each kind's own.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::Builder;
use crate::app::hand_off::HandOff;
use crate::config::Table;
use crate::error::Error;

/// Whole seconds, at least one.
pub(in crate::app) type Secs = NonZeroU32;

pub(in crate::app) const fn secs(count: u32) -> Secs {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}

pub(in crate::app) fn duration(secs: Secs) -> Duration {
    Duration::from_secs(secs.get().into())
}

/// What the kinds that ask others by a socket have in common, but for the addresses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::app) struct UpstreamOptions {
    /// How one of several upstreams is chosen.
    pub(in crate::app) balance: Balance,
    /// From a prefix to the name of an app: where an upstream answers with `X-Accel-Redirect: /protected/a.pdf`, the
    /// app at `/protected` is asked for `/a.pdf` and answers instead. No client reaches an app by this.
    pub(in crate::app) hand_off: BTreeMap<String, String>,
    /// How long upstreams are waited for.
    pub(in crate::app) timeouts: Timeouts,
    /// The connections to each upstream.
    pub(in crate::app) pool: PoolOptions,
    /// When an upstream counts as out of order.
    pub(in crate::app) health: HealthOptions,
}

impl UpstreamOptions {
    /// Checks them; faults go to `errors`. Returns the apps of `hand_off`.
    pub(in crate::app) fn check(
        &self,
        table: &Table,
        builder: &mut Builder<'_>,
        errors: &mut Vec<Error>,
    ) -> Option<HandOff> {
        let is_path =
            |text: &str| text.starts_with('/') && !text.contains('#') && text.parse::<http::Uri>().is_ok();
        if self.health.path.as_deref().is_some_and(|path| !is_path(path)) {
            errors.push(table.error("health.path", "it is no path").help("write one such as `/health`"));
        }
        HandOff::new(table, &self.hand_off, builder, errors)
    }
}

/// What SCGI and FastCGI, which pass a request on as variables, have beside them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::app) struct GatewayOptions {
    /// Variables (FastCGI's parameters) to add to those of RFC 3875, or to put in their place.
    pub(in crate::app) params: BTreeMap<String, String>,
    /// Longest body of a request that does not say its length, in bytes: it is kept, beyond 64 KiB in a file without a
    /// name, as the length is sent first. (`body_limit` comes before it.)
    pub(in crate::app) spool_limit_bytes: u64,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        GatewayOptions { params: BTreeMap::new(), spool_limit_bytes: one_gib() }
    }
}

pub(in crate::app) fn one_gib() -> u64 {
    1 << 30
}

/// How an upstream is chosen among several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::app) enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastBusy,
}

/// How long an upstream is waited for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app) struct Timeouts {
    /// Longest wait for a connection, TLS included; then the next upstream is tried, and 504 is answered after the
    /// last.
    pub(in crate::app) connect_secs: Secs,
    /// Longest wait for the head of the answer, and for the upstream to take a piece of the request; then 504.
    pub(in crate::app) head_secs: Secs,
    /// Longest pause between two pieces of the answer's body; then it is broken off.
    pub(in crate::app) pause_secs: Secs,
    /// Longest wait for a free connection where `pool.max_connections` are in use; then 503.
    pub(in crate::app) queue_secs: Secs,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect_secs: secs(5), head_secs: secs(60), pause_secs: secs(60), queue_secs: secs(10) }
    }
}

/// The connections to each upstream.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app) struct PoolOptions {
    /// Most connections to one upstream at a time, WebSockets too; further requests wait. (Over HTTP/2, which has one
    /// connection: most requests.)
    pub(in crate::app) max_connections: NonZeroU32,
    /// Most idle connections kept for one upstream; 0 keeps none, as SCGI always does.
    pub(in crate::app) max_idle: u32,
    /// How long an idle connection is kept, unless the upstream said less by `Keep-Alive: timeout=…`.
    pub(in crate::app) idle_secs: Secs,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions { max_connections: secs(1024), max_idle: 64, idle_secs: secs(30) }
    }
}

/// When an upstream counts as out of order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app) struct HealthOptions {
    /// Failures within `window_secs` after which an upstream is left out for `out_secs`. (An upstream without
    /// another that could take its place is tried all the same.)
    pub(in crate::app) max_fails: NonZeroU32,
    /// The time in which failures are counted together.
    pub(in crate::app) window_secs: Secs,
    /// How long an upstream that failed is left out.
    pub(in crate::app) out_secs: Secs,
    /// Path to ask each upstream for every `interval_secs`: while the answer is no 2xx or 3xx it is left out.
    /// Without a path nothing is asked.
    pub(in crate::app) path: Option<String>,
    /// Time between two of these questions.
    pub(in crate::app) interval_secs: Secs,
    /// Longest wait for the answer to one.
    pub(in crate::app) timeout_secs: Secs,
}

impl Default for HealthOptions {
    fn default() -> Self {
        HealthOptions {
            max_fails: secs(3),
            window_secs: secs(10),
            out_secs: secs(10),
            path: None,
            interval_secs: secs(5),
            timeout_secs: secs(2),
        }
    }
}
