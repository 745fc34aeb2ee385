//! The files and directories that a config names, found by the types of its options.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::Schema;

use crate::config::{Config, NamedPath, PathAccess, Table};
use crate::ops::schema;

/// The paths in a config.
#[derive(Debug, Clone, Default)]
pub(in crate::ops::serve::supervisor) struct Paths {
    /// Read once, when a generation is built.
    pub(in crate::ops::serve::supervisor) read: BTreeSet<PathBuf>,
    /// Written by the server.
    pub(super) written: BTreeSet<PathBuf>,
    /// Directories whose files are served directly.
    pub(super) served: BTreeSet<PathBuf>,
}

impl Paths {
    /// Collects the paths of all tables.
    pub(in crate::ops::serve::supervisor) fn of(config: &Config) -> Paths {
        let mut paths = Paths::default();
        schema::tables(config).iter().for_each(|(table, schema)| paths.table(table, schema));
        paths
    }

    fn table(&mut self, table: &Table, schema: &Schema) {
        for NamedPath { path, access, .. } in table.paths(schema.as_value()) {
            let set = match access {
                PathAccess::Follow => continue,
                PathAccess::Read => &mut self.read,
                PathAccess::Write => &mut self.written,
                PathAccess::Serve => &mut self.served,
            };
            set.insert(path);
        }
    }
}
