//! What the kinds of Python applications have in common.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::Builder;
use crate::app::upstream::{Secs, secs};
use crate::body::App;
use crate::config::{ConfigPath, Table};
use crate::error::{Error, Result};

/// Which application: for the kinds that do not know its framework.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NamedApplication {
    /// The application: `module:object`, where `object` is `application` or `app` by default; a factory with literal arguments,
    /// `module:create_app("production")`; a file, `site.wsgi`; or PasteDeploy's `config:site.ini#main`.
    pub(super) application: String,
    /// Working directory of the application, and the first place in which its modules are found. Default: the config's
    /// directory.
    pub(super) working_dir: Option<ConfigPath>,
}

impl NamedApplication {
    pub(super) fn check(&self, table: &Table, errors: &mut Vec<Error>) {
        if self.application.trim().is_empty() {
            let error = table.error("application", "`application` is empty");
            errors.push(error.help("name the application, as in `application = \"module:object\"`"));
        }
    }
}

/// What all Python kinds need.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::app) struct PythonOptions {
    /// The interpreter, or the directory of a virtual environment. Default: `$VIRTUAL_ENV`; then `.venv` or `venv` in
    /// the application's directory and in the config's directory, Poetry's environment, and `python3` on the path.
    pub(super) python: Option<ConfigPath>,
    /// Variables to add to the environment of the processes.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Where the application runs. "process": in processes of its own, which all workers share. "embedded": in each of paster's
    /// workers, which costs less per request, but a crash of the application ends the worker, and `workers` of `[process]` is the
    /// number of its processes. Needs the interpreter's shared library.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Number of processes. All workers share them.
    #[serde(default = "one")]
    pub(super) workers: NonZeroU32,
    /// Maximum time for loading the application.
    #[serde(default = "half_a_minute")]
    pub(super) start_secs: Secs,
    /// Maximum wait for a process that takes a request; then 503.
    #[serde(default = "half_a_minute")]
    pub(super) queue_secs: Secs,
    /// Replace a process after about this many requests (up to a tenth more, so that processes are not replaced together); 0:
    /// never.
    #[serde(default)]
    pub(super) max_requests: u64,
    /// Replace a process when its memory has grown by this many MiB since it became ready; 0: never.
    #[serde(default)]
    pub(super) max_growth_mib: u64,
    /// Replace a process when a request has neither sent nor received anything for this long, or when no Python code could run
    /// for this long (an event loop that is blocked, an extension that keeps the interpreter); 0: never. The log then tells what
    /// each thread was doing.
    #[serde(default = "five_minutes")]
    pub(super) stuck_secs: u64,
    /// Cargo profile to build paster's Python library with, if paster runs from its source directory. Default: `dev` with
    /// `--reload`, otherwise `release`.
    pub(super) profile: Option<String>,
}

/// Where an application runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::app) enum Mode {
    #[default]
    Process,
    Embedded,
}

fn one() -> NonZeroU32 {
    secs(1)
}

fn five_minutes() -> u64 {
    300
}

fn half_a_minute() -> Secs {
    secs(30)
}

/// How an application is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::app) enum Interface {
    /// PEP 3333, on threads.
    #[default]
    Wsgi,
    /// ASGI 3, on an event loop, with WebSockets.
    Asgi,
}

/// What a kind adds.
pub(in crate::app) trait PythonKind: Sized {
    /// What all kinds have.
    fn common(&self) -> &PythonOptions;

    /// How the application is called.
    fn interface(&self) -> Interface;

    /// The option that names the application's directory, and its value.
    fn folder(&self) -> (&'static str, Option<&Path>);

    /// What the loader of the processes gets as the application. `folder` is the application's directory.
    fn application(&self, table: &Table, folder: &Path, development: bool) -> String;

    /// Adds what is wrong with the kind's own options.
    fn check(&self, table: &Table, errors: &mut Vec<Error>);

    /// Requests that a process may have of one worker.
    fn in_flight(&self) -> usize;

    /// Settings for the process.
    fn settings(&self) -> Vec<(String, String)>;

    /// Adds what serves some requests without the processes, which have loaded the application if there is a supervisor.
    /// # Errors
    /// Faults of what is added.
    fn wrap(&self, app: App, _table: &Table, _folder: &Path, _builder: &mut Builder<'_>) -> Result<App> {
        Ok(app)
    }
}
