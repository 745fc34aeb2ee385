//! The defaults of options as figment's weakest provider, for `config show --defaults`.
//!
//! When paster serves, each part applies its own defaults while it reads its table. A table that inherits from another one
//! must not find defaults there, so these are merged last, under the tables that are in force.

use figment::providers::Serialized;
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::Value;

use super::Config;
use crate::error::{Error, Result};

/// The tables of a config with the defaults of the options that their kinds have.
struct Defaults<'v>(&'v Value);

impl Provider for Defaults<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("default")
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Serialized::defaults(self.0).data()
    }
}

impl Config {
    /// The merged tree with secrets masked, and with `defaults` for what no source sets.
    /// # Errors
    /// If `defaults` is not a table.
    pub fn masked_with(&self, defaults: &Value) -> Result<Value> {
        let merged = Figment::from(Defaults(defaults)).merge(Serialized::defaults(self.masked()));
        merged.extract().map_err(|cause| Error::new("the defaults cannot be merged").because(cause).into())
    }
}
