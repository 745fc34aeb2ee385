//! From questions to answers: what the user gave or typed, defaults and derived values. Each value is
//! checked.

use regex::Regex;
use serde::Serialize;
use serde_json::{Map, Value};

use super::manifest::{BUILT_IN, Manifest, Var, VariableKind, condition};
use super::names::crate_name;
use super::template::Engine;
use super::values::text;
use crate::error::{Error, Errors, Result};
use crate::registry::nearest;

/// The answers that the user gave before any question.
#[derive(Debug, Clone, Default)]
pub struct ProvidedAnswers {
    /// `k=v` arguments, in order. If a name is repeated, the last one wins.
    pub arguments: Vec<(String, String)>,
    /// The answers file. Arguments override it.
    pub file: Map<String, Value>,
    /// The file's name, for errors.
    pub file_name: String,
    /// The answers that the project keeps from the last time. Everything else overrides them.
    pub kept: Map<String, Value>,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerSource {
    /// A `k=v` argument.
    Argument,
    /// The answers file.
    File,
    /// Kept from the last time.
    Kept,
    /// A question on the terminal.
    Asked,
    /// The default.
    Default,
    /// Derived from other answers.
    Derived,
    /// Its condition is false, so it is empty.
    Unused,
}

/// One variable's answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The variable.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where the value came from.
    pub how: AnswerSource,
    /// Whether it must not be shown.
    pub secret: bool,
    /// Whether it belongs to this machine.
    pub local: bool,
}

/// All answers, as templates see them.
#[derive(Debug, Clone)]
pub struct Answers {
    /// The skeleton's variables, in order.
    pub vars: Vec<Answer>,
    /// Every name with its value, including built-in ones.
    pub(super) values: Value,
}

impl Answers {
    /// The value of the variable `name`.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The same with other values in place of secrets; `None` if there are none.
    pub(super) fn without_secrets(&self) -> Option<Answers> {
        let mut other = self.clone();
        let mut found = false;
        for answer in other.vars.iter_mut().filter(|answer| answer.secret && answer.value != "") {
            found = true;
            answer.value = format!("{}…", text(&answer.value)).into();
            other.values[&answer.name] = answer.value.clone();
        }
        found.then_some(other)
    }

    /// What a project keeps for the next time: no secrets, nothing of this machine, and nothing that is derived.
    pub fn kept(&self) -> Map<String, Value> {
        let used = |answer: &&Answer| !matches!(answer.how, AnswerSource::Derived | AnswerSource::Unused);
        let kept = self.vars.iter().filter(used).filter(|answer| !answer.secret && !answer.local);
        kept.filter(|answer| !answer.value.is_null())
            .map(|answer| (answer.name.clone(), answer.value.clone()))
            .collect()
    }
}

/// A question about one variable.
#[derive(Debug)]
pub struct Question<'a> {
    /// The variable.
    pub var: &'a Var,
    /// The value if the user only presses Enter.
    pub default: Option<Value>,
}

impl Question<'_> {
    /// Parses what the user typed.
    /// # Errors
    /// Why the value is refused, as the end of a sentence.
    pub fn read(&self, typed: &str) -> Result<Value, String> {
        let value = self.var.read(typed)?;
        self.var.accepts(&value)?;
        Ok(value)
    }
}

