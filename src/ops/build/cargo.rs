//! Asks cargo for the inputs of a crate, and builds its library.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;

use super::child::{ProcessGroup, lines};
use super::tracked::{Records, Tracked};
use super::types::{BuildProgress, BuildStep, Inputs, Speed};
use crate::error::Error;

/// A plugin's crate, as cargo sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CargoPackage {
    pub(super) manifest: PathBuf,
    /// The target directory: a separate one, so that paster's builds and the user's do not overwrite each
    /// other's results.
    pub(super) target: PathBuf,
    /// The workspace's target directory, if cargo builds the crate with its workspace by default.
    workspace_target: Option<PathBuf>,
    /// The workspace's directory, which contains `Cargo.lock`.
    pub(super) workspace: PathBuf,
    /// `Cargo.toml` of the crate and of its local dependencies.
    pub(super) manifests: BTreeSet<PathBuf>,
    pub(super) steps: Vec<BuildStep>,
}

#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<MetadataPackage>,
    resolve: Option<Resolve>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    manifest_path: PathBuf,
    source: Option<String>,
    metadata: Option<Value>,
    targets: Vec<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<CargoNode>,
}

#[derive(Deserialize)]
struct CargoNode {
    id: String,
    dependencies: Vec<String>,
}

impl CargoPackage {
    /// Asks cargo about the crate at `manifest`.
    pub(super) async fn read(manifest: &Path) -> Result<CargoPackage, Error> {
        let mut command = cargo(manifest);
        command.args(["metadata", "--format-version=1", "--manifest-path"]).arg(manifest);
        let output = command.stdin(Stdio::null()).output().await.map_err(no_cargo)?;
        let name = manifest.parent().unwrap_or(manifest).display();
        if !output.status.success() {
            let error = Error::new(format!("cargo cannot read the crate in `{name}`"));
            return Err(error.with_output(String::from_utf8_lossy(&output.stderr)));
        }
        let metadata: CargoMetadata = serde_json::from_slice(&output.stdout)
            .map_err(|cause| Error::new("cargo's metadata has an unknown format").because(cause))?;
        CargoPackage::new(manifest, metadata)
    }

