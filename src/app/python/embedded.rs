//! `mode = "embedded"`: the application runs in the worker, on the interpreter's libpython.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::interpreter;
use crate::app::process::{Pool, PoolLimits, ProcessSpec, start_embedded};
use crate::body::App;
use crate::config::Table;
use crate::context::Context;
use crate::error::{Error, Result};

/// Options for processes. Those for workers are in `[process]`.
const PROCESS_OPTIONS: [&str; 4] = ["workers", "max_requests", "max_growth_mib", "stuck_secs"];

/// Options that all applications of a worker share.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SharedInterpreter {
    app: String,
    program: PathBuf,
    folder: PathBuf,
    env: BTreeMap<String, String>,
}

/// The options of the first application of this process, which has one interpreter.
static FIRST: Mutex<Option<SharedInterpreter>> = Mutex::new(None);

/// Rejects options that make no sense in a worker.
pub(super) fn faults(table: &Table) -> impl Iterator<Item = Error> {
    let set = PROCESS_OPTIONS.into_iter().filter(|name| table.value().get(name).is_some());
    set.map(|name| {
        let message = format!("`{name}` is for `mode = \"process\"`");
        let error = table.error(name, message);
        error.help("set the option of `[process]` for workers, or remove `mode = \"embedded\"`")
    })
}

/// Loads the application in this process. The option `folder_key` names its directory.
/// # Errors
/// If there is no libpython, if an earlier application needs another interpreter, or if the application cannot be loaded.
pub(super) fn app(
    table: &Table,
    folder_key: &str,
    limits: PoolLimits,
    context: &Context,
    (spec, library): (&ProcessSpec, &Path),
) -> Result<App> {
    let name = table.name();
    share(table, folder_key, spec)?;
    let runtime = interpreter::runtime(table, &spec.program)?;
    context.host.starting(&format!("loading the application of the app `{name}`"));
    let mut spec = spec.clone();
    let processes = spec.settings.iter_mut().find(|(name, _)| name == "processes");
    if let Some((_, processes)) = processes {
        *processes = workers(context).to_string();
    }
    let pool = Pool::new(name, limits);
    context.profilers.add(name, &pool);
    start_embedded(&pool, &spec, (&runtime, library), context).map_err(|failure| {
        let message = format!("the application `{name}` cannot be loaded: {}", failure.summary);
        Error { output: failure.traceback, ..table.error("application", message) }
    })?;
    Ok(pool.into_app())
}

/// Checks that the app needs the same options as the first app of this process.
fn share(table: &Table, folder_key: &str, spec: &ProcessSpec) -> Result<(), Error> {
    let ProcessSpec { program, folder, env, .. } = spec.clone();
    let own = SharedInterpreter { app: table.name().to_owned(), program, folder, env };
    let mut first = FIRST.lock();
    let first = first.get_or_insert_with(|| own.clone());
    let differs = [
        ("python", first.program != own.program),
        (folder_key, first.folder != own.folder),
        ("env", first.env != own.env),
    ];
    let Some((key, _)) = differs.into_iter().find(|(_, differs)| *differs) else { return Ok(()) };
    let message = format!(
        "the apps `{}` and `{}` differ in `{key}`, but all apps with `mode = \"embedded\"` share one interpreter",
        first.app, own.app
    );
    Err(table.error(key, message).help("set `mode = \"process\"` for one of them"))
}

/// The number of workers that run the application.
fn workers(context: &Context) -> usize {
    match &context.config["process"]["workers"] {
        serde_json::Value::Number(count) => {
            count.as_u64().and_then(|count| count.try_into().ok()).unwrap_or(1)
        }
        serde_json::Value::String(_) => std::thread::available_parallelism().map_or(1, usize::from),
        _ => 1,
    }
}
