//! `plugin`: middleware in a dynamic library, over the plugin border.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::MiddlewareBuilder;
use crate::body::App;
use crate::config::{ConfigPath, Table};
use crate::error::{Error, Result};
use crate::plugin::{MIDDLEWARE_PREFIX, Offer, PluginLibrary, PluginTable};

/// Options of a `[middleware.NAME]` table with `use = "plugin"`.
///
/// In Rust, any tower layer can be the middleware of a plugin. `paster create NAME --template middleware` creates a project
/// with settings, state and tests. All apps that use the table share one instance per worker.
///
/// ```toml
/// [middleware.greeting]
/// use = "plugin"
/// crate = "greeting"
///
/// [middleware.greeting.settings]
/// text = "hello"
/// ```
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

impl Options {
    fn plugin(&self) -> PluginTable<'_> {
        PluginTable {
            source: self.source.as_deref(),
            library: self.library.as_deref(),
            profile: self.profile.as_deref(),
        }
    }
}

/// The library that the table names.
/// # Errors
/// A library or crate that does not exist.
pub(super) fn library(options: &Options, table: &Table) -> Result<Option<PluginLibrary>, Error> {
    options.plugin().library(table)
}

/// Wraps `next` in the middleware of the library, which is created for the first stack that names the table.
pub(super) fn build(
    options: Options,
    table: &Table,
    builder: &mut MiddlewareBuilder<'_>,
    next: App,
) -> Result<App> {
    let name = format!("{MIDDLEWARE_PREFIX}{}", table.name());
    if let Some(instance) = builder.instances.borrow().iter().find(|instance| instance.name() == name) {
        return Ok(instance.around(next));
    }
    let context = builder.context;
    let built = context.libraries.get(&name).map(|path| path.as_path());
    let Some(found) = options.plugin().find(table, Offer::Middleware, built, context)? else {
        return Ok(next); // `check` reports that it is not built
    };
    let Some(instance) = found.create(Offer::Middleware, &options.settings, table, context)? else {
        return Ok(next); // it is only checked
    };
    let app = instance.around(next);
    builder.instances.borrow_mut().push(instance);
    Ok(app)
}
