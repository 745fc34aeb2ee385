//! Resources, `[resource.NAME]`: what is built once in each worker and used by name. One file per kind.

mod files;
mod folder;
mod kind;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
mod time;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod tls;

use std::sync::LazyLock;

use crate::registry::{Entries, Entry};
pub use kind::{Resource, ResourceKind};
pub use memory::shared as shared_memory;

/// Every kind of resource.
pub static RESOURCES: Entries<ResourceKind> = LazyLock::new(|| {
    vec![
        Entry::of("files", "Stores each value in a file", files::build),
        Entry::of("memory", "Stores values until the server stops", memory::build),
        #[cfg(feature = "postgres")]
        Entry::of("postgres", "Connects to a PostgreSQL database", postgres::build),
        #[cfg(not(feature = "postgres"))]
        Entry::lacking("postgres", "Not in this build: needs the feature `postgres`"),
        #[cfg(feature = "redis")]
        Entry::of("redis", "Connects to Redis or Valkey", redis::build),
        #[cfg(not(feature = "redis"))]
        Entry::lacking("redis", "Not in this build: needs the feature `redis`"),
        #[cfg(feature = "sqlite")]
        Entry::of("sqlite", "Opens an SQLite database", sqlite::build),
        #[cfg(not(feature = "sqlite"))]
        Entry::lacking("sqlite", "Not in this build: needs the feature `sqlite`"),
    ]
});
