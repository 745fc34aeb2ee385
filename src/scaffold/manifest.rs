//! `skeleton.toml`: what a skeleton is, asks, leaves out, does afterwards, and how it is tested.

use std::ops::Range;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toml_edit::{Document, Item};

use super::condition::Condition;
use super::place;
use super::template::HELPERS;
use crate::error::{Error, Errors, Result};
use crate::registry::nearest;

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
    pub posts: Vec<Post>,
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
pub struct Post {
    /// What to do.
    #[serde(rename = "do")]
    pub action: Do,
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
pub enum Do {
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

/// Keys that the format knows and this version does not do, each with what it would do.
const LATER: [(&str, &str, &str); 6] = [
    ("skeleton", "extends", "layers of skeletons"),
    ("skeleton", "adds", "adding to an existing project"),
    ("file", "merge", "merging files"),
    ("test", "golden", "comparing the whole tree"),
    ("test", "matrix", "tests of all combinations"),
    ("post", "argv", "running commands"),
];

/// What every skeleton may use beside its own variables.
pub(super) const BUILT_IN: [&str; 6] = ["project", "target", "year", "user", "checkout", "paster"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    skeleton: About,
    #[serde(default, deserialize_with = "in_order")]
    vars: Vec<Var>,
    #[serde(default)]
    file: Vec<FileRule>,
    #[serde(default)]
    post: Vec<Post>,
    #[serde(default)]
    test: Vec<Case>,
}

impl Manifest {
    /// Reads `text`, which stands in the file `place`.
    /// # Errors
    /// Every fault, with its line: wrong TOML, keys that are unknown or not done yet, conditions and patterns that
    /// do not parse, references to variables that do not stand above, defaults that break their own rules.
    pub fn parse(place: &str, text: &str) -> Result<Manifest> {
        let reader = Reader { place, text };
        let document = Document::parse(text)
            .map_err(|error| reader.error(error.span(), format!("invalid TOML: {}", error.message())))?;
        reader.refuse_later_keys(&document)?;
        let raw: Raw = toml_edit::de::from_str(text).map_err(|error| reader.read_error(&error))?;
        let manifest = Manifest {
            about: raw.skeleton,
            vars: raw.vars,
            files: raw.file,
            posts: raw.post,
            tests: raw.test,
        };
        let mut faults = Vec::new();
        manifest.check(&mut |keys: &[&str], index, message: String| {
            let mut item = Some(document.as_item());
            for key in keys {
                item = item.and_then(|item| item.get(key));
                if let (Some(Item::ArrayOfTables(_)), Some(index)) = (item, index) {
                    item = item.and_then(|item| item.get::<usize>(index));
                }
            }
            faults.push(reader.error(item.and_then(Item::span), message));
        });
        Errors::check(faults)?;
        Ok(manifest)
    }

    /// The variable `name`.
    pub fn var(&self, name: &str) -> Option<&Var> {
        self.vars.iter().find(|var| var.name == name)
    }

    /// Reports what is wrong to `fault`: the keys that lead there, an index where one is a list, and the message.
    fn check(&self, fault: &mut dyn FnMut(&[&str], Option<usize>, String)) {
        if let Some(needed) = &self.about.paster {
            let ours = env!("CARGO_PKG_VERSION");
            match (semver::VersionReq::parse(needed), semver::Version::parse(ours)) {
                (Ok(needs), Ok(version)) if needs.matches(&version) => {}
                (Ok(_), _) => fault(
                    &["skeleton", "paster"],
                    None,
                    format!("the skeleton needs paster {needed}, this is {ours}"),
                ),
                (Err(error), _) => fault(&["skeleton", "paster"], None, format!("not a version: {error}")),
            }
        }
        let mut known: Vec<&str> = BUILT_IN.to_vec();
        for var in &self.vars {
            self.check_var(var, &known, fault);
            known.push(&var.name);
        }
        for (index, rule) in self.files.iter().enumerate() {
            check_condition(rule.when.as_deref(), &known, &mut |why| {
                fault(&["file", "when"], Some(index), why);
            });
        }
        for (index, post) in self.posts.iter().enumerate() {
            check_condition(post.when.as_deref(), &known, &mut |why| {
                fault(&["post", "when"], Some(index), why);
            });
            match (post.action, &post.path, &post.mode) {
                (Do::Chmod, Some(_), Some(mode)) if permissions(mode).is_some() => {}
                (Do::Chmod, Some(_), Some(_)) => {
                    fault(&["post", "mode"], Some(index), "not permission bits such as `755`".into());
                }
                (Do::Chmod, ..) => {
                    fault(&["post", "do"], Some(index), "`chmod` needs `path` and `mode`".into())
                }
                (_, None, None) => {}
                _ => fault(&["post", "do"], Some(index), "only `chmod` takes `path` and `mode`".into()),
            }
        }
        for (index, case) in self.tests.iter().enumerate() {
            for name in case.vars.keys().filter(|name| *name != "project" && self.var(name).is_none()) {
                fault(&["test", "vars"], Some(index), format!("unknown variable `{name}`"));
            }
        }
    }

