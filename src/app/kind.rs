//! The entries of [`APPS`](super::APPS), which describe the kinds.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::builder::{AppLink, Builder};
use super::process::ProcessSpec;
use crate::body::App;
use crate::config::{ReadOptions, Table};
use crate::error::{Error, Errors, Result};
use crate::plugin::PluginLibrary;
use crate::registry::Entry;

/// A kind of application, apart from its name.
pub struct AppKind {
    build: Box<BuildApp>,
    /// The possible meanings of `--app KIND:VALUE`, most specific first.
    pub(super) shorthands: Vec<Shorthand>,
    links: Box<FindAppLinks>,
    library: Option<Box<FindAppLibrary>>,
    processes: Option<Box<FindProcesses>>,
}

/// `--app KIND:VALUE`, which sets one option.
pub(super) struct Shorthand {
    /// The option.
    pub(super) key: &'static str,
    /// The ending of such values.
    pub(super) ending: &'static str,
    /// The forms of its value, for help texts: `HOST:PORT`.
    pub(super) forms: &'static [&'static str],
}

type BuildApp = dyn Fn(&Table, &mut Builder<'_>) -> Result<App> + Send + Sync;
type FindAppLinks = dyn Fn(&Table) -> Vec<AppLink> + Send + Sync;
type FindProcesses = dyn Fn(&Table, &Path, bool) -> Result<ProcessSpec> + Send + Sync;
type FindAppLibrary = dyn Fn(&Table) -> Result<Option<PluginLibrary>, Error> + Send + Sync;

impl AppKind {
    /// Creates the application of `table`.
    /// # Errors
    /// Every fault of the options.
    pub fn build(&self, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
        (self.build)(table, builder)
    }

    /// The apps to which the app of `table` passes requests. They are read only from its options, because `paster routes` does
    /// not build apps. Empty for kinds that do not pass requests on, and for tables with invalid options.
    pub fn links(&self, table: &Table) -> Vec<AppLink> {
        (self.links)(table)
    }

    /// Whether apps of this kind run code from a dynamic library.
    pub fn runs_library(&self) -> bool {
        self.library.is_some()
    }

    /// The library that the app of `table` runs. `None` for kinds without a library, and for tables with invalid options,
    /// which the build of the app reports.
    /// # Errors
    /// A library or crate that does not exist.
    pub fn library(&self, table: &Table) -> Result<Option<PluginLibrary>, Error> {
        self.library.as_ref().map_or(Ok(None), |library| library(table))
    }

    /// Whether apps of this kind run in separate processes.
    pub fn has_processes(&self) -> bool {
        self.processes.is_some()
    }

    /// Whether apps of this kind are plugins.
    pub fn is_plugin(&self) -> bool {
        self.runs_library() && !self.has_processes()
    }

    /// The processes of the app of `table`, with its library; `None` for kinds without processes. In
    /// `development`, they report their source files.
    /// # Errors
    /// Every fault of the table.
    pub fn processes(&self, table: &Table, library: &Path, development: bool) -> Result<Option<ProcessSpec>> {
        self.processes.as_ref().map(|processes| processes(table, library, development)).transpose()
    }
}

impl Entry<AppKind> {
    /// A kind whose `build` creates an app. It gets the options, and the table for the places of errors.
    pub(super) fn of<O: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        summary: &'static str,
        build: fn(O, &Table, &mut Builder<'_>) -> Result<App>,
    ) -> Self {
        let build = move |table: &Table, builder: &mut Builder<'_>| {
            let ReadOptions { options, table, wrong_entries } = table.read()?;
            Errors::join(build(options, &table, builder), wrong_entries)
        };
        let links = Box::new(|_: &Table| Vec::new());
        let kind =
            AppKind { build: Box::new(build), shorthands: Vec::new(), links, library: None, processes: None };
        Entry::new::<O>(name, summary, kind)
    }

    /// `--app KIND:VALUE` sets the option `key`. A list is separated by commas.
    pub(super) fn shorthand(self, key: &'static str, forms: &'static [&'static str]) -> Self {
        self.shorthand_for("", key, forms)
    }

    /// Like `shorthand`, for values that end in `ending`. Must come before the general one.
    pub(super) fn shorthand_for(
        mut self,
        ending: &'static str,
        key: &'static str,
        forms: &'static [&'static str],
    ) -> Self {
        self.kind.shorthands.push(Shorthand { key, ending, forms });
        self
    }

    /// The app passes requests to these apps.
    pub(super) fn links<O: DeserializeOwned + JsonSchema + 'static>(
        mut self,
        links: fn(&O) -> Vec<AppLink>,
    ) -> Self {
        self.kind.links =
            Box::new(move |table| table.options().map_or(Vec::new(), |options| links(&options)));
        self
    }

    /// The app runs code from this library.
    pub(super) fn library<O: DeserializeOwned + JsonSchema + 'static>(
        mut self,
        library: fn(&O, &Table) -> Result<Option<PluginLibrary>, Error>,
    ) -> Self {
        let library = move |table: &Table| match table.read() {
            Ok(ReadOptions { options, table, .. }) => library(&options, &table),
            Err(_) => Ok(None), // the build of the app reports them
        };
        self.kind.library = Some(Box::new(library));
        self
    }
    /// The app runs in processes.
    pub(super) fn processes<O: DeserializeOwned + JsonSchema + 'static>(
        mut self,
        processes: fn(O, &Table, &Path, bool) -> Result<ProcessSpec>,
    ) -> Self {
        let processes = move |table: &Table, library: &Path, development: bool| {
            processes(table.options()?, table, library, development)
        };
        self.kind.processes = Some(Box::new(processes));
        self
    }
}