    fn new(manifest: &Path, metadata: CargoMetadata) -> Result<CargoPackage, Error> {
        let by_id: BTreeMap<_, _> = metadata.packages.iter().map(|one| (one.id.as_str(), one)).collect();
        let root = metadata.packages.iter().find(|one| one.manifest_path == manifest);
        let Some(root) = root else {
            let error = Error::new(format!("`{}` is not a package", manifest.display()))
                .help("a workspace's `Cargo.toml` does not build a library: set the plugin's directory");
            return Err(error);
        };
        if !root.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "cdylib")) {
            let error = Error::new(format!("the crate `{}` does not build a plugin library", root.name))
                .help(format!("add to `{}`: [lib] crate-type = [\"cdylib\"]", manifest.display()));
            return Err(error);
        }
        let steps = match root.metadata.as_ref().and_then(|all| all.get("paster")?.get("build")) {
            None => Vec::new(),
            Some(steps) => Vec::deserialize(steps).map_err(|cause| {
                let error =
                    Error::config(format!("`package.metadata.paster.build` in `{}`", manifest.display()));
                error.because(cause)
            })?,
        };
        let nodes = metadata.resolve.as_ref().map(|resolve| &resolve.nodes[..]).unwrap_or_default();
        let edges: BTreeMap<_, _> = nodes.iter().map(|node| (node.id.as_str(), &node.dependencies)).collect();
        let mut manifests = BTreeSet::from([root.manifest_path.clone()]);
        let mut seen = BTreeSet::new();
        let mut left = vec![root.id.as_str()];
        while let Some(id) = left.pop() {
            if !seen.insert(id) {
                continue;
            }
            // Crates from a registry do not change and have no local dependencies.
            if let Some(package) = by_id.get(id).filter(|package| package.source.is_none()) {
                manifests.insert(package.manifest_path.clone());
                left.extend(edges.get(id).into_iter().flat_map(|ids| ids.iter().map(String::as_str)));
            }
        }
        let folder = root.manifest_path.parent().unwrap_or(Path::new(""));
        let has_paster = metadata.packages.iter().any(|one| one.name == "paster" && one.source.is_none());
        let is_default = has_paster && is_default_member(&metadata.workspace_root, folder);
        Ok(CargoPackage {
            manifest: manifest.to_owned(),
            workspace_target: is_default.then(|| metadata.target_directory.clone()),
            target: metadata.target_directory.join("paster"),
            workspace: metadata.workspace_root,
            manifests,
            steps,
        })
    }

    /// Files that determine this package: manifests, cargo's config, and the choice of the toolchain. Absent
    /// files count too, because cargo would read them once they exist.
    pub(super) fn outline(&self) -> Vec<PathBuf> {
        let mut files: BTreeSet<PathBuf> = self.manifests.clone();
        files.extend(self.configs());
        for folder in self.manifests.iter().filter_map(|manifest| manifest.parent()) {
            files.insert(folder.join("build.rs"));
            // A manifest in a parent directory may be that of the workspace.
            files.extend(folder.ancestors().map(|above| above.join("Cargo.toml")));
        }
        for folder in self.folder().ancestors() {
            files.extend(["rust-toolchain.toml", "rust-toolchain"].map(|name| folder.join(name)));
        }
        files.extend(home("RUSTUP_HOME", ".rustup").map(|home| home.join("settings.toml")));
        files.into_iter().collect()
    }

    /// Cargo's config files, including those that do not exist.
    pub(super) fn configs(&self) -> Vec<PathBuf> {
        let folders = self.folder().ancestors().map(|folder| folder.join(".cargo"));
        let folders = folders.chain(home("CARGO_HOME", ".cargo"));
        folders.flat_map(|folder| ["config.toml", "config"].map(|name| folder.join(name))).collect()
    }

    /// The compiler that cargo uses for the crate; `None` if it cannot be found.
    pub(super) fn compiler(&self) -> Option<PathBuf> {
        let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = std::process::Command::new(program);
        let output = command.args(["--print", "sysroot"]).current_dir(self.folder()).output().ok()?;
        let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
        Some(sysroot.join("bin/rustc")).filter(|compiler| compiler.is_file())
    }

    /// The workspace's target directory, if this program comes from there, as with `cargo run`. Then the plugin is built
    /// like the program, with what cargo has compiled for it.
    fn shared_target(&self, profile: &str) -> Option<&Path> {
        let folder = if profile == "dev" { "debug" } else { profile };
        let target = self.workspace_target.as_deref()?;
        let program = std::env::current_exe().ok()?;
        (program.parent() == Some(&*target.join(folder))).then_some(target)
    }

    /// The crate's directory.
    pub(super) fn folder(&self) -> &Path {
        self.manifest.parent().unwrap_or(&self.manifest)
    }

    /// The files and directories to watch.
    pub(super) fn inputs(&self) -> Inputs {
        let folders = self.manifests.iter().filter_map(|manifest| manifest.parent()).map(Path::to_owned);
        let outputs = self.steps.iter().flat_map(|step| {
            let dir = self.folder().join(&step.dir);
            // A directory that a step writes to contains only its output: `dist` for `dist/app.js`.
            step.outputs.iter().map(move |output| match output.parent() {
                Some(folder) if folder != Path::new("") => dir.join(folder),
                _ => dir.join(output),
            })
        });
        let mut outputs: BTreeSet<_> = outputs.collect();
        outputs.insert(self.target.clone());
        outputs.insert(self.workspace.join("target"));
        outputs.insert(self.workspace.join("Cargo.lock"));
        Inputs { folders: folders.collect(), outputs, ..Inputs::default() }
    }
}

/// Whether cargo builds the package in `folder` by default, if it runs in the workspace's directory. `cargo metadata` does not
/// tell: for the manifest of a member, it lists that member only.
fn is_default_member(workspace: &Path, folder: &Path) -> bool {
    let text = std::fs::read_to_string(workspace.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let members = manifest.get("workspace").and_then(|table| table.get("default-members"));
    let mut members = members.and_then(toml::Value::as_array).into_iter().flatten();
    members.any(|member| member.as_str().is_some_and(|path| workspace.join(path) == folder))
}

/// A tool's directory in the user's home.
fn home(variable: &str, usual: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| Some(set("HOME")?.join(usual)))
}

/// Whether `cargo run` sets this variable for paster. Cargo must not see it: it would run build scripts that track it, such
/// as that of `ring`, again, and compile everything that depends on them.
pub(super) fn is_ours(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_")
        || ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "OUT_DIR"].contains(&variable)
}

/// The user's `cargo`. It runs in the crate's directory, because cargo looks for `.cargo/config.toml` and
/// `rust-toolchain.toml` from the working directory upwards.
fn cargo(manifest: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy())) {
        command.env_remove(&name);
    }
    command.current_dir(manifest.parent().unwrap_or(manifest)).kill_on_drop(true);
    command
}

fn no_cargo(cause: std::io::Error) -> Error {
    let error = Error::new("cannot run `cargo`, which builds the plugins that a config names by `crate`")
        .help("install Rust (https://rustup.rs), or use a built library: `library = \"libname.so\"`");
    error.because(cause)
}

/// The environment for a fast development build. It does not change the user's `Cargo.toml`, and variables
/// that the user has set take precedence.
const QUICK: &[(&str, &str)] = &[
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
    ("CARGO_PROFILE_DEV_BUILD_OVERRIDE_DEBUG", "0"),
    ("CARGO_PROFILE_DEV_INCREMENTAL", "true"),
];

