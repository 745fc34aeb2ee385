//! Finds what is wrong with a skeleton, for its author.

use serde::Serialize;
use serde_json::Value;

use super::condition::Condition;
use super::manifest::{Manifest, Var, VariableKind};
use super::source::Skeleton;
use super::template::{Engine, QUOTING, UsedValue};
use crate::error::Result;

/// Something that an author should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub place: String,
    /// What is wrong with it.
    pub message: String,
}

/// Helpers whose result has only letters, digits, `_`, `-` and spaces.
const WORDS: [&str; 5] = ["snake", "kebab", "camel", "pascal", "title"];

/// The helper that quotes for a kind of file.
const LANGUAGES: [(&str, &[&str]); 9] = [
    ("toml", &["toml_str", "config_str"]),
    ("json", &["json"]),
    ("rs", &["rust_str"]),
    ("py", &["py_str"]),
    ("sh", &["shell_str"]),
    ("js", &["json"]),
    ("ts", &["json"]),
    ("html", &["html"]),
    ("xml", &["html"]),
];

/// Checks `skeleton` without rendering it.
/// # Errors
/// Templates that cannot be parsed.
pub fn lint(skeleton: &Skeleton) -> Result<Vec<Finding>> {
    let engine = Engine::with_partials(&skeleton.partials, &skeleton.place("partials"))?;
    let manifest = &skeleton.manifest;
    let mut used = used_in_manifest(&engine, manifest)?;
    let mut findings = Vec::new();
    let mut included = Vec::new();
    for (name, partial) in &skeleton.partials {
        let usage = engine.usage(&skeleton.place(&format!("partials/{name}.hbs")), partial)?;
        used.extend(usage.variables);
        included.extend(usage.partials);
    }
    for file in skeleton.files.iter().chain(&skeleton.below) {
        let place = skeleton.place(&file.source_path());
        used.extend(engine.usage(&place, &file.path)?.variables);
        let Some(path) = file.path.strip_suffix(".hbs") else { continue };
        let usage = engine.usage(&place, &String::from_utf8_lossy(&file.bytes))?;
        findings.extend(
            unquoted(manifest, path, &usage.written).map(|message| Finding { place: place.clone(), message }),
        );
        used.extend(usage.variables);
        included.extend(usage.partials);
    }
    let place = skeleton.place("skeleton.toml");
    let mut say = |message: String| findings.push(Finding { place: place.clone(), message });
    for var in manifest.vars.iter().filter(|var| !used.contains(&var.name)) {
        say(format!("the variable `{}` is not used", var.name));
    }
    for name in skeleton.partials.keys().filter(|name| !included.contains(name)) {
        say(format!("the partial `{name}` is not used"));
    }
    if !manifest.about.adds && !skeleton.files.iter().any(|file| file.path.starts_with("README")) {
        say("the project has no README".into());
    }
    untested(manifest, &mut say);
    Ok(findings)
}

/// The variables that conditions and other variables use.
fn used_in_manifest(engine: &Engine, manifest: &Manifest) -> Result<Vec<String>> {
    let mut used = Vec::new();
    let vars = manifest.vars.iter();
    let texts = vars.flat_map(|var| [&var.default, &var.value]).flatten().filter_map(|value| value.as_str());
    let posts = manifest.posts.iter().flat_map(|post| post.path.iter().chain(&post.argv)).map(String::as_str);
    for text in texts.chain(posts).chain(manifest.about.next.iter().map(String::as_str)) {
        used.extend(engine.usage("skeleton.toml", text)?.variables);
    }
    let conditions = manifest.vars.iter().map(|var| &var.when);
    let conditions = conditions.chain(manifest.files.iter().map(|rule| &rule.when));
    for condition in conditions.chain(manifest.posts.iter().map(|post| &post.when)).flatten() {
        // Its syntax was checked when the manifest was read.
        if let Ok(condition) = Condition::parse(condition) {
            used.extend(condition.variables().into_iter().map(str::to_owned));
        }
    }
    Ok(used)
}

/// Values that could break out of their place in a file at `path`.
fn unquoted(manifest: &Manifest, path: &str, written: &[UsedValue]) -> impl Iterator<Item = String> {
    let ending = path.rsplit('.').next().unwrap_or_default();
    let helpers = LANGUAGES.iter().find(|(language, _)| *language == ending).map(|(_, helpers)| *helpers);
    let risky = |value: &&UsedValue| {
        let any_text =
            value.variable == "project" || manifest.var(&value.variable).is_some_and(takes_any_text);
        let safe = |helper: &str| WORDS.contains(&helper) || QUOTING.contains(&helper);
        any_text && !value.helper.as_deref().is_some_and(safe)
    };
    let message = move |value: &UsedValue| {
        let helper = helpers.and_then(|helpers| helpers.first())?;
        Some(format!(
            "`{}` can be any text here: write `{{{{{helper} {}}}}}`",
            value.variable, value.variable
        ))
    };
    written.iter().filter(risky).filter_map(message).collect::<Vec<_>>().into_iter()
}

fn takes_any_text(var: &Var) -> bool {
    matches!(var.kind, VariableKind::String | VariableKind::Secret)
        && var.choices.is_empty()
        && var.pattern.is_none()
}

/// What no test covers.
fn untested(manifest: &Manifest, say: &mut dyn FnMut(String)) {
    if manifest.tests.is_empty() {
        return say("it has no `[[test]]`".into());
    }
    for var in manifest.vars.iter().filter(|var| !var.choices.is_empty()) {
        for (choice, _) in &var.choices {
            let has = |value: &Value| {
                value == choice
                    || value.as_array().is_some_and(|items| items.contains(&choice.as_str().into()))
            };
            let default = var.default.as_ref().is_some_and(has);
            if !default && !manifest.tests.iter().any(|case| case.vars.get(&var.name).is_some_and(has)) {
                say(format!("no `[[test]]` has `{} = \"{choice}\"`", var.name));
            }
        }
    }
}
