//! Builds the libraries of plugins, apps and middleware: front-end steps, cargo, a private copy named by its content.
//!
//! A library that is known to be fresh is not built again, without even asking cargo (`stamp`).

mod bundled;
mod cargo;
mod child;
mod sdk_version;
mod stamp;
mod steps;
mod tracked;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use parking_lot::Mutex;

use crate::app::AppKind;
use crate::config::{Config, Table};
use crate::error::{Error, Errors, Origin};
use crate::middleware::MiddlewareKind;
use crate::plugin::{MIDDLEWARE_PREFIX, PluginLibrary, PluginSource};
pub use stamp::files;
use types::LibrarySource;
pub use types::{BuildObserver, BuildProgress, Inputs, Speed};

/// The result of a failed build.
#[derive(Debug)]
pub struct BuildFailure {
    /// Every fault.
    pub faults: Vec<Error>,
    /// The libraries that are available anyway, by the app's name, or `middleware.NAME`.
    pub built: BTreeMap<String, PathBuf>,
}

impl From<BuildFailure> for Errors {
    fn from(failure: BuildFailure) -> Errors {
        Errors::check(failure.faults).err().unwrap_or_else(|| Error::new("the build failed").into())
    }
}

/// The tables that may run a library, with the names that [`Context::libraries`](crate::context::Context::libraries) has for
/// them: that of an app, and `middleware.NAME`.
fn tables(config: &Config) -> impl Iterator<Item = (String, Table)> {
    ["app", "middleware"].into_iter().flat_map(move |section| {
        let prefix = if section == "app" { "" } else { MIDDLEWARE_PREFIX };
        let table = move |name: &str| Some((format!("{prefix}{name}"), config.table(section, name)?));
        config.names(section).into_iter().filter_map(table)
    })
}

/// Whether a plugin of `config` needs a library.
pub fn any(config: &Config) -> bool {
    tables(config).any(|(_, table)| runs_library(&table))
}

/// Builds the libraries of `config`'s plugins and copies them. Without `copies`, returns the original
/// paths, for a process that ends soon.
///
/// Also returns the known inputs after a failure, so that a fix is detected.
pub async fn libraries(
    config: &Config,
    speed: Speed,
    copies: Option<&Copies>,
    listener: BuildObserver<'_>,
) -> (Inputs, Result<BTreeMap<String, PathBuf>, BuildFailure>) {
    let mut inputs = Inputs::default();
    let mut faults = Vec::new();
    let mut found = BTreeMap::new();
    let mut done: BTreeMap<LibrarySource, Option<PathBuf>> = BTreeMap::new();
    for (name, table) in tables(config) {
        let (source, origin) = match source(&table, speed) {
            Ok(Some(found)) => found,
            Ok(None) => continue, // it runs none, or `assemble` reports the table's fault
            Err(error) => {
                faults.push(error);
                continue;
            }
        };
        if let Some(copy) = done.get(&source) {
            found.extend(copy.clone().map(|copy| (name, copy)));
            continue;
        }
        let library = match &source {
            LibrarySource::File(path) => {
                inputs.files.insert(path.clone());
                Ok(path.clone())
            }
            LibrarySource::Crate { manifest, profile } => {
                let tell = |progress| listener(&name, progress);
                let (made_from, library) = build(manifest, profile, speed, &tell).await;
                inputs.extend(made_from);
                library
            }
        };
        let copy = library.and_then(|library| {
            let Some(copies) = copies else { return Ok(library) };
            copies
                .copy(&library)
                .map_err(|errors| errors.into_iter().map(|error| error.at(origin.clone())).collect())
        });
        match copy {
            Ok(copy) => {
                found.insert(name, copy.clone());
                done.insert(source, Some(copy));
            }
            Err(wrong) => {
                faults.extend(wrong);
                done.insert(source, None);
            }
        }
    }
    (inputs, if faults.is_empty() { Ok(found) } else { Err(BuildFailure { faults, built: found }) })
}

/// What is known about the libraries of a config without building any.
#[derive(Debug, Default)]
pub struct BuildState {
    /// The libraries that are available, by the app's name, or `middleware.NAME`.
    pub libraries: BTreeMap<String, PathBuf>,
    /// The plugins whose crate is not built or has changed since.
    pub missing: Vec<String>,
    /// Notes about crates.
    pub notes: Vec<String>,
    /// Crates and libraries that do not exist.
    pub errors: Vec<Error>,
}

/// Finds the libraries that are available without building anything.
pub fn built(config: &Config) -> BuildState {
    let mut built = BuildState::default();
    let mut manifests = BTreeSet::new();
    for (name, table) in tables(config) {
        if !runs_library(&table) {
            continue;
        }
        let mut library = None;
        for speed in [Speed::Production, Speed::Development] {
            match source(&table, speed) {
                Ok(Some((LibrarySource::File(path), _))) => library = Some(path),
                Ok(Some((LibrarySource::Crate { manifest, profile }, _))) => {
                    manifests.insert(manifest.clone());
                    let known = stamp::Stamp::of(&manifest, &profile, speed).read();
                    let known = known.filter(|known| known.is_fresh());
                    library = library.or(known.map(|known| known.library));
                }
                Ok(None) => break, // `assemble` reports the table's fault
                Err(error) => {
                    built.errors.push(error);
                    break;
                }
            }
        }
        match library {
            Some(library) => drop(built.libraries.insert(name, library)),
            None => built.missing.push(name),
        }
    }
    for manifest in manifests {
        match sdk_version::check(&manifest) {
            Ok(note) => built.notes.extend(note),
            Err(error) => built.errors.push(error),
        }
    }
    built
}

