//! Compares a newer version of a project's skeletons with what they wrote before and with what is there now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::moved::renamed_by_user;
use super::{Action, Plan, PlanState, PlanStep, existing};
use crate::error::{Error, Errors, Result};
use crate::scaffold::lock::{Base, Lock, LockedFile};
use crate::scaffold::merge::{MergeKind, Merged, Versions, has_markers, merge};
use crate::scaffold::render::Rendered;
use crate::scaffold::rooted_dir::Dir;

impl Plan {
    /// Finds out what becomes of each file of the project in `target`: a three-way merge of what the skeletons wrote
    /// before (`lock`, `base`), what is there, and `files`. `renamed` has the old sources of files by their new ones;
    /// `label` names the new version in conflict markers. Writes nothing.
    /// # Errors
    /// A target that is not a folder; symlinks or special files where files should be; conflict markers of an earlier
    /// update.
    pub fn update(
        target: &Path,
        (lock, base): (&Lock, &Base),
        files: Vec<Rendered>,
        renamed: &BTreeMap<String, String>,
        label: &str,
    ) -> Result<Plan> {
        let root = Dir::open(target).map_err(|error| {
            Error::new(format!("cannot read the folder `{}`", target.display())).because(error)
        })?;
        let mut faults = Vec::new();
        let mut steps = Vec::new();
        let mut seen = BTreeSet::new();
        let paths: BTreeSet<_> = files.iter().map(|file| file.path.clone()).collect();
        let mut moved = renamed_by_user(&root, lock, base);
        moved.retain(|_, path| !paths.contains(path));
        let project = UpdatedProject { root: &root, target, base, label, moved };
        for file in files {
            let old = old_file(lock, &file, renamed, &paths);
            seen.extend(old.map(|old| old.path.clone()));
            match project.file(old, file) {
                Ok(found) => steps.extend(found),
                Err(error) => faults.push(error),
            }
        }
        for old in lock.files.iter().filter(|old| !seen.contains(&old.path)) {
            match project.dropped(old) {
                Ok(found) => steps.extend(found),
                Err(error) => faults.push(error),
            }
        }
        Errors::check(faults)?;
        steps.sort_by(|left, right| left.file.path.cmp(&right.file.path));
        Ok(Plan { target: target.to_owned(), state: PlanState::Used, steps, memory: None })
    }
}

/// The file that the project remembers for `file`: of the same path, or of the same source if the skeleton moved it.
fn old_file<'a>(
    lock: &'a Lock,
    file: &Rendered,
    renamed: &BTreeMap<String, String>,
    paths: &BTreeSet<String>,
) -> Option<&'a LockedFile> {
    let at = |path: &str| lock.files.iter().find(|old| old.path == path);
    at(&file.path).or_else(|| {
        let source = renamed.get(&file.source).unwrap_or(&file.source);
        lock.files.iter().find(|old| old.source == *source && !paths.contains(&old.path))
    })
}

struct UpdatedProject<'a> {
    root: &'a Dir,
    target: &'a Path,
    base: &'a Base,
    label: &'a str,
    /// The new paths of files that the user renamed.
    moved: BTreeMap<String, String>,
}

/// A file that exists, with its permission bits.
type ExistingFile = Option<(Vec<u8>, u32)>;

