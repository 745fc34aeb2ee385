//! `plugin`: an application in a dynamic library, over the plugin border.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::app::Builder;
use crate::body::App;
use crate::config::{ConfigPath, Table};
use crate::error::{Errors, Result};
use crate::plugin::{Instance, Library};

/// Plugins that come with paster: each is a kind of its own, found without a path.
const BUNDLED: &[&str] = &["notebook"];

/// Whether apps of this kind run a plugin that comes with paster.
pub fn is_bundled(kind: &str) -> bool {
    BUNDLED.contains(&kind)
}

/// Whether apps of this kind run code from a dynamic library.
pub fn is_plugin(kind: &str) -> bool {
    kind == "plugin" || is_bundled(kind)
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
    #[allow(dead_code, reason = "read by who builds the crate")]
    profile: Option<String>,
    /// The plugin's settings, checked against the schema that it exports. `paster plugin inspect` prints the
    /// schema.
    #[serde(default)]
    #[allow(dead_code, reason = "read with the plugin's schema")]
    settings: Map<String, Value>,
}

/// Options of an `[app.NAME]` table that names a plugin that comes with paster, such as `use = "notebook"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BundledOptions {
    /// Cargo profile to build the plugin with, if paster runs from its source directory. Default: `dev` with `--reload`,
    /// otherwise `release`.
    #[allow(dead_code, reason = "read by who builds the crate")]
    profile: Option<String>,
    /// The plugin's settings, checked against the schema that it exports.
    #[serde(default)]
    #[allow(dead_code, reason = "read with the plugin's schema")]
    settings: Map<String, Value>,
}

/// Makes the app of a plugin that comes with paster.
pub(super) fn build_bundled(table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let _: BundledOptions = table.options()?;
    match builder.context.libraries.get(table.name()).cloned() {
        Some(path) => load(table, builder, &path, Path::new(table.kind()?), "use"),
        None if builder.context.checking => Ok(checked()), // `check` says that it is not built
        None => Err(table
            .error("use", format!("the plugin of the app `{}` is not built", table.name()))
            .help("`paster serve` builds it")
            .into()),
    }
}

/// Creates the app: loads the library, which creates the app with its settings.
pub(super) fn build(table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let options: Options = table.options()?;
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
    load(table, builder, &path, &shown, key)
}

/// Loads the library at `path`, which errors call `shown`, and has it create the app; `key` is the option that names it.
fn load(table: &Table, builder: &mut Builder<'_>, path: &Path, shown: &Path, key: &str) -> Result<App> {
    let place = |errors: Errors| locate(errors, table, key);
    let (name, starting) = (table.name(), |step: String| builder.context.host.starting(&step));
    starting(format!("loading the plugin `{}` of the app `{name}`", shown.display()));
    let library = Library::load_as(path, shown).map_err(place)?;
    let settings = match &library.info().settings_schema {
        Some(schema) => table.resolve(schema, "settings")?,
        None => table.value().get("settings").cloned().unwrap_or_else(|| Value::Object(Map::new())),
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
