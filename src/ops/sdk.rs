//! The sources of `paster-abi` and `paster-sdk`, embedded in the program. Projects that are created without a
//! checkout of paster build against a copy of them.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::error::{Error, Result};

/// A file of one of the crates: its path (`paster-sdk/src/lib.rs`) and its bytes.
type EmbeddedSource = (&'static str, &'static [u8]);

/// Manifests and sources, listed by the build script.
static FILES: &[EmbeddedSource] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The manifest from which those of the crates inherit.
const WORKSPACE: &str = include_str!("../../Cargo.toml");

/// The source tree that projects and plugins build against: `$PASTER_CHECKOUT` (none if it is empty), otherwise
/// the one that this program was built from, if it still exists. A program from a package has none, because on another
/// machine, another user may own a directory with that name.
pub(super) fn checkout() -> Option<PathBuf> {
    let set = std::env::var_os("PASTER_CHECKOUT").map(PathBuf::from);
    let from_package = || package_libraries().is_some_and(|folder| folder.is_dir());
    let built_in = || (!from_package()).then(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let root = set.or_else(built_in)?;
    let is_there = !root.as_os_str().is_empty() && root.join("plugins/paster-sdk/Cargo.toml").is_file();
    is_there.then_some(root)
}

/// Where a package has the libraries of its plugins: `../lib/paster` beside the program.
pub(super) fn package_libraries() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.parent()?.join("lib/paster"))
}

/// This program's copy, which may not exist yet.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    folder: PathBuf,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Copy {
    /// The copy in the user's data directory (`$XDG_DATA_HOME`, or `.local/share` in the home directory),
    /// named by version and content; `None` if the user has no such directory. Writes nothing.
    pub(super) fn find() -> Option<Copy> {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
        let files = stand_alone();
        let mut digest = Sha256::new();
        for (path, bytes) in &files {
            digest.update(path);
            digest.update([0]);
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        let hash: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let folder = data.join(format!("paster/sdk/{}-{hash}", env!("CARGO_PKG_VERSION")));
        Some(Copy { folder, files })
    }

    /// The directory of the crate `paster-sdk` in the copy.
    pub(super) fn sdk(&self) -> PathBuf {
        self.folder.join("paster-sdk")
    }

    /// Writes the copy, unless it exists and is complete. Returns whether it was written.
    ///
    /// The copy appears as a whole or not at all, even if several programs write it at once.
    /// # Errors
    /// When the data directory cannot be written.
    pub(super) fn write(&self) -> Result<bool> {
        if self.is_whole() {
            return Ok(false);
        }
        let failed = |error: io::Error| {
            let message = format!("cannot write the sources of the SDK to `{}`", self.folder.display());
            Error::new(message)
                .because(error)
                .help("set XDG_DATA_HOME to a writable directory, or set the path of the crate: `sdk=PATH`")
        };
        self.try_write().map_err(failed)?;
        Ok(true)
    }

    fn is_whole(&self) -> bool {
        let same = |(path, bytes): &(&str, Vec<u8>)| {
            std::fs::read(self.folder.join(path)).is_ok_and(|found| found == *bytes)
        };
        self.files.iter().all(same)
    }

    fn try_write(&self) -> io::Result<()> {
        let parent = self.folder.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent)?;
        let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
        let whole = new.path().join("sdk");
        for (path, bytes) in &self.files {
            let path = whole.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&whole))?;
            std::fs::write(path, bytes)?;
        }
        loop {
            match std::fs::rename(&whole, &self.folder) {
                Ok(()) => return Ok(()),
                // Another program was faster.
                Err(_) if self.is_whole() => return Ok(()),
                // Replace a copy that was changed: its name promises its content.
                Err(error) if self.folder.is_dir() => {
                    let old = new.path().join("old");
                    if old.exists() {
                        return Err(error);
                    }
                    std::fs::rename(&self.folder, &old)?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The files as they are written, with manifests that do not need the workspace.
fn stand_alone() -> Vec<(&'static str, Vec<u8>)> {
    let workspace: Table = WORKSPACE.parse().unwrap_or_default();
    let workspace = workspace.get("workspace").and_then(Value::as_table).cloned().unwrap_or_default();
    let file = |(path, bytes): &EmbeddedSource| {
        let manifest = path.ends_with("Cargo.toml").then(|| std::str::from_utf8(bytes).ok()?.parse().ok());
        let bytes = match manifest.flatten() {
            Some(manifest) => resolve(manifest, &workspace).to_string().into_bytes(),
            None => bytes.to_vec(),
        };
        (*path, bytes)
    };
    FILES.iter().map(file).collect()
}

/// A manifest with everything that it inherits, as the root of its own workspace: parent directories do not
/// matter.
fn resolve(mut manifest: Table, workspace: &Table) -> Table {
    for section in ["lints", "dev-dependencies"] {
        manifest.remove(section);
    }
    let shared = |section: &str, name: &str| workspace.get(section)?.get(name).cloned();
    if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
        for (name, value) in package.iter_mut().filter(|(_, value)| inherits(value)) {
            if let Some(shared) = shared("package", name) {
                *value = shared;
            }
        }
    }
    if let Some(dependencies) = manifest.get_mut("dependencies").and_then(Value::as_table_mut) {
        for (name, value) in dependencies.iter_mut().filter(|(_, value)| inherits(value)) {
            if let (Some(shared), Some(own)) = (shared("dependencies", name), value.as_table()) {
                *value = Value::Table(join(shared, own));
            }
        }
    }
    manifest.insert("workspace".into(), Value::Table(Table::new()));
    manifest
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// A dependency from the workspace, with the keys that a crate sets beside `workspace = true`.
fn join(shared: Value, own: &Table) -> Table {
    let mut joined = match shared {
        Value::Table(shared) => shared,
        version => Table::from_iter([("version".to_owned(), version)]),
    };
    if let Some(path) = joined.get_mut("path") {
        // The crates are next to each other.
        let name = path.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        *path = Value::String(format!("../{name}"));
    }
    for (key, value) in own.iter().filter(|(key, _)| *key != "workspace") {
        match (joined.get_mut(key), value) {
            (Some(Value::Array(features)), Value::Array(more)) => features.extend(more.iter().cloned()),
            _ => {
                joined.insert(key.clone(), value.clone());
            }
        }
    }
    joined
}