impl UpdatedProject<'_> {
    fn existing(&self, path: &str) -> Result<ExistingFile, Error> {
        let shown = self.target.join(path);
        existing(self.root, path)
            .map_err(|error| Error::new(format!("`{}` is in the way", shown.display())).because(error))
    }

    /// What becomes of a file that the skeletons have now.
    fn file(&self, old: Option<&LockedFile>, file: Rendered) -> Result<Vec<PlanStep>, Error> {
        match old {
            Some(old) if self.moved.contains_key(&old.path) => self.renamed(old, file),
            Some(old) if old.path != file.path => self.moved(old, file),
            _ => Ok(vec![self.in_place(old, self.existing(&file.path)?, file)?]),
        }
    }

    /// A file that the user renamed: it stays where they put it.
    fn renamed(&self, old: &LockedFile, mut file: Rendered) -> Result<Vec<PlanStep>, Error> {
        file.path.clone_from(&self.moved[&old.path]);
        let found = self.existing(&file.path)?;
        let mut step = self.in_place(Some(old), found, file)?;
        if step.action.changes() {
            step.note = Some(format!("you renamed `{}`", old.path));
        }
        Ok(vec![step])
    }

    /// A file that moved: the user's changes go with it.
    fn moved(&self, old: &LockedFile, file: Rendered) -> Result<Vec<PlanStep>, Error> {
        let before = self.existing(&old.path)?;
        if self.existing(&file.path)?.is_some() {
            let mut step = self.in_place(None, self.existing(&file.path)?, file)?;
            step.note = Some(format!("`{}` also remains: the skeleton moved it here", old.path));
            return Ok(vec![step]);
        }
        let path = file.path.clone();
        let mut step = self.in_place(Some(old), before.clone(), file)?;
        if before.is_none() {
            return Ok(vec![step]);
        }
        let removed = Rendered { path: old.path.clone(), ..step.file.clone() };
        let mut delete = PlanStep::new(removed, Action::Delete, before.clone());
        delete.note = Some(format!("moved to `{path}`"));
        if !step.action.changes() {
            // Its content stays; only its place is new.
            step.file.bytes = before.map(|(bytes, _)| bytes).unwrap_or_default();
        }
        if step.action != Action::Conflict {
            step.action = Action::Create;
        }
        step.renamed_from = Some(old.path.clone());
        Ok(vec![step, delete])
    }

    /// A file at its path; `found` is what the user has.
    fn in_place(
        &self,
        old: Option<&LockedFile>,
        found: ExistingFile,
        mut file: Rendered,
    ) -> Result<PlanStep, Error> {
        let Some((ours, _)) = &found else {
            let action = if old.is_some() { Action::StayDeleted } else { Action::Create };
            return Ok(PlanStep::new(file, action, None));
        };
        if *ours == file.bytes {
            return Ok(PlanStep::new(file, Action::Same, found));
        }
        let base = old.and_then(|old| self.base.0.get(&old.path));
        if file.once || file.secret {
            return Ok(PlanStep::new(file, Action::Keep, found));
        }
        if base == Some(&file.bytes) {
            // Only the user changed it.
            return Ok(PlanStep::new(file, Action::Same, found));
        }
        if base == Some(ours) {
            return Ok(PlanStep::new(file, Action::Update, found));
        }
        let base = base.map_or(&[][..], Vec::as_slice);
        let shown = self.target.join(&file.path).display().to_string();
        let texts = [base, ours, &file.bytes].map(std::str::from_utf8);
        let [Ok(base), Ok(ours), Ok(theirs)] = texts else {
            let mut step = PlanStep::new(file, Action::Keep, found);
            step.note = Some("not text: both you and the skeleton changed it, so yours is kept".into());
            return Ok(step);
        };
        if has_markers(ours) {
            return Err(Error::new(format!("`{shown}` still has conflict markers"))
                .help("resolve the conflict, or revert the last update with `paster undo`"));
        }
        let versions = Versions { base, ours, theirs };
        let merged = merge(file.merge, versions, &file.replaced, self.label).or_else(|_| {
            // A file that the user broke is merged by lines.
            merge(MergeKind::Text, versions, &[], self.label)
        });
        let (text, action) =
            match merged.map_err(|why| Error::new(format!("cannot merge `{shown}`")).because(why))? {
                Merged::Clean(text) if text == ours => (text, Action::Same),
                Merged::Clean(text) => (text, Action::Merge),
                Merged::Conflict { marked, .. } => (marked, Action::Conflict),
            };
        file.bytes = text.into_bytes();
        Ok(PlanStep::new(file, action, found))
    }

    /// A file that the skeletons have no longer.
    fn dropped(&self, old: &LockedFile) -> Result<Option<PlanStep>, Error> {
        let Some((ours, mode)) = self.existing(&old.path)? else { return Ok(None) };
        let unchanged = self.base.0.get(&old.path) == Some(&ours);
        let file = Rendered {
            source: old.source.clone(),
            path: old.path.clone(),
            bytes: ours.clone(),
            mode,
            exact_mode: false,
            once: false,
            merge: MergeKind::Text,
            replaced: Vec::new(),
            secret: false,
        };
        let action = if unchanged { Action::Delete } else { Action::Keep };
        let mut step = PlanStep::new(file, action, Some((ours, mode)));
        if !unchanged {
            step.note = Some("the skeleton removed it; you changed it, so it is kept".into());
        }
        Ok(Some(step))
    }
}
