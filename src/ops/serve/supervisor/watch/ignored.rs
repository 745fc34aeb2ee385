//! Paths that `.gitignore` files name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::Gitignore;
use parking_lot::Mutex;

/// The `.gitignore` files that were read, by their directory; `None` if there is none.
#[derive(Debug, Default)]
pub(super) struct Ignored(Mutex<BTreeMap<PathBuf, Option<Gitignore>>>);

impl Ignored {
    /// Whether git ignores `path`, a file or directory below `root`: by a rule for it or for a directory that
    /// contains it. As in git, the rules of the innermost file win, and a rule cannot re-include anything in
    /// an ignored directory.
    pub(super) fn has(&self, root: &Path, path: &Path) -> bool {
        let Ok(inner) = path.strip_prefix(root) else { return false };
        // The files of parent directories count too, up to the root of the repository.
        let top = root.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(root);
        let mut rules: Vec<&Path> = root.ancestors().take_while(|folder| folder.starts_with(top)).collect();
        rules.reverse();
        let mut at = root.to_owned();
        let mut folders: Vec<PathBuf> = rules.into_iter().map(Path::to_owned).collect();
        let mut names = inner.iter().peekable();
        while let Some(name) = names.next() {
            at.push(name);
            let is_folder = names.peek().is_some() || at.is_dir();
            if self.says(&folders, &at, is_folder) {
                return true;
            }
            folders.push(at.clone());
        }
        false
    }

    fn says(&self, folders: &[PathBuf], path: &Path, is_folder: bool) -> bool {
        let mut known = self.0.lock();
        for folder in folders.iter().rev() {
            let rules = known.entry(folder.clone()).or_insert_with(|| {
                let file = folder.join(".gitignore");
                // Invalid lines are skipped, as in git.
                file.is_file().then(|| Gitignore::new(file).0)
            });
            match rules.as_ref().map(|rules| rules.matched(path, is_folder)) {
                Some(Match::Ignore(_)) => return true,
                Some(Match::Whitelist(_)) => return false,
                Some(Match::None) | None => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_all_folders_count() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("app/inner")).unwrap();
        std::fs::create_dir(at(".git")).unwrap();
        std::fs::write(at(".gitignore"), "*.db\n/app/data/\n").unwrap();
        std::fs::write(at("app/.gitignore"), "!kept.db\n*.log\n").unwrap();
        std::fs::write(at("app/inner/.gitignore"), "/only\n").unwrap();
        let ignored = Ignored::default();
        let check = |path: &str, expected: bool| {
            assert_eq!(ignored.has(&at("app"), &at(path)), expected, "{path}");
        };
        check("app/a.db", true);
        check("app/inner/a.db", true);
        check("app/kept.db", false);
        check("app/data/kept.db", true);
        check("app/a.log", true);
        check("app/inner/only", true);
        check("app/only", false);
        check("app/src/lib.rs", false);
        check("elsewhere/a.db", false);
    }
}
