//! `memory`: keeps values until the server stops.
//!
//! All workers of a server share the values, across reloads: with a supervisor they are files in its runtime directory, which
//! it removes at its end. Without one (`paster request`) they are in the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Resource;
use super::folder::Folder;
use crate::config::Table;
use crate::context::Context;
use crate::error::Result;
use crate::store::{Store, StoreError, StoreFuture, Stored};

/// Options of a `[resource.NAME]` table with `use = "memory"`.
///
/// All workers share the values, which survive reloads. They are in the server's runtime directory, in `TMPDIR`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Maximum number of values. They are counted about once a minute.
    max_values: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_values: MAX_VALUES }
    }
}

const MAX_VALUES: u64 = 50_000;
/// The store's description of itself.
const WHAT: &str = "in the server's memory";

pub(super) fn build(options: Options, table: &Table, context: &Context) -> Result<Resource> {
    Ok(Resource { store: store(table.name(), options.max_values, context), url: None })
}

/// The store for parts that name no resource.
pub fn shared(context: &Context) -> Arc<dyn Store> {
    store("", MAX_VALUES, context)
}

fn store(name: &str, max_values: u64, context: &Context) -> Arc<dyn Store> {
    let folder = if context.checking { None } else { context.host.memory_dir() };
    match folder {
        // A name of a table can be anything.
        Some(folder) => Arc::new(Folder::new(&folder.join(subfolder(name)), max_values, WHAT)),
        None => Arc::new(LocalValues { values: Arc::default(), max_values }),
    }
}

fn subfolder(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("memory-{}", if digits.is_empty() { "shared" } else { &digits })
}

/// Values in this process.
struct LocalValues {
    values: Arc<Mutex<HashMap<String, Stored>>>,
    max_values: u64,
}

impl LocalValues {
    fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut HashMap<String, Stored>) -> Result<T, StoreError>,
    ) -> StoreFuture<T> {
        Box::pin(std::future::ready(operation(&mut self.values.lock())))
    }
}

/// Whether the value has not expired.
fn is_current(stored: &Stored) -> bool {
    stored.expires > SystemTime::now()
}

impl Store for LocalValues {
    fn load(&self, key: &str) -> StoreFuture<Option<Stored>> {
        self.run(|values| Ok(values.get(key).filter(|stored| is_current(stored)).cloned()))
    }

    fn save(
        &self,
        key: &str,
        value: Vec<u8>,
        expires: SystemTime,
        over: Option<u64>,
    ) -> StoreFuture<Option<u64>> {
        let max_values = self.max_values;
        self.run(|values| {
            let old = values.get(key).filter(|stored| is_current(stored)).map(|stored| stored.version);
            if old != over {
                return Ok(None);
            }
            if old.is_none() && values.len() as u64 >= max_values {
                values.retain(|_, stored| is_current(stored));
                if values.len() as u64 >= max_values {
                    return Err(StoreError::Full);
                }
            }
            let version = old.unwrap_or(0) + 1;
            values.insert(key.to_owned(), Stored { value, version, expires });
            Ok(Some(version))
        })
    }

    fn remove(&self, key: &str) -> StoreFuture<()> {
        self.run(|values| {
            values.remove(key);
            Ok(())
        })
    }

    fn sweep(&self) -> StoreFuture<u64> {
        self.run(|values| {
            let before = values.len();
            values.retain(|_, stored| is_current(stored));
            Ok((before - values.len()) as u64)
        })
    }

    fn probe(&self) -> StoreFuture<String> {
        self.run(|_| Ok(WHAT.to_owned()))
    }
}
