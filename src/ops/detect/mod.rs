//! `paster serve DIRECTORY`: finds out what application a directory contains, and gives the config for it.
//!
//! `rules` is the table of what is recognized; `entries` and `programs` find the details; `contents` reads the directory. Nothing of
//! the application is run: Python files are parsed by the environment's own interpreter.

mod contents;
mod entries;
mod explain;
mod programs;
mod requirements;
mod rules;
mod web_line;

use std::path::Path;

use serde_json::Value;

use self::contents::Contents;
pub use self::contents::PathStyle;
pub use self::explain::{explain, explanation};
pub use self::programs::tables as procfile_tables;
use self::rules::{DetectRule, RULES};
use crate::app::config_of;
use crate::error::{Error, Result};
use crate::registry::nearest;

/// What a directory contains.
#[derive(Debug, Clone)]
pub struct Detected {
    /// The kind of application.
    pub kind: &'static str,
    /// The reason: "`manage.py` names the settings module `site.settings`".
    pub why: String,
    /// The names of the other kinds whose rules match, which have a lower rank.
    pub others: Vec<&'static str>,
    /// The config that serves it.
    pub config: Value,
}

impl Detected {
    /// The message for the user: the kind, and the reason.
    pub fn note(&self, folder: &Path) -> String {
        let others = match self.others.as_slice() {
            [] => String::new(),
            others => format!(" (`--as` chooses another kind: {})", others.join(", ")),
        };
        format!("serving `{}` as {}: {}{others}", folder.display(), self.kind, self.why)
    }
}

/// Finds out what `folder` contains. `kind` chooses among several kinds.
/// # Errors
/// If nothing is recognized, if several kinds are, or if the application is not complete.
pub fn detect(folder: &Path, kind: Option<&str>, style: PathStyle) -> Result<Detected> {
    let absolute = folder.canonicalize().map_err(|cause| {
        Error::usage(format!("cannot read the directory `{}`", folder.display())).because(cause)
    })?;
    let contents = Contents::new(absolute, style);
    let matching: Vec<&DetectRule> = match kind {
        Some(kind) => vec![rule_of(kind)?],
        None => RULES.iter().filter(|rule| rule.matches(&contents)).collect(),
    };
    let Some(best) = matching.iter().map(|rule| rule.rank).min() else {
        return Err(nothing(folder, &contents).into());
    };
    let (first, rest): (Vec<&DetectRule>, Vec<&DetectRule>) =
        matching.iter().partition(|rule| rule.rank == best);
    if first.len() > 1 {
        return Err(ambiguous(folder, &first).into());
    }
    let rule = first[0];
    let found = (rule.find)(&contents, rule.name)?;
    let mut config = config_of(found.app);
    merge(&mut config, found.more);
    let others = rest.iter().map(|rule| rule.name).collect();
    Ok(Detected { kind: rule.name, why: found.why, others, config })
}

fn rule_of(kind: &str) -> Result<&'static DetectRule, Error> {
    let names = || RULES.iter().map(|rule| rule.name);
    RULES.iter().find(|rule| rule.name == kind).ok_or_else(|| {
        let error = Error::usage(format!("`--as {kind}`: a directory is not served as `{kind}`"));
        match nearest(kind, names()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("choose one of {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

fn ambiguous(folder: &Path, rules: &[&DetectRule]) -> Error {
    let names: Vec<_> = rules.iter().map(|rule| format!("`{}`", rule.name)).collect();
    let message = format!("`{}` can be served as {}", folder.display(), names.join(" or "));
    let choices = rules
        .iter()
        .map(|rule| format!("for {}: `paster serve {} --as {}`", rule.about, folder.display(), rule.name));
    choices.fold(Error::usage(message), Error::help)
}

fn nothing(folder: &Path, contents: &Contents) -> Error {
    let there = contents.shown(8);
    let there =
        if there.is_empty() { "the directory is empty".to_owned() } else { format!("it contains {there}") };
    let known: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    let mut error = Error::config(format!("cannot tell what application `{}` contains", folder.display()));
    error = error.help(there).help(format!("paster recognizes {}", known.join(", ")));
    if let Some(why) = contents.python_problem() {
        error = error.help(why);
    }
    for hint in programs::hints(contents) {
        error = error.help(hint);
    }
    error.help(format!("serve its files with `paster serve --app static:{}`", folder.display()))
}

/// Writes the values of `more` over those of `tree`.
fn merge(tree: &mut Value, more: Value) {
    match (tree, more) {
        (Value::Object(tree), Value::Object(more)) => {
            for (key, value) in more {
                merge(tree.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (tree, more) => *tree = more,
    }
}
