//! The layered configuration: merges the sources, keeps the origin of every value, and gives each part its
//! table.
//!
//! In reading order: `include` reads the files, and `document` parses each into a tree of `node`s; `origin` finds
//! file and line. `sources` adds the environment, `-D` and other arguments. Each source is a figment `provider`;
//! `merge` lets figment merge them, and finds the places of the merged values. `expand` replaces `${…}`, `inherit` resolves
//! `use = "app:main"`, and `shape` checks the outline. `table` is what parts read, and `schema` checks it. `defaults` is the
//! weakest provider.
//! This module knows nothing of clap, of parts or of sockets.

mod defaults;
mod document;
mod env_file;
mod expand;
mod explain;
mod files;
mod format;
mod include;
mod inherit;
mod key_path;
mod link;
mod merge;
mod networks;
mod node;
mod origin;
mod paths;
mod procfile;
mod provenance;
mod provider;
mod schema;
mod secret;
mod sections;
mod shape;
mod sources;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Errors, Result, Source};
pub use env_file::read_env_file;
pub use explain::Explained;
pub use files::{Files, Opener, Purpose, help_for_denied, without_bom};
pub use format::formatted;
pub use key_path::{KeyPath, item, join};
pub use link::AppLink;
pub use networks::{Clients, Network};
pub use node::Occurrence;
pub use paths::{
    AppendPath, ConfigAddress, ConfigPath, FollowedPath, NamedPath, OutputPath, PathAccess, ProgramPath,
    ReadPath, ServedPath,
};
pub use procfile::{Procfile, ProcfileEntry, ProcfileRole, SkippedLine, simple_words};
use provenance::Provenance;
pub use schema::{allow_units, old_names};
pub use secret::is_secret_field;
pub use sections::{SECTIONS, TOP_LEVEL, TopLevel, common_keys, profile_keys};
pub use table::{ReadOptions, Table};

/// Where a configuration is read from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sources {
    /// The file named on the command line.
    pub file: Option<PathBuf>,
    /// A config that a command-line argument stands for, instead of a file.
    pub argument: Option<Argument>,
    /// The directory that was named instead of a file, and whose application the argument serves.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// The profile to merge, after all files.
    pub profile: Option<String>,
    /// `PASTER_…` variables: name and value.
    pub environment: Vec<(String, String)>,
    /// `-D key=value` arguments and what other flags stand for, in order; each is `key=value`.
    pub overrides: Vec<String>,
}

impl Sources {
    /// What the user named: the file, or the directory.
    pub fn named(&self) -> Option<&PathBuf> {
        self.file.as_ref().or(self.directory.as_ref())
    }
}

/// A command-line argument that stands for tables of a config.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Argument {
    /// The option: `--app`.
    pub option: String,
    /// The argument's value.
    pub text: String,
    /// The tables that it stands for.
    pub tree: Value,
}

/// One merged configuration, with the origin of every value. It is serializable because the supervisor sends
/// it to workers.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Config {
    /// The merged tree: tables `server`, `app`, `middleware`, … .
    tree: Value,
    provenance: Provenance,
    /// All files that were read, including included ones. A reload watches them.
    files: Vec<PathBuf>,
    /// The working directory, for paths in the environment and on the command line.
    folder: PathBuf,
    #[serde(skip)]
    opener: Files,
}

impl Config {
    /// Reads and merges all sources.
    /// # Errors
    /// Every error, each with its place.
    pub fn load(sources: &Sources) -> Result<Config> {
        Config::load_with(sources, |_| Vec::new()).1
    }

    /// The same, for commands that continue to look for more errors: the readable part, and the errors so far.
    /// There is no config if a file is missing or is not TOML, because later errors would be guesses.
    pub fn read(sources: &Sources) -> (Option<Config>, Vec<Error>) {
        let (_, config, errors) = Config::gather(sources, |_| Vec::new());
        (config, errors)
    }

    /// The same, with further overrides for the servers of these names. Also returns all files that the
    /// sources lead to, absolute, even if their content is wrong: a change to one of them may fix it.
    pub fn load_with(
        sources: &Sources,
        overrides: impl FnOnce(Vec<String>) -> Vec<String>,
    ) -> (Vec<PathBuf>, Result<Config>) {
        let (files, config, errors) = Config::gather(sources, overrides);
        let invalid = || Error::config("the config cannot be read").into();
        (files, Errors::check(errors).and_then(|()| config.ok_or_else(invalid)))
    }

