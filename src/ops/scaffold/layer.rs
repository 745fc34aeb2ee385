//! One skeleton with its answers: a layer of a project.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::existing::Existing;
use crate::error::{Error, Result};
use crate::ops::sdk;
use crate::scaffold::{
    Answers, LockedSkeleton, ProvidedAnswers, Question, Rendered, Skeleton, plain_component, render, resolve,
};

/// Asks the user one question, or returns `None` if there is nobody to ask.
pub type Ask<'a> = &'a mut dyn FnMut(&Question<'_>) -> Result<Option<Value>>;

/// One skeleton with its answers.
#[derive(Debug)]
pub struct SkeletonLayer {
    /// The skeleton.
    pub skeleton: Skeleton,
    /// All answers.
    pub answers: Answers,
    /// What it rendered.
    pub(super) files: Vec<Rendered>,
    /// Whether it is added to an existing project.
    added: bool,
    existing: Existing,
    /// The copy of the sdk that the project builds against.
    sdk: Option<sdk::Copy>,
}

/// The project that a layer is for.
#[derive(Debug, Clone)]
pub(super) struct LayerProject {
    pub(super) target: PathBuf,
    pub(super) name: String,
}

impl SkeletonLayer {
    /// Answers the skeleton's questions and renders it.
    /// # Errors
    /// Faults of the answers and of the skeleton.
    pub(super) fn new(
        skeleton: Skeleton,
        project: &LayerProject,
        existing: Existing,
        given: &ProvidedAnswers,
        ask: Ask<'_>,
    ) -> Result<SkeletonLayer> {
        let copy = if sdk::checkout().is_none() && skeleton.mentions("paster_sdk") {
            sdk::Copy::find()
        } else {
            None
        };
        let mut built_in = built_in(&skeleton, &project.target, &project.name, copy.as_ref());
        built_in.insert("existing".into(), existing.value());
        let answers = resolve(&skeleton.manifest, built_in, given, ask)?;
        let sdk = copy.filter(|copy| {
            let folder = copy.sdk();
            answers.vars.iter().any(|answer| answer.value.as_str().map(Path::new) == Some(&folder))
        });
        let files = render(&skeleton, &answers)?;
        Ok(SkeletonLayer { skeleton, answers, files, added: false, existing, sdk })
    }

    /// Marks it as added to an existing project.
    pub(super) fn added(self) -> SkeletonLayer {
        SkeletonLayer { added: true, ..self }
    }

    /// What the project remembers of it.
    pub(super) fn locked(&self) -> LockedSkeleton {
        let about = &self.skeleton.manifest.about;
        let source = &self.skeleton.source;
        LockedSkeleton {
            name: about.name.clone(),
            source: source.address.clone(),
            version: about.version.clone(),
            revision: source.revision.clone(),
            sha256: source.digest.clone(),
            added: self.added,
            answers: self.answers.kept(),
            existing: self.existing.kept(),
        }
    }

    /// Writes the sources of the SDK, if the project builds against them. Returns a line for the user.
    pub(super) fn write_sdk(&self) -> Result<Option<String>> {
        let Some(sdk) = &self.sdk else { return Ok(None) };
        Ok(sdk.write()?.then(|| format!("the sources of the SDK are in `{}`", sdk.sdk().display())))
    }
}

/// The arguments and the answers file for one of several skeletons: only what it knows.
/// # Errors
/// A name that none of them knows, as [`resolve`] reports it for the first one.
pub(super) fn share(given: &ProvidedAnswers, all: &[&Skeleton], which: usize) -> ProvidedAnswers {
    let knows = |skeleton: &Skeleton, name: &str| skeleton.manifest.var(name).is_some();
    // The first one gets the unknown answers, and reports them.
    let its = |name: &str| {
        knows(all[which], name) || (which == 0 && !all.iter().any(|skeleton| knows(skeleton, name)))
    };
    let mut share = given.clone();
    share.arguments.retain(|(name, _)| its(name));
    share.file.retain(|name, _| its(name));
    share
}

/// The last component of the target, which must be a name.
pub(super) fn project_name(target: &Path) -> Result<String> {
    let shown = target.display();
    let absolute = std::path::absolute(target)
        .map_err(|error| Error::usage(format!("`{shown}` cannot hold a project")).because(error))?;
    let name = absolute.file_name().filter(|_| !target.ends_with(".."));
    let name = name.ok_or_else(|| Error::usage(format!("`{shown}` does not end with a name")))?;
    let name = name.to_str().ok_or_else(|| Error::usage(format!("the name of `{shown}` is not UTF-8")))?;
    plain_component(name).map_err(|why| {
        let kept: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
        let error = Error::usage(format!("`{}` cannot name a project: it {why}", name.escape_debug()));
        let near = kept.trim_end_matches('.').to_owned();
        if plain_component(&near).is_ok() { error.help(format!("`{near}` would work")) } else { error }
    })?;
    Ok(name.to_owned())
}

/// The variables that every skeleton may use.
fn built_in(
    skeleton: &Skeleton,
    target: &Path,
    project: &str,
    copy: Option<&sdk::Copy>,
) -> Map<String, Value> {
    let checkout = sdk::checkout();
    let paster_sdk = match &checkout {
        Some(checkout) => Some(format!("{}/plugins/paster-sdk", checkout.display())),
        None => copy.and_then(|copy| copy.sdk().to_str().map(str::to_owned)),
    };
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let year = now.split('-').next().and_then(|year| year.parse::<i64>().ok()).unwrap_or_default();
    // Running git takes time: do it only if a template uses its values.
    let user = |key: &str| if skeleton.mentions("user.") { git_config(key) } else { String::new() };
    let values = json!({
        "project": project,
        "target": target.display().to_string(),
        "year": year,
        "user": {"name": user("user.name"), "email": user("user.email")},
        "checkout": checkout.map(|root| root.display().to_string()).unwrap_or_default(),
        "paster": env!("CARGO_PKG_VERSION"),
        "paster_sdk": paster_sdk.unwrap_or_default(),
    });
    match values {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}

fn git_config(key: &str) -> String {
    let output = git().args(["config", "--get", key]).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.and_then(|text| String::from_utf8(text).ok()).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// git, without variables that would point it to another repository.
pub(super) fn git() -> Command {
    let mut git = Command::new("git");
    git.stdin(Stdio::null());
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        git.env_remove(name);
    }
    git
}
