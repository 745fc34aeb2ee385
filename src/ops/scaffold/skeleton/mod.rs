//! `paster skeleton`: what authors of skeletons need.

mod serve;
pub mod test;

use std::path::Path;

use serde_json::{Map, Value};

use super::existing::Existing;
use super::layer::{LayerProject, SkeletonLayer};
use crate::error::{Error, Errors, Result};
use crate::scaffold::{Case, Finding, ProvidedAnswers, Skeleton, lint};

/// What [`check`] found.
#[derive(Debug)]
pub struct CheckedSkeleton {
    /// The skeleton.
    pub skeleton: Skeleton,
    /// What its author should know. Errors are not among them.
    pub findings: Vec<Finding>,
}

/// Reads the skeleton, and renders it with the defaults and with the answers of each of its tests.
/// # Errors
/// Everything that would keep a user from creating a project.
pub fn check(address: &str) -> Result<CheckedSkeleton> {
    let skeleton = Skeleton::open(address)?;
    let findings = lint(&skeleton)?;
    let mut faults = Vec::new();
    for (number, case) in skeleton.manifest.tests.iter().enumerate() {
        if let Err(errors) = render(&skeleton, case) {
            let because = |error: Error| error.help(format!("in test {}", number + 1));
            faults.extend(errors.into_iter().map(because));
        }
    }
    if skeleton.manifest.tests.is_empty() {
        faults.extend(render(&skeleton, &Case::default()).err().into_iter().flatten());
    }
    Errors::check(faults)?;
    Ok(CheckedSkeleton { skeleton, findings })
}

fn render(skeleton: &Skeleton, case: &Case) -> Result<()> {
    let name = project(skeleton, case);
    let project = LayerProject { target: Path::new(&name).to_owned(), name };
    let mut file = case.vars.clone();
    file.remove("project");
    let given = ProvidedAnswers { file, file_name: "[[test]]".into(), ..ProvidedAnswers::default() };
    SkeletonLayer::new(skeleton.clone(), &project, Existing::default(), &given, &mut |_| Ok(None)).map(|_| ())
}

/// The name of a test's project.
fn project(skeleton: &Skeleton, case: &Case) -> String {
    let named = case.vars.get("project").and_then(Value::as_str);
    named.unwrap_or(&skeleton.manifest.about.name).to_owned()
}

/// The answers of a test as `KEY=VALUE`.
fn arguments(vars: &Map<String, Value>) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    vars.iter()
        .filter(|(name, _)| *name != "project")
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect()
}
