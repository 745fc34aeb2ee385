//! `tornado`: an application of Tornado. It has its own event loop and HTTP server, so it runs as a program.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::framework::FoundApplication;
use super::interpreter;
use crate::app::process::ProcessSpec;
use crate::app::program;
use crate::app::upstream::{Secs, secs};
use crate::app::{AppKind, Builder};
use crate::body::App;
use crate::config::{ConfigPath, Table};
use crate::error::{Error, Errors, Result};
use crate::registry::Entry;

/// Options of an `[app.NAME]` table with `use = "tornado"`.
///
/// paster forwards requests and WebSockets to the processes over HTTP. `request.remote_ip` is the client.
///
/// ```toml
/// [app.main]
/// use = "tornado"
/// publish_dir = "chat"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TornadoOptions {
    #[serde(flatten)]
    found: FoundApplication,
    /// The interpreter, or the directory of a virtual environment. Default: the first of `$VIRTUAL_ENV`, `.venv` or `venv` in
    /// the application's or the config's directory, Poetry's environment, and `python3` on the `PATH`.
    python: Option<ConfigPath>,
    /// Variables to add to the environment of the processes.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Number of processes, each with an event loop. All workers share them.
    #[serde(default = "one")]
    workers: NonZeroU32,
    /// Maximum time until a process is ready.
    #[serde(default = "half_a_minute")]
    start_secs: Secs,
    /// Maximum time for requests in progress when a process ends. After that, the process is killed.
    #[serde(default = "half_a_minute")]
    stop_secs: Secs,
    /// Replace a process when its memory has grown by this many MiB since it became ready; 0 means never.
    #[serde(default)]
    max_growth_mib: u64,
}

fn one() -> NonZeroU32 {
    secs(1)
}

fn half_a_minute() -> Secs {
    secs(30)
}

/// The entry of the kind.
pub(in crate::app) fn entry() -> Entry<AppKind> {
    Entry::of("tornado", "Runs the Tornado application of a directory, with WebSockets", build)
        .processes(process_spec)
}

/// The code for the interpreter.
const CODE: &str = concat!(
    include_str!("../../../plugins/paster-python/src/loader.py"),
    include_str!("../../../plugins/paster-python/src/find.py"),
    include_str!("../../../plugins/paster-python/src/frameworks.py"),
    include_str!("tornado.py")
);

fn build(options: TornadoOptions, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let development = builder.context.development;
    let program = program_options(&options, table, development)?;
    let spec = || process_spec(options, table, Path::new(""), development);
    program::build_with(program, spec, table, builder)
}

fn process_spec(
    options: TornadoOptions,
    table: &Table,
    library: &Path,
    development: bool,
) -> Result<ProcessSpec> {
    program::process_spec(program_options(&options, table, development)?, table, library, development)
}

/// The program that serves the application.
fn program_options(options: &TornadoOptions, table: &Table, development: bool) -> Result<program::Options> {
    let mut errors = Vec::new();
    options.found.check(table, &mut errors);
    let (key, named) = options.found.folder();
    let config = table.base(&key.into()).to_path_buf();
    let folder = named.map_or_else(|| config.clone(), Path::to_path_buf);
    if !folder.is_dir() {
        errors.push(table.error(key, format!("`{}` is not a directory", folder.display())));
    }
    let python = interpreter::find(table, options.python.as_deref(), &[&folder, &config]);
    let python = python.unwrap_or_else(|error| {
        errors.push(error);
        PathBuf::new()
    });
    Errors::check(errors)?;
    let mut env = interpreter::environment(&python);
    env.extend(options.env.clone());
    // Python compares a cached module with its source by size and by the second of the last change: it could miss a change.
    let flags = if development { "-uB" } else { "-u" };
    let values = json!({
        "command": [python, flags, "-c", CODE, options.found.name(table, development), folder],
        "working_dir": folder,
        "env": env,
        "workers": options.workers,
        "address": "socket",
        "start_secs": options.start_secs,
        "stop_secs": options.stop_secs,
        "max_growth_mib": options.max_growth_mib,
        "watch": python_files(&folder),
    });
    let invalid = |cause| {
        Error::config("cannot encode the settings of the application's processes").because(cause).into()
    };
    serde_json::from_value(values).map_err(invalid)
}

/// The Python files of the application. A change of one replaces its processes.
fn python_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            // A directory with a `pyvenv.cfg` is an environment, whose packages do not change.
            let is_own =
                !name.starts_with('.') && name != "node_modules" && !path.join("pyvenv.cfg").exists();
            if is_dir && is_own && depth < DEEPEST {
                folders.push((path, depth + 1));
            } else if !is_dir && name.ends_with(".py") && found.len() < MOST_FILES {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Maximum depth of watched directories, and maximum number of watched files.
const DEEPEST: usize = 8;
const MOST_FILES: usize = 2000;
