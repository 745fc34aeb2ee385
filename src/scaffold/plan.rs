//! Compares rendered files with what exists at the target, and writes all of them or none.
//!
//! A new target is written as a sibling folder and then renamed in one step. In an existing target every file
//! is first written completely under a temporary name. Then all are renamed, and a failure undoes what was
//! done.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::render::Rendered;
use super::rooted_dir::{Dir, DirEntry};
use crate::error::{Error, Errors, Result};

/// The largest existing file that is compared.
const COMPARED_BYTES: u64 = 256 << 20;

/// What happens to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It does not exist yet.
    Create,
    /// It exists with the same content.
    Same,
    /// It exists with other content: it is replaced, and the old file is kept as `*.bak`.
    Overwrite,
    /// It exists and stays as it is (`once`).
    Keep,
}

/// One file of the plan.
#[derive(Debug, Clone)]
pub struct Step {
    /// What to write.
    pub file: Rendered,
    /// What happens.
    pub action: Action,
    /// The existing content, with its permission bits.
    pub existing: Option<(Vec<u8>, u32)>,
}

/// What to do at the target.
#[derive(Debug)]
pub struct Plan {
    target: PathBuf,
    state: State,
    /// All files, in order of path.
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    /// Exists, and is empty or contains only `.git`.
    Empty,
    Used,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// The replaced files, with the names of their backups.
    pub backups: Vec<(String, String)>,
}

impl Plan {
    /// Reads `target` and compares. Writes nothing.
    /// # Errors
    /// A target that is not a folder; folders, symlinks or special files where files should be.
    pub fn new(target: &Path, files: Vec<Rendered>) -> Result<Plan> {
        let fault =
            |error| Error::new(format!("cannot read the folder `{}`", target.display())).because(error);
        let (state, root) = match std::fs::metadata(target) {
            Ok(found) if found.is_dir() => {
                let root = Dir::open(target).map_err(fault)?;
                let mut names = std::fs::read_dir(target).map_err(fault)?;
                let used = names.any(|entry| entry.map_or(true, |entry| entry.file_name() != ".git"));
                (if used { State::Used } else { State::Empty }, Some(root))
            }
            Ok(_) => return Err(Error::new(format!("`{}` is a file, not a folder", target.display())).into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if std::fs::symlink_metadata(target).is_ok() {
                    return Err(Error::new(format!("`{}` is a broken symlink", target.display())).into());
                }
                (State::Absent, None)
            }
            Err(error) => return Err(fault(error).into()),
        };
        let mut faults = Vec::new();
        let mut steps = Vec::new();
        for file in files {
            let existing = match root.as_ref().map_or(Ok(None), |root| existing(root, &file.path)) {
                Ok(existing) => existing,
                Err(error) => {
                    let path = target.join(&file.path);
                    faults.push(Error::new(format!("`{}` is in the way", path.display())).because(error));
                    None
                }
            };
            let action = match &existing {
                None => Action::Create,
                Some((bytes, _)) if *bytes == file.bytes => Action::Same,
                Some(_) if file.once => Action::Keep,
                Some(_) => Action::Overwrite,
            };
            steps.push(Step { file, action, existing });
        }
        Errors::check(faults)?;
        Ok(Plan { target: target.to_owned(), state, steps })
    }

    /// Whether the target already has files and this plan changes anything.
    pub fn needs_force(&self) -> bool {
        self.state == State::Used
            && self.steps.iter().any(|step| !matches!(step.action, Action::Same | Action::Keep))
    }

    /// Writes all files, or none.
    /// # Errors
    /// What could not be written. What was already done is undone.
    pub fn write(&self) -> Result<Written> {
        match self.state {
            State::Absent => self.write_new(),
            State::Empty | State::Used => self.write_into(),
        }
    }

