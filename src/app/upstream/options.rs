//! Options that all kinds with upstreams share, flattened into each kind's own.

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
    /// How to choose among several upstreams.
    pub(in crate::app) balance: Balance,
    /// The shares of the upstreams, in their order. With `[3, 1]`, the first one gets three times as many requests. By
    /// default, all are equal.
    pub(in crate::app) weights: Vec<NonZeroU32>,
    /// App names by prefix for `X-Accel-Redirect`: if an upstream responds with `X-Accel-Redirect:
    /// /protected/a.pdf`, the app at `/protected` answers `/a.pdf` instead. Clients cannot reach these apps
    /// directly.
    pub(in crate::app) hand_off: BTreeMap<String, String>,
    /// How long upstreams are waited for.
    pub(in crate::app) timeouts: Timeouts,
    /// The connections to each upstream.
    pub(in crate::app) pool: PoolOptions,
    /// When an upstream counts as out of order.
    pub(in crate::app) health: HealthOptions,
    /// How long to go on when no upstream can be reached: one that paster has started may be starting again.
    #[serde(skip)]
    pub(in crate::app) patience: Duration,
}

impl UpstreamOptions {
    /// Checks them for `count` upstreams; faults go to `errors`. Returns the apps of `hand_off`.
    pub(in crate::app) fn check(
        &self,
        table: &Table,
        count: usize,
        builder: &mut Builder<'_>,
        errors: &mut Vec<Error>,
    ) -> Option<HandOff> {
        if !self.weights.is_empty() && self.weights.len() != count {
            let error = table.error("weights", "the number of weights differs from the number of upstreams");
            errors.push(error.help("write as many numbers as there are upstreams"));
        }
        let is_path =
            |text: &str| text.starts_with('/') && !text.contains('#') && text.parse::<http::Uri>().is_ok();
        if self.health.path.as_deref().is_some_and(|path| !is_path(path)) {
            errors.push(table.error("health.path", "it is not a path").help("write one such as `/health`"));
        }
        HandOff::new(table, &self.hand_off, builder, errors)
    }
}

/// What SCGI and FastCGI, which pass a request on as variables, have beside them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::app) struct GatewayOptions {
    /// Variables to add to those of RFC 3875, or to replace them.
    pub(in crate::app) params: BTreeMap<String, String>,
    /// Maximum length in bytes of a request body of unknown length. The length must be sent first, so such a body is buffered.
    /// Beyond 64 KiB, the buffer is an unnamed file. (`body_limit` applies before.)
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
    /// The one with the fewest requests in flight (least connections).
    LeastBusy,
    /// The less busy one of two random ones. With many workers, this distributes requests better than `least_busy`, because
    /// each worker knows only its own requests.
    PowerOfTwo,
}

/// How long an upstream is waited for.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app) struct Timeouts {
    /// Maximum time to connect, including TLS. After that, the next upstream is tried. After the last one, the response is 504.
    pub(in crate::app) connect_secs: Secs,
    /// Maximum time to wait for the response head, and for the upstream to accept a part of the request. After that, the
    /// response is 504.
    pub(in crate::app) head_secs: Secs,
    /// Maximum pause between two parts of the response body. After that, the response is aborted.
    pub(in crate::app) pause_secs: Secs,
    /// Maximum time to wait for a connection if all `pool.max_connections` are in use. After that, the response is 503.
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
    /// Maximum number of connections to one upstream, including WebSockets; further requests wait. (HTTP/2 uses one
    /// connection, and this is the maximum number of its requests.)
    pub(in crate::app) max_connections: NonZeroU32,
    /// Maximum number of idle connections to keep per upstream; 0 keeps none. SCGI never keeps any.
    pub(in crate::app) max_idle: u32,
    /// How long to keep an idle connection, unless the upstream asks for less with `Keep-Alive: timeout=…`.
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
    /// Skip an upstream for `out_secs` after this many failures within `window_secs`. (The only available
    /// upstream is always tried.)
    pub(in crate::app) max_fails: NonZeroU32,
    /// Period in which failures are counted.
    pub(in crate::app) window_secs: Secs,
    /// How long to skip an upstream that failed.
    pub(in crate::app) out_secs: Secs,
    /// How long a recovered upstream gets fewer requests than its share, growing from a tenth to the full share; 0 gives it
    /// the full share at once.
    pub(in crate::app) slow_start_secs: u32,
    /// Path to request from each upstream every `interval_secs`. An upstream is skipped while the response is not 2xx or 3xx.
    /// By default, there are no such checks.
    pub(in crate::app) path: Option<String>,
    /// Interval of these checks.
    pub(in crate::app) interval_secs: Secs,
    /// Maximum time to wait for the response to a check.
    pub(in crate::app) timeout_secs: Secs,
}

impl Default for HealthOptions {
    fn default() -> Self {
        HealthOptions {
            max_fails: secs(3),
            window_secs: secs(10),
            out_secs: secs(10),
            slow_start_secs: 0,
            path: None,
            interval_secs: secs(5),
            timeout_secs: secs(2),
        }
    }
}