    fn check_var(&self, var: &Var, known: &[&str], fault: &mut dyn FnMut(&[&str], Option<usize>, String)) {
        let name = var.name.as_str();
        let mut fault = |key: &str, message: String| {
            let keys = ["vars", name, key];
            fault(if key.is_empty() { &keys[..2] } else { &keys }, None, message);
        };
        if !is_variable_name(name) {
            fault("", format!("`{name}` cannot name a variable: small letters, digits and `_` only"));
        }
        if BUILT_IN.contains(&name) || HELPERS.contains(&name) {
            fault("", format!("`{name}` is taken: templates know it already"));
        }
        check_condition(var.when.as_deref(), known, &mut |why| fault("when", why));
        if let Some(pattern) = &var.pattern
            && let Err(error) = Regex::new(pattern)
        {
            fault(
                "pattern",
                format!("not a regular expression: {}", error.to_string().lines().last().unwrap_or_default()),
            );
        }
        if var.range.is_some_and(|[least, most]| var.kind != Kind::Int || least > most) {
            fault("range", "a range is two numbers in order, for an `int`".into());
        }
        if var.default.is_some() && var.value.is_some() {
            fault("value", "a variable has a `default` or a `value`, not both".into());
        }
        if var.value.is_some() && var.ask.is_some() {
            fault("ask", "a variable with a `value` is never asked".into());
        }
        if !var.choices.is_empty() && matches!(var.kind, Kind::Int | Kind::Bool) {
            fault("choices", "choices are for texts and lists".into());
        }
        for (key, value) in [("default", &var.default), ("value", &var.value)] {
            let Some(value) = value else { continue };
            if value.as_str().is_some_and(|text| text.contains("{{")) {
                continue; // known once it is rendered
            }
            if let Err(why) = var.accepts(value) {
                fault(key, format!("`{name}` {why}"));
            }
        }
    }
}

/// A `when` as a condition; its syntax was checked when the manifest was read.
pub(super) fn condition(when: Option<&str>) -> std::result::Result<Option<Condition>, String> {
    when.map(Condition::parse).transpose()
}

fn check_condition(when: Option<&str>, known: &[&str], fault: &mut dyn FnMut(String)) {
    match condition(when) {
        Err(why) => fault(format!("the condition does not parse: {why}")),
        Ok(Some(condition)) => {
            for name in condition.variables() {
                if !known.contains(&name) {
                    fault(format!("the condition names `{name}`, which is no variable above"));
                }
            }
        }
        Ok(None) => {}
    }
}

/// The permission bits of `mode`, in octal, without set-user-id and its kin.
pub(super) fn permissions(mode: &str) -> Option<u32> {
    u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o777 && mode.len() <= 4)
}

/// Whether `name` is written as a variable's name.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
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
        .ok_or_else(|| D::Error::custom("choices are texts: `[\"a\", \"b\"]` or `{ a = \"what it means\" }`"))
}

/// `[vars]` in the order of the file.
fn in_order<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Var>, D::Error> {
    struct InOrder;
    impl<'de> serde::de::Visitor<'de> for InOrder {
        type Value = Vec<Var>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a table of variables")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Vec<Var>, A::Error> {
            let mut vars = Vec::new();
            while let Some((name, var)) = map.next_entry::<String, Var>()? {
                vars.push(Var { name, ..var });
            }
            Ok(vars)
        }
    }
    deserializer.deserialize_map(InOrder)
}

/// The text being read, for errors with places.
struct Reader<'a> {
    place: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn error(&self, span: Option<Range<usize>>, message: impl Into<String>) -> Error {
        Error::new(message).at(span.map(|span| place::of_span(self.place, self.text, &span)))
    }

    /// An error of serde, with the nearest known key.
    fn read_error(&self, error: &toml_edit::de::Error) -> Error {
        let message = error.message().lines().next().unwrap_or_default();
        let found = self.error(error.span(), message);
        // "unknown field `kint`, expected one of `a`, `b`": the quoted words are the names.
        let names: Vec<_> = message.split('`').skip(1).step_by(2).collect();
        match names.split_first() {
            Some((name, known)) if message.starts_with("unknown ") => {
                match nearest(name, known.iter().copied()) {
                    Some(near) => found.help(format!("did you mean `{near}`?")),
                    None => found,
                }
            }
            _ => found,
        }
    }

    /// Keys that this version knows of but does not do are refused by name, never left out in silence.
    fn refuse_later_keys(&self, document: &Document<&str>) -> Result<()> {
        let mut faults = Vec::new();
        let mut refuse = |item: &Item, key: &str, what: &str| {
            let fault = self
                .error(item.span(), format!("`{key}` ({what}) is not supported by this version of paster"));
            faults.push(fault.help(format!("leave `{key}` out")));
        };
        for (table, key, what) in LATER {
            match document.get(table) {
                Some(Item::ArrayOfTables(tables)) => {
                    tables.iter().filter_map(|table| table.get(key)).for_each(|item| refuse(item, key, what));
                }
                Some(table) => {
                    if let Some(item) = table.get(key) {
                        refuse(item, key, what);
                    }
                }
                None => {}
            }
        }
        if let Some(item) = document.get("migrate") {
            refuse(item, "migrate", "moving files between versions of a skeleton");
        }
        Errors::check(faults)
    }
}
