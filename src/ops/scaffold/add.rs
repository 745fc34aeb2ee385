//! `paster add`: adds to an existing project, from a skeleton.

use std::path::PathBuf;

use super::create::PreparedProject;
use super::existing::Existing;
use super::layer::{Ask, LayerProject, SkeletonLayer, project_name};
use crate::error::{Error, Result};
use crate::scaffold::{Base, Lock, Plan, ProvidedAnswers, Skeleton, compose};

/// What to add.
#[derive(Debug, Clone, Default)]
pub struct AddRequest {
    /// The directory of the project.
    pub target: PathBuf,
    /// What to add: the address of a skeleton, see [`Skeleton::open_addition`].
    pub skeleton: String,
    /// Answers given in advance.
    pub given: ProvidedAnswers,
    /// Whether the skeleton may run programs.
    pub trust: bool,
    /// Whether files that exist are replaced.
    pub force: bool,
}

/// Opens the skeleton, answers its questions, renders it and finds out how it goes into the project. Writes nothing.
/// # Errors
/// Faults of the command line, of the skeleton and of the project; files and keys that exist already.
pub fn prepare(request: &AddRequest, ask: Ask<'_>) -> Result<PreparedProject> {
    let target = &request.target;
    if !target.is_dir() {
        return Err(Error::usage(format!("there is no directory `{}`", target.display()))
            .help("`paster create` creates a new project")
            .into());
    }
    let skeleton = Skeleton::open_addition(&request.skeleton)?;
    let remembered = Lock::read(target)?;
    let name = match &remembered {
        Some((lock, _)) => lock.project.clone(),
        None => project_name(target)?,
    };
    let project = LayerProject { target: target.clone(), name };
    let existing = Existing::of_project(target)?;
    let layer = SkeletonLayer::new(skeleton, &project, existing, &request.given, ask)?.added();
    let plan = Plan::addition(target, layer.files.clone(), request.force)?;
    let (lock, base) = remember(&project, remembered, &layer)?;
    PreparedProject::new(vec![layer], project, plan.remember(lock, base, "add"), request.trust)
}

/// What the project remembers afterwards: the files of all its skeletons, put together.
fn remember(
    project: &LayerProject,
    remembered: Option<(Lock, Base)>,
    layer: &SkeletonLayer,
) -> Result<(Lock, Base)> {
    let Some((mut lock, mut base)) = remembered else {
        return Ok((Lock::new(&project.name, vec![layer.locked()], &layer.files), Base::of(&layer.files)));
    };
    lock.skeletons.push(layer.locked());
    for file in &layer.files {
        let known = lock.files.iter().position(|old| old.path == file.path);
        let before = base.0.get(&file.path).map(|bytes| {
            let mut before = file.clone();
            before.bytes.clone_from(bytes);
            before
        });
        let layers = before.into_iter().chain([file.clone()]).map(|file| vec![file]).collect();
        // A file that was replaced has only the new content.
        let merged = compose(layers).unwrap_or_else(|_| vec![file.clone()]);
        let locked = Lock::new(&project.name, Vec::new(), &merged).files;
        base.0.extend(Base::of(&merged).0);
        for mut new in locked {
            match known {
                Some(at) => {
                    new.source.clone_from(&lock.files[at].source);
                    lock.files[at] = new;
                }
                None => lock.files.push(new),
            }
        }
    }
    lock.files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok((lock, base))
}
