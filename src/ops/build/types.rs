//! What the parts of a build share.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Progress of a build.
#[derive(Debug, Clone)]
pub enum BuildProgress {
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
pub type BuildObserver<'a> = &'a (dyn Fn(&str, BuildProgress) + Send + Sync);

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
    pub(super) fn extend(&mut self, other: Inputs) {
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

/// Where one app's library comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LibrarySource {
    File(PathBuf),
    Crate { manifest: PathBuf, profile: String },
}

/// One front-end step: an entry of `[[package.metadata.paster.build]]` in the plugin's `Cargo.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildStep {
    /// The program and its arguments.
    pub(super) run: Vec<String>,
    /// Directory to run it in, relative to the crate.
    #[serde(default)]
    pub(super) dir: PathBuf,
    /// Files and directories that it reads, relative to `dir`.
    #[serde(default)]
    pub(super) inputs: Vec<PathBuf>,
    /// Files and directories that it writes, relative to `dir`.
    pub(super) outputs: Vec<PathBuf>,
    /// A program without which the step is skipped.
    pub(super) needs: Option<String>,
    /// The warning for that case.
    pub(super) without: Option<String>,
}