    fn write_new(&self) -> Result<Written> {
        let fault = |error: std::io::Error| {
            Error::new(format!("cannot create `{}`: nothing was written", self.target.display()))
                .because(error)
        };
        let no_name = || fault(std::io::Error::other("the path does not end with a name"));
        let parent = self.target.parent().ok_or_else(no_name)?;
        let name = self.target.file_name().and_then(|name| name.to_str()).ok_or_else(no_name)?;
        let made = make_parents(parent).map_err(fault)?;
        let outcome = (|| {
            let dir = Dir::open(parent)?;
            let temporary = temporary();
            dir.make_folder(&temporary)?;
            let written = dir.child(&temporary).and_then(|root| {
                for step in &self.steps {
                    let (folder, name) = open_parent(&root, &step.file.path, &mut |_| {})?;
                    folder.create(name, &step.file.bytes, step.file.mode, step.file.exact_mode)?;
                }
                dir.rename(&temporary, name)
            });
            if written.is_err() {
                // The user needs to see the first error.
                let _ = dir.remove_tree(&temporary);
            }
            written
        })();
        if let Err(error) = outcome {
            for folder in made.iter().rev() {
                // Another program may have put something there: then it stays.
                let _ = std::fs::remove_dir(folder);
            }
            return Err(fault(error).into());
        }
        Ok(Written::default())
    }

    fn write_into(&self) -> Result<Written> {
        let fault = |error: std::io::Error| {
            Error::new(format!("cannot write into `{}`: nothing was changed", self.target.display()))
                .because(error)
        };
        let root = Dir::open(&self.target).map_err(fault)?;
        let mut journal = Journal::default();
        match self.stage_and_commit(&root, &mut journal) {
            Ok(written) => Ok(written),
            Err(error) => {
                let left = journal.take_back(&root);
                if left.is_empty() {
                    return Err(fault(error).into());
                }
                let mut report = Error::new(format!(
                    "cannot write into `{}`, and cannot undo what was written",
                    self.target.display()
                ));
                for path in left {
                    report = report.help(format!("look at `{path}`"));
                }
                Err(report.because(error).into())
            }
        }
    }

    fn stage_and_commit(&self, root: &Dir, journal: &mut Journal) -> std::io::Result<Written> {
        let steps =
            || self.steps.iter().filter(|step| matches!(step.action, Action::Create | Action::Overwrite));
        let mut staged = Vec::new();
        for step in steps() {
            let path = &step.file.path;
            let (folder, _) = open_parent(root, path, &mut |made| journal.done(Undo::RemoveFolder(made)))
                .map_err(|error| at(path, &error))?;
            let temporary = temporary();
            let (mode, exact) = match &step.existing {
                // A file that only its owner may read must not become public when it is replaced.
                Some((_, mode)) if !step.file.exact_mode => (*mode, true),
                _ => (step.file.mode, step.file.exact_mode),
            };
            folder.create(&temporary, &step.file.bytes, mode, exact).map_err(|error| at(path, &error))?;
            journal.done(Undo::Remove(sibling(path, &temporary)));
            staged.push((step, temporary));
        }
        let mut written = Written::default();
        for (step, temporary) in staged {
            let path = &step.file.path;
            let (folder, name) = open_parent(root, path, &mut |_| {}).map_err(|error| at(path, &error))?;
            if step.action == Action::Overwrite {
                let kept = keep(&folder, name).map_err(|error| at(path, &error))?;
                journal.done(Undo::Restore { kept: sibling(path, &kept), path: path.clone() });
                folder.rename(&temporary, name).map_err(|error| at(path, &error))?;
                written.backups.push((path.clone(), sibling(path, &kept)));
            } else {
                folder.rename_new(&temporary, name).map_err(|error| at(path, &error))?;
                journal.done(Undo::Remove(path.clone()));
            }
        }
        Ok(written)
    }
}

/// Gives the file `name` the second name `name.bak`, or the next free one like it, and returns that.
fn keep(folder: &Dir, name: &str) -> std::io::Result<String> {
    for number in 0..1000 {
        let kept = if number == 0 { format!("{name}.bak") } else { format!("{name}.bak{number}") };
        match folder.link(name, &kept) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // On a file system without links the file has only its second name for a moment.
            Err(_) if folder.entry(&kept)?.is_none() => {
                folder.rename_new(name, &kept)?;
                return Ok(kept);
            }
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other("there are already 1,000 backups"))
}

