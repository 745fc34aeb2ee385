//! `plugin`: an application in a dynamic library, over the plugin border.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::app::Builder;
use crate::body::App;
use crate::config::{ConfigPath, Table};
use crate::error::{Error, Result};
use crate::plugin::{FoundLibrary, Offer, PluginLibrary, PluginSource, PluginTable};

/// Options of an `[app.NAME]` table with `use = "plugin"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Directory of the plugin's crate. `paster serve` builds it with cargo.
    #[serde(rename = "crate")]
    source: Option<ConfigPath>,
    /// A library that is already built, instead of `crate`.
    library: Option<ConfigPath>,
    /// Cargo profile for building `crate`. Default: `dev` with `--reload`, otherwise `release`.
    profile: Option<String>,
    /// The plugin's settings, checked against the schema that it exports. `paster plugin inspect` prints the
    /// schema.
    #[serde(default)]
    settings: Map<String, Value>,
}

/// Options of an `[app.NAME]` table that names a plugin that comes with paster, such as `use = "notebook"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BundledOptions {
    /// Cargo profile for building the plugin, when paster runs from its source directory. Default: `dev` with `--reload`,
    /// otherwise `release`.
    profile: Option<String>,
    /// The plugin's settings, checked against the schema that it exports.
    #[serde(default)]
    settings: Map<String, Value>,
}

/// The library of a plugin that comes with paster.
pub(super) fn bundled_library(
    options: &BundledOptions,
    table: &Table,
) -> Result<Option<PluginLibrary>, Error> {
    let Some(name) = table.kind().ok().map(str::to_owned) else { return Ok(None) };
    let (source, profile) = (PluginSource::Bundled(name), options.profile.clone());
    Ok(Some(PluginLibrary { source, profile, origin: table.origin("use") }))
}

/// The library that the table names.
/// # Errors
/// A library or crate that does not exist.
pub(super) fn library(options: &Options, table: &Table) -> Result<Option<PluginLibrary>, Error> {
    options.plugin().library(table)
}

impl Options {
    fn plugin(&self) -> PluginTable<'_> {
        PluginTable {
            source: self.source.as_deref(),
            library: self.library.as_deref(),
            profile: self.profile.as_deref(),
        }
    }
}

/// Creates the app of a plugin that comes with paster.
pub(super) fn build_bundled(
    options: BundledOptions,
    table: &Table,
    builder: &mut Builder<'_>,
) -> Result<App> {
    match builder.context.libraries.get(table.name()).cloned() {
        Some(path) => {
            let found = FoundLibrary { path, shown: Path::new(table.kind()?).to_owned(), key: "use" };
            load(&found, &options.settings, table, builder)
        }
        None if builder.context.checking => Ok(checked()), // `check` reports that it is not built
        None => Err(table
            .error("use", format!("the plugin of the app `{}` is not built", table.name()))
            .help("`paster serve` builds it")
            .into()),
    }
}

/// Creates the app: loads the library, which creates the app with its settings.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let built = builder.context.libraries.get(table.name()).map(|path| path.as_path());
    match options.plugin().find(table, Offer::App, built, builder.context)? {
        Some(found) => load(&found, &options.settings, table, builder),
        None => Ok(checked()), // `check` reports that it is not built
    }
}

/// Loads the library and has it create the app.
fn load(
    found: &FoundLibrary,
    settings: &Map<String, Value>,
    table: &Table,
    builder: &mut Builder<'_>,
) -> Result<App> {
    let Some(instance) = found.create(Offer::App, settings, table, builder.context)? else {
        return Ok(checked());
    };
    let app = instance.app();
    builder.instances.push(instance);
    Ok(app)
}

/// Stands in for the app when a config is only checked.
fn checked() -> App {
    App::from_call(|_| Box::pin(std::future::ready(Err("this app was only checked".into()))))
}
