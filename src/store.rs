//! Stores: what keeps values for all workers, behind the name of a `[resource.NAME]` table.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::body::BoxFuture;
use crate::error::Error;
use crate::registry::nearest;

/// The future of an operation of a [`Store`].
pub type StoreFuture<T> = BoxFuture<Result<T, StoreError>>;

/// A value in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub value: Vec<u8>,
    /// Changes with each [`Store::save`].
    pub version: u64,
    /// When it ends.
    pub expires: SystemTime,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The service behind the store does not answer, or answers with an error.
    #[error("{0}")]
    Unavailable(String),
    /// The store holds as many values as it may.
    #[error("the store is full")]
    Full,
    /// Stores of this kind cannot do this.
    #[error("a resource of this kind cannot {0}")]
    Lacks(&'static str),
}

/// A limit by the generic cell rate algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time for which one request counts.
    pub step: Duration,
    /// How many requests may come at once.
    pub burst: u32,
}

/// The outcome of [`Store::count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The request may pass; this many more may follow at once.
    Passes(u32),
    /// The request is too early by this much.
    Early(Duration),
}

/// Keeps values by key, for all workers together. Keys are ASCII without spaces, up to 200 bytes. Every operation has a
/// time limit.
pub trait Store: Send + Sync {
    /// The value of `key`, unless it has expired.
    fn load(&self, key: &str) -> StoreFuture<Option<Stored>>;

    /// Writes `value` over the version `over`, or as a new value. Returns the new version; `None` if the value was
    /// changed or removed meanwhile, or exists already: then nothing is written.
    fn save(
        &self,
        key: &str,
        value: Vec<u8>,
        expires: SystemTime,
        over: Option<u64>,
    ) -> StoreFuture<Option<u64>>;

    /// Removes `key`, if it is there.
    fn remove(&self, key: &str) -> StoreFuture<()>;

    /// Deletes expired values. Returns their number, if the store reports it.
    fn sweep(&self) -> StoreFuture<u64>;

    /// Counts a request at `key`.
    fn count(&self, key: &str, rate: Rate) -> StoreFuture<Counted> {
        let _ = (key, rate);
        Box::pin(std::future::ready(Err(StoreError::Lacks("count requests"))))
    }

    /// Whether it can [count](Store::count).
    fn counts(&self) -> bool {
        false
    }

    /// Where it keeps the responses of caches; `None` if it cannot.
    fn responses(&self) -> Option<Arc<dyn ResponseStore>> {
        None
    }

    /// Asks the service what it is: `PostgreSQL 17.2`. Writes nothing.
    fn probe(&self) -> StoreFuture<String>;
}

/// Keeps the responses of caches, for all machines that use the service. The name of a cache, a URL and a variant of its
/// responses are given as hexadecimal digests.
pub trait ResponseStore: Send + Sync {
    /// The heads of the responses to each of these URLs.
    fn heads(&self, cache: &str, urls: Vec<String>) -> StoreFuture<Vec<Vec<StoredHead>>>;

    /// The body of a response; `None` if it was replaced or deleted.
    fn body(&self, cache: &str, url: &str, variant: &str, id: &str) -> StoreFuture<Option<Vec<u8>>>;

    /// How often responses were deleted.
    fn deletions(&self, cache: &str, url: &str) -> StoreFuture<Deletions>;

    /// Stores a response, unless others were deleted since `since`; then it returns `false`.
    fn put(&self, cache: &str, url: &str, new: NewResponse, since: Deletions) -> StoreFuture<bool>;

    /// The URLs that have responses.
    fn urls(&self, cache: &str) -> StoreFuture<Vec<String>>;

    /// Deletes variants of the responses to a URL. Returns how many there were.
    fn delete(&self, cache: &str, url: &str, variants: Vec<String>) -> StoreFuture<u64>;

    /// Counts a deletion of responses to a URL, or to any.
    fn count_deletion(&self, cache: &str, url: Option<&str>) -> StoreFuture<()>;
}

/// The head of a response in a [`ResponseStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHead {
    /// Its variant.
    pub variant: String,
    /// Its bytes.
    pub head: Vec<u8>,
}

/// A response for a [`ResponseStore`].
#[derive(Debug, Clone)]
pub struct NewResponse {
    /// Its variant.
    pub variant: String,
    /// Its head, which contains the id.
    pub head: Vec<u8>,
    /// 32 characters that no other response has.
    pub id: String,
    /// Its body.
    pub body: bytes::Bytes,
    /// When it ends.
    pub expires: SystemTime,
    /// Maximum number of variants of the responses to this URL.
    pub variants: usize,
}

/// How often responses of a cache were deleted: so that a response which was requested before is not stored afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletions {
    /// Of any URL.
    pub all: u64,
    /// Of one URL.
    pub url: u64,
}

/// How often expired values are deleted by this process.
const SWEEP: Duration = Duration::from_secs(60);

/// How often a failure is logged.
const LOG: Duration = Duration::from_secs(1);

