//! Carries a plan out.
//!
//! A new target is written as a sibling folder and then renamed in one step. In an existing target every file
//! is first written completely under a temporary name. Then all are renamed, and a failure undoes what was
//! done.

use std::path::{Path, PathBuf};

use super::journal::{Journal, UndoStep, open_parent};
use super::{Action, Memory, Plan, PlanState, PlanStep, WrittenFiles};
use crate::error::{Error, Result};
use crate::scaffold::lock::{BASE, LOCK};
use crate::scaffold::render::STATE_FOLDER;
use crate::scaffold::rooted_dir::Dir;
use crate::scaffold::undo::{IGNORED, RECORD, record};

/// A file to put in place.
struct File<'a> {
    path: String,
    bytes: &'a [u8],
    mode: u32,
    exact_mode: bool,
    /// Whether a file with that name may exist.
    replaces: bool,
    /// Whether the replaced file is kept beside it.
    backup: bool,
}

impl Plan {
    /// Writes all files, or none.
    /// # Errors
    /// What could not be written. What was already done is undone.
    pub fn write(&self) -> Result<WrittenFiles> {
        if self.state == PlanState::Used
            && !self.steps.iter().any(|step| step.action.changes())
            && !self.changes_lock()?
        {
            return Ok(WrittenFiles::default());
        }
        let state = match &self.memory {
            Some(memory) => state_files(&self.target, memory, &self.steps)?,
            None => Vec::new(),
        };
        let written = |step: &&PlanStep| step.action.changes() && step.action != Action::Delete;
        let mut files: Vec<_> = self.steps.iter().filter(written).map(File::of).collect();
        files.extend(state.iter().map(|(name, bytes, mode)| File {
            path: format!("{STATE_FOLDER}/{name}"),
            bytes,
            mode: *mode,
            exact_mode: *mode == 0o600,
            replaces: true,
            backup: false,
        }));
        match self.state {
            PlanState::Absent => self.write_new(&files),
            PlanState::Empty | PlanState::Used => self.write_into(&files),
        }
    }

    fn write_new(&self, files: &[File<'_>]) -> Result<WrittenFiles> {
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
                for file in files {
                    let (folder, name) = open_parent(&root, &file.path, &mut |_| {})?;
                    folder.create(name, file.bytes, file.mode, file.exact_mode)?;
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
        Ok(WrittenFiles::default())
    }

    fn write_into(&self, files: &[File<'_>]) -> Result<WrittenFiles> {
        let fault = |error: std::io::Error| {
            Error::new(format!("cannot write into `{}`: nothing was changed", self.target.display()))
                .because(error)
        };
        let root = Dir::open(&self.target).map_err(fault)?;
        let mut journal = Journal::default();
        match self.stage_and_commit(&root, files, &mut journal) {
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

    fn stage_and_commit(
        &self,
        root: &Dir,
        files: &[File<'_>],
        journal: &mut Journal,
    ) -> std::io::Result<WrittenFiles> {
        let mut staged = Vec::new();
        for file in files {
            let path = &file.path;
            let (folder, _) = open_parent(root, path, &mut |made| journal.done(UndoStep::RemoveFolder(made)))
                .map_err(|error| at(path, &error))?;
            let temporary = temporary();
            folder
                .create(&temporary, file.bytes, file.mode, file.exact_mode)
                .map_err(|error| at(path, &error))?;
            journal.done(UndoStep::Remove(sibling(path, &temporary)));
            staged.push((file, temporary));
        }
        let mut written = WrittenFiles::default();
        let mut spare = Vec::new();
        for (file, temporary) in staged {
            let path = &file.path;
            let (folder, name) = open_parent(root, path, &mut |_| {}).map_err(|error| at(path, &error))?;
            if file.replaces && folder.entry(name)?.is_some() {
                let kept = keep(&folder, name, file.backup).map_err(|error| at(path, &error))?;
                journal.done(UndoStep::Restore { kept: sibling(path, &kept), path: path.clone() });
                folder.rename(&temporary, name).map_err(|error| at(path, &error))?;
                if file.backup {
                    written.backups.push((path.clone(), sibling(path, &kept)));
                } else {
                    spare.push(sibling(path, &kept));
                }
            } else {
                folder.rename_new(&temporary, name).map_err(|error| at(path, &error))?;
                journal.done(UndoStep::Remove(path.clone()));
            }
        }
        for step in self.steps.iter().filter(|step| step.action == Action::Delete) {
            let path = &step.file.path;
            let (folder, name) = open_parent(root, path, &mut |_| {}).map_err(|error| at(path, &error))?;
            let kept = temporary();
            folder.rename_new(name, &kept).map_err(|error| at(path, &error))?;
            journal.done(UndoStep::Restore { kept: sibling(path, &kept), path: path.clone() });
            spare.push(sibling(path, &kept));
        }
        for path in spare {
            // Everything is in place: what stays here is only a copy.
            remove(root, &path);
        }
        Ok(written)
    }
}

impl<'a> File<'a> {
    fn of(step: &'a PlanStep) -> File<'a> {
        let (mode, exact_mode) = match &step.existing {
            // A file that only its owner may read must not become public when it is replaced.
            Some((_, mode)) if !step.file.exact_mode => (*mode, true),
            _ => (step.file.mode, step.file.exact_mode),
        };
        File {
            path: step.file.path.clone(),
            bytes: &step.file.bytes,
            mode,
            exact_mode,
            replaces: step.action != Action::Create,
            backup: step.action == Action::Overwrite,
        }
    }
}

/// The files in `.paster`: name, content, permission bits.
fn state_files(
    target: &Path,
    memory: &Memory,
    steps: &[PlanStep],
) -> Result<Vec<(&'static str, Vec<u8>, u32)>> {
    let fault = |error: std::io::Error| Error::new("cannot write the project's record").because(error);
    let (lock, base) = (memory.lock.text()?.into_bytes(), memory.base.packed().map_err(fault)?);
    let undo = record(target, memory.command, steps, &lock, &base).map_err(fault)?;
    Ok(vec![
        (LOCK, lock, 0o666),
        (BASE, base, 0o666),
        (".gitignore", format!("/{IGNORED}\n").into_bytes(), 0o666),
        // It has the old content of files.
        (RECORD, undo, 0o600),
    ])
}

/// Removes a file, and the folders that are empty then. Best effort.
pub(in crate::scaffold) fn remove(root: &Dir, path: &str) {
    let removed = open_parent(root, path, &mut |_| {}).and_then(|(folder, name)| folder.remove(name));
    if removed.is_err() {
        return;
    }
    let mut rest = path;
    while let Some((folder, _)) = rest.rsplit_once('/') {
        let parent = open_parent(root, folder, &mut |_| {});
        if parent.and_then(|(parent, name)| parent.remove_folder(name)).is_err() {
            return;
        }
        rest = folder;
    }
}

/// Gives the file `name` a second name and returns that: `name.bak` or the next free one like it, or a temporary one.
fn keep(folder: &Dir, name: &str, backup: bool) -> std::io::Result<String> {
    for number in 0..1000 {
        let kept = match (backup, number) {
            (false, _) => temporary(),
            (true, 0) => format!("{name}.bak"),
            (true, number) => format!("{name}.bak{number}"),
        };
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
pub(in crate::scaffold) fn temporary() -> String {
    format!(".paster-{}", uuid::Uuid::new_v4().simple())
}

/// `name`, in the folder of `path`.
fn sibling(path: &str, name: &str) -> String {
    path.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}

fn at(path: &str, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("`{path}`: {error}"))
}
