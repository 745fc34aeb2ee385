//! Compares rendered files with what exists at the target, and writes all of them or none.
//!
//! [`Plan::new`] is for a new project, `addition` for a skeleton that is added to one, and `update` for a newer version of
//! one that is there already. `write` carries a plan out.

mod addition;
mod journal;
mod moved;
mod update;
mod write;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use self::journal::open_parent;
pub(super) use self::write::{remove, temporary};
use super::lock::{Base, Lock};
use super::render::Rendered;
use super::rooted_dir::{Dir, DirEntry};
use crate::error::{Error, Errors, Result};

/// The largest existing file that is compared.
const COMPARED_BYTES: u64 = 256 << 20;

/// What happens to one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It does not exist yet.
    Create,
    /// It exists with the same content.
    Same,
    /// It exists with other content: it is replaced, and the old file is kept as `*.bak`.
    Overwrite,
    /// It exists and is not changed (`once`).
    Keep,
    /// It is as the skeleton wrote it before: it is replaced.
    Update,
    /// The user and the skeleton changed it: both changes are put together.
    Merge,
    /// The user and the skeleton changed the same place: it gets conflict markers.
    Conflict,
    /// The skeleton has it no longer, and it is as the skeleton wrote it: it is removed.
    Delete,
    /// The user removed it: it stays away.
    StayDeleted,
}

impl Action {
    /// Whether it changes something.
    pub fn changes(self) -> bool {
        !matches!(self, Action::Same | Action::Keep | Action::StayDeleted)
    }
}

/// One file of the plan.
#[derive(Debug, Clone)]
pub struct PlanStep {
    /// What to write.
    pub file: Rendered,
    /// What happens.
    pub action: Action,
    /// The existing content, with its permission bits.
    pub existing: Option<(Vec<u8>, u32)>,
    /// The path that it had before, if the skeleton renamed it.
    pub renamed_from: Option<String>,
    /// Why it is not changed as one might expect.
    pub note: Option<String>,
}

/// What to do at the target.
#[derive(Debug)]
pub struct Plan {
    target: PathBuf,
    state: PlanState,
    /// All files, in order of path.
    pub steps: Vec<PlanStep>,
    /// What the project remembers afterwards.
    memory: Option<Memory>,
}

/// What the project remembers, and what is done: `create`, `add`, `update`.
#[derive(Debug)]
struct Memory {
    lock: Lock,
    base: Base,
    command: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlanState {
    Absent,
    /// Exists, and is empty or contains only `.git`.
    Empty,
    Used,
}

/// What was written.
#[derive(Debug, Default)]
pub struct WrittenFiles {
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
                (if used { PlanState::Used } else { PlanState::Empty }, Some(root))
            }
            Ok(_) => return Err(Error::new(format!("`{}` is a file, not a folder", target.display())).into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if std::fs::symlink_metadata(target).is_ok() {
                    return Err(Error::new(format!("`{}` is a broken symlink", target.display())).into());
                }
                (PlanState::Absent, None)
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
            steps.push(PlanStep::new(file, action, existing));
        }
        Errors::check(faults)?;
        Ok(Plan { target: target.to_owned(), state, steps, memory: None })
    }

    /// Also writes what the project remembers; `command` is what is done.
    #[must_use]
    pub fn remember(mut self, lock: Lock, base: Base, command: &'static str) -> Plan {
        self.memory = Some(Memory { lock, base, command });
        self
    }

    /// Whether the project would remember something else than it does.
    pub fn changes_lock(&self) -> Result<bool> {
        let Some(memory) = &self.memory else { return Ok(false) };
        Ok(Lock::read(&self.target)?.is_none_or(|(lock, base)| lock != memory.lock || base != memory.base))
    }

    /// Whether the target already has files and this plan changes anything.
    pub fn needs_force(&self) -> bool {
        self.state == PlanState::Used && self.steps.iter().any(|step| step.action.changes())
    }
}

impl PlanStep {
    fn new(file: Rendered, action: Action, existing: Option<(Vec<u8>, u32)>) -> PlanStep {
        PlanStep { file, action, existing, renamed_from: None, note: None }
    }
}

/// The content and permission bits of the file at `path`, if it exists.
pub(super) fn existing(root: &Dir, path: &str) -> std::io::Result<Option<(Vec<u8>, u32)>> {
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
