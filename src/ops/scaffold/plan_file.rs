//! A plan of `paster create` in a file: `--plan` writes it, and `--apply` carries it out exactly, or not at all.
//!
//! The file has no contents, only their digests. They are rendered again from the same skeletons and answers, so a plan from
//! elsewhere cannot add files, and does not contain secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::create::{CreateRequest, PreparedProject, prepare};
use super::layer::Ask;
use super::shown;
use crate::error::{Error, Result};
use crate::scaffold::{Action, ProvidedAnswers};

/// The version of the format.
const FORMAT: u32 = 1;

/// What a file of `--plan` has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    format: u32,
    /// The directory of the project.
    target: PathBuf,
    /// The skeletons, the main one first.
    skeletons: Vec<PlannedSkeleton>,
    /// The answers, without secrets.
    answers: Map<String, Value>,
    /// Whether it may write into a directory that is not empty.
    force: bool,
    /// The files, in order of path.
    files: Vec<PlannedFile>,
    /// The programs to run afterwards.
    programs: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedSkeleton {
    source: String,
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedFile {
    path: String,
    action: Action,
    /// SHA-256 of the content.
    sha256: String,
    /// SHA-256 of the file that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
}

/// The plan for a project: what [`prepare`] found for a target with an absolute path.
pub fn plan(prepared: &PreparedProject, force: bool) -> PlanFile {
    let digest =
        |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut answers = Map::new();
    let mut skeletons = Vec::new();
    for layer in &prepared.layers {
        answers.extend(layer.answers.kept());
        let source = &layer.skeleton.source;
        skeletons.push(PlannedSkeleton { source: source.address.clone(), sha256: source.digest.clone() });
    }
    let files = prepared.plan.steps.iter().map(|step| PlannedFile {
        path: step.file.path.clone(),
        action: step.action,
        sha256: digest(&step.file.bytes),
        replaces: step.existing.as_ref().map(|(bytes, _)| digest(bytes)),
    });
    PlanFile {
        format: FORMAT,
        target: prepared.target.clone(),
        skeletons,
        answers,
        force,
        files: files.collect(),
        programs: prepared.programs.iter().map(|argv| shown(argv)).collect(),
    }
}

impl PlanFile {
    /// Reads a plan.
    /// # Errors
    /// A file that cannot be read, that is not a plan, or that a newer paster has written.
    pub fn read(path: &Path) -> Result<PlanFile> {
        let failed = || Error::usage(format!("cannot read the plan `{}`", path.display()));
        let text = std::fs::read_to_string(path).map_err(|cause| failed().because(cause))?;
        let plan: PlanFile = serde_json::from_str(&text).map_err(|cause| failed().because(cause))?;
        if plan.format != FORMAT || plan.skeletons.is_empty() {
            return Err(failed().because("it was not written by this version of paster").into());
        }
        Ok(plan)
    }

    /// Writes the plan to a file.
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |cause: std::io::Error| {
            Error::new(format!("cannot write the plan to `{}`", path.display())).because(cause)
        };
        let text = serde_json::to_string_pretty(self).map_err(|cause| failed(cause.into()))?;
        std::fs::write(path, text + "\n").map_err(failed)?;
        Ok(())
    }

    /// Prepares the plan; `given` has the secrets.
    /// # Errors
    /// If the skeletons or the directory have changed since: with everything that differs.
    pub fn prepare(&self, given: ProvidedAnswers, trust: bool, ask: Ask<'_>) -> Result<PreparedProject> {
        let given = ProvidedAnswers { kept: self.answers.clone(), ..given };
        let (main, with) = self.skeletons.split_first().expect("`read` checked it");
        let request = CreateRequest {
            target: Some(self.target.clone()),
            skeleton: main.source.clone(),
            with: with.iter().map(|skeleton| skeleton.source.clone()).collect(),
            given,
            trust,
        };
        let prepared = prepare(&request, ask)?;
        let now = plan(&prepared, self.force);
        let differences = self.differences(&now);
        if differences.is_empty() {
            return Ok(prepared);
        }
        let error = Error::new("the result would differ from the plan; nothing was written")
            .because(differences.join("; "));
        Err(error.help("create a new plan with `--plan`, and review it").into())
    }

    /// In words, what is not as planned.
    fn differences(&self, now: &PlanFile) -> Vec<String> {
        let mut found = Vec::new();
        for (planned, now) in self.skeletons.iter().zip(&now.skeletons) {
            if planned != now {
                found.push(format!("the skeleton `{}` has changed", planned.source));
            }
        }
        let by_path = |plan: &PlanFile| -> BTreeMap<String, PlannedFile> {
            plan.files.iter().map(|file| (file.path.clone(), file.clone())).collect()
        };
        let (planned, current) = (by_path(self), by_path(now));
        for (path, file) in &planned {
            match current.get(path) {
                None => found.push(format!("`{path}` would not be written")),
                Some(now) if now.replaces != file.replaces => {
                    found.push(format!("`{path}` has changed in `{}`", self.target.display()));
                }
                Some(now) if now != file => found.push(format!("`{path}` would get different content")),
                Some(_) => {}
            }
        }
        let more = current.keys().filter(|path| !planned.contains_key(*path));
        found.extend(more.map(|path| format!("`{path}` would also be written")));
        if self.programs != now.programs {
            found.push("other programs would run".to_owned());
        }
        found
    }

    /// Whether files may be written into a directory with others.
    pub fn force(&self) -> bool {
        self.force
    }
}
