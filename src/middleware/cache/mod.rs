//! `cache`: stores responses and answers with them (RFC 9111).
//!
//! - `directives`, `policy`: the header fields, and the resulting decisions;
//! - `entry`, `growing`: stored responses, and bodies that are being received;
//! - `store`, `memory`, `disk`, `shared` and `head`: where they are;
//! - `flights`: one request to the app for many clients;
//! - `lookup`, `fetch`: requests to the cache and to the app; `answer`: responses from the cache.

mod answer;
mod counters;
mod directives;
mod disk;
mod entry;
mod fetch;
mod flights;
mod growing;
mod head;
mod lookup;
mod memory;
mod policy;
mod shared;
mod store;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use lru::LruCache;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use self::counters::Counters;
use self::disk::DiskStore;
use self::entry::CacheKey;
use self::flights::{Flights, Purges};
use self::memory::MemoryStore;
use self::policy::Policy;
use self::shared::SharedStore;
use self::store::{CacheStore, Limits};
use super::MiddlewareBuilder;
use super::options::{entries, header};
use crate::body::{App, BoxFuture};
use crate::caches::{CachedResponse, ManagedCache, Purge};
use crate::config::{OutputPath, Table};
use crate::context::{Context, Host};
use crate::error::{Error, Errors, Result};
use crate::metrics::Counts;

/// Options of a `[middleware.NAME]` table with `use = "cache"`.
///
/// Stores the responses that `Cache-Control` or `Expires` allow a shared cache to store, and reuses them (RFC 9111). Responses
/// with `Set-Cookie` are not stored. `Cache-Status` shows where a response came from, and `paster cache` lists and deletes
/// stored responses. Put the cache inside of authentication, so that only authorized users get a response.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Directory for responses, which all workers share. Responses survive restarts. By default, each worker stores its
    /// responses in memory, until the next reload.
    dir: Option<OutputPath>,
    /// Name of a `[resource.NAME]` table with `use = "redis"` for responses. All workers and all servers with this
    /// resource share them. `max_bytes` and `max_entries` do not apply, but the server's own limit does (`maxmemory`). While
    /// the server does not respond, every request goes to the app.
    store: Option<String>,
    /// Maximum size of all responses in bytes, in each worker's memory or in the directory. Beyond it, the least recently used
    /// responses are deleted. On disk, the limit may be exceeded by a sixteenth.
    max_bytes: u64,
    /// Maximum number of responses.
    max_entries: u64,
    /// Maximum length of the body of one response in bytes; longer ones are not stored.
    max_entry_bytes: u64,
    /// How long a request waits for another request for the same URL, in milliseconds. After that, it goes to the app too.
    /// With 0, requests never wait.
    collapse_millis: u64,
    /// How long a stale response may be used while the cache requests a new one, in seconds. For responses whose
    /// `Cache-Control` has no `stale-while-revalidate`.
    stale_while_revalidate_secs: u64,
    /// How long a stale response may be used if the app fails or responds with 500, 502, 503 or 504, in seconds. For
    /// responses whose `Cache-Control` has no `stale-if-error`.
    stale_if_error_secs: u64,
    /// For how long a response with `Last-Modified`, but without freshness information, is fresh: this percentage of the time
    /// since that date, up to a day. With 0, such responses are not stored.
    #[schemars(range(max = 100))]
    heuristic_percent: u64,
    /// Obey `Cache-Control` in requests: `no-cache`, `max-age`, `min-fresh`, `max-stale` and `only-if-cached`. Every client
    /// can then bypass the cache.
    client_directives: bool,
    /// Response fields that replace `Cache-Control` for this cache (RFC 9213). The first one that is present applies.
    targeted_fields: Vec<String>,
    /// Add `Cache-Status` to responses (RFC 9211).
    status_field: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dir: None,
            store: None,
            max_bytes: 64 << 20,
            max_entries: 10_000,
            max_entry_bytes: 8 << 20,
            collapse_millis: 5000,
            stale_while_revalidate_secs: 0,
            stale_if_error_secs: 0,
            heuristic_percent: 0,
            client_directives: false,
            targeted_fields: vec!["cdn-cache-control".into()],
            status_field: true,
        }
    }
}

/// How many URLs are remembered whose responses were not stored.
const UNCACHEABLE_URLS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(4096).expect("it is not zero");
/// How long requests for such a URL do not wait for one another.
const UNCACHEABLE: Duration = Duration::from_secs(120);

struct CacheState {
    name: String,
    app: Arc<str>,
    next: App,
    store: CacheStore,
    policy: Policy,
    flights: Arc<Flights>,
    purges: Purges,
    uncacheable: Mutex<LruCache<CacheKey, SystemTime>>,
    max_entry_bytes: u64,
    collapse: Duration,
    status_field: bool,
    host: Arc<dyn Host>,
    counters: Counters,
}

