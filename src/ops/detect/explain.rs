//! `paster serve DIRECTORY --explain`: every rule, and what it found.

use std::path::Path;

use serde::Serialize;

use super::contents::{Contents, PathStyle};
use super::rules::{DetectRule, RULES, Sign};
use crate::error::{Error, Result};

/// A rule that was tried.
#[derive(Debug, Serialize)]
pub struct TriedRule {
    /// What `--as` calls it.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// A lower one wins.
    pub rank: u8,
    /// Whether it matches.
    pub matches: bool,
    /// What it asks, in words, and whether that is so.
    pub signs: Vec<TriedSign>,
}

/// Something that a rule asks.
#[derive(Debug, Serialize)]
pub struct TriedSign {
    /// Which group it belongs to: "all", "any" or "none".
    pub group: &'static str,
    /// What it is: "a file `manage.py`".
    pub what: String,
    /// Whether the directory has it.
    pub found: bool,
}

/// Tries every rule on `folder`, in the order of their ranks.
/// # Errors
/// If the directory cannot be read.
pub fn explain(folder: &Path) -> Result<Vec<TriedRule>> {
    let absolute = folder.canonicalize().map_err(|cause| {
        Error::usage(format!("cannot read the directory `{}`", folder.display())).because(cause)
    })?;
    let contents = Contents::new(absolute, PathStyle::Relative);
    let mut tried: Vec<TriedRule> = RULES.iter().map(|rule| try_rule(rule, &contents)).collect();
    tried.sort_by_key(|rule| rule.rank);
    Ok(tried)
}

fn try_rule(rule: &DetectRule, contents: &Contents) -> TriedRule {
    let groups = [("all", rule.all), ("any", rule.any), ("none", rule.none)];
    let signs = groups.into_iter().flat_map(|(group, signs)| {
        signs.iter().map(move |sign| TriedSign { group, what: words(sign), found: sign.is_in(contents) })
    });
    let signs = signs.collect();
    TriedRule { name: rule.name, about: rule.about, rank: rule.rank, matches: rule.matches(contents), signs }
}

fn words(sign: &Sign) -> String {
    match sign {
        Sign::File(name) => format!("a file `{name}`"),
        Sign::Ending(ending) => format!("a file `*{ending}`"),
        Sign::Project => "a `manage.py` that names a settings module".to_owned(),
        Sign::Ini => "an `.ini` file with an application".to_owned(),
        Sign::Uses(package) => format!("the dependency `{package}`"),
        Sign::Application("wsgi") => "a Python object that is a WSGI application".to_owned(),
        Sign::Application("asgi") => "a Python object that is an ASGI application".to_owned(),
        Sign::Application(framework) => format!("a Python object that is an application of `{framework}`"),
        Sign::Object(file) => format!("an object `application` or `app` in `{file}`"),
        Sign::WebLine(kind) => {
            format!("a `Procfile` whose `web` is a Python server of an `{kind}` application")
        }
        Sign::Web => "a `Procfile` with a line `web`".to_owned(),
        Sign::GoServer => "a Go program that reads `PORT`".to_owned(),
        Sign::NodeServer => "a start script of a server in `package.json`".to_owned(),
        Sign::DenoServer => {
            "a task `start` in `deno.json`, or a file that exports a `fetch` handler".to_owned()
        }
        Sign::Script(name) => format!("a script `{name}` in `package.json`"),
        Sign::Plugin => "a crate that depends on `paster-sdk`".to_owned(),
    }
}

/// The rules as a text: first what wins, and why the others do not.
pub fn explanation(folder: &Path, tried: &[TriedRule]) -> String {
    let best = tried.iter().filter(|rule| rule.matches).map(|rule| rule.rank).min();
    let winners: Vec<&TriedRule> =
        tried.iter().filter(|rule| rule.matches && Some(rule.rank) == best).collect();
    let mut text = match winners.as_slice() {
        [] => format!("`{}`: no rule matches\n", folder.display()),
        [one] => format!("`{}`: `{}`, {}\n", folder.display(), one.name, one.about),
        several => {
            let names: Vec<_> = several.iter().map(|rule| format!("`{}`", rule.name)).collect();
            format!(
                "`{}`: {} match with the same rank: choose one with `--as`\n",
                folder.display(),
                names.join(" and ")
            )
        }
    };
    for rule in tried {
        let result = match (rule.matches, Some(rule.rank) == best) {
            (true, true) => "matches",
            (true, false) => "matches, but so does a rule with a lower rank",
            (false, _) => "does not match",
        };
        text += &format!("\n{} (rank {}): {result}\n", rule.name, rule.rank);
        for TriedSign { group, what, found } in &rule.signs {
            let group = match *group {
                "all" => "needs",
                "any" => "needs one",
                _ => "must not",
            };
            let found = if *found { "found" } else { "not found" };
            text += &format!("  {group:9}  {found:9}  {what}\n");
        }
    }
    text
}
