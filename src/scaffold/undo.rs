//! Takes the last change of a project back: what `create`, `add` or `update` wrote.
//!
//! The record is `.paster/undo.tar.gz`: the list of the files, with their state after the change, and the content of those
//! that were replaced or removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lock::{BASE, LOCK, check_path, pack, read_state, unpack};
use super::plan::{Action, PlanStep, existing, open_parent, remove, temporary};
use super::render::STATE_FOLDER;
use super::rooted_dir::Dir;
use super::sha256;
use crate::error::{Error, Result};

/// Names in `.paster`.
pub(super) const RECORD: &str = "undo.tar.gz";
pub(super) const IGNORED: &str = RECORD;

/// The name of the list in the archive.
const LIST: &str = "undo.toml";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UndoRecord {
    /// What is taken back: `create`, `add` or `update`.
    command: String,
    #[serde(default, rename = "file")]
    files: Vec<Changed>,
    /// Those in `.paster`.
    #[serde(default)]
    state: Vec<Changed>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    path: String,
    /// SHA-256 after the change; none if the file was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// The permission bits before the change; none if the file did not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
}

/// The record of a change that is about to be made.
pub(super) fn record(
    target: &Path,
    command: &str,
    steps: &[PlanStep],
    lock: &[u8],
    base: &[u8],
) -> std::io::Result<Vec<u8>> {
    let mut archive = BTreeMap::new();
    let mut files = Vec::new();
    for step in steps.iter().filter(|step| step.action.changes()) {
        let path = step.file.path.clone();
        // A file that moves here does not exist yet.
        let existing =
            step.existing.as_ref().filter(|_| step.action != Action::Create && step.renamed_from.is_none());
        if let Some((bytes, _)) = existing {
            archive.insert(format!("old/{path}"), bytes.clone());
        }
        let after = (step.action != Action::Delete).then(|| sha256(&step.file.bytes));
        files.push(Changed { path, after, mode: existing.map(|(_, mode)| *mode) });
    }
    let mut state = Vec::new();
    for (name, bytes) in [(LOCK, lock), (BASE, base)] {
        let old = read_state(target, name)?;
        state.push(Changed {
            path: name.into(),
            after: Some(sha256(bytes)),
            mode: old.as_ref().map(|_| 0o644),
        });
        archive.extend(old.map(|old| (format!("state/{name}"), old)));
    }
    let list = toml::to_string(&UndoRecord { command: command.into(), files, state })
        .map_err(std::io::Error::other)?;
    archive.insert(LIST.into(), list.into_bytes());
    pack(&archive)
}

/// The last change of a project.
#[derive(Debug)]
pub struct Undo {
    target: PathBuf,
    record: UndoRecord,
    archive: BTreeMap<String, Vec<u8>>,
    /// What happens to each file.
    pub files: Vec<Undone>,
}

/// What happens to one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// Its path.
    pub path: String,
    /// What happens.
    pub action: UndoAction,
}

/// What undoing does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoAction {
    /// It was created: it is removed.
    Remove,
    /// It was changed or removed: it gets its old content.
    Restore,
    /// It was changed since then: it stays.
    Keep,
}

impl Undo {
    /// Reads the record of the project in `target`; `None` if there is nothing to take back. Writes nothing.
    /// # Errors
    /// A record that is damaged.
    pub fn read(target: &Path) -> Result<Option<Undo>> {
        let shown = target.join(STATE_FOLDER).join(RECORD);
        let fault = |why: String| Error::new(format!("cannot read `{}`", shown.display())).because(why);
        let Some(bytes) = read_state(target, RECORD).map_err(|error| fault(error.to_string()))? else {
            return Ok(None);
        };
        let archive = unpack(&bytes).map_err(|error| fault(error.to_string()))?;
        let list =
            archive.get(LIST).map(|list| String::from_utf8_lossy(list).into_owned()).unwrap_or_default();
        let record: UndoRecord = toml_edit::de::from_str(&list).map_err(|error| fault(error.to_string()))?;
        let known = |changed: &Changed| changed.path == LOCK || changed.path == BASE;
        if !record.state.iter().all(known) {
            return Err(fault("it names an unknown file".into()).into());
        }
        for changed in &record.state {
            let now = read_state(target, &changed.path).map_err(|error| fault(error.to_string()))?;
            if now.map(|bytes| sha256(&bytes)) != changed.after {
                let path = target.join(STATE_FOLDER).join(&changed.path);
                return Err(Error::new(format!(
                    "`{}` was changed since `paster {}`",
                    path.display(),
                    record.command
                ))
                .help("use version control to revert it")
                .into());
            }
        }
        let root = Dir::open(target).map_err(|error| fault(error.to_string()))?;
        let mut files = Vec::new();
        for changed in &record.files {
            check_path(&changed.path).map_err(fault)?;
            let now = existing(&root, &changed.path).map_err(|error| fault(error.to_string()))?;
            let as_left = now.as_ref().map(|(bytes, _)| sha256(bytes)) == changed.after;
            let action = match (as_left, changed.mode) {
                (true, Some(_)) => UndoAction::Restore,
                (true, None) => UndoAction::Remove,
                // Nothing is there that could be removed.
                (false, None) if now.is_none() => continue,
                (false, _) => UndoAction::Keep,
            };
            files.push(Undone { path: changed.path.clone(), action });
        }
        Ok(Some(Undo { target: target.to_owned(), record, archive, files }))
    }

    /// What is taken back: `create`, `add` or `update`.
    pub fn command(&self) -> &str {
        &self.record.command
    }

    /// Takes the change back. Files that were changed since then stay.
    /// # Errors
    /// What could not be written. A second try does the rest.
    pub fn write(&self) -> Result<()> {
        let fault = |error: std::io::Error| {
            Error::new(format!("cannot revert the change of `{}`", self.target.display())).because(error)
        };
        let root = Dir::open(&self.target).map_err(fault)?;
        for undone in &self.files {
            match undone.action {
                UndoAction::Keep => {}
                UndoAction::Remove => remove(&root, &undone.path),
                UndoAction::Restore => {
                    let old = self.archive.get(&format!("old/{}", undone.path));
                    let mode = self
                        .record
                        .files
                        .iter()
                        .find(|changed| changed.path == undone.path)
                        .and_then(|changed| changed.mode);
                    let (Some(old), Some(mode)) = (old, mode) else {
                        return Err(fault(std::io::Error::other(format!(
                            "`{}` is not in the record",
                            undone.path
                        )))
                        .into());
                    };
                    replace(&root, &undone.path, old, mode).map_err(fault)?;
                }
            }
        }
        for changed in &self.record.state {
            let path = format!("{STATE_FOLDER}/{}", changed.path);
            match self.archive.get(&format!("state/{}", changed.path)) {
                Some(old) => replace(&root, &path, old, 0o644).map_err(fault)?,
                None => remove(&root, &path),
            }
        }
        remove(&root, &format!("{STATE_FOLDER}/{RECORD}"));
        if !self.record.state.iter().any(|changed| changed.mode.is_some()) {
            remove(&root, &format!("{STATE_FOLDER}/.gitignore"));
        }
        Ok(())
    }
}

/// Puts `bytes` in place of the file at `path`, whole or not at all.
fn replace(root: &Dir, path: &str, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let (folder, name) = open_parent(root, path, &mut |_| {})?;
    let temporary = temporary();
    folder.create(&temporary, bytes, mode, true)?;
    folder.rename(&temporary, name)
}
