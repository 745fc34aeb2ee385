//! `skeleton.toml`: what a skeleton is, asks, leaves out, does afterwards, and how it is tested.
//!
//! Here are the types; `read` makes them from text, `check` finds what is wrong with them.

mod check;
mod read;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) use check::{condition, permissions};
use read::choices;

/// A read and checked `skeleton.toml`.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// What it is.
    pub about: About,
    /// The variables, in the order of the file: each may refer to those above it.
    pub vars: Vec<Var>,
    /// What is special about single files.
    pub files: Vec<FileRule>,
    /// What to do once the files are written, in order.
    pub posts: Vec<PostStep>,
    /// How it is tested.
    pub tests: Vec<Case>,
}

/// `[skeleton]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its name: the project's too, where the user gives none.
    pub name: String,
    /// One line that says what it makes.
    pub summary: String,
    /// Its own version.
    #[serde(default)]
    pub version: Option<String>,
    /// Which versions of paster it needs: `>=0.3`.
    #[serde(default)]
    pub paster: Option<String>,
    /// Templates of the lines shown at the end: what to do next.
    #[serde(default)]
    pub next: Vec<String>,
}

/// One `[vars.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Var {
    /// Its name in templates and on the command line.
    #[serde(skip)]
    pub name: String,
    /// The question; a variable with a default and no question is never asked.
    #[serde(default)]
    pub ask: Option<String>,
    /// What it holds.
    #[serde(default, rename = "type")]
    pub kind: Kind,
    /// Its value where nobody says otherwise; a template in texts.
    #[serde(default)]
    pub default: Option<Value>,
    /// Its value, derived from other variables: never asked, but can be set.
    #[serde(default)]
    pub value: Option<Value>,
    /// The only values it may have, with a label each.
    #[serde(default, deserialize_with = "choices")]
    pub choices: Vec<(String, String)>,
    /// Regular expression for the whole text.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Least and greatest number.
    #[serde(default)]
    pub range: Option<[i64; 2]>,
    /// Condition on the variables above; where it fails, the variable is empty and not asked.
    #[serde(default)]
    pub when: Option<String>,
}

/// What a variable holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A text.
    #[default]
    String,
    /// A whole number.
    Int,
    /// Yes or no.
    Bool,
    /// Several texts, separated by commas on the command line.
    List,
    /// A text that is neither shown nor kept.
    Secret,
    /// A text that can name a Rust package.
    CrateName,
}

/// One `[[file]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    /// The file as it is called in the skeleton: `files/{{package}}/models.py.hbs`.
    pub path: String,
    /// Condition on the variables; where it fails, the file is left out.
    #[serde(default)]
    pub when: Option<String>,
    /// Created, and never touched where it exists.
    #[serde(default)]
    pub once: bool,
}

/// One `[[post]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostStep {
    /// What to do.
    #[serde(rename = "do")]
    pub action: PostAction,
    /// For `chmod`: template of the path in the result.
    #[serde(default)]
    pub path: Option<String>,
    /// For `chmod`: the permission bits, in octal.
    #[serde(default)]
    pub mode: Option<String>,
    /// Condition on the variables.
    #[serde(default)]
    pub when: Option<String>,
}

/// What can be done once the files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostAction {
    /// `git init`, unless the folder lies in a work tree already.
    GitInit,
    /// Sets the permission bits of one file.
    Chmod,
    /// Checks `server.toml` as `paster check` does.
    Check,
}

/// One `[[test]]`: the skeleton is created, checked, served and requested.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Answers; `project` names the folder.
    #[serde(default)]
    pub vars: Map<String, Value>,
    /// Paths that must exist.
    #[serde(default)]
    pub exists: Vec<String>,
    /// Paths that must not.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Commands to run in the folder first, each a program with its arguments.
    #[serde(default)]
    pub build: Vec<Vec<String>>,
    /// Whether `paster check` must pass.
    #[serde(default)]
    pub check: bool,
    /// Requests to the served result, in order.
    #[serde(default)]
    pub serve: Vec<Serve>,
    /// A change to make while it is served.
    #[serde(default)]
    pub reload: Option<Reload>,
}

/// One request of a test and what must come back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// The path.
    pub get: String,
    /// The expected status.
    #[serde(default = "ok")]
    pub status: u16,
    /// A text that the body must hold.
    #[serde(default)]
    pub body: Option<String>,
}

/// A change of one file while the result is served.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// The file to change.
    pub file: String,
    /// The text to replace, which must be there.
    pub from: String,
    /// What to put in its place.
    pub to: String,
    /// A command to run after the change: a program with its arguments.
    #[serde(default)]
    pub build: Vec<String>,
    /// The request that must then be answered so.
    pub then: Serve,
}

fn ok() -> u16 {
    200
}

/// What every skeleton may use beside its own variables.
pub(super) const BUILT_IN: [&str; 7] =
    ["project", "target", "year", "user", "checkout", "paster", "paster_sdk"];

impl Manifest {
    /// The variable `name`.
    pub fn var(&self, name: &str) -> Option<&Var> {
        self.vars.iter().find(|var| var.name == name)
    }
}
