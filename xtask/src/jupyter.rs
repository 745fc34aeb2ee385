//! Installs Jupyter's own programs, which the notebook is tested with.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::{checked, npm};
use crate::{root, target};

/// The version of jupyter_server whose tests are run, as in `tests/requirements-jupyter.txt`.
const SERVER: &str = "jupyter_server==2.21.1";

/// A directory with a virtual environment (`venv`), the sources of jupyter_server with its tests (`jupyter_server`), and
/// the clients in JavaScript (`node_modules`). It is made once for each version of the lists.
pub(crate) fn programs() -> Result<PathBuf> {
    let folder = target().join("test-jupyter");
    let requirements = root().join("tests/requirements-jupyter.txt");
    let packages = root().join("plugins/notebook/tests/programs");
    let lock = packages.join("package-lock.json");
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let wanted = format!("{}{}{SERVER}", read(&requirements)?, read(&lock)?);
    let stamp = folder.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    eprintln!("installing Jupyter's programs into {}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(folder.join("jupyter_server"))?;
    let python = folder.join("venv/bin/python");
    checked(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")))?;
    let pip = || {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).current_dir(&folder);
        pip
    };
    checked(pip().args(["install", "-r"]).arg(&requirements))?;
    // The wheel has no tests.
    checked(pip().args(["download", "--no-deps", "--no-binary", "jupyter_server", SERVER]))?;
    let archive = format!("{}.tar.gz", SERVER.replace("==", "-"));
    checked(
        Command::new("tar")
            .arg("xzf")
            .arg(folder.join(archive))
            .args(["--strip-components=1", "-C", "jupyter_server"])
            .current_dir(&folder),
    )?;
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(packages.join(file), folder.join(file))?;
    }
    checked(npm(&folder).args(["ci", "--no-audit", "--no-fund"]))?;
    std::fs::write(&stamp, wanted)?;
    Ok(folder)
}
