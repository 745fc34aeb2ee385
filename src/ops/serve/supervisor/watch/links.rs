//! Symbolic links on the way to a file: replacing one changes the file, and nothing in the file's directory
//! shows it.
//!
//! Kubernetes mounts a ConfigMap as links to `..data/NAME`, where `..data` is a link too, and replaces that
//! one. Deployments replace `current` in `current/server.toml`.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Maximum number of links that Linux follows in one path.
const MOST: usize = 40;

/// Adds to `found` every link that the look-up of `path` follows.
pub(super) fn follow(path: &Path, found: &mut BTreeSet<PathBuf>) {
    let mut left: VecDeque<OsString> = names(path).collect();
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        match std::fs::read_link(&next) {
            Ok(target) if links < MOST => {
                links += 1;
                found.insert(next);
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                names(&target).rev().for_each(|name| left.push_front(name));
            }
            _ => at = next,
        }
    }
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_on_the_way_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("..one")).unwrap();
        std::fs::write(root.join("..one/server.toml"), "").unwrap();
        std::os::unix::fs::symlink("..one", root.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/server.toml", root.join("server.toml")).unwrap();
        let mut found = BTreeSet::new();
        follow(&root.join("server.toml"), &mut found);
        assert_eq!(found, BTreeSet::from([root.join("..data"), root.join("server.toml")]));
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        follow(&root.join("loop/x"), &mut found);
        assert_eq!(found.len(), 3);
    }
}