/// A store of a config: it is swept while it is used, and its failures are logged.
struct NamedStore {
    name: String,
    store: Arc<dyn Store>,
    state: Arc<Mutex<NamedState>>,
}

#[derive(Default)]
struct NamedState {
    swept: Option<Instant>,
    /// When a failure was last logged, if the last operation failed.
    logged: Option<Instant>,
}

impl NamedStore {
    fn wrap(name: &str, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(NamedStore { name: name.to_owned(), store, state: Arc::default() })
    }

    /// Deletes expired values in the background, if it is time.
    fn sweep_soon(&self) {
        let mut state = self.state.lock();
        if state.swept.is_some_and(|swept| swept.elapsed() < SWEEP) {
            return;
        }
        state.swept = Some(Instant::now());
        let (store, name) = (self.store.clone(), self.name.clone());
        tokio::spawn(async move {
            match store.sweep().await {
                Ok(0) => {}
                Ok(deleted) => tracing::debug!(resource = name, deleted, "deleted expired values"),
                Err(error) => tracing::warn!(resource = name, %error, "cannot delete expired values"),
            }
        });
    }

    /// Logs that the operation failed, or that the store is back.
    fn watch<T: 'static>(&self, operation: StoreFuture<T>) -> StoreFuture<T> {
        let (state, name) = (self.state.clone(), self.name.clone());
        Box::pin(async move {
            let outcome = operation.await;
            let mut state = state.lock();
            match &outcome {
                Ok(_) if state.logged.take().is_some() => {
                    tracing::info!(resource = name, "the resource can be used again");
                }
                Err(error) if state.logged.is_none_or(|logged| logged.elapsed() >= LOG) => {
                    state.logged = Some(Instant::now());
                    tracing::error!(resource = name, %error, "the resource failed");
                }
                _ => {}
            }
            outcome
        })
    }
}

impl Store for NamedStore {
    fn load(&self, key: &str) -> StoreFuture<Option<Stored>> {
        self.sweep_soon();
        self.watch(self.store.load(key))
    }

    fn save(
        &self,
        key: &str,
        value: Vec<u8>,
        expires: SystemTime,
        over: Option<u64>,
    ) -> StoreFuture<Option<u64>> {
        self.sweep_soon();
        self.watch(self.store.save(key, value, expires, over))
    }

    fn remove(&self, key: &str) -> StoreFuture<()> {
        self.watch(self.store.remove(key))
    }

    fn sweep(&self) -> StoreFuture<u64> {
        self.watch(self.store.sweep())
    }

    fn count(&self, key: &str, rate: Rate) -> StoreFuture<Counted> {
        self.watch(self.store.count(key, rate))
    }

    fn counts(&self) -> bool {
        self.store.counts()
    }

    fn responses(&self) -> Option<Arc<dyn ResponseStore>> {
        self.store.responses() // a cache logs failures itself
    }

    fn probe(&self) -> StoreFuture<String> {
        self.store.probe()
    }
}

/// The stores of a config, by name.
#[derive(Clone, Default)]
pub struct Stores {
    named: BTreeMap<String, Option<Arc<dyn Store>>>,
    /// The store `memory`, for which no table is needed.
    memory: Option<Arc<LazyStore>>,
}

/// A store that is made when it is first found.
struct LazyStore {
    make: Box<dyn Fn() -> Arc<dyn Store> + Send + Sync>,
    made: OnceLock<Arc<dyn Store>>,
}

/// The name of the store that every config has.
pub const MEMORY: &str = "memory";

impl Stores {
    /// Adds one; `None` if its table has faults, which are reported already. What has expired is deleted from time to
    /// time while it is used.
    pub fn add(&mut self, name: &str, store: Option<Arc<dyn Store>>) {
        self.named.insert(name.to_owned(), store.map(|store| NamedStore::wrap(name, store)));
    }

    /// `make` makes the store that [`MEMORY`] names if no table does.
    pub fn set_memory(&mut self, make: impl Fn() -> Arc<dyn Store> + Send + Sync + 'static) {
        self.memory = Some(Arc::new(LazyStore { make: Box::new(make), made: OnceLock::new() }));
    }

    /// The store `name`; `None` if its table has faults.
    /// # Errors
    /// An unknown name, with the names there are.
    pub fn find(&self, name: &str) -> Result<Option<Arc<dyn Store>>, Error> {
        if let Some(store) = self.named.get(name) {
            return Ok(store.clone());
        }
        if let Some(memory) = self.memory.as_ref().filter(|_| name == MEMORY) {
            return Ok(Some(memory.made.get_or_init(|| NamedStore::wrap(MEMORY, (memory.make)())).clone()));
        }
        let known = || self.named.keys().map(String::as_str);
        let error = Error::config(format!("unknown resource `{name}`"));
        Err(match nearest(name, known()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None if self.named.is_empty() => error.help(format!("add a table `[resource.{name}]`")),
            None => {
                let names: Vec<_> = known().map(|name| format!("`{name}`")).collect();
                error.help(format!("the config has the resources {}", names.join(", ")))
            }
        })
    }
}
