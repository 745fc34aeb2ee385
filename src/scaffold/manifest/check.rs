//! Checks a manifest that was read.

use regex::Regex;

use super::{BUILT_IN, Manifest, PostAction, Var, VariableKind};
use crate::scaffold::condition::Condition;
use crate::scaffold::merge::MergeKind;
use crate::scaffold::template::HELPERS;

/// Receives an error: the keys that lead to it, its index in a list of tables, and the message.
type Hear<'a> = &'a mut dyn FnMut(&[&str], Option<usize>, String);

impl Manifest {
    /// Reports every error to `fault`.
    pub(super) fn check(&self, fault: Hear<'_>) {
        if let Some(needed) = &self.about.paster {
            let ours = env!("CARGO_PKG_VERSION");
            match (semver::VersionReq::parse(needed), semver::Version::parse(ours)) {
                (Ok(needs), Ok(version)) if needs.matches(&version) => {}
                (Ok(_), _) => fault(
                    &["skeleton", "paster"],
                    None,
                    format!("the skeleton needs paster {needed}, but this is {ours}"),
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
            if !rule.replace.is_empty() && !matches!(rule.merge, MergeKind::Toml | MergeKind::Json) {
                let why = "`replace` contains keys, so it needs `merge = \"toml\"` or `merge = \"json\"`";
                fault(&["file", "replace"], Some(index), why.into());
            }
        }
        if !self.migrations.is_empty() {
            let version = self.about.version.as_deref().map(semver::Version::parse);
            if !matches!(version, Some(Ok(_))) {
                fault(&["migrate"], None, "`[[migrate]]` needs a `version` in `[skeleton]`: 1.2.0".into());
            }
        }
        for (index, post) in self.posts.iter().enumerate() {
            check_condition(post.when.as_deref(), &known, &mut |why| {
                fault(&["post", "when"], Some(index), why);
            });
            match (post.action, &post.path, &post.mode) {
                (PostAction::Chmod, Some(_), Some(mode)) if permissions(mode).is_some() => {}
                (PostAction::Chmod, Some(_), Some(_)) => {
                    fault(&["post", "mode"], Some(index), "not permission bits such as `755`".into());
                }
                (PostAction::Chmod, ..) => {
                    fault(&["post", "do"], Some(index), "`chmod` needs `path` and `mode`".into())
                }
                (_, None, None) => {}
                _ => fault(&["post", "do"], Some(index), "only `chmod` takes `path` and `mode`".into()),
            }
            if post.argv.is_empty() == (post.action == PostAction::Run) {
                let why = "`run` needs the program and its arguments in `argv`, and only `run` takes it";
                fault(&["post", "do"], Some(index), why.into());
            }
        }
        for (index, case) in self.tests.iter().enumerate() {
            for (key, vars) in [("vars", &case.vars), ("matrix", &case.matrix)] {
                for name in vars.keys().filter(|name| *name != "project" && self.var(name).is_none()) {
                    fault(&["test", key], Some(index), format!("unknown variable `{name}`"));
                }
            }
        }
    }

    fn check_var(&self, var: &Var, known: &[&str], fault: Hear<'_>) {
        let name = var.name.as_str();
        let mut fault = |key: &str, message: String| {
            let keys = ["vars", name, key];
            fault(if key.is_empty() { &keys[..2] } else { &keys }, None, message);
        };
        if !is_variable_name(name) {
            fault(
                "",
                format!("`{name}` is not a valid variable name: use lower-case letters, digits and `_`"),
            );
        }
        if BUILT_IN.contains(&name) || HELPERS.contains(&name) {
            fault("", format!("`{name}` is taken: it is a built-in name of templates"));
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
        if var.range.is_some_and(|[least, most]| var.kind != VariableKind::Int || least > most) {
            fault(
                "range",
                "`range` must be two numbers in ascending order, and only an `int` may have one".into(),
            );
        }
        if var.default.is_some() && var.value.is_some() {
            fault("value", "a variable may have a `default` or a `value`, not both".into());
        }
        if var.value.is_some() && var.ask.is_some() {
            fault("ask", "a variable with a `value` is never asked".into());
        }
        if !var.choices.is_empty() && matches!(var.kind, VariableKind::Int | VariableKind::Bool) {
            fault("choices", "only strings and lists may have `choices`".into());
        }
        for (key, value) in [("default", &var.default), ("value", &var.value)] {
            let Some(value) = value else { continue };
            if value.as_str().is_some_and(|text| text.contains("{{")) {
                continue; // only known once it is rendered
            }
            if let Err(why) = var.accepts(value) {
                fault(key, format!("`{name}` {why}"));
            }
        }
    }
}

/// Parses a `when`. Its syntax was checked when the manifest was read.
pub(in crate::scaffold) fn condition(when: Option<&str>) -> Result<Option<Condition>, String> {
    when.map(Condition::parse).transpose()
}

fn check_condition(when: Option<&str>, known: &[&str], fault: &mut dyn FnMut(String)) {
    match condition(when) {
        Err(why) => fault(format!("the condition is not valid: {why}")),
        Ok(Some(condition)) => {
            for name in condition.variables() {
                if !known.contains(&name) {
                    fault(format!("the condition uses `{name}`, which is not a variable defined above"));
                }
            }
        }
        Ok(None) => {}
    }
}

/// The permission bits of `mode`, in octal, without set-user-id, set-group-id and the sticky bit.
pub(in crate::scaffold) fn permissions(mode: &str) -> Option<u32> {
    u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o777 && mode.len() <= 4)
}

/// Whether `name` is a valid variable name.
fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
