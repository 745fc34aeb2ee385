//! Builds the libraries of plugin apps: front-end steps, cargo, a private copy named by its content.
//!
//! A library that is known to be fresh is not built again, without even asking cargo (`stamp`).

mod bundled;
mod cargo;
mod stamp;
mod steps;
mod tracked;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::Fault;
use crate::app::{is_bundled, is_plugin};
use crate::config::{Config, Table};
use crate::error::{Error, Errors, Source};
pub use stamp::files;

/// Progress of a build.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The build of an app starts.
    Begin,
    /// The current step.
    At {
        /// `Compiling axum v0.8.9`, `npm ci`.
        text: String,
        /// Number of finished crates; `None` in a front-end step.
        done: Option<u64>,
    },
    /// A warning.
    Warning(String),
    /// The build has succeeded.
    End {
        /// How long it took, in milliseconds.
        ms: u64,
    },
}

/// Receives progress, with the app's name.
pub type Listener<'a> = &'a (dyn Fn(&str, Progress) + Send + Sync);

/// The inputs of libraries.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Directories of crates and their local dependencies.
    pub folders: BTreeSet<PathBuf>,
    /// Single files: libraries that paster does not build.
    pub files: BTreeSet<PathBuf>,
    /// The inputs of the last build, anywhere on disk.
    pub sources: BTreeSet<PathBuf>,
    /// What a build writes in the directories: not to be watched.
    pub outputs: BTreeSet<PathBuf>,
}

impl Inputs {
    fn extend(&mut self, other: Inputs) {
        self.folders.extend(other.folders);
        self.files.extend(other.files);
        self.sources.extend(other.sources);
        self.outputs.extend(other.outputs);
    }
}

/// The cargo profile to build with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speed {
    /// Fast to build: `dev` without debug information.
    Development,
    /// Fast to run: `release`.
    Production,
}

/// The result of a failed build.
#[derive(Debug)]
pub struct Failure {
    /// Every fault.
    pub faults: Vec<Fault>,
    /// The libraries that are available anyway, by the app's name.
    pub built: BTreeMap<String, PathBuf>,
}

/// Where one app's library comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum LibrarySource {
    File(PathBuf),
    Crate { manifest: PathBuf, profile: String },
}

/// Builds the libraries of `config`'s plugin apps and copies them. Without `copies`, returns the original
/// paths, for a process that ends soon.
///
/// Also returns the inputs after a failure, as far as they are known, so that a fix is noticed.
pub async fn libraries(
    config: &Config,
    speed: Speed,
    copies: Option<&Copies>,
    listener: Listener<'_>,
) -> (Inputs, Result<BTreeMap<String, PathBuf>, Failure>) {
    let mut inputs = Inputs::default();
    let mut faults = Vec::new();
    let mut found = BTreeMap::new();
    let mut done: BTreeMap<LibrarySource, Option<PathBuf>> = BTreeMap::new();
    for name in config.names("app") {
        let Some(table) = config.table("app", name) else { continue };
        if !table.kind().is_ok_and(is_plugin) {
            continue;
        }
        let origin = match origin(&table, speed) {
            Ok(Some(origin)) => origin,
            Ok(None) => continue, // `assemble` reports the table's fault
            Err(error) => {
                faults.push(Fault::from(&error));
                continue;
            }
        };
        if let Some(copy) = done.get(&origin) {
            found.extend(copy.clone().map(|copy| (name.to_owned(), copy)));
            continue;
        }
        let library = match &origin {
            LibrarySource::File(path) => {
                inputs.files.insert(path.clone());
                Ok(path.clone())
            }
            LibrarySource::Crate { manifest, profile } => {
                let tell = |progress| listener(name, progress);
                let (made_from, library) = build(manifest, profile, speed, &tell).await;
                inputs.extend(made_from);
                library
            }
        };
        let copy = library.and_then(|library| {
            let Some(copies) = copies else { return Ok(library) };
            copies.copy(&library).map_err(|errors| {
                let place = table.origin("library").or_else(|| table.origin("crate"));
                errors.into_iter().map(|error| Fault::from(&error.at(place.clone()))).collect()
            })
        });
        match copy {
            Ok(copy) => {
                found.insert(name.to_owned(), copy.clone());
                done.insert(origin, Some(copy));
            }
            Err(wrong) => {
                faults.extend(wrong);
                done.insert(origin, None);
            }
        }
    }
    (inputs, if faults.is_empty() { Ok(found) } else { Err(Failure { faults, built: found }) })
}