impl Var {
    /// Parses a value of this kind from `typed`, the text of an argument.
    /// # Errors
    /// What was expected, as the end of a sentence.
    pub fn read(&self, typed: &str) -> Result<Value, String> {
        Ok(match self.kind {
            VariableKind::String | VariableKind::Secret | VariableKind::CrateName => typed.into(),
            VariableKind::Int => {
                typed.trim().parse::<i64>().map_err(|_| "must be a whole number".to_string())?.into()
            }
            VariableKind::Bool => match typed.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "y" | "on" | "1" => true.into(),
                "false" | "no" | "n" | "off" | "0" => false.into(),
                _ => return Err("must be `true` or `false`".into()),
            },
            VariableKind::List => {
                let items = typed.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(Value::from).collect::<Vec<_>>().into()
            }
        })
    }

    /// Checks a value against the kind, choices, pattern and range.
    /// # Errors
    /// What is wrong, as the end of a sentence that starts with the name.
    pub fn accepts(&self, value: &Value) -> Result<(), String> {
        match self.kind {
            VariableKind::String | VariableKind::Secret => {
                let value = value.as_str().ok_or("must be a string")?;
                self.accepts_choice(value)?;
            }
            VariableKind::CrateName => {
                let value = value.as_str().ok_or("must be a string")?;
                crate_name(value).map_err(|(why, near)| {
                    format!("cannot be `{value}`: as a crate name, it {why}; use `{near}`, for example")
                })?;
            }
            VariableKind::Bool => {
                value.as_bool().ok_or("must be `true` or `false`")?;
            }
            VariableKind::Int => {
                let value = value.as_i64().ok_or("must be a whole number")?;
                if let Some([least, most]) = self.range
                    && !(least..=most).contains(&value)
                {
                    return Err(format!("must be from {least} to {most}, not {value}"));
                }
            }
            VariableKind::List => {
                for item in value.as_array().ok_or("must be a list")? {
                    self.accepts_choice(item.as_str().ok_or("must be a list of strings")?)?;
                }
            }
        }
        if let Some(pattern) = &self.pattern
            && let Some(value) = value.as_str()
        {
            // The whole string must match: a check that only part of it matches is hardly ever intended.
            let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
            if !whole.is_match(value) {
                let shown = if self.kind == VariableKind::Secret {
                    String::new()
                } else {
                    format!(", which `{value}` does not")
                };
                return Err(format!("must match `{pattern}`{shown}"));
            }
        }
        Ok(())
    }

    fn accepts_choice(&self, value: &str) -> Result<(), String> {
        if self.choices.is_empty() || self.choices.iter().any(|(choice, _)| choice == value) {
            return Ok(());
        }
        let names: Vec<_> = self.choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        let near = nearest(value, self.choices.iter().map(|(name, _)| name.as_str()));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Err(format!("must be one of {}, not `{value}`{hint}", names.join(", ")))
    }

    /// Its value if its condition is false.
    fn empty(&self) -> Value {
        match self.kind {
            VariableKind::String | VariableKind::Secret | VariableKind::CrateName => "".into(),
            VariableKind::Int => Value::Null,
            VariableKind::Bool => false.into(),
            VariableKind::List => Value::Array(Vec::new()),
        }
    }
}

/// Answers every variable of `manifest`, starting from the `built_in` values.
///
/// `ask` puts one question to the user. It returns `None` if there is no terminal to ask on: then the default
/// is used.
/// # Errors
/// All errors together, as command-line errors: unknown names with the nearest known one, values that break
/// their rules, every variable without a value. Also an error in the template of a default.
pub fn resolve(
    manifest: &Manifest,
    built_in: Map<String, Value>,
    given: &ProvidedAnswers,
    ask: &mut dyn FnMut(&Question<'_>) -> Result<Option<Value>>,
) -> Result<Answers> {
    let mut faults = unknown_names(manifest, given);
    // Report misspelt arguments before asking ten questions.
    Errors::check(std::mem::take(&mut faults))?;
    let engine = Engine::new();
    let mut values = built_in;
    let mut vars = Vec::new();
    let mut missing = Vec::new();
    for var in &manifest.vars {
        let mut stopped = false;
        let mut ask = |question: &Question<'_>| ask(question).inspect_err(|_| stopped = true);
        let outcome = answer(var, &engine, &values, given, &mut ask);
        let (value, how) = match outcome {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                missing.push(var);
                (var.empty(), AnswerSource::Unused)
            }
            // If the user aborts a question, ask no more.
            Err(errors) if stopped => return Err(errors),
            Err(errors) => {
                faults.extend(errors);
                (var.empty(), AnswerSource::Unused)
            }
        };
        values.insert(var.name.clone(), value.clone());
        let secret = var.kind == VariableKind::Secret;
        vars.push(Answer { name: var.name.clone(), value, how, secret, local: var.local });
    }
    if !missing.is_empty() {
        faults.push(missing_values(&missing));
    }
    Errors::check(faults)?;
    Ok(Answers { vars, values: Value::Object(values) })
}

