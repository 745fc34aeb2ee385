//! Reads what the rules ask about a directory. Each file is read at most once; nothing is run but Python's parser.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use crate::app::find_interpreter;

/// Directories whose content is not the application's own.
const SKIPPED: [&str; 8] =
    ["node_modules", "site-packages", "target", "vendor", "venv", "__pycache__", "tests", "docs"];
/// The most names that are read.
const MOST_NAMES: usize = 10_000;
/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;
/// Finds the applications in Python files; the processes of applications contain the same code.
const FINDER: &str =
    concat!(include_str!("../../../plugins/paster-python/src/find.py"), include_str!("report.py"));

/// How paths are written in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStyle {
    /// Absolute, for a config without a file.
    Absolute,
    /// Relative to the directory, for a config file in it.
    Relative,
}

/// A directory.
pub(super) struct Contents {
    root: PathBuf,
    style: PathStyle,
    /// Paths of files below the root, at most two directories deep, sorted.
    names: OnceCell<Vec<String>>,
    python: OnceCell<Result<PythonFiles, String>>,
}

/// What the Python files contain.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PythonFiles {
    /// The applications, in the order in which files are checked.
    pub(super) applications: Vec<PythonApplication>,
    /// The Django projects.
    pub(super) projects: Vec<DjangoProject>,
}

/// An application in a Python file.
#[derive(Debug, Deserialize)]
pub(super) struct PythonApplication {
    /// The file, relative to the directory.
    pub(super) file: String,
    /// The directory from which its module is imported, relative to the directory.
    pub(super) root: String,
    pub(super) module: String,
    /// The object; `name()` for a factory; empty for the application that the framework keeps.
    pub(super) name: String,
    /// Its framework; `None` if the syntax does not show it.
    pub(super) framework: Option<String>,
}

/// A `manage.py`.
#[derive(Debug, Deserialize)]
pub(super) struct DjangoProject {
    /// Its directory, relative to the directory.
    pub(super) root: String,
    /// The settings module that it names.
    pub(super) settings: String,
}

impl Contents {
    pub(super) fn new(root: PathBuf, style: PathStyle) -> Contents {
        Contents { root, style, names: OnceCell::new(), python: OnceCell::new() }
    }

    /// `name` as the config names it; `.` for the directory itself.
    pub(super) fn path(&self, name: &str) -> Value {
        let path = match (self.style, name) {
            (PathStyle::Relative, _) => PathBuf::from(name),
            (PathStyle::Absolute, ".") => self.root.clone(),
            (PathStyle::Absolute, _) => self.root.join(name),
        };
        path.display().to_string().into()
    }

    pub(super) fn has_file(&self, name: &str) -> bool {
        self.root.join(name).is_file()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.root.join(name).exists()
    }

    /// The content of a file that is not too long.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let path = self.root.join(name);
        let found = path.metadata().ok().filter(|found| found.is_file() && found.len() <= LONGEST)?;
        debug_assert!(found.is_file());
        std::fs::read_to_string(path).ok()
    }

    pub(super) fn json(&self, name: &str) -> Option<Value> {
        serde_json::from_str(&self.text(name)?).ok()
    }

    pub(super) fn toml(&self, name: &str) -> Option<toml::Table> {
        self.text(name)?.parse().ok()
    }

    /// Files below the directory, at most two directories deep.
    pub(super) fn names(&self) -> &[String] {
        self.names.get_or_init(|| {
            let mut names = Vec::new();
            walk(&self.root, "", 0, &mut names);
            names.sort();
            names
        })
    }

    /// Files whose name ends in `ending`, of the directory itself.
    pub(super) fn with_ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = &'a str> {
        self.names()
            .iter()
            .map(String::as_str)
            .filter(move |name| name.ends_with(ending) && !name.contains('/'))
    }

    /// The `.ini` files with an application of PasteDeploy, and the text of each.
    pub(super) fn ini_files(&self) -> Vec<(&str, String)> {
        let has_application = |text: &str| {
            let mut sections = text.lines().map(str::trim);
            sections.any(|line| ["[app:main]", "[composite:main]", "[pipeline:main]"].contains(&line))
        };
        let texts = self.with_ending(".ini").filter_map(|name| Some((name, self.text(name)?)));
        texts.filter(|(_, text)| has_application(text)).collect()
    }

    /// What the Python files contain.
    pub(super) fn python(&self) -> &PythonFiles {
        static NONE: PythonFiles = PythonFiles { applications: Vec::new(), projects: Vec::new() };
        self.python.get_or_init(|| self.ask_python()).as_ref().unwrap_or(&NONE)
    }

    /// Why the Python files could not be read.
    pub(super) fn python_problem(&self) -> Option<String> {
        self.python.get().and_then(|found| found.as_ref().err()).cloned()
    }

    fn ask_python(&self) -> Result<PythonFiles, String> {
        if !self.names().iter().any(|name| name.ends_with(".py")) {
            return Ok(PythonFiles::default());
        }
        let Some(interpreter) = find_interpreter(&[&self.root]) else {
            return Err(
                "its Python files were not checked: there is no Python interpreter on the `PATH`".to_owned()
            );
        };
        let mut command = Command::new(&interpreter);
        command.args(["-I", "-c", FINDER]).arg(&self.root).stdin(Stdio::null());
        let failed =
            |why: &str| format!("its Python files were not checked: `{}` {why}", interpreter.display());
        let output = command.output().map_err(|cause| failed(&format!("cannot be run: {cause}")))?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            let errors = String::from_utf8_lossy(&output.stderr);
            failed(errors.trim().lines().last().unwrap_or("printed nothing"))
        })
    }

    /// The names in the directory, for an error.
    pub(super) fn shown(&self, most: usize) -> String {
        let entries =
            std::fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok).take(MOST_NAMES);
        let mut names: Vec<String> = entries
            .map(|entry| {
                let slash = if entry.path().is_dir() { "/" } else { "" };
                format!("`{}{slash}`", entry.file_name().to_string_lossy())
            })
            .collect();
        names.sort();
        let left = names.len().saturating_sub(most);
        names.truncate(most);
        let more = if left > 0 { format!(" and {left} more") } else { String::new() };
        names.join(", ") + &more
    }
}

/// Collects the paths of files below `folder`.
fn walk(folder: &Path, prefix: &str, depth: usize, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
        if names.len() >= MOST_NAMES {
            return;
        }
        let skipped = name.starts_with('.') || SKIPPED.contains(&name.as_str());
        if kind.is_dir() && depth < 2 && !skipped {
            walk(&entry.path(), &format!("{prefix}{name}/"), depth + 1, names);
        } else if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) {
            names.push(format!("{prefix}{name}"));
        }
    }
}