/// The libraries that are available without building anything, by app, and the names of the plugin apps whose
/// crate is not built or has changed since.
/// # Errors
/// Crates and libraries that do not exist.
#[allow(clippy::type_complexity, reason = "two lists that no other place passes on")]
pub fn built(config: &Config) -> Result<(BTreeMap<String, PathBuf>, Vec<String>), Vec<Error>> {
    let (mut found, mut missing, mut errors) = (BTreeMap::new(), Vec::new(), Vec::new());
    for name in config.names("app") {
        let Some(table) = config.table("app", name) else { continue };
        if table.kind().is_ok_and(|kind| !is_plugin(kind)) {
            continue;
        }
        let mut library = None;
        for speed in [Speed::Production, Speed::Development] {
            match origin(&table, speed) {
                Ok(Some(LibrarySource::File(path))) => library = Some(path),
                Ok(Some(LibrarySource::Crate { manifest, profile })) => {
                    let known = stamp::Stamp::of(&manifest, &profile, speed).read();
                    let known = known.filter(|known| known.is_fresh());
                    library = library.or(known.map(|known| known.library));
                }
                Ok(None) => break, // `assemble` reports the table's fault
                Err(error) => {
                    errors.push(error);
                    break;
                }
            }
        }
        match library {
            Some(library) => drop(found.insert(name.to_owned(), library)),
            None => missing.push(name.to_owned()),
        }
    }
    if errors.is_empty() { Ok((found, missing)) } else { Err(errors) }
}

/// The source of the plugin app `table`'s library.
/// # Errors
/// A crate or library that does not exist.
fn origin(table: &Table, speed: Speed) -> Result<Option<LibrarySource>, Error> {
    let key = |key: &str| table.value().get(key).and_then(Value::as_str);
    let profile = key("profile").unwrap_or(match speed {
        Speed::Development => "dev",
        Speed::Production => "release",
    });
    if let Ok(kind) = table.kind()
        && is_bundled(kind)
    {
        return bundled::find(kind, profile).map(Some).map_err(|error| error.at(table.origin("use")));
    }
    if let Some(written) = key("library") {
        let path = resolve(table, "library", written);
        return match path.is_file() {
            true => Ok(Some(LibrarySource::File(path))),
            false => Err(table
                .error("library", format!("the library `{}` does not exist", path.display()))
                .help("build it first, or set its crate: `crate = \"path/to/crate\"`")),
        };
    }
    let Some(written) = key("crate") else { return Ok(None) };
    let manifest = resolve(table, "crate", written).join("Cargo.toml");
    let manifest = manifest.canonicalize().map_err(|cause| {
        let error = table.error(
            "crate",
            format!("there is no crate in `{}`", manifest.parent().unwrap_or(&manifest).display()),
        );
        error.help("give the directory of the plugin's `Cargo.toml`").because(cause)
    })?;
    Ok(Some(LibrarySource::Crate { manifest, profile: profile.to_owned() }))
}

/// A path in the table, relative to the file that contains it.
fn resolve(table: &Table, key: &str, written: &str) -> PathBuf {
    let folder = match table.origin(key).map(|origin| origin.source) {
        Some(Source::File(file)) => file.parent().map(Path::to_owned).unwrap_or_default(),
        _ => PathBuf::new(),
    };
    let path = folder.join(written);
    std::path::absolute(&path).unwrap_or(path)
}

/// Builds the library of the crate at `manifest` unless it is fresh.
async fn build(
    manifest: &Path,
    profile: &str,
    speed: Speed,
    tell: &(dyn Fn(Progress) + Send + Sync),
) -> (Inputs, Result<PathBuf, Vec<Fault>>) {
    let stamp = stamp::Stamp::of(manifest, profile, speed);
    let known = stamp.read();
    if let Some(known) = known.as_ref().filter(|known| known.is_fresh()) {
        return (known.watched(), Ok(known.library.clone()));
    }
    let began = Instant::now();
    let begun = std::time::SystemTime::now();
    tell(Progress::Begin);
    let package = match known.as_ref().and_then(|known| known.package()) {
        Some(package) => Ok(package.clone()),
        None => cargo::Package::read(manifest).await,
    };
    let package = match package {
        Ok(package) => package,
        Err(fault) => {
            let folder = manifest.parent().unwrap_or(manifest).to_owned();
            return (Inputs { folders: [folder].into(), ..Inputs::default() }, Err(vec![fault]));
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
    tell(Progress::End { ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) });
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

/// One front-end step: an entry of `[[package.metadata.paster.build]]` in the plugin's `Cargo.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The program and its arguments.
    run: Vec<String>,
    /// Directory to run it in, relative to the crate.
    #[serde(default)]
    dir: PathBuf,
    /// Files and directories that it reads, relative to `dir`.
    #[serde(default)]
    inputs: Vec<PathBuf>,
    /// Files and directories that it writes, relative to `dir`.
    outputs: Vec<PathBuf>,
    /// A program without which the step is skipped.
    needs: Option<String>,
    /// The warning for that case.
    without: Option<String>,
}
