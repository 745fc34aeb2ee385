//! Finds the interpreter of an application's environment.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::Table;
use crate::error::Error;
use crate::plugin::python::PythonRuntime;

/// The interpreter that `python` names. By default, that of `VIRTUAL_ENV`, of an environment in one of `folders`, or of
/// Poetry, or the one on the path.
/// # Errors
/// If there is none.
pub(super) fn find(table: &Table, python: Option<&Path>, folders: &[&Path]) -> Result<PathBuf, Error> {
    if let Some(named) = python {
        let found = match named.is_dir() {
            true => of_environment(named),
            false => is_program(named).then(|| named.to_owned()),
        };
        return found.ok_or_else(|| {
            let message =
                format!("`{}` is neither an interpreter nor a virtual environment", named.display());
            table
                .error("python", message)
                .help("create one with `python3 -m venv DIRECTORY`, or set another one")
        });
    }
    find_in(folders).ok_or_else(|| {
        let error = table.error("use", "there is no Python interpreter on the `PATH`");
        error.help("install Python 3.9 or newer, or set its environment: `python = \"DIRECTORY\"`")
    })
}

/// The interpreter of `VIRTUAL_ENV`, of an environment in one of `folders`, of Poetry, or on the path.
pub fn find_in(folders: &[&Path]) -> Option<PathBuf> {
    let variable = std::env::var_os("VIRTUAL_ENV").filter(|path| !path.is_empty()).map(PathBuf::from);
    let beside = folders.iter().flat_map(|folder| [".venv", "venv"].map(|name| folder.join(name)));
    let found = variable.into_iter().chain(beside).find_map(|environment| of_environment(&environment));
    let found = found.or_else(|| folders.iter().find_map(|folder| poetry(folder)));
    found.or_else(|| on_path("python3")).or_else(|| on_path("python"))
}

/// The interpreter of a virtual environment.
fn of_environment(folder: &Path) -> Option<PathBuf> {
    ["bin/python", "bin/python3"].iter().map(|name| folder.join(name)).find(|path| is_program(path))
}

/// Poetry's environment for the project in `folder`.
fn poetry(folder: &Path) -> Option<PathBuf> {
    let project = std::fs::read_to_string(folder.join("pyproject.toml")).ok()?;
    let project: toml::Table = project.parse().ok()?;
    project.get("tool")?.get("poetry")?;
    let mut command = Command::new(on_path("poetry")?);
    command.args(["env", "info", "--path"]).current_dir(folder).stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    of_environment(Path::new(std::str::from_utf8(&output.stdout).ok()?.trim()))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Prints the version of an interpreter, and where its shared library may be.
const ASK: &str = "import os, sys, sysconfig
var = lambda name: sysconfig.get_config_var(name) or ''
print(sys.version.split()[0])
places = [var('LIBDIR'), os.path.join(var('LIBDIR'), var('MULTIARCH')), var('LIBPL'),
          os.path.join(sys.base_prefix, 'lib'), var('PYTHONFRAMEWORKPREFIX')]
for name in (var('INSTSONAME'), var('LDLIBRARY')):
    for place in places:
        if name and place and not name.endswith('.a'):
            print(os.path.join(place, name))
";

/// The interpreter's version and its shared library, which runs the application in a worker.
/// # Errors
/// If the interpreter has
/// no shared library, or is too old.
pub(super) fn runtime(table: &Table, program: &Path) -> Result<PythonRuntime, Error> {
    let shown = program.display();
    let failed = |message: String| table.error("python", message);
    let mut command = Command::new(program);
    command.args(["-I", "-c", ASK]).stdin(Stdio::null());
    let output = command.output().map_err(|cause| failed(format!("cannot run `{shown}`")).because(cause))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let Some(version) = lines.next().filter(|_| output.status.success()) else {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(format!("`{shown}` is not a Python interpreter")).because(why));
    };
    let minor = version.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 9) {
        return Err(failed(format!("paster needs Python 3.9 or newer, but `{shown}` is {version}")));
    }
    match lines.map(PathBuf::from).find(|path| path.is_file()) {
        Some(libpython) => {
            Ok(PythonRuntime { program: program.to_owned(), libpython, version: version.to_owned() })
        }
        None => {
            let message = format!("`{shown}` has no shared library, which `mode = \"embedded\"` needs");
            let help = format!(
                "install it (on Debian: `apt-get install libpython3.{}`), or remove `mode` to run the application in processes",
                minor.unwrap_or_default()
            );
            Err(table.error("mode", message).help(help))
        }
    }
}

/// The variables that activating the interpreter's environment sets in a shell.
pub(super) fn environment(interpreter: &Path) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let bin = interpreter.parent().unwrap_or(Path::new("/"));
    let Some(root) = bin.parent().filter(|root| root.join("pyvenv.cfg").is_file()) else { return variables };
    variables.insert("VIRTUAL_ENV".to_owned(), root.display().to_string());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = std::env::split_paths(&path).filter(|folder| folder != bin);
    let path = std::iter::once(bin.to_owned()).chain(others);
    if let Ok(path) = std::env::join_paths(path)
        && let Ok(path) = path.into_string()
    {
        variables.insert("PATH".to_owned(), path);
    }
    variables
}
