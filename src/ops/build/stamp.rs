//! Checks whether a library is up to date without running cargo, which would take longer than the whole start.
//!
//! After a build, this records the times and sizes of all its inputs: the files of cargo's dep-info, the
//! manifests, the lock file, cargo's config files, the compiler, the steps' inputs, and the values of the
//! environment variables that sources and build scripts read ([`tracked`](super::tracked)). While none of
//! them has changed, cargo would have nothing to do either: its fingerprints use the same data. Whenever this
//! is not certain, paster runs cargo.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cargo::{self, CargoPackage};
use super::child::find_program;
use super::tracked::Tracked;
use super::types::{Inputs, Speed};

/// The record of one crate and profile.
pub(super) struct Stamp {
    /// `None` if there is no cache directory.
    file: Option<PathBuf>,
    manifest: PathBuf,
}

/// The content of the record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StampRecord {
    package: CargoPackage,
    /// [`digest`] of the files that determine the package.
    outline: String,
    pub(super) library: PathBuf,
    /// All inputs; a directory stands for all files in it.
    made_from: Vec<PathBuf>,
    /// Environment variables that the build depends on.
    variables: BTreeSet<String>,
    /// [`digest`] of the library, `made_from` and the values of `variables`; empty if it is not certain.
    state: String,
}

impl StampRecord {
    /// Whether cargo would find nothing to do.
    pub(super) fn is_fresh(&self) -> bool {
        self.library.is_file() && self.state == self.now()
    }

    /// Cargo's data about the crate, while the files that determine it have not changed.
    pub(super) fn package(&self) -> Option<&CargoPackage> {
        (self.outline == digest(&self.package.outline())).then_some(&self.package)
    }

    pub(super) fn watched(&self) -> Inputs {
        let mut inputs = self.package.inputs();
        let outside = |path: &&PathBuf| !inputs.outputs.iter().any(|output| path.starts_with(output));
        inputs.sources =
            self.made_from.iter().filter(outside).filter(|path| !path.is_dir()).cloned().collect();
        inputs
    }

    fn now(&self) -> String {
        let mut all = self.made_from.clone();
        all.push(self.library.clone());
        let mut hash = Sha256::new();
        hash.update(digest(&all));
        for name in &self.variables {
            let value = std::env::var_os(name).filter(|_| !cargo::is_ours(name));
            hash.update(format!("{name}\0{value:?}\0"));
        }
        hex(&hash.finalize())
    }
}

impl Stamp {
    pub(super) fn of(manifest: &Path, profile: &str, speed: Speed) -> Stamp {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        let mut hash = Sha256::new();
        hash.update(format!("{} {profile} {speed:?} {}", manifest.display(), env!("CARGO_PKG_VERSION")));
        for (name, value) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if decides(&text) {
                hash.update(format!("{text}={};", value.to_string_lossy()));
            }
        }
        hash.update(format!("{:?} {:?}", find_program("cargo"), find_program("rustc")));
        let name = hex(&hash.finalize()[..16]);
        Stamp {
            file: caches.map(|caches| caches.join("paster/builds").join(format!("{name}.json"))),
            manifest: manifest.to_owned(),
        }
    }

    /// The record, even if it is out of date.
    pub(super) fn read(&self) -> Option<StampRecord> {
        let known: StampRecord = serde_json::from_slice(&fs::read(self.file.as_ref()?).ok()?).ok()?;
        (known.package.manifest == self.manifest).then_some(known)
    }

    /// Records a build that started at `begun`. `complete`: whether all its steps have run; `tracked`: what
    /// it depends on besides files.
    pub(super) fn write(
        &self,
        package: &CargoPackage,
        library: &Path,
        begun: SystemTime,
        complete: bool,
        tracked: Option<Tracked>,
    ) {
        let Some(file) = &self.file else { return };
        let Some(mut made_from) = made_from(package, library) else { return };
        let compiler = package.compiler();
        let certain = complete && tracked.is_some() && compiler.is_some() && !includes(&package.configs());
        let tracked = tracked.unwrap_or_default();
        made_from.extend(compiler.into_iter().chain(tracked.paths));
        // A file that was changed while the compiler ran may or may not be in the library.
        let changed = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| last_change(&found) >= begun);
        let outputs = package.inputs().outputs;
        let written = |path: &PathBuf| outputs.iter().any(|output| path.starts_with(output));
        let certain = certain && !files(&made_from).iter().any(|path| changed(path) && !written(path));
        let mut known = StampRecord {
            package: package.clone(),
            outline: digest(&package.outline()),
            library: library.to_owned(),
            made_from,
            variables: tracked.variables,
            state: String::new(),
        };
        if certain {
            known.state = known.now();
        }
        let folder = file.parent().unwrap_or(file);
        let text = serde_json::to_vec(&known).unwrap_or_default();
        // Without the record, the next start takes a second longer.
        let _ = fs::create_dir_all(folder).and_then(|()| {
            let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
            std::io::Write::write_all(&mut temporary, &text)?;
            temporary.persist(file).map_err(|error| error.error)
        });
        forget_gone(folder);
    }
}

