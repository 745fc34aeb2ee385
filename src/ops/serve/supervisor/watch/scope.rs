//! Defines what is watched, and what a change of a path means.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::ignored::Ignored;
use super::links;
use super::paths::Paths;
use crate::ops::build::Inputs;

/// Directories of build output and other generated files.
const IGNORED: &[&str] =
    &["target", "node_modules", ".git", ".hg", ".svn", ".jj", "__pycache__", ".venv", ".cache"];

/// The watched paths.
#[derive(Debug, Clone, Default)]
pub(in crate::ops::serve::supervisor) struct Scope {
    /// Config files; a change of one is reported separately.
    pub(in crate::ops::serve::supervisor) configs: BTreeSet<PathBuf>,
    /// Crates, libraries, and the output of builds.
    pub(in crate::ops::serve::supervisor) inputs: Inputs,
    /// The paths that the config names.
    pub(in crate::ops::serve::supervisor) paths: Paths,
}

/// The possible effect of a change of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ChangeScope {
    /// The config.
    pub(super) config: bool,
    /// A library, or another file that a generation is built from.
    pub(super) input: bool,
    /// A page that is served directly from its file.
    pub(super) page: bool,
}

impl ChangeScope {
    pub(super) fn is_any(self) -> bool {
        self.config || self.input || self.page
    }

    pub(super) fn and(self, other: ChangeScope) -> ChangeScope {
        ChangeScope {
            config: self.config || other.config,
            input: self.input || other.input,
            page: self.page || other.page,
        }
    }
}

/// A scope, with data derived from it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) scope: Scope,
    /// Symbolic links on the way to what is watched.
    pub(super) links: BTreeSet<PathBuf>,
    ignored: Ignored,
}

impl Rules {
    pub(super) fn new(scope: Scope) -> Rules {
        let mut links = BTreeSet::new();
        let Scope { configs, inputs, paths } = &scope;
        let all = configs.iter().chain(&inputs.files).chain(&inputs.folders).chain(&paths.read);
        all.chain(&paths.served).for_each(|path| links::follow(path, &mut links));
        Rules { scope, links, ignored: Ignored::default() }
    }

    /// The possible effect of a change of `path`.
    pub(super) fn meaning(&self, path: &Path) -> ChangeScope {
        let Scope { configs, inputs, paths } = &self.scope;
        if self.links.contains(path) {
            return ChangeScope { config: true, input: true, page: true };
        }
        if paths.written.iter().any(|written| path.starts_with(written)) {
            return ChangeScope::default();
        }
        let temporary = is_temporary(path);
        // An optional included file appears in the directory of the file that includes it.
        let beside = |config: &PathBuf| config.parent() == path.parent();
        let is_toml = path.extension() == Some(OsStr::new("toml")) && !path.ends_with("Cargo.toml");
        let config = configs.contains(path) || (is_toml && !temporary && configs.iter().any(beside));
        let named = [&inputs.files, &inputs.sources, &paths.read].iter().any(|files| files.contains(path));
        let page = !temporary && paths.served.iter().any(|folder| is_within(path, folder));
        let input = named || (!temporary && self.is_source(path));
        ChangeScope { config, input, page }
    }

    /// Whether `path` may belong to a crate.
    fn is_source(&self, path: &Path) -> bool {
        let inputs = &self.scope.inputs;
        let is_output = inputs.outputs.iter().any(|output| path.starts_with(output));
        let mut folders = inputs.folders.iter().filter(|folder| is_within(path, folder));
        !is_output && folders.any(|folder| !self.ignored.has(folder, path))
    }

    /// All directories to watch, not recursively.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        let Scope { configs, inputs, paths } = &self.scope;
        let files =
            configs.iter().chain(&inputs.files).chain(&inputs.sources).chain(&paths.read).chain(&self.links);
        // Watching the parent shows when a directory is removed and recreated.
        let roots = inputs.folders.iter().chain(&paths.served);
        let mut found: BTreeSet<PathBuf> =
            files.chain(roots).filter_map(|path| path.parent()).map(Path::to_owned).collect();
        let below =
            |folders: &BTreeSet<PathBuf>, wanted: &dyn Fn(&Path) -> bool, found: &mut BTreeSet<PathBuf>| {
                let mut left: Vec<PathBuf> = folders.iter().cloned().collect();
                while let Some(folder) = left.pop() {
                    let inner = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                    let inner = inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                    left.extend(inner.map(|entry| entry.path()).filter(|path| wanted(path)));
                    found.insert(folder);
                }
            };
        let usual = |path: &Path| !path.file_name().is_some_and(is_ignored);
        below(&inputs.folders, &|path| usual(path) && self.is_source(path), &mut found);
        below(&paths.served, &usual, &mut found);
        found
    }
}

/// Whether `path` is `folder` or lies in it, but not in generated files.
fn is_within(path: &Path, folder: &Path) -> bool {
    path.strip_prefix(folder).is_ok_and(|inner| !inner.iter().any(is_ignored))
}

/// Whether files of this name, and what they contain, are generated.
pub(in crate::ops::serve::supervisor) fn is_ignored(name: &OsStr) -> bool {
    IGNORED.iter().any(|ignored| name == *ignored)
}

/// Whether this is a temporary file that editors write while they save.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = || name.bytes().all(|byte| byte.is_ascii_digit()); // vim tests a directory with the file 4913
    name.ends_with('~')
        || [".swp", ".swx", ".swo", ".tmp", ".bak", "___jb_tmp___", "___jb_old___"]
            .iter()
            .any(|end| name.ends_with(end))
        || name.starts_with(".#")
        || (name.starts_with('#') && name.ends_with('#'))
        || name == ".DS_Store"
        || number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_a_change() {
        let rules = Rules::new(Scope {
            configs: ["/app/server.toml".into()].into(),
            inputs: Inputs {
                folders: ["/app".into(), "/lib".into()].into(),
                files: ["/built/libapp.so".into()].into(),
                sources: ["/elsewhere/words.txt".into()].into(),
                outputs: ["/app/web/dist".into(), "/app/Cargo.lock".into()].into(),
            },
            paths: Paths {
                read: ["/pages/404.html".into()].into(),
                written: ["/app/access.log".into()].into(),
                served: ["/app/web/dist".into(), "/site".into()].into(),
            },
        });
        let check = |path: &str, expected: &str| {
            let ChangeScope { config, input, page } = rules.meaning(Path::new(path));
            let found: Vec<_> = [("config", config), ("input", input), ("page", page)]
                .into_iter()
                .filter_map(|(name, is)| is.then_some(name))
                .collect();
            assert_eq!(found.join(" "), expected, "{path}");
        };
        check("/app/server.toml", "config input");
        check("/app/local.toml", "config input");
        for path in [
            "/app/src/lib.rs",
            "/app/Cargo.toml",
            "/lib/a/b.html",
            "/built/libapp.so",
            "/elsewhere/words.txt",
            "/pages/404.html",
        ] {
            check(path, "input");
        }
        check("/app/web/dist/a.js", "page");
        check("/site/index.html", "page");
        for path in [
            "/app/access.log",
            "/app/target/debug/x.d",
            "/app/.git/index",
            "/app/web/node_modules/a/b.js",
            "/app/Cargo.lock",
            "/app/src/.lib.rs.swp",
            "/app/src/lib.rs~",
            "/app/src/4913",
            "/site/index.html~",
            "/built/other.so",
            "/elsewhere/src/lib.rs",
        ] {
            check(path, "");
        }
    }
}
