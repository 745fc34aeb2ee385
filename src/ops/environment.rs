//! `paster run` and `paster shell`: programs in the environment of an application.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::assemble::unknown_app;
use super::resources;
use crate::app::process::ProcessSpec;
use crate::app::{AppKind, shell_args};
use crate::config::{Config, Sources};
use crate::error::{Error, Result};

/// Executes `words` in the place of this process: with the variables, the path and the working directory of the
/// processes of `app`. Returns only if that fails.
/// # Errors
/// Faults of the config; an app without an environment; no such program.
pub fn run(sources: &Sources, app: &str, words: &[OsString]) -> Result<std::convert::Infallible> {
    let spec = spec(sources, app)?;
    let Some((program, args)) = words.split_first() else {
        return Err(Error::usage("no command").help("add it after `--`: `paster run APP -- COMMAND`").into());
    };
    let mut command = Command::new(program);
    command.args(args).current_dir(&spec.folder).envs(&spec.env);
    let cause = command.exec();
    Err(Error::new(format!("cannot run `{}`", program.to_string_lossy())).because(cause).into())
}

/// Whether `app` is a plugin, which has commands instead of an environment.
/// # Errors
/// Faults of the config; no such app.
pub fn is_plugin(sources: &Sources, app: &str) -> Result<bool> {
    let config = Config::load(sources)?;
    let Some(table) = config.table("app", app) else { return Err(unknown_app(&config, app).into()) };
    Ok(AppKind::of(&table)?.kind.is_plugin())
}

/// Executes the interpreter of `app` in the place of this process, with the application loaded as `application`. Returns
/// only if that fails.
/// # Errors
/// Faults of the config; an app that is not a Python application.
pub fn shell(sources: &Sources, app: &str) -> Result<std::convert::Infallible> {
    let spec = spec(sources, app)?;
    let mut command = Command::new(&spec.program);
    command.args(shell_args(&spec)).current_dir(&spec.folder).envs(&spec.env);
    let cause = command.exec();
    Err(Error::new(format!("cannot run `{}`", spec.program.display())).because(cause).into())
}

/// How the processes of `app` are started.
fn spec(sources: &Sources, app: &str) -> Result<ProcessSpec> {
    let config = Config::load(sources)?;
    let Some(table) = config.table("app", app) else { return Err(unknown_app(&config, app).into()) };
    let spec = AppKind::of(&table)?.kind.processes(&table, Path::new(""), false)?;
    let spec = spec.map(|spec| spec.with_variables(&resources::variables(&config)));
    spec.ok_or_else(|| {
        let error = table.error("use", format!("the app `{app}` has no separate environment"));
        error.help("Python applications have one").into()
    })
}