/// Whether a variable changes builds even if no source or build script reads it.
fn decides(variable: &str) -> bool {
    let kinds = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_UNSTABLE_", "RUSTC", "RUSTUP_"];
    let others = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_INCREMENTAL", "CARGO_HOME"];
    kinds.iter().any(|kind| variable.starts_with(kind)) || others.contains(&variable)
}

/// Whether one of cargo's config files includes others, which paster does not look for.
fn includes(configs: &[PathBuf]) -> bool {
    configs
        .iter()
        .filter_map(|config| fs::read_to_string(config).ok())
        .any(|text| toml::from_str::<toml::Table>(&text).is_ok_and(|config| config.contains_key("include")))
}

/// The time of the last change of a file's content or metadata.
fn last_change(found: &fs::Metadata) -> SystemTime {
    let seconds = u64::try_from(found.ctime()).unwrap_or(0);
    let nanos = u32::try_from(found.ctime_nsec()).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    found.modified().map_or(changed, |modified| modified.max(changed))
}

/// All inputs of `library`.
fn made_from(package: &CargoPackage, library: &Path) -> Option<Vec<PathBuf>> {
    let mut all = BTreeSet::new();
    // `target/paster/debug/libname.d`, beside the library: `library: source source …`.
    let dep_info = fs::read_to_string(library.with_extension("d")).ok()?;
    for line in dep_info.lines() {
        let (_, sources) = line.split_once(": ").unwrap_or(("", ""));
        all.extend(split_dep_info(sources).into_iter().map(PathBuf::from));
    }
    all.extend(package.outline());
    all.insert(package.workspace.join("Cargo.lock"));
    for step in &package.steps {
        let dir = package.folder().join(&step.dir);
        all.extend(step.inputs.iter().map(|input| dir.join(input)));
        all.extend(step.outputs.iter().map(|output| dir.join(output)).filter(|output| output.is_file()));
    }
    Some(all.into_iter().collect())
}

/// Splits a make rule's prerequisites: spaces in names are escaped by a backslash.
fn split_dep_info(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => names.last_mut().expect("there is always one").extend(characters.next()),
            ' ' => names.push(String::new()),
            _ => names.last_mut().expect("there is always one").push(character),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// All files in `paths`. A directory stands for all files in it, except the output of other tools.
pub fn files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = paths.to_vec();
    while let Some(path) = left.pop() {
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
                let skipped = ["target", "node_modules", ".git"];
                left.extend(entries.filter(|entry| {
                    !entry.is_symlink()
                        && !skipped.iter().any(|name| entry.file_name() == Some(name.as_ref()))
                }));
            }
            _ => found.push(path),
        }
    }
    found.sort();
    found
}

/// A hash that changes when one of the files is changed, created or removed.
pub(super) fn digest(paths: &[PathBuf]) -> String {
    let mut hash = Sha256::new();
    for path in files(paths) {
        let state = match fs::metadata(&path) {
            Ok(meta) => {
                let modified = format!("{} {}", meta.mtime(), meta.mtime_nsec());
                let changed = format!("{} {}", meta.ctime(), meta.ctime_nsec());
                format!("{modified} {changed} {} {}", meta.len(), meta.ino())
            }
            Err(_) => "absent".to_owned(),
        };
        hash.update(format!("{}\0{state}\0", path.display()));
    }
    hex(&hash.finalize())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes the records of crates that no longer exist.
fn forget_gone(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let known =
            fs::read(entry.path()).ok().and_then(|text| serde_json::from_slice::<StampRecord>(&text).ok());
        if known.is_none_or(|known| !known.package.manifest.exists()) {
            let _ = fs::remove_file(entry.path()); // another start may do the same
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dep_info_with_blanks_in_names() {
        assert_eq!(split_dep_info(r"/a/b.rs /with\ blank/c.rs"), ["/a/b.rs", "/with blank/c.rs"]);
    }

    #[test]
    fn a_digest_sees_every_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("inner/file");
        let now = || digest(&[folder.path().to_owned()]);
        let mut seen = BTreeSet::from([now()]);
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(&file, "a").unwrap();
        assert!(seen.insert(now()));
        fs::write(&file, "ab").unwrap();
        assert!(seen.insert(now()));
        assert!(!seen.insert(now()));
        fs::remove_file(&file).unwrap();
        assert!(!seen.insert(now()), "the same as at the start");
    }
}
