//! Makes the virtual environment of a created project: with uv if it is installed, otherwise with venv and pip.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// How the virtual environment of a project is made.
#[derive(Debug, Clone)]
pub struct PythonEnvironment {
    /// The directory of the environment.
    pub folder: PathBuf,
    /// The program that installs the packages.
    pub installer: &'static str,
    /// Programs with their arguments, to run in turn.
    steps: Vec<Vec<String>>,
}

impl PythonEnvironment {
    /// The environment `.venv` of the project in `project`, with the packages of its `requirements.txt`.
    pub(super) fn of(project: &Path) -> PythonEnvironment {
        let shown = |path: &Path| path.display().to_string();
        // A leading dash would be an option.
        let project = match shown(project).starts_with('-') {
            true => Path::new(".").join(project),
            false => project.to_owned(),
        };
        let (folder, list) = (project.join(".venv"), shown(&project.join("requirements.txt")));
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (installer, steps) = match is_installed("uv") {
            true => {
                let install = words(&["uv", "pip", "install", "--python", &shown(&folder), "-r", &list]);
                ("uv", vec![words(&["uv", "venv", &shown(&folder)]), install])
            }
            false => {
                let pip = shown(&folder.join("bin/pip"));
                let install = words(&[&pip, "--disable-pip-version-check", "install", "-r", &list]);
                ("pip", vec![words(&["python3", "-m", "venv", &shown(&folder)]), install])
            }
        };
        PythonEnvironment { folder, installer, steps }
    }

    /// The same as one command of a shell.
    pub fn command(&self) -> String {
        let steps =
            self.steps.iter().map(|step| step.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "));
        steps.collect::<Vec<_>>().join(" && ")
    }

    /// Makes it. What the programs print goes to standard error, or nowhere if `quiet`.
    /// # Errors
    /// When a program is missing or fails.
    pub fn make(&self, quiet: bool) -> Result<()> {
        for step in &self.steps {
            let [program, args @ ..] = step.as_slice() else { continue };
            let mut command = Command::new(program);
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
            match rustix::io::dup(std::io::stderr()) {
                _ if quiet => command.stderr(Stdio::null()),
                Ok(stderr) => command.stdout(Stdio::from(stderr)),
                Err(_) => &mut command, // standard error is closed
            };
            let failed = |why: String| {
                let message = format!("cannot create the environment `{}`", self.folder.display());
                let help =
                    format!("the project was created; create its environment with `{}`", self.command());
                Error::new(message).because(why).help(help)
            };
            let status =
                command.status().map_err(|cause| failed(format!("cannot run `{program}`: {cause}")))?;
            if !status.success() {
                return Err(failed(format!("`{}` ended with {status}", step.join(" "))).into());
            }
        }
        Ok(())
    }
}

/// `word` for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
