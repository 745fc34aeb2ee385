//! `paster create`: makes a directory with an application from skeletons and some answers.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::existing::Existing;
use super::layer::{Ask, LayerProject, SkeletonLayer, git, project_name, share};
use super::programs;
use crate::config::{Sources, without_bom};
use crate::error::{Error, Result};
use crate::ops::python_environment::PythonEnvironment;
use crate::scaffold::{Base, Lock, Plan, PostAction, ProvidedAnswers, Skeleton, WrittenFiles, compose};

/// What to create.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The directory to create; `None` for the skeleton's name.
    pub target: Option<PathBuf>,
    /// The address of a skeleton: see [`Skeleton::open`].
    pub skeleton: String,
    /// Further skeletons, which are added to it.
    pub with: Vec<String>,
    /// Answers given in advance.
    pub given: ProvidedAnswers,
    /// Whether the skeletons may run programs.
    pub trust: bool,
}

/// Everything that is found out before anything is written.
#[derive(Debug)]
pub struct PreparedProject {
    /// The skeletons with their answers, the main one first.
    pub layers: Vec<SkeletonLayer>,
    /// The directory of the project, as the user named it.
    pub target: PathBuf,
    /// The project's name: the name of the directory.
    pub project: String,
    /// What happens to each file.
    pub plan: Plan,
    /// The actions after the files are written.
    pub posts: Vec<PostAction>,
    /// The programs to run afterwards, which the user trusts.
    pub programs: Vec<Vec<String>>,
    /// Suggestions for the user, one per line.
    pub next: Vec<String>,
}

/// The result.
#[derive(Debug, Default)]
pub struct Created {
    /// What was written.
    pub written: WrittenFiles,
    /// The actions that were done.
    pub done: Vec<PostAction>,
    /// The actions that were skipped, and why.
    pub notices: Vec<String>,
    /// The command that makes the virtual environment, if it was not made.
    pub first: Option<String>,
}

/// Opens the skeletons, answers their questions, renders them and compares the result with the target. Writes nothing.
/// # Errors
/// Faults of the command line (names, answers) and of the skeletons; obstacles at the target; skeletons that run
/// programs, without trust.
pub fn prepare(request: &CreateRequest, ask: Ask<'_>) -> Result<PreparedProject> {
    let mut skeletons = vec![Skeleton::open(&request.skeleton)?];
    for other in &request.with {
        skeletons.push(Skeleton::open_addition(other)?);
    }
    let about = &skeletons[0].manifest.about;
    let target = request.target.clone().unwrap_or_else(|| PathBuf::from(&about.name));
    let project = LayerProject { name: project_name(&target)?, target: target.clone() };
    let all: Vec<_> = skeletons.iter().collect();
    let mut layers = Vec::<SkeletonLayer>::new();
    for (which, skeleton) in skeletons.iter().enumerate() {
        let mut given = share(&request.given, &all, which);
        // One question, one answer: what an earlier skeleton knows is not asked again.
        for layer in &layers {
            given.kept.extend(layer.answers.kept());
        }
        let existing =
            Existing::of_files(&compose(layers.iter().map(|layer| layer.files.clone()).collect())?);
        layers.push(SkeletonLayer::new(skeleton.clone(), &project, existing, &given, ask)?);
    }
    let files = compose(layers.iter().map(|layer| layer.files.clone()).collect())?;
    let lock = Lock::new(&project.name, layers.iter().map(SkeletonLayer::locked).collect(), &files);
    let base = Base::of(&files);
    let plan = Plan::new(&target, files)?.remember(lock, base, "create");
    PreparedProject::new(layers, project, plan, request.trust)
}

impl PreparedProject {
    /// Adds what happens after the files are written.
    pub(super) fn new(
        layers: Vec<SkeletonLayer>,
        project: LayerProject,
        plan: Plan,
        trust: bool,
    ) -> Result<PreparedProject> {
        let (mut posts, mut programs, mut next) = (Vec::new(), Vec::new(), Vec::new());
        for layer in &layers {
            let found = layer.skeleton.posts(&layer.answers)?;
            posts.extend(found.into_iter().filter(|post| !posts.contains(post)).collect::<Vec<_>>());
            programs.extend(programs::trusted(layer, trust)?);
            next.extend(layer.skeleton.next(&layer.answers)?);
        }
        let LayerProject { target, name } = project;
        Ok(PreparedProject { layers, target, project: name, plan, posts, programs, next })
    }