    fn gather(
        sources: &Sources,
        overrides: impl FnOnce(Vec<String>) -> Vec<String>,
    ) -> (Vec<PathBuf>, Option<Config>, Vec<Error>) {
        let folder = std::env::current_dir().unwrap_or_else(|_| ".".into());
        let mut files = include::SourceFiles::default();
        if let Some(file) = &sources.file {
            files.read(file, None);
        }
        let include::SourceFiles { paths: mut read, values: mut all, incomplete, mut errors, .. } = files;
        if incomplete {
            return (read, None, errors);
        }
        let profile = sources.profile.as_deref();
        all.extend(sources.argument.as_ref().map(sources::argument));
        sources::add_environment(&mut all, profile, &sources.environment, &mut errors);
        sources::add_overrides(&mut all, &sources.overrides, &mut errors);
        let mut tree = merge::merge(&all, profile);
        let servers = tree.get("server").and_then(|node| node.table());
        let more = overrides(servers.map(|tables| tables.keys().cloned().collect()).unwrap_or_default());
        if !more.is_empty() {
            sources::add_overrides(&mut all, &more, &mut errors);
            tree = merge::merge(&all, profile);
        }
        shape::check_profiles(&mut tree, profile, &mut errors);
        shape::check(&tree, &mut errors);
        let mut expander = expand::Expander::expand(&mut tree, &folder);
        errors.append(&mut expander.errors);
        for file in expander.files {
            if !read.contains(&file) {
                read.push(file);
            }
        }
        inherit::apply(&mut tree, &mut errors);
        sort(&mut errors, &read);
        let config = Config {
            tree: tree.value(),
            provenance: Provenance::of(&tree),
            files: read.clone(),
            folder,
            opener: Files::default(),
        };
        (read, Some(config), errors)
    }

    /// Names of the tables of `section`: `names("app")` gives `main` for `[app.main]`, in file order.
    pub fn names(&self, section: &str) -> Vec<&str> {
        self.tree
            .get(section)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|t| t.keys())
            .map(String::as_str)
            .collect()
    }

    /// The table `[section.name]`, if there is one.
    pub fn table(&self, section: &str, name: &str) -> Option<Table> {
        let value = self.tree.get(section)?.get(name)?.clone();
        let table = Table::new(section, name, value, self.provenance_of(section, name), &self.folder);
        Some(table.opened_by(self.opener.clone()))
    }

    /// The table `[key]` at the top level of the config (`process`), if there is one.
    pub fn section(&self, key: &str) -> Option<Table> {
        let value = self.tree.get(key)?.clone();
        let table = Table::new("", key, value, self.provenance_of("", key), &self.folder);
        Some(table.opened_by(self.opener.clone()))
    }

    fn provenance_of(&self, section: &str, name: &str) -> Provenance {
        self.provenance.get(&join(section, name)).cloned().unwrap_or_default()
    }

    /// Makes `files` open the files that the config names.
    pub fn open_by(&mut self, files: Files) {
        self.opener = files;
    }

    /// Keeps only the tables of `section` for which `keep` is true.
    pub fn retain(&mut self, section: &str, keep: impl Fn(&str) -> bool) {
        if let Some(tables) = self.tree.get_mut(section).and_then(Value::as_object_mut) {
            tables.retain(|name, _| keep(name));
        }
    }

    /// The merged tree.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// All files that were read, absolute, the main one first. Includes optional includes that are absent,
    /// and files named by `${file:…}`.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Sorts errors by place: by file, then by line.
    pub fn sort(&self, errors: &mut [Error]) {
        sort(errors, &self.files);
    }

    /// The folder of the main config file, or the working directory if there is none.
    pub fn folder(&self) -> &Path {
        self.files.first().and_then(|file| file.parent()).unwrap_or(&self.folder)
    }
}

/// Shows where the config came from but not its values, which may contain secrets.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Sorts errors in the order in which the sources are read: by file, then by line.
fn sort(errors: &mut [Error], files: &[PathBuf]) {
    errors.sort_by_key(|error| match error.origin.as_deref() {
        Some(origin) => {
            let file = files.iter().position(|file| origin.source == Source::File(file.clone()));
            (file.unwrap_or(files.len()), origin.line, origin.column)
        }
        None => (usize::MAX, 0, 0),
    });
}
