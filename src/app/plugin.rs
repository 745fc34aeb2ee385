//! `plugin`: an application in a dynamic library, over the plugin border.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::app::Builder;
use crate::body::App;
use crate::config::{ConfigPath, Table};
use crate::error::{Error, Errors, Origin, Result};
use crate::plugin::{Instance, Library};

/// The library that an app runs.
#[derive(Debug, Clone)]
pub struct PluginLibrary {
    /// Where it comes from.
    pub source: PluginSource,
    /// The cargo profile to build it with, if the table names one.
    pub profile: Option<String>,
    /// Where the table names it.
    pub origin: Option<Origin>,
}

/// Where a plugin's library comes from.
#[derive(Debug, Clone)]
pub enum PluginSource {
    /// It is built already.
    File(PathBuf),
    /// It is built from the crate with this manifest.
    Crate(PathBuf),
    /// It is that of the plugin of this name, which comes with paster.
    Bundled(String),
}

/// Options of an `[app.NAME]` table with `use = "plugin"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Directory of the plugin's crate. `paster serve` builds it with cargo.
    #[serde(rename = "crate")]
    source: Option<ConfigPath>,
    /// A library that is already built, instead of `crate`.
    library: Option<ConfigPath>,
    /// Cargo profile to build `crate` with. Default: `dev` with `--reload`, otherwise `release`.
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
    /// Cargo profile to build the plugin with, if paster runs from its source directory. Default: `dev` with `--reload`,
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
    let (source, key) = match (&options.library, &options.source) {
        (Some(path), _) if path.is_file() => (PluginSource::File(path.to_path_buf()), "library"),
        (Some(path), _) => {
            return Err(table
                .error("library", format!("the library `{}` does not exist", path.display()))
                .help("build it first, or set its crate: `crate = \"path/to/crate\"`"));
        }
        (None, Some(folder)) => {
            let manifest = folder.join("Cargo.toml").canonicalize().map_err(|cause| {
                let error = table.error("crate", format!("there is no crate in `{}`", folder.display()));
                error.help("give the directory of the plugin's `Cargo.toml`").because(cause)
            })?;
            (PluginSource::Crate(manifest), "crate")
        }
        (None, None) => return Ok(None), // the build of the app reports it
    };
    Ok(Some(PluginLibrary { source, profile: options.profile.clone(), origin: table.origin(key) }))
}

/// Makes the app of a plugin that comes with paster.
pub(super) fn build_bundled(
    options: BundledOptions,
    table: &Table,
    builder: &mut Builder<'_>,
) -> Result<App> {
    match builder.context.libraries.get(table.name()).cloned() {
        Some(path) => {
            let found = FoundLibrary { path: &path, shown: Path::new(table.kind()?), key: "use" };
            load(found, options.settings, table, builder)
        }
        None if builder.context.checking => Ok(checked()), // `check` says that it is not built
        None => Err(table
            .error("use", format!("the plugin of the app `{}` is not built", table.name()))
            .help("`paster serve` builds it")
            .into()),
    }
}

/// Creates the app: loads the library, which creates the app with its settings.
pub(super) fn build(options: Options, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let path = match (&options.source, &options.library) {
        (Some(_), Some(_)) => {
            return Err(table
                .error("library", "`crate` and `library` are both set")
                .help("keep `crate` to have paster build it, or `library` to use a built file")
                .into());
        }
        (None, None) => {
            return Err(table
                .error("", format!("`[{}]` names no plugin", table.path()))
                .help("add `crate = \"DIRECTORY\"` with a plugin's crate, or `library = \"lib….so\"`")
                .into());
        }
        (source, library) => {
            let built = builder.context.libraries.get(table.name()).map(|path| path.as_path());
            let key = if source.is_some() { "crate" } else { "library" };
            let path: Option<&Path> = built.or(library.as_deref());
            if path.is_none() && builder.context.checking {
                return Ok(checked()); // `check` reports that it is not built
            }
            let path = path.ok_or_else(|| {
                table
                    .error(key, format!("the plugin of the app `{}` is not built", table.name()))
                    .help("`paster serve` builds it; or name a built file with `library = \"lib….so\"`")
            })?;
            // Messages do not show the private copy that is loaded.
            let shown = library.as_deref().or(source.as_deref()).unwrap_or(path);
            (path.to_owned(), shown.to_owned(), key)
        }
    };
    let (path, shown, key) = path;
    load(FoundLibrary { path: &path, shown: &shown, key }, options.settings, table, builder)
}

/// A library to load.
struct FoundLibrary<'a> {
    path: &'a Path,
    /// What errors call it.
    shown: &'a Path,
    /// The option that names it.
    key: &'a str,
}

/// Loads the library and has it create the app.
fn load(
    FoundLibrary { path, shown, key }: FoundLibrary<'_>,
    settings: Map<String, Value>,
    table: &Table,
    builder: &mut Builder<'_>,
) -> Result<App> {
    let place = |errors: Errors| locate(errors, table, key);
    let (name, starting) = (table.name(), |step: String| builder.context.host.starting(&step));
    starting(format!("loading the plugin `{}` of the app `{name}`", shown.display()));
    let library = Library::load_as(path, shown).map_err(place)?;
    let settings = match &library.info().settings_schema {
        Some(schema) => table.resolve(schema, "settings")?,
        None => settings.into(),
    };
    if builder.context.checking {
        return Ok(checked());
    }
    starting(format!("creating the app `{name}` of the plugin `{}`", library.info().name));
    let instance = Instance::create(&library, table.name(), &settings, builder.context)
        .map_err(|errors| locate(errors, table, "settings"))?;
    let app = instance.app();
    builder.instances.push(instance);
    Ok(app)
}

/// Replaces the app when a config is only checked.
fn checked() -> App {
    App::from_call(|_| Box::pin(std::future::ready(Err("this app was only checked".into()))))
}

/// Gives errors without a place the place of `key`.
fn locate(errors: Errors, table: &Table, key: &str) -> Errors {
    let located = errors.into_iter().map(|error| match error.origin {
        Some(_) => error,
        None => error.at(table.origin(key)),
    });
    match Errors::check(located.collect()) {
        Err(errors) => errors,
        Ok(()) => table.error(key, "the plugin failed").into(),
    }
}
