//! One table of the config, as a part reads it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Origin, Result};

/// A file path in the config: relative to the folder of the file that wrote it, absolute once read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConfigPath(#[schemars(extend("format" = "path"))] PathBuf);

impl std::ops::Deref for ConfigPath {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

/// A table such as `[middleware.staff_only]`, with the origins of its keys.
#[derive(Debug, Clone)]
pub struct Table {
    section: String,
    name: String,
    value: Value,
    origins: BTreeMap<String, Vec<Origin>>,
}

impl Table {
    pub(super) fn new(
        section: &str,
        name: &str,
        value: Value,
        origins: &BTreeMap<String, Vec<Origin>>,
    ) -> Self {
        let prefix = format!("{section}.{name}");
        let origins =
            origins.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(k, v)| (k.clone(), v.clone()));
        Table { section: section.into(), name: name.into(), value, origins: origins.collect() }
    }

    /// A table that stands in no file: middleware named by its kind alone, tests.
    pub fn of_kind(section: &str, kind: &str) -> Self {
        Table::new(section, kind, serde_json::json!({ "use": kind }), &BTreeMap::new())
    }

    /// `main` of `[app.main]`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `use = "…"` names.
    /// # Errors
    /// When there is none.
    pub fn kind(&self) -> Result<&str> {
        match self.value.get("use").and_then(Value::as_str) {
            Some(kind) => Ok(kind),
            None => Err(self.error("", format!("`[{}.{}]` has no `use`", self.section, self.name)).into()),
        }
    }

    /// The table's values, as merged.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Reads the whole table but `use`, `middleware` of an app and `app` of a server as `T`. Types
    /// carry `#[serde(deny_unknown_fields)]`; relative [`ConfigPath`]s are resolved.
    /// # Errors
    /// Every unknown, missing or ill-typed key, each with its place.
    pub fn options<T: DeserializeOwned + JsonSchema>(&self) -> Result<T> {
        let mut value = self.value.clone();
        if let Some(table) = value.as_object_mut() {
            for key in ["use", "middleware", "app"] {
                table.remove(key);
            }
        }
        serde_json::from_value(value).map_err(|error| Error::config(error.to_string()).into())
    }

    /// Where `key` of this table was written (`""`: the table itself; dots reach inner keys).
    pub fn origin(&self, key: &str) -> Option<Origin> {
        let path = format!("{}.{}", self.section, self.name);
        let path = if key.is_empty() { path } else { format!("{path}.{key}") };
        self.origins.get(&path)?.first().cloned()
    }

    /// A configuration error about `key` of this table.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Error {
        Error::config(message).at(self.origin(key))
    }
}
