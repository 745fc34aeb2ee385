//! Files that the user renamed since the skeleton wrote them, found by their content.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::scaffold::lock::{Base, Lock};
use crate::scaffold::render::STATE_FOLDER;
use crate::scaffold::rooted_dir::{Dir, DirEntry};

/// Folders that hold no files of the user.
const SKIPPED: [&str; 6] = [".git", STATE_FOLDER, "target", "node_modules", ".venv", "__pycache__"];
/// Maximum number of a project's files to compare.
const FILES: usize = 5_000;
/// How deep folders are looked into.
const DEPTH: usize = 20;
/// The longest file that may have been renamed, in bytes.
const LONGEST: usize = 1 << 20;
/// How many of 100 lines a renamed file must still have.
const ALIKE: usize = 60;

/// The new paths of files that were renamed, by their paths in `lock`.
pub(super) fn renamed_by_user(root: &Dir, lock: &Lock, base: &Base) -> BTreeMap<String, String> {
    let is_there = |path: &str| super::existing(root, path).is_ok_and(|found| found.is_some());
    let missing: Vec<(&str, &[u8])> = lock
        .files
        .iter()
        .filter_map(|file| Some((file.path.as_str(), base.0.get(&file.path)?.as_slice())))
        .filter(|(path, bytes)| !bytes.is_empty() && bytes.len() <= LONGEST && !is_there(path))
        .collect();
    if missing.is_empty() {
        return BTreeMap::new();
    }
    let mut candidates = Vec::new();
    // A folder that cannot be read has no candidates.
    let _ = walk(root, "", &mut candidates);
    candidates.retain(|path| !lock.files.iter().any(|file| file.path == *path));
    let read = |path: String| {
        let (bytes, _) = super::existing(root, &path).ok()??;
        (bytes.len() <= LONGEST).then_some((path, bytes))
    };
    let candidates: Vec<(String, Vec<u8>)> = candidates.into_iter().filter_map(read).collect();
    best_pairs(&missing, &candidates)
}

/// The files below `folder`, as paths with `/`; links are not followed.
fn walk(here: &Dir, folder: &str, found: &mut Vec<String>) -> io::Result<()> {
    // A folder with a name that is not UTF-8 has none.
    for (name, entry) in here.entries().unwrap_or_default() {
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        match entry {
            DirEntry::File if found.len() < FILES => found.push(path),
            DirEntry::Folder if !SKIPPED.contains(&name.as_str()) && path.matches('/').count() < DEPTH => {
                walk(&here.child(&name)?, &path, found)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The most similar pairs first; each file is used once.
fn best_pairs(missing: &[(&str, &[u8])], candidates: &[(String, Vec<u8>)]) -> BTreeMap<String, String> {
    let mut pairs = Vec::new();
    for (old, base) in missing {
        for (new, bytes) in candidates {
            let alike = similarity(base, bytes);
            let same_name = Path::new(old).file_name() == Path::new(new).file_name();
            if alike >= ALIKE {
                pairs.push((alike, same_name, *old, new.as_str()));
            }
        }
    }
    // Equal ones in the order of their paths.
    pairs.sort_by_key(|(alike, same_name, old, new)| (std::cmp::Reverse((*alike, *same_name)), *old, *new));
    let mut found = BTreeMap::new();
    for (_, _, old, new) in pairs {
        if !found.contains_key(old) && !found.values().any(|used| used == new) {
            found.insert(old.to_owned(), new.to_owned());
        }
    }
    found
}

/// How many of 100 lines are in both, of the longer one; 100 only if all are.
fn similarity(left: &[u8], right: &[u8]) -> usize {
    if left == right {
        return 100;
    }
    let (Ok(left), Ok(right)) = (std::str::from_utf8(left), std::str::from_utf8(right)) else { return 0 };
    let mut counts = BTreeMap::<&str, usize>::new();
    left.lines()
        .filter(|line| !line.trim().is_empty())
        .for_each(|line| *counts.entry(line).or_default() += 1);
    let (mut total, mut same) = (0, 0);
    for line in right.lines().filter(|line| !line.trim().is_empty()) {
        total += 1;
        if let Some(left) = counts.get_mut(line).filter(|left| **left > 0) {
            *left -= 1;
            same += 1;
        }
    }
    let longest = total.max(same + counts.values().sum::<usize>());
    (same * 100).checked_div(longest).map_or(0, |percent| percent.min(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_common() {
        assert_eq!(similarity(b"a\nb\n", b"a\nb\n"), 100);
        assert_eq!(similarity(b"a\nb\nc\nd\n", b"a\nx\nc\nd\n"), 75);
        assert_eq!(similarity(b"a\na\n", b"a\n"), 50);
        assert_eq!(similarity(b"a\n", b"\n"), 0);
        assert_eq!(similarity(b"\xff\n", b"\xff\n\n"), 0);
        assert_eq!(similarity(b"a\nb\n", b"b\na\n"), 99);
    }

    #[test]
    fn each_file_is_used_once() {
        let text = "1\n2\n3\n4\n5\n".as_bytes();
        let candidates =
            |paths: &[&str]| paths.iter().map(|path| ((*path).to_owned(), text.to_vec())).collect::<Vec<_>>();
        let pairs = best_pairs(&[("a/x", text), ("b/y", text)], &candidates(&["new/y", "new/z"]));
        assert_eq!(pairs["b/y"], "new/y");
        assert_eq!(pairs["a/x"], "new/z");
        assert_eq!(best_pairs(&[("x", b"other\n")], &candidates(&["y"])).len(), 0);
    }
}
