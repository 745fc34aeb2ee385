//! The files and folders that a config names, by the types of the options that name them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::Schema;

use super::super::{Log, Process};
use crate::app::APPS;
use crate::config::{Access, Config, Table};
use crate::middleware::MIDDLEWARE;
use crate::registry::{Entry, options};
use crate::server::SERVERS;

/// What a config names.
#[derive(Debug, Clone, Default)]
pub(in crate::ops::serve) struct Paths {
    /// Read once, when a generation is built.
    pub(in crate::ops::serve) read: BTreeSet<PathBuf>,
    /// Written by the server.
    pub(super) written: BTreeSet<PathBuf>,
    /// Folders whose files are served as they are.
    pub(super) served: BTreeSet<PathBuf>,
}

impl Paths {
    /// Gathers the paths of all tables.
    pub(in crate::ops::serve) fn of(config: &Config) -> Paths {
        let mut paths = Paths::default();
        paths.section(config, "server", SERVERS);
        paths.section(config, "app", APPS);
        paths.section(config, "middleware", MIDDLEWARE);
        for (name, schema) in [("process", options::<Process>()), ("log", options::<Log>())] {
            if let Some(table) = config.section(name) {
                paths.table(&table, &schema);
            }
        }
        paths
    }

    fn section<B>(&mut self, config: &Config, section: &str, kinds: &[Entry<B>]) {
        for table in config.names(section).into_iter().filter_map(|name| config.table(section, name)) {
            let kind = table.kind().ok().and_then(|kind| kinds.iter().find(|entry| entry.name == kind));
            if let Some(kind) = kind {
                self.table(&table, &(kind.options)());
            }
        }
    }

    fn table(&mut self, table: &Table, schema: &Schema) {
        for (access, path) in table.paths(schema.as_value()) {
            let set = match access {
                Access::Follow => continue,
                Access::Read => &mut self.read,
                Access::Write => &mut self.written,
                Access::Serve => &mut self.served,
            };
            set.insert(path);
        }
    }
}
