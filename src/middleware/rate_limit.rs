//! `rate_limit`: limits how many requests each client may send per time (governor's GCRA).

use std::collections::hash_map::RandomState;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::options::value;
use super::peers::Peers;
use super::refusal::{at_once, refusal_for};
use super::request_key::RequestKey;
use crate::body::{App, BoxFuture, Request, Response};
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{BoxError, Error, Errors, Result};
use crate::store::{Counted, Rate, Store};

/// Options of a `[middleware.NAME]` table with `use = "rate_limit"`.
///
/// A client that has sent too many requests gets 429 with `Retry-After`. Every response contains the remaining quota in
/// `RateLimit` and `RateLimit-Policy`. Each worker counts for itself, unless `store` names a Redis server.
///
/// ```toml
/// [middleware.login_limit]
/// use = "rate_limit"
/// only = { path = "/login", method = "POST" }
/// requests = 5
/// per_secs = 60
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Number of requests per `per_secs`.
    requests: NonZeroU32,
    /// The period in seconds.
    per_secs: NonZeroU32,
    /// Number of requests that may arrive at once. Default: `requests`.
    burst: Option<NonZeroU32>,
    /// The key by which requests are counted: `client` (the address; of IPv6 the network of 64 bits), `user`
    /// (authenticated by a middleware outside of this one), `header:NAME` or `all`.
    key: String,
    /// Maximum number of clients to count separately in each worker. If there are more, they are counted in up to 1,024 groups.
    max_keys: usize,
    /// Clients without a limit: addresses, networks, `loopback`, `unix`.
    exempt: Option<Peers>,
    /// Send the fields `RateLimit` and `RateLimit-Policy`.
    headers: bool,
    /// Name of a `[resource.NAME]` table with `use = "redis"`: all workers, and all servers with this resource, then share one
    /// count.
    store: Option<String>,
    /// What to do with requests while the store does not respond.
    on_store_failure: OnStoreFailure,
}

/// What happens to requests that cannot be counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum OnStoreFailure {
    /// Each worker counts for itself.
    #[default]
    Local,
    /// They pass.
    Allow,
    /// They get 503.
    Deny,
}

impl Default for Options {
    fn default() -> Self {
        const { assert!(DEFAULT_REQUESTS > 0 && DEFAULT_SECS > 0) };
        Options {
            requests: NonZeroU32::new(DEFAULT_REQUESTS).unwrap_or(NonZeroU32::MIN),
            per_secs: NonZeroU32::new(DEFAULT_SECS).unwrap_or(NonZeroU32::MIN),
            burst: None,
            key: "client".into(),
            max_keys: 100_000,
            exempt: None,
            headers: true,
            store: None,
            on_store_failure: OnStoreFailure::default(),
        }
    }
}

const DEFAULT_REQUESTS: u32 = 300;
const DEFAULT_SECS: u32 = 60;

/// Maximum number of groups that clients are counted in when there are too many.
const GROUPS: usize = 1024;
/// Minimum time between two searches for clients that can be forgotten, because each search takes time.
const SWEEP: Duration = Duration::from_secs(1);

type KeyLimiter = RateLimiter<u64, HashMapStateStore<u64>, DefaultClock, StateInformationMiddleware>;

struct RateLimit {
    limiter: KeyLimiter,
    clock: DefaultClock,
    key: RequestKey,
    state: RandomState,
    max_keys: usize,
    /// When the clients that need not be remembered were last removed.
    swept: Mutex<Option<Instant>>,
    exempt: Option<Peers>,
    policy: Option<HeaderValue>,
    /// The time for which one request counts.
    step: Duration,
    burst: u32,
    shared: Option<SharedLimit>,
}

/// A limit that all workers count together.
struct SharedLimit {
    store: Arc<dyn Store>,
    /// The beginning of its keys.
    prefix: String,
    on_failure: OnStoreFailure,
}

/// Wraps `next`.
/// # Source
/// RFC 6585, section 4; draft-ietf-httpapi-ratelimit-headers-10.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let key = value(table, "key", &options.key, &mut errors, RequestKey::parse);
    let burst = options.burst.unwrap_or(options.requests);
    let step = Duration::from_secs(options.per_secs.get().into()) / options.requests.get();
    let quota = Quota::with_period(step).map(|quota| quota.allow_burst(burst));
    if quota.is_none() {
        errors.push(table.error("requests", "the limit must be at most one request per nanosecond"));
    }
    let shared = shared(&options, table, context).map_err(|error| errors.push(error)).ok().flatten();
    Errors::check(errors)?;
    let (Some(key), Some(quota)) = (key, quota) else { unreachable!("checked above") };
    let policy = format!("\"default\";q={};w={}", options.requests, options.per_secs);
    let limit = Arc::new(RateLimit {
        limiter: RateLimiter::hashmap(quota).with_middleware(),
        clock: DefaultClock::default(),
        key,
        state: RandomState::new(),
        max_keys: options.max_keys,
        swept: Mutex::default(),
        exempt: options.exempt,
        policy: HeaderValue::try_from(policy).ok().filter(|_| options.headers),
        step,
        burst: burst.get(),
        shared,
    });
    Ok(App::from_call(move |request| {
        let environ = request.extensions().get::<Environ>();
        if limit.exempt.as_ref().is_some_and(|exempt| exempt.allow(environ)) {
            return next.handle(request);
        }
        let counted = match &limit.shared {
            None => limit.count(limit.key.of(&request, &limit.state)),
            Some(shared) => {
                let (limit, next) = (limit.clone(), next.clone());
                let key = format!("{}{}", shared.prefix, limit.key.name(&request));
                let own = limit.key.of(&request, &limit.state);
                return Box::pin(async move {
                    match limit.count_shared(&key, own).await {
                        Some(counted) => limit.pass(counted, request, &next).await,
                        None => Ok(uncounted()),
                    }
                });
            }
        };
        limit.pass(counted, request, &next)
    }))
}