    /// The main skeleton.
    pub fn skeleton(&self) -> &Skeleton {
        &self.layers[0].skeleton
    }

    /// The names of the skeletons: `axum` with `production`.
    pub fn skeleton_names(&self) -> String {
        let names: Vec<_> =
            self.layers.iter().map(|layer| layer.skeleton.manifest.about.name.as_str()).collect();
        names.join(" with ")
    }

    /// Returns an error for a directory with other files in it, unless `force`.
    /// # Errors
    /// With the options that the user has.
    pub fn refuse_used(&self, force: bool) -> Result<()> {
        if force || !self.plan.needs_force() {
            return Ok(());
        }
        Err(Error::new(format!("`{}` is not empty", self.target.display()))
            .help("choose another name")
            .help("see what would change there with `--diff`")
            .help("write into it with `--force`; replaced files are kept as `*.bak`")
            .into())
    }

    /// How the project's virtual environment is made, if it is to have one.
    pub fn python_environment(&self) -> Option<PythonEnvironment> {
        let wanted = self.posts.contains(&PostAction::PythonEnvironment);
        wanted.then(|| PythonEnvironment::of(&self.target))
    }

    /// Writes the files and does the actions that follow, except the virtual environment.
    /// # Errors
    /// When a file cannot be written: then nothing was written. When a check of the result fails: then the
    /// files exist.
    pub fn write(&self) -> Result<Created> {
        let notices = self.layers.iter().map(SkeletonLayer::write_sdk).collect::<Result<Vec<_>>>()?;
        let mut created = Created { written: self.plan.write()?, ..Created::default() };
        created.notices.extend(notices.into_iter().flatten());
        for post in &self.posts {
            match post {
                PostAction::GitInit => match git_init(&self.target) {
                    Ok(()) => created.done.push(*post),
                    Err(why) => created.notices.push(format!("no git repository: {why}")),
                },
                PostAction::Check => {
                    let sources =
                        Sources { file: Some(self.target.join("server.toml")), ..Sources::default() };
                    crate::ops::check::check(&sources, false)?;
                    created.done.push(*post);
                }
                PostAction::Chmod => {}             // done when the files are written
                PostAction::PythonEnvironment => {} // see `python_environment`
                PostAction::Run => {}               // see `programs`
            }
        }
        for argv in &self.programs {
            programs::run(argv, &self.target)?;
        }
        Ok(created)
    }
}

/// Reads the table in an answers file: JSON if its name ends in `.json`, TOML otherwise.
/// # Errors
/// If it cannot be read or parsed.
pub fn read_answers(path: &Path) -> Result<Map<String, Value>> {
    let shown = path.display();
    let text = std::fs::read(path)
        .and_then(|bytes| String::from_utf8(without_bom(bytes)).map_err(std::io::Error::other))
        .map_err(|error| Error::usage(format!("cannot read the answers in `{shown}`")).because(error))?;
    let table = if path.extension().is_some_and(|ending| ending == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        toml_edit::de::from_str(&text).map_err(|error| error.to_string().trim_end().to_owned())
    };
    Ok(table.map_err(|error| Error::usage(format!("cannot read the answers in `{shown}`")).because(error))?)
}

/// Makes a git repository of `target`. No argument contains a name from the user, so none can be taken for an
/// option.
fn git_init(target: &Path) -> Result<(), String> {
    let absolute = std::path::absolute(target).map_err(|error| error.to_string())?;
    if absolute.join(".git").exists() {
        return Ok(());
    }
    if absolute.ancestors().skip(1).any(|folder| folder.join(".git").exists()) {
        return Err("the directory is already in a repository".into());
    }
    let output =
        git().args(["init", "--quiet"]).current_dir(target).output().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "git is not installed".to_string(),
            _ => error.to_string(),
        })?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
