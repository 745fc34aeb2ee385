//! `circuit_breaker`: stops asking an app that fails, and tries it again after a while.
//!
//! Own code: neither tower nor tower-http has one.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::refusal::{at_once, refusal_for};
use crate::body::{App, Response};
use crate::config::Table;
use crate::context::Context;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "circuit_breaker"`.
///
/// If too many requests fail within the window, requests get 503 with `Retry-After` at once. After `open_secs`, one request is
/// passed on. If it succeeds, all others are too. Each worker decides for itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Percentage of failed requests that opens the circuit.
    #[schemars(range(min = 1, max = 100))]
    failure_percent: u8,
    /// Minimum number of requests in the window.
    min_requests: NonZeroU32,
    /// The window in seconds.
    window_secs: NonZeroU32,
    /// How long requests are refused, in seconds.
    open_secs: NonZeroU32,
    /// Statuses that count as failures. An app that fails without a response always counts.
    statuses: BTreeSet<u16>,
    /// Responses whose head takes longer than this many milliseconds count as failures too.
    slow_millis: Option<NonZeroU32>,
}

impl Default for Options {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Options {
            failure_percent: 50,
            min_requests: number(20),
            window_secs: number(10),
            open_secs: number(5),
            statuses: BTreeSet::from([500, 502, 503, 504]),
            slow_millis: None,
        }
    }
}

struct CircuitBreaker {
    options: Options,
    state: Mutex<CircuitState>,
}

enum CircuitState {
    /// Requests pass; failures are counted.
    Closed(Window),
    /// Requests are refused until this time.
    Open(Instant),
    /// One request is on its way to try the app.
    HalfOpen,
}

/// The requests of the current period and of the one before it.
struct Window {
    began: Instant,
    now: CircuitBody,
    before: CircuitBody,
}

#[derive(Default, Clone, Copy)]
struct CircuitBody {
    all: u32,
    failed: u32,
}

/// A request that was passed on. If it ends without a result, because its client left, the next request tries
/// the app.
struct CircuitCall {
    breaker: Arc<CircuitBreaker>,
    trial: bool,
    began: Instant,
    ended: bool,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    for status in options.statuses.iter().filter(|status| !(400..600).contains(*status)) {
        let error = table.error("statuses", format!("`{status}` is not a status for errors"));
        errors.push(error.help("use numbers from 400 to 599"));
    }
    Errors::check(errors)?;
    let state = Mutex::new(CircuitState::Closed(Window::new(Instant::now())));
    let breaker = Arc::new(CircuitBreaker { options, state });
    Ok(App::from_call(move |request| {
        let mut attempt = match breaker.admit() {
            Ok(trial) => CircuitCall { breaker: breaker.clone(), trial, began: Instant::now(), ended: false },
            Err(wait) => return at_once(refused(wait)),
        };
        let response = next.handle(request);
        Box::pin(async move {
            let result = response.await;
            let failed = match &result {
                Ok(response) => attempt.breaker.is_failure(response.status(), attempt.began.elapsed()),
                Err(_) => true,
            };
            attempt.ended = true;
            attempt.breaker.ended(attempt.trial, failed);
            result
        })
    }))
}

fn refused(wait: Duration) -> Response {
    let text = "The application has failed too often. Try again in a moment.\n";
    refusal_for(wait.as_secs() + 1, StatusCode::SERVICE_UNAVAILABLE, "the circuit breaker is open", text)
}

impl CircuitBreaker {
    /// Whether the request tries a failed app (`true`), or passes as usual.
    /// # Errors
    /// How long requests are still refused.
    fn admit(&self) -> Result<bool, Duration> {
        let mut state = self.state.lock();
        match &*state {
            CircuitState::Closed(_) => Ok(false),
            CircuitState::HalfOpen => Err(Duration::ZERO),
            CircuitState::Open(until) => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => {
                    *state = CircuitState::HalfOpen;
                    Ok(true)
                }
                left => Err(left),
            },
        }
    }

    fn is_failure(&self, status: StatusCode, took: Duration) -> bool {
        let slow = self.options.slow_millis.is_some_and(|most| took.as_millis() > most.get().into());
        slow || self.options.statuses.contains(&status.as_u16())
    }

    /// Counts the result of a request.
    fn ended(&self, trial: bool, failed: bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let opens = match &mut *state {
            // The result of an earlier request does not matter.
            CircuitState::HalfOpen if !trial => return,
            CircuitState::Open(_) => return,
            CircuitState::HalfOpen => failed,
            CircuitState::Closed(window) => {
                let period = Duration::from_secs(self.options.window_secs.get().into());
                window.count(failed, period, now);
                let (all, failures) = window.sum();
                let percent =
                    u64::from(failures) * 100 >= u64::from(self.options.failure_percent) * u64::from(all);
                all >= self.options.min_requests.get() && percent && failures > 0
            }
        };
        if opens {
            *state = CircuitState::Open(now + Duration::from_secs(self.options.open_secs.get().into()));
            tracing::warn!(
                secs = self.options.open_secs.get(),
                "the circuit breaker opens: the app fails too often"
            );
        } else if trial {
            *state = CircuitState::Closed(Window::new(now));
            tracing::info!("the circuit breaker closes: the app works again");
        }
    }
}

impl Drop for CircuitCall {
    fn drop(&mut self) {
        if self.trial && !self.ended {
            *self.breaker.state.lock() = CircuitState::Open(Instant::now());
        }
    }
}

impl Window {
    fn new(began: Instant) -> Window {
        Window { began, now: CircuitBody::default(), before: CircuitBody::default() }
    }

    fn count(&mut self, failed: bool, period: Duration, now: Instant) {
        let since = now.saturating_duration_since(self.began);
        if since >= period {
            self.before = if since < 2 * period { self.now } else { CircuitBody::default() };
            self.now = CircuitBody::default();
            self.began = now;
        }
        self.now.all = self.now.all.saturating_add(1);
        self.now.failed = self.now.failed.saturating_add(failed.into());
    }

    /// All requests, and the failed ones.
    fn sum(&self) -> (u32, u32) {
        let (now, before) = (self.now, self.before);
        (now.all.saturating_add(before.all), now.failed.saturating_add(before.failed))
    }
}
