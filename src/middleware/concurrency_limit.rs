//! `concurrency_limit`: limits how many requests are handled at once, with a queue.
//!
//! tower's `ConcurrencyLimit` has an endless queue, and knows no clients.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::options::value;
use super::refusal::{at_once, refusal_for};
use super::request_key::RequestKey;
use crate::body::{App, BoxFuture, Response, Watch};
use crate::config::Table;
use crate::context::Context;
use crate::error::{BoxError, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "concurrency_limit"`.
///
/// A request counts until its response has been sent. Further requests wait in a queue. If the queue is full, or they wait too
/// long, they get 503 with `Retry-After`. Each worker counts for itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Maximum number of requests at once.
    max_in_flight: NonZeroUsize,
    /// Maximum number of waiting requests; 0 means that none waits.
    #[serde(default)]
    queue: usize,
    /// Maximum time in the queue in seconds.
    #[serde(default = "ten_secs")]
    queue_secs: NonZeroU32,
    /// The key by which requests are counted: `all`, `client` (the address; of IPv6 the network of 64 bits), `user`
    /// (authenticated by a middleware outside of this one) or `header:NAME`.
    #[serde(default = "all")]
    key: String,
}

fn ten_secs() -> NonZeroU32 {
    const { NonZeroU32::new(10).unwrap() }
}

fn all() -> String {
    "all".into()
}

struct ConcurrencyLimit {
    max_in_flight: usize,
    queue: usize,
    queue_time: Duration,
    key: RequestKey,
    state: RandomState,
    groups: Mutex<KeyGroups>,
}

/// The groups with requests in flight.
#[derive(Default)]
struct KeyGroups {
    known: HashMap<u64, Weak<KeyGroup>>,
    /// Remove groups without requests when there are this many.
    sweep_at: usize,
}

/// The requests of one key.
struct KeyGroup {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A request in flight; its group exists as long as it has one.
struct GroupRequest {
    _permit: OwnedSemaphorePermit,
    _group: Arc<KeyGroup>,
}

impl Watch for GroupRequest {
    fn taken(&mut self, _: u64) {}
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let key = value(table, "key", &options.key, &mut errors, RequestKey::parse);
    Errors::check(errors)?;
    let limit = Arc::new(ConcurrencyLimit {
        max_in_flight: options.max_in_flight.get().min(Semaphore::MAX_PERMITS),
        queue: options.queue,
        queue_time: Duration::from_secs(options.queue_secs.get().into()),
        key: key.unwrap_or(RequestKey::All),
        state: RandomState::new(),
        groups: Mutex::default(),
    });
    Ok(App::from_call(move |request| {
        let group = limit.group(limit.key.of(&request, &limit.state));
        if let Ok(permit) = group.places.clone().try_acquire_owned() {
            return held(next.handle(request), GroupRequest { _permit: permit, _group: group });
        }
        let Some(waiting) = QueuedRequest::enter(&group, limit.queue) else { return at_once(full()) };
        let (next, queue_time) = (next.clone(), limit.queue_time);
        Box::pin(async move {
            let permit = tokio::time::timeout(queue_time, group.places.clone().acquire_owned()).await;
            drop(waiting);
            match permit {
                Ok(Ok(permit)) => {
                    held(next.handle(request), GroupRequest { _permit: permit, _group: group }).await
                }
                _ => Ok(full()),
            }
        })
    }))
}

/// The response, which counts until its body has been sent.
fn held(
    response: BoxFuture<Result<Response, BoxError>>,
    in_flight: GroupRequest,
) -> BoxFuture<Result<Response, BoxError>> {
    Box::pin(async move { Ok(response.await?.map(|body| body.watched(in_flight))) })
}

fn full() -> Response {
    let text = "Too many requests at once. Try again in a moment.\n";
    refusal_for(1, StatusCode::SERVICE_UNAVAILABLE, "too many requests at once", text)
}

impl ConcurrencyLimit {
    fn group(&self, key: u64) -> Arc<KeyGroup> {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.known.get(&key).and_then(Weak::upgrade) {
            return group;
        }
        if groups.known.len() >= groups.sweep_at {
            groups.known.retain(|_, group| group.strong_count() > 0);
            groups.sweep_at = (2 * groups.known.len()).max(1024);
        }
        let places = Arc::new(Semaphore::new(self.max_in_flight));
        let group = Arc::new(KeyGroup { places, waiting: AtomicUsize::new(0) });
        groups.known.insert(key, Arc::downgrade(&group));
        group
    }
}

/// A request in the queue of its group.
struct QueuedRequest(Arc<KeyGroup>);

impl QueuedRequest {
    /// A place in the queue, if it is not full.
    fn enter(group: &Arc<KeyGroup>, limit: usize) -> Option<QueuedRequest> {
        let waiting = QueuedRequest(group.clone());
        let free = group.waiting.fetch_add(1, Relaxed) < limit;
        free.then_some(waiting) // dropping it leaves the queue
    }
}

impl Drop for QueuedRequest {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}