/// Where the library that the plugin of `table` runs is found or built.
/// # Errors
/// A crate or library that does not exist.
fn source(table: &Table, speed: Speed) -> Result<Option<(LibrarySource, Option<Origin>)>, Error> {
    let library = if is_middleware(table) {
        let Ok(entry) = MiddlewareKind::of(table) else { return Ok(None) };
        entry.kind.library(table)?
    } else {
        let Ok(entry) = AppKind::of(table) else { return Ok(None) };
        entry.kind.library(table)?
    };
    let Some(PluginLibrary { source, profile, origin }) = library else { return Ok(None) };
    let profile = profile.unwrap_or_else(|| {
        let usual = match speed {
            Speed::Development => "dev",
            Speed::Production if matches!(source, PluginSource::Bundled(_)) => bundled::default_profile(),
            Speed::Production => "release",
        };
        usual.to_owned()
    });
    let source = match source {
        PluginSource::File(path) => LibrarySource::File(path),
        PluginSource::Crate(manifest) => LibrarySource::Crate { manifest, profile },
        PluginSource::Bundled(name) => {
            bundled::find(&name, profile).map_err(|error| error.at(origin.clone()))?
        }
    };
    Ok(Some((source, origin)))
}

/// Whether the app or middleware of `table` runs code from a dynamic library.
pub fn runs_library(table: &Table) -> bool {
    match is_middleware(table) {
        true => MiddlewareKind::of(table).is_ok_and(|entry| entry.kind.runs_library()),
        false => AppKind::of(table).is_ok_and(|entry| entry.kind.runs_library()),
    }
}

fn is_middleware(table: &Table) -> bool {
    table.path().to_string().starts_with(MIDDLEWARE_PREFIX)
}

/// Builds the library of the crate at `manifest` unless it is fresh.
async fn build(
    manifest: &Path,
    profile: &str,
    speed: Speed,
    tell: &(dyn Fn(BuildProgress) + Send + Sync),
) -> (Inputs, Result<PathBuf, Vec<Error>>) {
    let stamp = stamp::Stamp::of(manifest, profile, speed);
    let known = stamp.read();
    if let Some(known) = known.as_ref().filter(|known| known.is_fresh()) {
        return (known.watched(), Ok(known.library.clone()));
    }
    let began = Instant::now();
    let begun = std::time::SystemTime::now();
    tell(BuildProgress::Begin);
    let package = match (known.as_ref().and_then(|known| known.package()), sdk_version::provide(manifest)) {
        (_, Err(errors)) => Err(errors.into()),
        (Some(package), _) => Ok(package.clone()),
        (None, _) => cargo::CargoPackage::read(manifest).await.map_err(|fault| vec![fault]),
    };
    let package = match package {
        Ok(package) => package,
        Err(faults) => {
            let folder = manifest.parent().unwrap_or(manifest).to_owned();
            return (Inputs { folders: [folder].into(), ..Inputs::default() }, Err(faults));
        }
    };
    let mut inputs = package.inputs();
    // Those of the last build: the fault may be in one of its files.
    inputs.sources = known.map(|known| known.watched().sources).unwrap_or_default();
    let complete = match steps::run(&package, tell).await {
        Ok(complete) => complete,
        Err(fault) => return (inputs, Err(vec![fault])),
    };
    let (library, tracked) = match cargo::build(&package, profile, speed, tell).await {
        Ok(built) => built,
        Err(faults) => return (inputs, Err(faults)),
    };
    stamp.write(&package, &library, begun, complete, tracked);
    let inputs = stamp.read().map_or(inputs, |known| known.watched());
    tell(BuildProgress::End { ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) });
    (inputs, Ok(library))
}

/// Private copies of libraries in one directory.
#[derive(Debug)]
pub struct Copies {
    folder: PathBuf,
    /// By the library's path: its state when it was copied, and the copy. Reading a library is the slowest
    /// part of checking for changes.
    known: Mutex<BTreeMap<PathBuf, (String, PathBuf)>>,
}

impl Copies {
    /// Copies into `folder`.
    pub fn new(folder: PathBuf) -> Copies {
        Copies { folder, known: Mutex::default() }
    }

    /// Returns the private copy of `library`.
    fn copy(&self, library: &Path) -> Result<PathBuf, Errors> {
        let state = stamp::digest(&[library.to_owned()]);
        let known = || self.known.lock();
        if let Some((_, copy)) = known().get(library).filter(|(last, copy)| *last == state && copy.is_file())
        {
            return Ok(copy.clone());
        }
        let copy = crate::plugin::copy_by_hash(library, &self.folder)?;
        known().insert(library.to_owned(), (state, copy.clone()));
        Ok(copy)
    }
}
