//! The layered configuration: sources merged, origins kept, tables read by parts.
//!
//! Knows no clap, no part and no socket.

mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Origin, Result};
pub use table::{ConfigPath, Table};

/// Where a configuration is read from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sources {
    /// The file named on the command line.
    pub file: Option<PathBuf>,
    /// Name of the profile to merge last of the files.
    pub profile: Option<String>,
    /// `PASTER_…` variables, as name and value.
    pub environment: Vec<(String, String)>,
    /// `-D key=value` arguments and what other flags stand for, in order, each `key=value`.
    pub overrides: Vec<String>,
}

/// One merged configuration, with the origin of every value. Serializable: the supervisor sends it to workers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Config {
    /// The merged tree: tables `server`, `app`, `middleware`, … .
    tree: Value,
    /// For each key path (`server.main.listen`) every source that set it, the winner first.
    origins: BTreeMap<String, Vec<Origin>>,
    /// All files read, includes too: what a reload watches.
    files: Vec<PathBuf>,
}

impl Config {
    /// Reads and merges all sources.
    /// # Errors
    /// Every fault found, each with its place.
    pub fn load(sources: &Sources) -> Result<Config> {
        let mut config = Config { tree: Value::Object(Default::default()), ..Config::default() };
        if let Some(file) = &sources.file {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Error::config(format!("cannot read the config file `{}`", file.display())).because(error)
            })?;
            let tree: toml_edit::DocumentMut =
                text.parse().map_err(|error| Error::config("invalid TOML").because(error))?;
            config.tree = toml_edit::de::from_document(tree)
                .map_err(|error| Error::config("invalid TOML").because(error))?;
            config.files.push(std::path::absolute(file).unwrap_or_else(|_| file.clone()));
        }
        Ok(config)
    }

    /// Names of the tables of `section`: `names("app")` gives `main` for `[app.main]`, in file order.
    pub fn names(&self, section: &str) -> Vec<&str> {
        self.tree
            .get(section)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|t| t.keys())
            .map(String::as_str)
            .collect()
    }

    /// The table `[section.name]`, when there is one.
    pub fn table(&self, section: &str, name: &str) -> Option<Table> {
        let value = self.tree.get(section)?.get(name)?.clone();
        Some(Table::new(section, name, value, &self.origins))
    }

    /// The merged tree.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// All files that were read, absolute.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Folder of the main config file; the working directory without one.
    pub fn folder(&self) -> &Path {
        self.files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."))
    }
}
