//! `wsgi`, `asgi` and the kinds for frameworks: Python applications, in separate processes or in the worker.
//!
//! The kind for a framework is `wsgi` or `asgi` with the framework's defaults. The processes find the application by parsing
//! its files (`plugins/paster-python/src/find.py`) and load it as the framework's own command does (`frameworks.py` there).
//!
//! - here: how processes are started; `embedded`: an application in the worker
//! - `kind`: what the kinds have in common, and their options; then a file for each group of kinds
//! - `tornado`: a framework with a server of its own, which runs as a program
//! - `interpreter`: the interpreter of an application's environment, and its libpython
//!
//! # Source
//! PEP 3333; ASGI 3.0.

mod asgi;
mod django;
mod embedded;
mod framework;
mod interpreter;
mod kind;
mod tornado;
mod wsgi;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub(super) use self::asgi::AsgiOptions;
pub(super) use self::django::DjangoOptions;
pub(super) use self::framework::{AsgiFramework, QuixoteOptions, WsgiFramework};
pub use self::interpreter::find_in as find_interpreter;
use self::kind::{Interface, Mode, PythonKind};
pub(super) use self::tornado::entry as tornado;
pub(super) use self::wsgi::WsgiOptions;
use super::process::{self, PoolLimits, ProcessLimits, ProcessSpec};
use super::upstream::{check_variables, duration};
use super::{AppKind, Builder};
use crate::body::App;
use crate::config::Table;
use crate::error::{Error, Errors, Result};
use crate::plugin::{PluginLibrary, PluginSource};
use crate::registry::Entry;

/// The code for the interpreter: it loads the library, which does the rest.
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

/// The entry of a kind of Python application.
pub(super) fn entry<O>(name: &'static str, summary: &'static str) -> Entry<AppKind>
where
    O: PythonKind + DeserializeOwned + JsonSchema + 'static,
{
    Entry::of(name, summary, build::<O>).library(library::<O>).processes(process_spec::<O>)
}

/// Arguments with which the interpreter loads the application of `spec`, and then reads statements from the terminal or from
/// standard input.
pub fn shell_args(spec: &ProcessSpec) -> Vec<String> {
    let code = concat!(
        include_str!("../../../plugins/paster-python/src/loader.py"),
        include_str!("../../../plugins/paster-python/src/find.py"),
        include_str!("../../../plugins/paster-python/src/frameworks.py"),
        include_str!("shell.py")
    );
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
        let embedded = options.common().mode == Mode::Embedded;
        let spec = process_spec(options, table, Path::new(""), false)?;
        if embedded {
            interpreter::runtime(table, &spec.program)?;
        }
        return Ok(App::from_call(|_| Box::pin(std::future::ready(Err("this app was only checked".into())))));
    }
    let Some(library) = context.libraries.get(table.name()) else {
        let error =
            table.error("use", format!("the Python library of the app `{}` is not built", table.name()));
        return Err(error.help("`paster serve` builds it").into());
    };
    let queue = duration(options.common().queue_secs);
    let websockets = options.interface() == Interface::Asgi;
    let limits = PoolLimits { in_flight: options.in_flight(), queue, websockets };
    // Without a supervisor, it runs in a process, so that what it prints does not mix with the output of a command.
    let app = if options.common().mode == Mode::Embedded && context.processes.contains_key(table.name()) {
        let spec = spec(&options, table, library, context.development)?.with_variables(&context.variables);
        embedded::app(table, options.folder().0, limits, context, (&spec, library))?
    } else {
        process::app(table, limits, builder, || {
            Ok(spec(&options, table, library, context.development)?.with_variables(&context.variables))
        })?
    };
    options.wrap(app, table, &folder(&options, table), builder)
}

/// The application's directory.
fn folder<O: PythonKind>(options: &O, table: &Table) -> PathBuf {
    let (key, named) = options.folder();
    named.map_or_else(|| table.base(&key.into()).to_path_buf(), Path::to_path_buf)
}

/// How to start the processes of the app `table`, with paster's Python library at `library`.
/// # Errors
/// All errors of the table,
/// or if there is no interpreter.
pub(super) fn process_spec<O: PythonKind>(
    options: O,
    table: &Table,
    library: &Path,
    development: bool,
) -> Result<ProcessSpec> {
    spec(&options, table, library, development)
}

fn spec<O: PythonKind>(options: &O, table: &Table, library: &Path, development: bool) -> Result<ProcessSpec> {
    let common = options.common();
    let mut errors = Vec::new();
    check_variables(table, "env", &common.env, &mut errors);
    options.check(table, &mut errors);
    let (key, _) = options.folder();
    let config = table.base(&key.into()).to_path_buf();
    let folder = folder(options, table);
    if !folder.is_dir() {
        errors.push(table.error(key, format!("`{}` is not a directory", folder.display())));
    }
    let embedded = common.mode == Mode::Embedded;
    if embedded {
        errors.extend(embedded::faults(table));
    }
    let program = interpreter::find(table, common.python.as_deref(), &[&folder, &config]);
    let program = program.unwrap_or_else(|error| {
        errors.push(error);
        PathBuf::new()
    });
    Errors::check(errors)?;
    let mut env = interpreter::environment(&program);
    env.extend(common.env.clone());
    let count = if embedded { 0 } else { common.workers.get() as usize };
    let text = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
    let limits = match embedded {
        true => ProcessLimits::default(),
        false => ProcessLimits {
            requests: common.max_requests,
            growth_mb: common.max_growth_mib,
            stuck_secs: common.stuck_secs,
        },
    };
    let interface = match options.interface() {
        Interface::Wsgi => "wsgi",
        Interface::Asgi => "asgi",
    };
    let mut settings = vec![
        text("limited", &(limits != ProcessLimits::default())),
        text("kind", &interface),
        text("application", &options.application(table, &folder, development)),
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
        has_stacks: true,
        ..ProcessSpec::default()
    })
}
