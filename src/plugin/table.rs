//! Finds and loads the library that a table with `use = "plugin"` names, and creates an app or a middleware with it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Instance, Library, MIDDLEWARE_PREFIX};
use crate::config::Table;
use crate::context::Context;
use crate::error::{Error, Errors, Origin, Result};

/// The library for an app or a middleware.
#[derive(Debug, Clone)]
pub struct PluginLibrary {
    /// Its origin.
    pub source: PluginSource,
    /// The cargo profile for building it, if the table sets one.
    pub profile: Option<String>,
    /// The place of the name in the table.
    pub origin: Option<Origin>,
}

/// The origin of a plugin's library.
#[derive(Debug, Clone)]
pub enum PluginSource {
    /// It is built already.
    File(PathBuf),
    /// It is built from the crate with this manifest.
    Crate(PathBuf),
    /// It is the library of the plugin with this name, which comes with paster.
    Bundled(String),
}

/// What a table needs from a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// An application.
    App,
    /// Middleware.
    Middleware,
}

impl Offer {
    /// The app or middleware of the table, for messages.
    fn noun(self, name: &str) -> String {
        match self {
            Offer::App => format!("the app `{name}`"),
            Offer::Middleware => format!("the middleware `{name}`"),
        }
    }

    /// # Errors
    /// If the library lacks it.
    fn check(self, library: &Library, table: &Table, key: &str) -> Result<(), Error> {
        let plugin = &library.info().name;
        let (message, help) = match self {
            Offer::App if !library.has_app() => (
                format!("the plugin `{plugin}` has middleware, but no application"),
                "use it in a table `[middleware.NAME]` with `use = \"plugin\"`, and add NAME to `middleware` of an app",
            ),
            Offer::Middleware if !library.has_middleware() => (
                format!("the plugin `{plugin}` has an application, but no middleware"),
                "use it in a table `[app.NAME]`; middleware needs `paster_sdk::plugin! { middleware: … }`, or `call_middleware` in C",
            ),
            _ => return Ok(()),
        };
        Err(table.error(key, message).help(help))
    }
}

/// The options of a table with `use = "plugin"` that choose the library.
#[derive(Debug)]
pub struct PluginTable<'a> {
    /// `crate`.
    pub source: Option<&'a Path>,
    /// `library`.
    pub library: Option<&'a Path>,
    /// `profile`.
    pub profile: Option<&'a str>,
}

impl PluginTable<'_> {
    /// The library that the table names. `None` if it names none, which [`find`](PluginTable::find) reports.
    /// # Errors
    /// If the
    /// library or crate does not exist.
    pub fn library(&self, table: &Table) -> Result<Option<PluginLibrary>, Error> {
        let (source, key) = match (self.library, self.source) {
            (Some(path), _) if path.is_file() => (PluginSource::File(path.to_path_buf()), "library"),
            (Some(path), _) => {
                return Err(table
                    .error("library", format!("the library `{}` does not exist", path.display()))
                    .help("build it first, or set its crate: `crate = \"path/to/crate\"`"));
            }
            (None, Some(folder)) => {
                let manifest = folder.join("Cargo.toml").canonicalize().map_err(|cause| {
                    let error = table.error("crate", format!("there is no crate in `{}`", folder.display()));
                    error.help("set the directory of the plugin's `Cargo.toml`").because(cause)
                })?;
                (PluginSource::Crate(manifest), "crate")
            }
            (None, None) => return Ok(None),
        };
        let profile = self.profile.map(str::to_owned);
        Ok(Some(PluginLibrary { source, profile, origin: table.origin(key) }))
    }

    /// The library to load: `built`, or the one that the table names. `None` if it is not built and the config is only
    /// checked.
    /// # Errors
    /// If the table names no library or two, or if the library is not built.
    pub fn find(
        &self,
        table: &Table,
        offer: Offer,
        built: Option<&Path>,
        context: &Context,
    ) -> Result<Option<FoundLibrary>> {
        let key = match (self.source, self.library) {
            (Some(_), Some(_)) => {
                return Err(table
                    .error("library", "`crate` and `library` are both set")
                    .help("keep `crate` to have paster build it, or `library` to use a built file")
                    .into());
            }
            (None, None) => {
                return Err(table
                    .error("", format!("`[{}]` names no plugin", table.path()))
                    .help("set `crate = \"DIRECTORY\"` with a plugin's crate, or `library = \"lib….so\"`")
                    .into());
            }
            (Some(_), None) => "crate",
            (None, Some(_)) => "library",
        };
        let Some(path) = built.or(self.library) else {
            if context.checking {
                return Ok(None);
            }
            return Err(table
                .error(key, format!("the plugin of {} is not built", offer.noun(table.name())))
                .help("`paster serve` builds it; or set a built file: `library = \"lib….so\"`")
                .into());
        };
        // Messages show the original path instead of the loaded private copy.
        let shown = self.library.or(self.source).unwrap_or(path);
        Ok(Some(FoundLibrary { path: path.to_owned(), shown: shown.to_owned(), key }))
    }
}

/// A library to load.
#[derive(Debug)]
pub struct FoundLibrary {
    /// Its file.
    pub path: PathBuf,
    /// Its name in errors.
    pub shown: PathBuf,
    /// The option that names it.
    pub key: &'static str,
}

impl FoundLibrary {
    /// Loads the library and creates the app or middleware of `table`. `None` if the config is only checked.
    /// # Errors
    /// If the
    /// library cannot be loaded or lacks the part, if the settings are wrong, or if the plugin refuses.
    pub fn create(
        &self,
        offer: Offer,
        settings: &Map<String, Value>,
        table: &Table,
        context: &Context,
    ) -> Result<Option<Instance>> {
        let FoundLibrary { path, shown, key } = self;
        let noun = offer.noun(table.name());
        let starting = |step: String| context.host.starting(&step);
        starting(format!("loading the plugin `{}` of {noun}", shown.display()));
        let library = Library::load_as(path, shown).map_err(|errors| locate(errors, table, key))?;
        offer.check(&library, table, key)?;
        let settings = match &library.info().settings_schema {
            Some(schema) => table.resolve(schema, "settings")?,
            None => settings.clone().into(),
        };
        if context.checking {
            return Ok(None);
        }
        starting(format!("creating {noun} of the plugin `{}`", library.info().name));
        let name = match offer {
            Offer::App => table.name().to_owned(),
            Offer::Middleware => format!("{MIDDLEWARE_PREFIX}{}", table.name()),
        };
        let instance = Instance::create(&library, &name, &settings, context)
            .map_err(|errors| locate(errors, table, "settings"))?;
        Ok(Some(instance))
    }
}

/// Adds the place of `key` to errors without a place.
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
