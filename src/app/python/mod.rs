//! `wsgi` and `asgi`: Python applications, in processes of their own interpreter.
//!
//! # Source
//! PEP 3333; ASGI 3.0.

mod asgi;
mod interpreter;
mod wsgi;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use self::asgi::AsgiOptions;
pub(super) use self::wsgi::WsgiOptions;
use super::process::{self, PoolLimits, ProcessLimits, ProcessSpec};
use super::upstream::{Secs, check_variables, duration, secs};
use super::{Builder, PluginLibrary, PluginSource};
use crate::body::App;
use crate::config::{ConfigPath, Table};
use crate::error::{Error, Errors, Result};

/// What the interpreter runs: it loads the library, which does the rest.
const BOOTSTRAP: &str = "import sys
if sys.version_info < (3, 9):
    sys.exit(f'paster needs Python 3.9 or newer, and this is {sys.version.split()[0]}')
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
library = sys.argv[1]
loader = ExtensionFileLoader('paster_python', library)
module = module_from_spec(ModuleSpec('paster_python', loader, origin=library))
loader.exec_module(module)
module.main()
";

/// What both kinds need.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct PythonOptions {
    /// The application: `module:object`, where `object` is `application` or `app` by default; a factory with literal arguments,
    /// `module:create_app("production")`; a file, `site.wsgi`; or PasteDeploy's `config:site.ini#main`.
    application: String,
    /// The interpreter, or the directory of a virtual environment. Default: `$VIRTUAL_ENV`; then `.venv` or `venv` in
    /// `working_dir` and in the config's directory, Poetry's environment, and `python3` on the path.
    python: Option<ConfigPath>,
    /// Working directory of the application, and the first place in which its modules are found. Default: the config's
    /// directory.
    working_dir: Option<ConfigPath>,
    /// Variables to add to the environment of the processes.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Number of processes. All workers share them.
    #[serde(default = "one")]
    workers: NonZeroU32,
    /// Maximum time for loading the application.
    #[serde(default = "half_a_minute")]
    start_secs: Secs,
    /// Maximum wait for a process that takes a request; then 503.
    #[serde(default = "half_a_minute")]
    queue_secs: Secs,
    /// Replace a process after about this many requests (up to a tenth more, so that processes are not replaced together); 0:
    /// never.
    #[serde(default)]
    max_requests: u64,
    /// Replace a process when its memory has grown by this many MiB since it became ready; 0: never.
    #[serde(default)]
    max_growth_mib: u64,
    /// Replace a process when a request has neither sent nor received anything for this long, or, of an `asgi` application, when
    /// its event loop has been blocked for this long; 0: never. The log then tells what each thread was doing.
    #[serde(default = "five_minutes")]
    stuck_secs: u64,
    /// Cargo profile to build paster's Python library with, if paster runs from its source directory. Default: `dev` with
    /// `--reload`, otherwise `release`.
    profile: Option<String>,
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

/// What a kind adds.
pub(super) trait PythonKind: Sized {
    /// What both kinds have.
    fn common(&self) -> &PythonOptions;

    /// Requests that a process may have of one worker.
    fn in_flight(&self) -> usize;

    /// Whether applications take WebSockets.
    const WEBSOCKETS: bool;

    /// Settings for the process.
    fn settings(&self) -> Vec<(String, String)>;
}

/// Arguments of the interpreter that load the application of `spec`, and then read statements from the terminal or from
/// standard input.
pub fn shell_args(spec: &ProcessSpec) -> Vec<String> {
    let code =
        concat!(include_str!("../../../plugins/paster-python/src/loader.py"), include_str!("shell.py"));
    let setting = |name: &str| {
        spec.settings
            .iter()
            .find(|(known, _)| known == name)
            .map_or_else(String::new, |(_, value)| value.clone())
    };
    vec!["-c".to_owned(), code.to_owned(), setting("application"), setting("folder")]
}

/// Paster's Python library.
pub(super) fn library<O: PythonKind>(options: &O, table: &Table) -> Result<Option<PluginLibrary>, Error> {
    let (source, profile) =
        (PluginSource::Bundled("paster_python".to_owned()), options.common().profile.clone());
    Ok(Some(PluginLibrary { source, profile, origin: table.origin("use") }))
}

/// Creates the app.
pub(super) fn build<O: PythonKind>(options: O, table: &Table, builder: &mut Builder<'_>) -> Result<App> {
    let context = builder.context;
    if context.checking {
        process_spec(options, table, Path::new(""), false)?;
        return Ok(App::from_call(|_| Box::pin(std::future::ready(Err("this app was only checked".into())))));
    }
    let Some(library) = context.libraries.get(table.name()) else {
        let error =
            table.error("use", format!("the Python library of the app `{}` is not built", table.name()));
        return Err(error.help("`paster serve` builds it").into());
    };
    let queue = duration(options.common().queue_secs);
    let limits = PoolLimits { in_flight: options.in_flight(), queue, websockets: O::WEBSOCKETS };
    process::app(table, limits, builder, || process_spec(options, table, library, context.development))
}

/// How the processes of the app `table` are started, with paster's Python library at `library`.
/// # Errors
/// Every fault of the table; no interpreter.
pub(super) fn process_spec<O: PythonKind>(
    options: O,
    table: &Table,
    library: &Path,
    development: bool,
) -> Result<ProcessSpec> {
    let common = options.common();
    let mut errors = Vec::new();
    check_variables(table, "env", &common.env, &mut errors);
    if common.application.trim().is_empty() {
        let error = table.error("application", "`application` is empty");
        errors.push(error.help("name the application, as in `application = \"module:object\"`"));
    }
    let config = table.base(&"application".into()).to_path_buf();
    let folder = common.working_dir.as_deref().map_or_else(|| config.clone(), Path::to_path_buf);
    if !folder.is_dir() {
        errors.push(table.error("working_dir", format!("`{}` is not a directory", folder.display())));
    }
    let program = interpreter::find(table, common.python.as_deref(), &[&folder, &config]);
    let program = program.unwrap_or_else(|error| {
        errors.push(error);
        PathBuf::new()
    });
    Errors::check(errors)?;
    let mut env = interpreter::environment(&program);
    env.extend(common.env.clone());
    let count = common.workers.get() as usize;
    let text = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
    let limits = ProcessLimits {
        requests: common.max_requests,
        growth_mb: common.max_growth_mib,
        stuck_secs: common.stuck_secs,
    };
    let mut settings = vec![
        text("limited", &(limits != ProcessLimits::default())),
        text("kind", &table.kind()?),
        text("application", &common.application.trim()),
        text("folder", &folder.display()),
        text("processes", &count),
        text("development", &development),
    ];
    settings.extend(options.settings());
    Ok(ProcessSpec {
        args: ["-u", "-c", BOOTSTRAP, &library.display().to_string()].map(str::to_owned).to_vec(),
        env,
        settings,
        folder,
        program,
        count,
        start_secs: u64::from(common.start_secs.get()),
        limits,
    })
}
