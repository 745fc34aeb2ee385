//! `paster update`: merges newer versions of its skeletons into a project.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::existing::Existing;
use super::layer::{Ask, LayerProject, SkeletonLayer, share};
use crate::error::{Error, Result};
use crate::scaffold::{
    Base, Lock, LockedSkeleton, Plan, PlanStep, ProvidedAnswers, Skeleton, WrittenFiles, compose,
};

/// What to update.
#[derive(Debug, Clone, Default)]
pub struct UpdateRequest {
    /// The directory of the project.
    pub target: PathBuf,
    /// Another address of the main skeleton.
    pub skeleton: Option<String>,
    /// Answers that change.
    pub given: ProvidedAnswers,
}

/// An update, before anything is written.
#[derive(Debug)]
pub struct Update {
    /// The directory of the project.
    pub target: PathBuf,
    /// The skeletons as the project has them.
    pub before: Vec<LockedSkeleton>,
    /// The skeletons as they are now.
    pub layers: Vec<SkeletonLayer>,
    /// What happens to each file.
    pub plan: Plan,
}

/// Opens the project's skeletons again, renders them and merges the result with what the project has. Writes nothing.
/// # Errors
/// A directory that is not a project; skeletons that cannot be opened; conflict markers of an earlier update.
pub fn prepare(request: &UpdateRequest, ask: Ask<'_>) -> Result<Update> {
    let target = &request.target;
    let Some((lock, base)) = Lock::read(target)? else {
        return Err(Error::usage(format!(
            "`{}` was not created by paster: it has no `.paster/skeleton.lock`",
            target.display()
        ))
        .help("give the directory of the project")
        .into());
    };
    let project = LayerProject { target: target.clone(), name: lock.project.clone() };
    let mut skeletons = Vec::new();
    for (which, locked) in lock.skeletons.iter().enumerate() {
        let address = request.skeleton.as_ref().filter(|_| which == 0).unwrap_or(&locked.source);
        let skeleton = Skeleton::open(address)?;
        if skeleton.manifest.about.name != locked.name {
            let name = &skeleton.manifest.about.name;
            return Err(
                Error::usage(format!("`{address}` is the skeleton `{name}`, not `{}`", locked.name)).into()
            );
        }
        skeletons.push(skeleton);
    }
    let all: Vec<_> = skeletons.iter().collect();
    let mut layers = Vec::<SkeletonLayer>::new();
    for (which, (skeleton, locked)) in skeletons.iter().zip(&lock.skeletons).enumerate() {
        let mut given = share(&request.given, &all, which);
        for layer in layers.iter().filter(|_| !locked.added) {
            given.kept.extend(layer.answers.kept());
        }
        given.kept.extend(locked.answers.clone());
        let existing = match locked.added {
            true => Existing::kept_before(locked.existing.clone()),
            false => Existing::of_files(&compose(layers.iter().map(|layer| layer.files.clone()).collect())?),
        };
        let layer = SkeletonLayer::new(skeleton.clone(), &project, existing, &given, ask)?;
        layers.push(if locked.added { layer.added() } else { layer });
    }
    let files = compose(layers.iter().map(|layer| layer.files.clone()).collect())?;
    let new_lock = Lock::new(&project.name, layers.iter().map(SkeletonLayer::locked).collect(), &files);
    let new_base = Base::of(&files);
    let label = layers.first().map(|layer| label(&layer.skeleton)).unwrap_or_default();
    let renamed = renamed(&layers, &lock.skeletons);
    let plan =
        Plan::update(target, (&lock, &base), files, &renamed, &label)?.remember(new_lock, new_base, "update");
    Ok(Update { target: target.clone(), before: lock.skeletons, layers, plan })
}

/// A skeleton's name with its version.
fn label(skeleton: &Skeleton) -> String {
    let about = &skeleton.manifest.about;
    about.version.as_ref().map_or_else(|| about.name.clone(), |version| format!("{} {version}", about.name))
}

/// The old source of each file that a skeleton renamed since the project's version of it, by the new one.
fn renamed(layers: &[SkeletonLayer], before: &[LockedSkeleton]) -> BTreeMap<String, String> {
    let mut renamed = BTreeMap::new();
    for (layer, locked) in layers.iter().zip(before) {
        let version = locked.version.as_deref().and_then(|version| semver::Version::parse(version).ok());
        let Some(version) = version else { continue };
        for migration in layer.skeleton.manifest.migrations.iter().filter(|step| step.from.matches(&version))
        {
            for (old, new) in &migration.rename {
                // A file that was renamed twice has the name that it had first.
                let old = format!("{}:{old}", locked.name);
                let first = renamed.remove(&old).unwrap_or(old);
                renamed.insert(format!("{}:{new}", locked.name), first);
            }
        }
    }
    renamed
}

impl Update {
    /// The steps that change something, or that the user should know.
    pub fn steps(&self) -> impl Iterator<Item = &PlanStep> {
        self.plan.steps.iter().filter(|step| step.action.changes() || step.note.is_some())
    }

    /// Whether there is nothing to update.
    /// # Errors
    /// A lock that cannot be read.
    pub fn is_current(&self) -> Result<bool> {
        Ok(!self.plan.steps.iter().any(|step| step.action.changes()) && !self.plan.changes_lock()?)
    }

    /// Writes the files.
    /// # Errors
    /// What could not be written: then nothing was changed.
    pub fn write(&self) -> Result<WrittenFiles> {
        for layer in &self.layers {
            layer.write_sdk()?;
        }
        self.plan.write()
    }
}