/// The answer for one variable; `None` if it has no value.
fn answer(
    var: &Var,
    engine: &Engine,
    values: &Map<String, Value>,
    given: &ProvidedAnswers,
    ask: &mut dyn FnMut(&Question<'_>) -> Result<Option<Value>>,
) -> Result<Option<(Value, AnswerSource)>> {
    let fault = |why: String| Error::usage(format!("`{}` {why}", var.name));
    let argument = given.arguments.iter().rev().find(|(name, _)| *name == var.name);
    let used = condition(var.when.as_deref())
        .and_then(|condition| condition.map_or(Ok(true), |condition| condition.holds(values)))
        .map_err(|why| Error::new(format!("the condition of `{}` fails: {why}", var.name)))?;
    if !used {
        if argument.is_some() {
            let when = var.when.as_deref().unwrap_or_default();
            return Err(fault(format!("is not used here: it applies only if {when}")).into());
        }
        return Ok(Some((var.empty(), AnswerSource::Unused)));
    }
    if let Some((_, typed)) = argument {
        let value = var.read(typed).map_err(fault)?;
        var.accepts(&value).map_err(fault)?;
        return Ok(Some((value, AnswerSource::Argument)));
    }
    if let Some(value) = given.file.get(&var.name) {
        var.accepts(value).map_err(|why| fault(format!("{why} (in `{}`)", given.file_name)))?;
        return Ok(Some((value.clone(), AnswerSource::File)));
    }
    if let Some(value) = given.kept.get(&var.name).filter(|value| var.accepts(value).is_ok()) {
        return Ok(Some((value.clone(), AnswerSource::Kept)));
    }
    let place = "skeleton.toml";
    let written = var.value.as_ref().or(var.default.as_ref());
    let default = match written {
        Some(Value::String(template)) => {
            let rendered = engine.render(place, template, &Value::Object(values.clone()))?;
            Some(if var.kind == VariableKind::Int || var.kind == VariableKind::Bool {
                var.read(&rendered).map_err(fault)?
            } else {
                Value::String(rendered)
            })
        }
        other => other.cloned(),
    };
    if var.ask.is_some()
        && var.value.is_none()
        && let Some(value) = ask(&Question { var, default: default.clone() })?
    {
        var.accepts(&value).map_err(fault)?;
        return Ok(Some((value, AnswerSource::Asked)));
    }
    let Some(value) = default else { return Ok(None) };
    var.accepts(&value).map_err(|why| {
        let near = value.as_str().and_then(|value| crate_name(value).err()).map(|(_, near)| near);
        let near = near.filter(|_| var.kind == VariableKind::CrateName).unwrap_or_else(|| "…".into());
        fault(why).help(format!("add `{}={near}`, or choose another name for the project", var.name))
    })?;
    Ok(Some((value, if var.value.is_some() { AnswerSource::Derived } else { AnswerSource::Default })))
}

fn unknown_names(manifest: &Manifest, given: &ProvidedAnswers) -> Vec<Error> {
    let arguments = given.arguments.iter().map(|(name, _)| (name.as_str(), String::new()));
    let in_file = given.file.keys().map(|name| (name.as_str(), format!(" in `{}`", given.file_name)));
    let known = || manifest.vars.iter().map(|var| var.name.as_str());
    let mut faults = Vec::new();
    for (name, place) in arguments.chain(in_file) {
        if manifest.var(name).is_some() {
            continue;
        }
        let skeleton = &manifest.about.name;
        let error = if BUILT_IN.contains(&name) {
            Error::usage(format!("`{name}`{place} is set by paster itself"))
        } else {
            Error::usage(format!("the skeleton `{skeleton}` has no variable `{name}`{place}"))
        };
        faults.push(match nearest(name, known()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None if manifest.vars.is_empty() => error.help("it has no variables"),
            None => error.help(format!(
                "it has: {}",
                known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            )),
        });
    }
    faults
}

fn missing_values(missing: &[&Var]) -> Error {
    let names: Vec<_> = missing.iter().map(|var| format!("`{}`", var.name)).collect();
    let pairs: Vec<_> = missing.iter().map(|var| format!("{}=…", var.name)).collect();
    let verb = if names.len() == 1 { "has" } else { "have" };
    let mut error =
        Error::usage(format!("{} {verb} no value, and there is no terminal to ask on", names.join(", ")));
    for var in missing {
        if let Some(ask) = &var.ask {
            error = error.help(format!("`{}` is: {ask}", var.name));
        }
    }
    error.help(format!("add {}, or name an answers file with `--answers`", pairs.join(" ")))
}

/// A value as a user may see it, with secrets hidden.
impl Answer {
    /// The value as text; an ellipsis for a secret.
    pub fn shown(&self) -> String {
        if self.secret { "…".into() } else { text(&self.value) }
    }
}
