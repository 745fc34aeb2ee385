//! Compares a skeleton that is added to an existing project with what is there.

use std::path::Path;

use super::{Action, Plan, PlanState, PlanStep, existing};
use crate::error::{Error, Errors, Result};
use crate::scaffold::merge::{MergeKind, Merged, Versions, merge};
use crate::scaffold::render::Rendered;
use crate::scaffold::rooted_dir::Dir;

impl Plan {
    /// Reads the project in `target` and finds out how `files` go into it. An existing file is merged if the skeleton has a
    /// rule for that. Otherwise, it is in the way, unless `force` replaces it. Writes nothing.
    /// # Errors
    /// Files that exist and differ; keys that are set already.
    pub fn addition(target: &Path, files: Vec<Rendered>, force: bool) -> Result<Plan> {
        let root = Dir::open(target).map_err(|error| {
            Error::new(format!("cannot read the folder `{}`", target.display())).because(error)
        })?;
        let mut faults = Vec::new();
        let mut steps = Vec::new();
        for file in files {
            match step(&root, target, file, force) {
                Ok(step) => steps.push(step),
                Err(error) => faults.push(error),
            }
        }
        Errors::check(faults)?;
        Ok(Plan { target: target.to_owned(), state: PlanState::Used, steps, memory: None })
    }
}

fn step(root: &Dir, target: &Path, mut file: Rendered, force: bool) -> Result<PlanStep, Error> {
    let shown = target.join(&file.path).display().to_string();
    let found = existing(root, &file.path)
        .map_err(|error| Error::new(format!("`{shown}` is in the way")).because(error))?;
    let Some((bytes, _)) = &found else { return Ok(PlanStep::new(file, Action::Create, None)) };
    if *bytes == file.bytes {
        return Ok(PlanStep::new(file, Action::Same, found));
    }
    if file.merge == MergeKind::Text {
        return match force {
            _ if file.once => Ok(PlanStep::new(file, Action::Keep, found)),
            true => Ok(PlanStep::new(file, Action::Overwrite, found)),
            false => Err(Error::new(format!("`{shown}` already exists"))
                .help("see what would change there with `--diff`")
                .help("replace it with `--force`; the old file is kept as `*.bak`")),
        };
    }
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .map_err(|error| Error::new(format!("`{shown}` is not text")).because(error))
    };
    let (ours, theirs) = (text(bytes)?, text(&file.bytes)?);
    let versions = Versions { base: "", ours: &ours, theirs: &theirs };
    let merged = merge(file.merge, versions, &file.replaced, "")
        .map_err(|why| Error::new(format!("cannot add to `{shown}`")).because(why))?;
    match merged {
        Merged::Clean(text) if text == ours => Ok(PlanStep::new(file, Action::Same, found)),
        Merged::Clean(text) => {
            file.bytes = text.into_bytes();
            Ok(PlanStep::new(file, Action::Merge, found))
        }
        Merged::Conflict { keys, .. } => {
            let keys = keys.join("`, `");
            Err(Error::new(format!("`{shown}` already has `{keys}` with another value"))
                .help("choose another name, or change the value first"))
        }
    }
}