/// Wraps `next`.
pub(super) fn build(
    options: Options,
    table: &Table,
    builder: &mut MiddlewareBuilder<'_>,
    next: App,
) -> Result<App> {
    let context = builder.context;
    let mut errors = Vec::new();
    let targets: Vec<HeaderName> =
        entries(table, "targeted_fields", &options.targeted_fields, &mut errors, header);
    if options.store.is_none() && options.max_entry_bytes > options.max_bytes {
        let message = format!("`max_entry_bytes` is larger than `max_bytes` ({})", options.max_bytes);
        errors.push(table.error("max_entry_bytes", message).help("decrease it, or increase `max_bytes`"));
    }
    let limits = Limits { bytes: options.max_bytes, entries: options.max_entries };
    let opened = match &options.dir {
        None => Ok(CacheStore::Memory(MemoryStore::new(limits))),
        Some(dir) if context.checking => {
            std::fs::metadata(&**dir).map(|_| CacheStore::Memory(MemoryStore::new(limits)))
        }
        Some(dir) => DiskStore::open(dir, limits).map(|disk| CacheStore::Disk(Arc::new(disk))),
    };
    let opened = opened.map_err(|cause| {
        let dir = options.dir.as_deref().unwrap_or(std::path::Path::new(""));
        let error = table.error("dir", format!("cannot create files in `{}`", dir.display()));
        error.because(cause).help("create the directory, and let the server's user write to it").into()
    });
    let shared = options.store.as_ref().and_then(|name| {
        if options.dir.is_some() {
            let error = table.error("store", "`dir` and `store` cannot be combined");
            errors.push(error.help("remove `dir` or `store`"));
        }
        shared(name, table, context).map_err(|error| errors.push(error)).ok().flatten()
    });
    let store = shared.map_or(Errors::join(opened, errors)?, CacheStore::Shared);
    let cache = Arc::new(CacheState {
        name: table.name().to_owned(),
        app: builder.app.into(),
        next,
        store,
        policy: Policy {
            targets,
            heuristic_percent: options.heuristic_percent,
            client_directives: options.client_directives,
            while_revalidate: options.stale_while_revalidate_secs,
            if_error: options.stale_if_error_secs,
        },
        flights: Arc::default(),
        purges: Purges::default(),
        uncacheable: Mutex::new(LruCache::new(UNCACHEABLE_URLS)),
        max_entry_bytes: options.max_entry_bytes,
        collapse: Duration::from_millis(options.collapse_millis),
        status_field: options.status_field,
        host: context.host.clone(),
        counters: Counters::default(),
    });
    context.caches.add(cache.clone());
    Ok(App::from_call(move |request| cache.clone().call(request)))
}

/// The store in the resource `name`; `None` if its table has faults, which are reported already.
fn shared(name: &str, table: &Table, context: &Context) -> Result<Option<SharedStore>, Error> {
    let found = context.stores.find(name).map_err(|error| error.at(table.origin("store")))?;
    let Some(found) = found else { return Ok(None) };
    let Some(responses) = found.responses() else {
        let error = table.error("store", format!("the resource `{name}` cannot store responses"));
        return Err(error.help("set a table with `use = \"redis\"`"));
    };
    Ok(Some(SharedStore::new(table.name(), responses)))
}

impl CacheState {
    /// Deletes stored responses here, and keeps those from being stored that were requested before.
    async fn delete(&self, purge: Purge) -> u64 {
        self.purges.add(&purge, &self.flights);
        self.store.purge(purge).await
    }
}

impl ManagedCache for CacheState {
    fn purge(self: Arc<Self>, purge: Purge) -> BoxFuture<u64> {
        Box::pin(async move { self.delete(purge).await })
    }

    fn list(self: Arc<Self>, most: usize) -> BoxFuture<Vec<CachedResponse>> {
        let cache = self;
        Box::pin(async move {
            let now = SystemTime::now();
            let worker = (!cache.store.is_shared()).then(std::process::id);
            let entries = cache.store.list(&cache.app, most).await;
            let shown = |entry: &Arc<entry::CacheEntry>| CachedResponse {
                cache: cache.name.clone(),
                app: entry.key.app.to_string(),
                url: entry.key.url.to_string(),
                vary: entry.selecting.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
                status: entry.status.as_u16(),
                bytes: entry.length().unwrap_or(0),
                age_secs: entry.age(now),
                ttl_secs: entry.ttl(now),
                tags: entry.tags.clone(),
                worker,
            };
            entries.iter().map(shown).collect()
        })
    }

    fn count(&self, counts: &mut Counts) {
        self.counters.count(&self.name, self.store.usage(), counts);
    }
}