/// The limit in a store, if the options name one.
fn shared(options: &Options, table: &Table, context: &Context) -> Result<Option<SharedLimit>, Error> {
    let Some(name) = &options.store else { return Ok(None) };
    let store = context.stores.find(name).map_err(|error| error.at(table.origin("store")))?;
    let Some(store) = store else { return Ok(None) }; // its table has faults
    if !store.counts() {
        let error = table.error("store", format!("the resource `{name}` cannot count requests"));
        return Err(error.help("set one with `use = \"redis\"`"));
    }
    let (requests, secs) = (options.requests, options.per_secs);
    let prefix = format!("rate/{}/{requests}-{secs}/", table.name());
    Ok(Some(SharedLimit { store, prefix, on_failure: options.on_store_failure }))
}

/// The response to a request that cannot be counted.
fn uncounted() -> Response {
    let text = "The limit cannot be checked at the moment. Try again.\n";
    refusal_for(1, StatusCode::SERVICE_UNAVAILABLE, "the store of the rate limit failed", text)
}

impl RateLimit {
    /// Passes a counted request on, or refuses it.
    fn pass(
        self: &Arc<Self>,
        counted: Result<u32, Duration>,
        request: Request,
        next: &App,
    ) -> BoxFuture<Result<Response, BoxError>> {
        match counted {
            Err(wait) => {
                let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                let text = "Too many requests. Try again later.\n";
                let reason = "too many requests from this client";
                let mut response = refusal_for(secs, StatusCode::TOO_MANY_REQUESTS, reason, text);
                self.tell(response.headers_mut(), 0);
                at_once(response)
            }
            Ok(_) if self.policy.is_none() => next.handle(request),
            Ok(left) => {
                let (limit, response) = (self.clone(), next.handle(request));
                Box::pin(async move {
                    let mut response = response.await?;
                    limit.tell(response.headers_mut(), left);
                    Ok(response)
                })
            }
        }
    }

    /// Counts a request in the store; `None` if it cannot be counted and must not pass. `own` is the key for this worker.
    async fn count_shared(&self, key: &str, own: u64) -> Option<Result<u32, Duration>> {
        let shared = self.shared.as_ref()?;
        match shared.store.count(key, Rate { step: self.step, burst: self.burst }).await {
            Ok(Counted::Passes(left)) => Some(Ok(left)),
            Ok(Counted::Early(wait)) => Some(Err(wait)),
            Err(_) => match shared.on_failure {
                OnStoreFailure::Local => Some(self.count(own)),
                OnStoreFailure::Allow => Some(Ok(self.burst)),
                OnStoreFailure::Deny => None,
            },
        }
    }

    /// Counts a request: how many more may follow at once.
    /// # Errors
    /// How long the client must wait.
    fn count(&self, key: u64) -> Result<u32, Duration> {
        let groups = self.max_keys.clamp(1, GROUPS) as u64;
        let key = if self.is_full() { u64::MAX - key % groups } else { key };
        match self.limiter.check_key(&key) {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(early) => Err(early.wait_time_from(self.clock.now())),
        }
    }

    /// Whether too many clients are known, even without those whose time is over.
    fn is_full(&self) -> bool {
        if self.limiter.len() < self.max_keys {
            return false;
        }
        let mut swept = self.swept.lock();
        if swept.is_none_or(|swept| swept.elapsed() >= SWEEP) {
            *swept = Some(Instant::now());
            self.limiter.retain_recent();
        }
        self.limiter.len() >= self.max_keys
    }

    fn tell(&self, headers: &mut HeaderMap, left: u32) {
        const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
        const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
        let Some(policy) = &self.policy else { return };
        let reset = (self.step * self.burst.saturating_sub(left)).as_secs_f64().ceil() as u64;
        headers.insert(RATE_LIMIT_POLICY, policy.clone());
        if let Ok(value) = HeaderValue::try_from(format!("\"default\";r={left};t={reset}")) {
            headers.insert(RATE_LIMIT, value);
        }
    }
}