/// Builds the crate's library. Returns its path, and what it depends on besides files, if this is known.
/// # Errors
/// With the compiler's output.
pub(super) async fn build(
    package: &CargoPackage,
    profile: &str,
    speed: Speed,
    tell: &(dyn Fn(BuildProgress) + Send + Sync),
) -> Result<(PathBuf, Option<Tracked>), Vec<Error>> {
    let mut command = cargo(&package.manifest);
    command.args(["build", "--lib", "--message-format=json", "--profile", profile, "--manifest-path"]);
    let shared = package.shared_target(profile);
    match shared {
        // All default members, as `cargo run` selects them, and the features of this program: others would need other builds.
        Some(target) => {
            command.arg(package.workspace.join("Cargo.toml")).arg("--target-dir").arg(target);
            command.args(["--features", env!("PASTER_FEATURES")])
        }
        None => {
            // A build directory in the user's config is for the user's builds.
            command.env("CARGO_BUILD_BUILD_DIR", &package.target);
            command.arg(&package.manifest).arg("--target-dir").arg(&package.target)
        }
    };
    // Other settings than those of the program would need other builds.
    if speed == Speed::Development && shared.is_none() {
        for (name, value) in QUICK.iter().filter(|(name, _)| std::env::var_os(name).is_none()) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|cause| vec![no_cargo(cause)])?;
    let group = ProcessGroup::of(&child);
    let mut messages = lines(child.stdout.take());
    let mut words = lines(child.stderr.take());
    let mut heard = Heard::default();
    loop {
        let line = tokio::select! {
            Some(line) = messages.recv() => CargoMessage::Message(line),
            Some(line) = words.recv() => CargoMessage::Word(line),
            else => break,
        };
        if let Some(text) = heard.hear(line, package) {
            tell(BuildProgress::At { text, done: Some(heard.done) });
        }
    }
    let status =
        child.wait().await.map_err(|cause| vec![Error::new("cannot wait for cargo").because(cause)])?;
    group.ended();
    if !status.success() {
        return Err(vec![heard.fault(package)]);
    }
    let tracked = heard.records.read();
    // A config may have several targets: load the library for this machine.
    let library = heard.libraries.iter().find(|library| crate::plugin::is_loadable(library));
    let library = library.or(heard.libraries.last()).cloned();
    library.map(|library| (library, tracked)).ok_or_else(|| {
        let error = Error::new(format!("cargo did not build a library in `{}`", package.folder().display()));
        vec![error.help("add to its Cargo.toml: [lib] crate-type = [\"cdylib\"]")]
    })
}

enum CargoMessage {
    Message(String),
    Word(String),
}

/// The output of cargo so far.
#[derive(Default)]
struct Heard {
    done: u64,
    /// The crate's library, one for each target.
    libraries: Vec<PathBuf>,
    records: Records,
    /// Compiler errors, as the compiler rendered them.
    errors: String,
    /// The rest of standard error: cargo's own errors.
    words: String,
}

impl Heard {
    /// Processes a line; returns the text to show, if any.
    fn hear(&mut self, line: CargoMessage, package: &CargoPackage) -> Option<String> {
        match line {
            CargoMessage::Word(line) => {
                let text = line.trim();
                let shown = ["Compiling", "Blocking", "Downloading", "Downloaded", "Updating", "Checking"];
                if shown.iter().any(|word| text.starts_with(word)) {
                    return Some(text.to_owned());
                }
                self.words += &line;
                self.words.push('\n');
            }
            CargoMessage::Message(line) => {
                let message: Value = serde_json::from_str(&line).ok()?;
                self.records.hear(&message);
                match message["reason"].as_str() {
                    Some("compiler-artifact") => {
                        self.done += 1;
                        self.libraries.extend(library(&message, package));
                    }
                    Some("compiler-message") if message["message"]["level"] == "error" => {
                        self.errors += message["message"]["rendered"].as_str().unwrap_or_default();
                    }
                    _ => {}
                }
            }
        }
        None
    }

    fn fault(&self, package: &CargoPackage) -> Error {
        let error = Error::new(format!("the crate in `{}` does not build", package.folder().display()));
        let output = if self.errors.is_empty() { &self.words } else { &self.errors };
        error.with_output(output.trim_end())
    }
}

/// The library in a message about an artifact, if it belongs to the crate.
fn library(message: &Value, package: &CargoPackage) -> Option<PathBuf> {
    let ours = message["manifest_path"].as_str().map(Path::new) == Some(&package.manifest);
    let kinds = message["target"]["kind"].as_array()?;
    let files =
        message["filenames"].as_array().filter(|_| ours && kinds.iter().any(|kind| kind == "cdylib"))?;
    let mut files = files.iter().filter_map(Value::as_str).map(PathBuf::from);
    files.rfind(|file| file.extension().is_some_and(|ending| ending == std::env::consts::DLL_EXTENSION))
}
