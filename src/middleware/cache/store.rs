//! Where responses are stored: in memory, on disk or in a resource.

use std::fs::File;
use std::io;
use std::sync::Arc;

use http::HeaderMap;

use super::disk::DiskStore;
use super::entry::{CacheEntry, CacheKey};
use super::memory::MemoryStore;
use super::shared::SharedStore;
use crate::caches::Purge;
use crate::store::Deletions;

/// Limits of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StoreUsage {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// How many responses were deleted so far because of the limits.
    pub(super) evicted: u64,
}

impl StoreUsage {
    pub(super) fn add(&mut self, entry: &CacheEntry) {
        self.bytes += entry.size();
        self.entries += 1;
    }

    pub(super) fn remove(&mut self, entry: &CacheEntry) {
        self.bytes -= entry.size().min(self.bytes);
        self.entries -= self.entries.min(1);
    }

    pub(super) fn evict(&mut self, entry: &CacheEntry) {
        self.remove(entry);
        self.evicted += 1;
    }

    pub(super) fn is_above(&self, limits: &Limits) -> bool {
        self.bytes > limits.bytes || self.entries > limits.entries
    }
}

/// A store of responses.
pub(super) enum CacheStore {
    Memory(MemoryStore),
    Disk(Arc<DiskStore>),
    Shared(SharedStore),
}

/// What is known before a response is requested, so that it is not stored if it is deleted meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct PurgeMark {
    /// How many purges there had been in this worker.
    pub(super) purges: u64,
    /// The deletions in the resource; `None` without one, and while it is away.
    pub(super) deletions: Option<Deletions>,
}

impl CacheStore {
    /// Whether all workers share it.
    pub(super) fn is_shared(&self) -> bool {
        !matches!(self, CacheStore::Memory(_))
    }

    /// Whether a service has it: what one worker deletes there is deleted for all.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, CacheStore::Shared(_))
    }

    /// The latest response that the request selects.
    pub(super) async fn find(&self, key: &CacheKey, request: &HeaderMap) -> Option<Arc<CacheEntry>> {
        match self {
            CacheStore::Memory(memory) => memory.find(key, request),
            CacheStore::Disk(disk) => {
                let (key, request) = (key.clone(), request.clone());
                let found = blocking(disk, move |disk| disk.find(&key, &request)).await;
                logged("read", found).flatten().map(Arc::new)
            }
            CacheStore::Shared(shared) => shared.find(key, request).await.map(Arc::new),
        }
    }

    /// What has been deleted so far in a resource.
    pub(super) async fn deletions(&self, key: &CacheKey) -> Option<Deletions> {
        match self {
            CacheStore::Shared(shared) => shared.deletions(key).await,
            _ => None,
        }
    }

    /// A file for the body of a new response; `None` if bodies are kept in memory.
    /// # Errors
    /// If it cannot be created.
    pub(super) async fn file(&self) -> io::Result<Option<File>> {
        match self {
            CacheStore::Memory(_) | CacheStore::Shared(_) => Ok(None),
            CacheStore::Disk(disk) => blocking(disk, |disk| disk.file()).await.map(Some),
        }
    }

    /// Stores a complete response in place of one for the same requests.
    pub(super) async fn put(&self, entry: Arc<CacheEntry>, mark: PurgeMark) {
        match self {
            CacheStore::Memory(memory) => memory.put(entry),
            CacheStore::Disk(disk) => {
                logged("store", blocking(disk, move |disk| disk.put(&entry)).await);
            }
            CacheStore::Shared(shared) => {
                if let Some(deletions) = mark.deletions {
                    shared.put(&entry, deletions).await;
                }
            }
        }
    }

    /// Deletes responses; returns how many.
    pub(super) async fn purge(&self, purge: Purge) -> u64 {
        match self {
            CacheStore::Memory(memory) => memory.purge(&purge),
            CacheStore::Disk(disk) => {
                logged("delete", blocking(disk, move |disk| disk.purge(&purge)).await).unwrap_or(0)
            }
            CacheStore::Shared(shared) => shared.purge(purge).await,
        }
    }

    /// The first `most` responses of an app, by URL.
    pub(super) async fn list(&self, app: &Arc<str>, most: usize) -> Vec<Arc<CacheEntry>> {
        match self {
            CacheStore::Memory(memory) => memory.list(app, most),
            CacheStore::Disk(disk) => {
                let app = app.clone();
                let list = blocking(disk, move |disk| disk.list(&app, most)).await;
                logged("list", list).unwrap_or_default().into_iter().map(Arc::new).collect()
            }
            CacheStore::Shared(shared) => shared.list(app, most).await.into_iter().map(Arc::new).collect(),
        }
    }

    /// What it holds; `None` if another worker reports it, or the resource.
    pub(super) fn usage(&self) -> Option<StoreUsage> {
        match self {
            CacheStore::Memory(memory) => Some(memory.usage()),
            CacheStore::Disk(disk) => disk.usage(),
            CacheStore::Shared(_) => None,
        }
    }
}

/// Runs a function that waits for the disk.
async fn blocking<T: Send + 'static>(
    disk: &Arc<DiskStore>,
    run: impl FnOnce(&DiskStore) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let disk = disk.clone();
    tokio::task::spawn_blocking(move || run(&disk)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn logged<T>(what: &str, result: io::Result<T>) -> Option<T> {
    result.inspect_err(|error| tracing::error!("cannot {what} cached responses: {error}")).ok()
}
