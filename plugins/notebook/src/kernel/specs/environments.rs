//! Finds the Python environments beside the notebooks and those of conda, without running anything in them.
//!
//! # Source
//! PEP 405 (`pyvenv.cfg`); conda, "Managing environments" (`~/.conda/environments.txt`, `conda-meta`).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Maximum number of folders to search, their maximum depth, and maximum number of environments.
const MAX_FOLDERS: usize = 2000;
const MAX_DEPTH: usize = 3;
const MAX_ENVIRONMENTS: usize = 50;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Environments {
    root: PathBuf,
    home: Option<PathBuf>,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// The name of its kernel in `/api/kernelspecs`.
    pub name: String,
    /// The name that users see.
    pub display_name: String,
    /// Its folder.
    pub prefix: PathBuf,
    /// Its interpreter.
    pub python: PathBuf,
    /// The version of Python; empty if unknown.
    pub version: String,
    /// Whether ipykernel is installed in it.
    pub has_ipykernel: bool,
    /// Whether uv made it. Such environments may have no pip.
    pub made_by_uv: bool,
}

impl Environments {
    /// Those in and below `root`, and those of the user.
    pub fn new(root: PathBuf) -> Environments {
        Environments { root, home: std::env::var_os("HOME").map(PathBuf::from) }
    }

    /// What is there now.
    pub fn find(&self) -> Vec<Environment> {
        let mut folders = Vec::new();
        let mut left = MAX_FOLDERS;
        walk(&self.root, 0, &mut left, &mut folders);
        if let Some(home) = &self.home {
            let listed = std::fs::read_to_string(home.join(".conda/environments.txt")).unwrap_or_default();
            folders.extend(listed.lines().map(str::trim).filter(|line| !line.is_empty()).map(PathBuf::from));
            folders.extend(sorted(&home.join(".virtualenvs")));
        }
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        for prefix in folders {
            if let Some(environment) = self.read(&prefix)
                && seen.insert(prefix.canonicalize().unwrap_or(prefix))
                && found.len() < MAX_ENVIRONMENTS
            {
                found.push(environment);
            }
        }
        distinguish(&mut found);
        found
    }

    fn read(&self, prefix: &Path) -> Option<Environment> {
        let config = std::fs::read_to_string(prefix.join("pyvenv.cfg")).ok();
        if config.is_none() && !prefix.join("conda-meta").is_dir() {
            return None;
        }
        let python = prefix.join("bin/python");
        python.exists().then_some(())?;
        let setting = |name: &str| {
            let lines = config.as_deref().unwrap_or_default().lines();
            let mut pairs = lines.filter_map(|line| line.split_once('='));
            pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        let library = sorted(&prefix.join("lib")).into_iter().find(|folder| {
            folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python3."))
        });
        let of_library =
            library.as_ref().and_then(|folder| folder.file_name()?.to_str()?.strip_prefix("python"));
        let version = setting("version").or_else(|| setting("version_info"));
        let version = version.or_else(|| of_library.map(str::to_owned)).unwrap_or_default();
        let short: Vec<&str> = version.split('.').take(2).collect();
        let place = self.shown(prefix);
        Some(Environment {
            name: format!("env-{}", slug(&place)),
            display_name: format!("Python {} ({place})", short.join(".")),
            prefix: prefix.to_owned(),
            has_ipykernel: library.is_some_and(|folder| folder.join("site-packages/ipykernel").is_dir()),
            made_by_uv: setting("uv").is_some(),
            python,
            version,
        })
    }

    /// Where an environment is, for users.
    fn shown(&self, prefix: &Path) -> String {
        let below = prefix.strip_prefix(&self.root).ok().filter(|path| path.components().next().is_some());
        match below {
            Some(path) => path.display().to_string(),
            None => prefix.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        }
    }
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn walk(folder: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    for path in sorted(folder) {
        // Links may lead anywhere, and in circles.
        let is_dir = path.symlink_metadata().is_ok_and(|facts| facts.is_dir());
        if !is_dir || *left == 0 {
            continue;
        }
        *left -= 1;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.join("pyvenv.cfg").is_file() || path.join("conda-meta").is_dir() {
            found.push(path);
        } else if depth < MAX_DEPTH && !name.starts_with('.') && name != "node_modules" {
            walk(&path, depth + 1, left, found);
        }
    }
}

/// A kernel's name: small letters, digits, `-`, `.` and `_`.
fn slug(text: &str) -> String {
    let text = text.to_lowercase();
    let letters = text.chars().map(|letter| match letter {
        letter if letter.is_ascii_alphanumeric() || "._".contains(letter) => letter,
        _ => '-',
    });
    let slug: String = letters.collect();
    slug.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// Numbers the names that more than one environment has.
fn distinguish(found: &mut [Environment]) {
    let mut seen = HashSet::new();
    for environment in found {
        let name = environment.name.clone();
        let mut number = 2;
        while !seen.insert(environment.name.clone()) {
            environment.name = format!("{name}-{number}");
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(prefix: &Path, config: &str, ipykernel: bool) {
        std::fs::create_dir_all(prefix.join("bin")).unwrap();
        let library = prefix.join("lib/python3.12/site-packages");
        std::fs::create_dir_all(if ipykernel { library.join("ipykernel") } else { library }).unwrap();
        std::fs::write(prefix.join("bin/python"), "").unwrap();
        std::fs::write(prefix.join("pyvenv.cfg"), config).unwrap();
    }

    #[test]
    fn environments_are_found_where_people_make_them() {
        let folder = tempfile::tempdir().unwrap();
        let (root, home) = (folder.path().join("data"), folder.path().join("home"));
        make(&root.join(".venv"), "version = 3.12.4\n", true);
        make(&root.join("Mein Projekt/.venv"), "uv = 0.9.1\nversion_info = 3.13.0\n", false);
        make(&root.join(".hidden/deep/venv"), "", true);
        make(&home.join(".virtualenvs/old"), "", true);
        let conda = folder.path().join("conda/envs/science");
        make(&conda, "", false);
        std::fs::remove_file(conda.join("pyvenv.cfg")).unwrap();
        std::fs::create_dir(conda.join("conda-meta")).unwrap();
        std::fs::create_dir(home.join(".conda")).unwrap();
        let listed = format!("{}\n/no/such/place\n{}\n", conda.display(), conda.display());
        std::fs::write(home.join(".conda/environments.txt"), listed).unwrap();
        std::os::unix::fs::symlink(&root, root.join("circle")).unwrap();
        let found = Environments { root, home: Some(home) }.find();
        let shown: Vec<_> = found
            .iter()
            .map(|found| {
                (found.name.as_str(), found.display_name.as_str(), found.has_ipykernel, found.made_by_uv)
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("env-.venv", "Python 3.12 (.venv)", true, false),
                ("env-mein-projekt-.venv", "Python 3.13 (Mein Projekt/.venv)", false, true),
                ("env-science", "Python 3.12 (science)", false, false),
                ("env-old", "Python 3.12 (old)", true, false),
            ]
        );
    }
}
