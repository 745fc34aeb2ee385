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

/// The application, for the kinds that do not know its framework.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NamedApplication {
    /// The application: `module:object` (the default `object` is `application`, then `app`), as in `mysite.wsgi`, a factory
    /// with literal arguments (`module:create_app("production")`), a file (`site.wsgi`), or PasteDeploy's
    /// `config:site.ini#main`.
    pub(super) application: String,
    /// Working directory of the application, and the first entry of the module search path. Default: the config's directory.
    pub(super) working_dir: Option<ConfigPath>,
}

impl NamedApplication {
    pub(super) fn check(&self, table: &Table, errors: &mut Vec<Error>) {
        if self.application.trim().is_empty() {
            let error = table.error("application", "`application` is empty");
            errors.push(error.help("set the application: `application = \"module:object\"`"));
        }
    }
}

/// Options of all Python kinds.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::app) struct PythonOptions {
    /// The interpreter, or the directory of a virtual environment. Default: the first of `$VIRTUAL_ENV`, `.venv` or `venv` in
    /// the application's or the config's directory, Poetry's environment, and `python3` on the `PATH`.
    pub(super) python: Option<ConfigPath>,
    /// Variables to add to the environment of the processes.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Where the application runs. "process": in separate processes that all workers share. "embedded": in each of paster's
    /// workers. Embedded costs less per request, but a crash of the application ends the worker, and the number of processes
    /// is `workers` of `[process]`. It needs the interpreter's shared library.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Number of processes. All workers share them.
    #[serde(default = "one")]
    pub(super) workers: NonZeroU32,
    /// Maximum time for loading the application.
    #[serde(default = "half_a_minute")]
    pub(super) start_secs: Secs,
    /// Maximum time that a request waits for a process. After that, the response is 503.
    #[serde(default = "half_a_minute")]
    pub(super) queue_secs: Secs,
    /// Replace a process after about this many requests; 0 means never. The number varies by a tenth, so that the processes
    /// are not all replaced at once.
    #[serde(default)]
    pub(super) max_requests: u64,
    /// Replace a process when its memory has grown by this many MiB since it became ready; 0 means never.
    #[serde(default)]
    pub(super) max_growth_mib: u64,
    /// Replace a process when a request has neither sent nor received anything for this long, or when no Python code could run
    /// for this long (because the event loop is blocked, or an extension holds the interpreter lock); 0 means never. The log
    /// shows what each thread was doing.
    #[serde(default = "five_minutes")]
    pub(super) stuck_secs: u64,
    /// Cargo profile for building paster's Python library, when paster runs from its source directory. Default: `dev` with
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

/// What a kind adds to the common options.
pub(in crate::app) trait PythonKind: Sized {
    /// The common options.
    fn common(&self) -> &PythonOptions;

    /// How the application is called.
    fn interface(&self) -> Interface;

    /// The option that names the application's directory, and its value.
    fn folder(&self) -> (&'static str, Option<&Path>);

    /// The application in the form for the loader of the processes. `folder` is the application's directory.
    fn application(&self, table: &Table, folder: &Path, development: bool) -> String;

    /// Checks the kind's own options.
    fn check(&self, table: &Table, errors: &mut Vec<Error>);

    /// Maximum number of requests from one worker per process.
    fn in_flight(&self) -> usize;

    /// Settings for the process.
    fn settings(&self) -> Vec<(String, String)>;

    /// Wraps the app, to serve some requests without the processes. With a supervisor, the processes have loaded the
    /// application by now.
    /// # Errors
    /// If the addition cannot be built.
    fn wrap(&self, app: App, _table: &Table, _folder: &Path, _builder: &mut Builder<'_>) -> Result<App> {
        Ok(app)
    }
}