/// What was done, so that it can be undone.
#[derive(Default)]
struct Journal(Vec<Undo>);

enum Undo {
    Remove(String),
    RemoveFolder(String),
    Restore { kept: String, path: String },
}

impl Journal {
    fn done(&mut self, undo: Undo) {
        self.0.push(undo);
    }

    /// Undoes everything, last first. Returns the paths where that failed.
    fn take_back(self, root: &Dir) -> Vec<String> {
        let mut left = Vec::new();
        for undo in self.0.into_iter().rev() {
            let path = match &undo {
                Undo::Remove(path) | Undo::RemoveFolder(path) | Undo::Restore { path, .. } => path,
            };
            let outcome = open_parent(root, path, &mut |_| {}).and_then(|(folder, name)| match &undo {
                Undo::Remove(_) => folder.remove(name),
                Undo::RemoveFolder(_) => folder.remove_folder(name),
                Undo::Restore { kept, .. } => {
                    let kept = kept.rsplit('/').next().unwrap_or(kept);
                    folder.rename(kept, name)?;
                    // If both are names of one file, a rename leaves both and reports no error.
                    if folder.entry(kept)?.is_some() { folder.remove(kept) } else { Ok(()) }
                }
            });
            match outcome {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => left.push(path.clone()),
                _ => {}
            }
        }
        left
    }
}

/// The content and permission bits of the file at `path`, if it exists.
fn existing(root: &Dir, path: &str) -> std::io::Result<Option<(Vec<u8>, u32)>> {
    let mut dir: Option<Dir> = None;
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        let here = dir.as_ref().unwrap_or(root);
        let refuse = |what: &str| Err(std::io::Error::other(format!("`{name}` is {what}")));
        match (here.entry(name)?, names.peek().is_some()) {
            (None, _) => return Ok(None),
            (Some(DirEntry::Symlink), _) => return refuse("a symlink"),
            (Some(DirEntry::Folder), true) => dir = Some(here.child(name)?),
            (Some(DirEntry::File), false) => {
                let found = here.read(name, COMPARED_BYTES)?;
                return Ok(Some((found.bytes, found.mode)));
            }
            (Some(_), true) => return refuse("not a folder"),
            (Some(_), false) => return refuse("not a plain file"),
        }
    }
    Ok(None)
}

/// Opens the folder that contains `path` below `root` and creates missing ones. Calls `made` with each path
/// that it creates.
fn open_parent<'p>(
    root: &Dir,
    path: &'p str,
    made: &mut dyn FnMut(String),
) -> std::io::Result<(Dir, &'p str)> {
    let (folders, name) = path.rsplit_once('/').map_or((None, path), |(folders, name)| (Some(folders), name));
    let mut dir = root.again()?;
    let mut so_far = String::new();
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
        so_far = if so_far.is_empty() { folder.to_owned() } else { format!("{so_far}/{folder}") };
        if dir.entry(folder)?.is_none() {
            dir.make_folder(folder)?;
            made(so_far.clone());
        }
        dir = dir.child(folder)?;
    }
    Ok((dir, name))
}

/// Creates `folder` and its missing parents. Returns those that were created, the topmost first.
fn make_parents(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let missing: Vec<_> =
        folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    let mut made = Vec::new();
    for path in missing.into_iter().rev() {
        if let Err(error) = std::fs::create_dir(path) {
            for path in made.iter().rev() {
                let _ = std::fs::remove_dir::<&PathBuf>(path); // best effort: the caller reports the first error
            }
            return Err(error);
        }
        made.push(path.to_owned());
    }
    Ok(made)
}

/// A name that is almost certainly free.
fn temporary() -> String {
    format!(".paster-{}", uuid::Uuid::new_v4().simple())
}

/// `name`, in the folder of `path`.
fn sibling(path: &str, name: &str) -> String {
    path.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}

fn at(path: &str, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("`{path}`: {error}"))
}
