//! The files of a skeleton in memory, from any source, within limits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Error, Read};

use crate::scaffold::rooted_dir::{Dir, DirEntry};

/// The most files that a skeleton may have.
const FILES: usize = 10_000;
/// The most bytes that a skeleton may have, because all of it is held in memory.
pub(super) const BYTES: u64 = 256 << 20;
/// The deepest folder.
const DEPTH: usize = 50;

type Result<T, E = Error> = std::result::Result<T, E>;

/// What of a skeleton is read. The rest, such as its own README or tests, is not part of it.
pub(super) const PARTS: [&str; 3] = ["skeleton.toml", "files", "partials"];

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreeFile {
    pub(super) executable: bool,
    pub(super) bytes: Cow<'static, [u8]>,
}

/// All files by path, with `/` between components.
#[derive(Debug, Default)]
pub(super) struct SkeletonTree {
    files: BTreeMap<String, TreeFile>,
    bytes: u64,
}

impl SkeletonTree {
    /// Adds a file with the content of `reader`.
    /// # Errors
    /// A path that a folder cannot contain, or that was added before; more than the limits.
    pub(super) fn read(&mut self, path: &str, executable: bool, reader: impl Read) -> Result<()> {
        let left = BYTES - self.bytes;
        let mut bytes = Vec::new();
        reader.take(left + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > left {
            return Err(Error::other("the skeleton is larger than 256 MiB"));
        }
        self.add(path, executable, bytes.into())
    }

    /// Adds a file.
    /// # Errors
    /// As [`SkeletonTree::read`].
    pub(super) fn add(&mut self, path: &str, executable: bool, bytes: Cow<'static, [u8]>) -> Result<()> {
        let plain =
            |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains(['\\', '\0']);
        if !path.split('/').all(plain) {
            return Err(Error::other("the path leads out of the skeleton"));
        }
        if path.matches('/').count() > DEPTH {
            return Err(Error::other("folders are nested more than 50 levels deep"));
        }
        self.bytes += bytes.len() as u64;
        if self.files.insert(path.to_owned(), TreeFile { executable, bytes }).is_some() {
            return Err(Error::other("the file occurs twice"));
        }
        if self.files.len() > FILES {
            return Err(Error::other("the skeleton has more than 10,000 files"));
        }
        Ok(())
    }

    /// Reads the parts of a skeleton below `dir`. Refuses symlinks and special files, because they may lead out
    /// of it.
    /// # Errors
    /// The path, and why it cannot be read.
    pub(super) fn folder(dir: &Dir) -> Result<SkeletonTree, (String, Error)> {
        let mut tree = SkeletonTree::default();
        for part in PARTS {
            match dir.entry(part).map_err(|error| (part.to_owned(), error))? {
                None => {}
                Some(entry) => tree.entry(dir, part, part.to_owned(), entry)?,
            }
        }
        Ok(tree)
    }

    fn entry(&mut self, dir: &Dir, name: &str, path: String, entry: DirEntry) -> Result<(), (String, Error)> {
        let fail = |error| (path.clone(), error);
        match entry {
            DirEntry::Folder => {
                let child = dir.child(name).map_err(fail)?;
                for (name, entry) in child.entries().map_err(fail)? {
                    self.entry(&child, &name, format!("{path}/{name}"), entry)?;
                }
                Ok(())
            }
            DirEntry::File => {
                let found = dir.read(name, BYTES - self.bytes).map_err(fail)?;
                self.add(&path, found.mode & 0o100 != 0, found.bytes.into()).map_err(fail)
            }
            DirEntry::Symlink => {
                Err(fail(Error::other("a symlink: skeletons can contain only plain files and folders")))
            }
            DirEntry::Other => Err(fail(Error::other("neither a file nor a folder"))),
        }
    }

    /// The part below `folder`, or below the only folder at the top, as archives have it.
    pub(super) fn below(mut self, folder: &str) -> SkeletonTree {
        if !folder.is_empty() {
            return self.strip(folder);
        }
        if !self.files.contains_key("skeleton.toml") {
            let top = |path: &String| path.split_once('/').map(|(top, _)| top.to_owned());
            let first = self.files.keys().next().and_then(top);
            if let Some(first) =
                first.filter(|first| self.files.keys().all(|path| top(path).as_ref() == Some(first)))
            {
                self = self.strip(&first);
            }
        }
        self
    }

    fn strip(self, folder: &str) -> SkeletonTree {
        let below = |(path, file): (String, TreeFile)| {
            let path = path.strip_prefix(folder)?.strip_prefix('/')?.to_owned();
            Some((path, file))
        };
        SkeletonTree { files: self.files.into_iter().filter_map(below).collect(), bytes: self.bytes }
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &str) -> Option<&TreeFile> {
        self.files.get(path)
    }

    /// All files.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &TreeFile)> {
        self.files.iter()
    }

    /// The files below `folder`, with their paths in it.
    pub(super) fn files(&self, folder: &str) -> impl Iterator<Item = (&str, &TreeFile)> {
        self.files
            .iter()
            .filter_map(move |(path, file)| Some((path.strip_prefix(folder)?.strip_prefix('/')?, file)))
    }
}
