//! The entries of [`RESOURCES`](super::RESOURCES), which describe the kinds.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::RESOURCES;
use crate::config::{ReadOptions, Table};
use crate::context::Context;
use crate::error::{Errors, Result};
use crate::registry::Entry;
use crate::store::Store;

/// A kind of resource, apart from its name.
pub struct ResourceKind {
    build: Box<BuildResource>,
}

/// A resource. Nothing is connected before it is used.
pub struct Resource {
    /// What it keeps values with.
    pub store: Arc<dyn Store>,
    /// Its address, which may contain a password; `None` if other programs cannot use it.
    pub url: Option<String>,
}

type BuildResource = dyn Fn(&Table, &Context) -> Result<Resource> + Send + Sync;

impl ResourceKind {
    /// Builds the resource of `table`.
    /// # Errors
    /// Every fault of the options.
    pub fn build(&self, table: &Table, context: &Context) -> Result<Resource> {
        (self.build)(table, context)
    }

    /// The entry of the kind that `table` names.
    /// # Errors
    /// A table without a kind, and an unknown kind.
    pub fn of(table: &Table) -> Result<&'static Entry<ResourceKind>> {
        table.kind_in(&RESOURCES, "kind of resource")
    }
}

impl Entry<ResourceKind> {
    /// A kind that `build` makes from its options. The table is for the places of errors.
    pub(super) fn of<O: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        summary: &'static str,
        build: fn(O, &Table, &Context) -> Result<Resource>,
    ) -> Self {
        let build = move |table: &Table, context: &Context| {
            let ReadOptions { options, table, wrong_entries } = table.read()?;
            Errors::join(build(options, &table, context), wrong_entries)
        };
        Entry::new::<O>(name, summary, ResourceKind { build: Box::new(build) })
    }

    /// A kind that this build lacks: it takes any options, and to build it is an error.
    #[allow(dead_code, reason = "a build with all features lacks nothing")]
    pub(super) fn lacking(name: &'static str, summary: &'static str) -> Self {
        let build = move |table: &Table, _: &Context| {
            Err(crate::registry::lacking(name).at(table.origin("use")).into())
        };
        Entry::new::<serde_json::Map<String, serde_json::Value>>(
            name,
            summary,
            ResourceKind { build: Box::new(build) },
        )
    }
}
