//! `skeleton.toml`: what a skeleton is, what it asks, what it leaves out, what happens afterwards, and how it
//! is tested.
//!
//! This file has the types. `read` parses them, and `check` finds what is wrong with them.

mod check;
mod inherit;
mod read;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::merge::MergeKind;

pub(super) use check::{condition, permissions};
pub(super) use inherit::without_hbs;
pub(super) use read::extends;

/// A `skeleton.toml`, parsed and checked.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// What it is.
    pub about: About,
    /// The variables, in the order of the file. Each may refer to those above it.
    pub vars: Vec<Var>,
    /// Rules for single files.
    pub files: Vec<FileRule>,
    /// What to do after the files are written, in order.
    pub posts: Vec<PostStep>,
    /// What was renamed since older versions.
    pub migrations: Vec<Migration>,
    /// How it is tested.
    pub tests: Vec<Case>,
}

/// `[skeleton]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its name, and the default name of a project.
    pub name: String,
    /// One line that describes what it creates.
    pub summary: String,
    /// Its own version.
    #[serde(default)]
    pub version: Option<String>,
    /// The versions of paster that it needs: `>=0.3`.
    #[serde(default)]
    pub paster: Option<String>,
    /// The skeletons that it builds on, the most general one first: names of built-in ones, or addresses. A path starts at
    /// the folder of this skeleton.
    #[serde(default)]
    pub extends: Vec<String>,
    /// Whether it can be added to an existing project, with `paster add`.
    #[serde(default)]
    pub adds: bool,
    /// Templates of the lines shown at the end: the next steps.
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
    /// The question. A variable with a default and no question is never asked.
    #[serde(default)]
    pub ask: Option<String>,
    /// The kind of its value.
    #[serde(default, rename = "type")]
    pub kind: VariableKind,
    /// Its default value; if a string, a template.
    #[serde(default)]
    pub default: Option<Value>,
    /// Its value, derived from other variables. Never asked, but can be set.
    #[serde(default)]
    pub value: Option<Value>,
    /// Its allowed values, each with a label.
    #[serde(default, deserialize_with = "choices")]
    pub choices: Vec<(String, String)>,
    /// Regular expression that the whole value must match.
    #[serde(default)]
    pub pattern: Option<String>,
    /// The least and the greatest number.
    #[serde(default)]
    pub range: Option<[i64; 2]>,
    /// Condition on the variables above. If it is false, the variable is empty and not asked.
    #[serde(default)]
    pub when: Option<String>,
    /// Whether the value belongs to this machine: it is not kept for `paster update`, which finds it again.
    #[serde(default)]
    pub local: bool,
}

/// The kind of a variable's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VariableKind {
    /// A string.
    #[default]
    String,
    /// A whole number.
    Int,
    /// Yes or no.
    Bool,
    /// Several strings, separated by commas on the command line.
    List,
    /// A string that is neither shown nor stored.
    Secret,
    /// A string that can be the name of a Rust package.
    CrateName,
}

/// One `[[file]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    /// The file's path in the skeleton: `files/{{package}}/models.py.hbs`.
    pub path: String,
    /// Condition on the variables. If it is false, the file is left out.
    #[serde(default)]
    pub when: Option<String>,
    /// Whether the file is only created, and never replaced.
    #[serde(default)]
    pub once: bool,
    /// How it is merged with an existing file.
    #[serde(default)]
    pub merge: MergeKind,
    /// For `toml` and `json`: keys whose existing values it may overwrite; `*` stands for one part (`server.*.app`).
    #[serde(default)]
    pub replace: Vec<String>,
}

/// One `[[migrate]]`: what was renamed since older versions of the skeleton, so that `paster update` renames it too.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The versions to which it applies: `<1.2`.
    pub from: semver::VersionReq,
    /// New paths in the skeleton by old paths: `"files/app.ini" = "files/server.toml"`.
    pub rename: std::collections::BTreeMap<String, String>,
}

/// One `[[post]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostStep {
    /// What to do.
    #[serde(rename = "do")]
    pub action: PostAction,
    /// For `chmod`: the path in the result, a template.
    #[serde(default)]
    pub path: Option<String>,
    /// For `chmod`: the permission bits, in octal.
    #[serde(default)]
    pub mode: Option<String>,
    /// For `run`: the program and its arguments, each a template.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Condition on the variables.
    #[serde(default)]
    pub when: Option<String>,
}

/// What can be done after the files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostAction {
    /// `git init`, unless the folder is already in a work tree.
    GitInit,
    /// Sets the permission bits of a file.
    Chmod,
    /// Checks `server.toml`, as `paster check` does.
    Check,
    /// Makes the virtual environment `.venv` and installs the packages of `requirements.txt`, if the user wants that.
    PythonEnvironment,
    /// Runs a program in the folder, if the user trusts the skeleton (`--trust`).
    Run,
}

/// One `[[test]]`: paster creates the skeleton, checks and serves it, and sends requests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Answers; `project` names the folder.
    #[serde(default)]
    pub vars: Map<String, Value>,
    /// Lists of answers by variable. Each combination is a separate test.
    #[serde(default)]
    pub matrix: Map<String, Value>,
    /// The skeleton of the project to which this one is added.
    #[serde(default)]
    pub on: Option<String>,
    /// Paths that must exist.
    #[serde(default)]
    pub exists: Vec<String>,
    /// Paths that must not exist.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Commands to run in the folder first; each is a program with its arguments.
    #[serde(default)]
    pub build: Vec<Vec<String>>,
    /// Whether `paster check` must pass.
    #[serde(default)]
    pub check: bool,
    /// Requests to the running server, in order.
    #[serde(default)]
    pub serve: Vec<Serve>,
    /// A change to make while the server runs.
    #[serde(default)]
    pub reload: Option<Reload>,
}

/// One request of a test, with the expected response.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// The path.
    pub get: String,
    /// The expected status.
    #[serde(default = "ok")]
    pub status: u16,
    /// A text that the body must contain.
    #[serde(default)]
    pub body: Option<String>,
}

/// A change to one file while the server runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// The file to change.
    pub file: String,
    /// The text to replace. It must exist.
    pub from: String,
    /// The replacement.
    pub to: String,
    /// A command to run after the change: a program with its arguments.
    #[serde(default)]
    pub build: Vec<String>,
    /// A request, with the response that it must get after the change.
    pub then: Serve,
}

fn ok() -> u16 {
    200
}

/// What every skeleton may use in addition to its own variables.
pub(super) const BUILT_IN: [&str; 8] =
    ["project", "target", "year", "user", "checkout", "paster", "paster_sdk", "existing"];

impl Manifest {
    /// The variable `name`.
    pub fn var(&self, name: &str) -> Option<&Var> {
        self.vars.iter().find(|var| var.name == name)
    }
}

/// `["a", "b"]` or `{ a = "label" }`.
fn choices<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    use serde::de::Error as _;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let choices: Option<Vec<_>> = match Value::deserialize(deserializer)? {
        Value::Array(items) => items.iter().map(|item| Some((text(item)?, text(item)?))).collect(),
        Value::Object(items) => {
            items.iter().map(|(name, label)| Some((name.clone(), text(label)?))).collect()
        }
        _ => None,
    };
    choices
        .filter(|choices| !choices.is_empty())
        .ok_or_else(|| D::Error::custom("write choices as `[\"a\", \"b\"]` or `{ a = \"what it means\" }`"))
}
