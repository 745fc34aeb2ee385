//! Explains a schema's errors in the user's terms, with how to fix them.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use super::unit::Unit;
use super::walk::accepted;
use super::{Check, unit_of};
use crate::config::{KeyPath, item, join};
use crate::error::Error;
use crate::registry::nearest;

/// The most names that a help lists.
const KEYS_SHOWN: usize = 10;

impl<'a> Check<'a> {
    /// Adds the message for one error of the validator.
    pub(super) fn report(&mut self, error: &ValidationError<'_>) {
        let path = self.path(error.instance_path());
        let value: &Value = error.instance();
        let found = self.found(&path, value);
        let near_schema = parent_schema(self.schema, error.schema_path());
        let error = match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let known: Vec<&str> = near_schema
                    .and_then(|schema| schema.get("properties")?.as_object())
                    .into_iter()
                    .flat_map(|properties| properties.keys().map(String::as_str))
                    .collect();
                for key in unexpected {
                    self.unknown_key(&path, key, &known, value);
                }
                return;
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let property = near_schema.and_then(|schema| schema.get("properties")?.get(key));
                let error = Error::config(format!("missing key `{key}` in `[{}]`", self.shown_table(&path)))
                    .at(self.table.origin(&path));
                error.help(self.how_to_add(key, property))
            }
            Kind::Type { .. } if near_schema.is_some_and(|schema| self.wants_strings(schema)) => {
                self.wrong_type(&path, value, &["string", "array"])
            }
            Kind::Type { kind } => self.wrong_type(&path, value, &type_names(kind)),
            Kind::Enum { options } => match options.as_array() {
                Some(options) => self.unknown_value(&path, value, options),
                None => self.fault(&path, format!("must be {options}, not {found}")),
            },
            Kind::Constant { expected_value } => {
                self.unknown_value(&path, value, std::slice::from_ref(expected_value))
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.no_branch(error, context);
                return;
            }
            Kind::OneOfMultipleValid { .. } => {
                self.fault(&path, "matches more than one of its alternatives".to_owned())
            }
            Kind::Minimum { limit } => self.fault(&path, format!("must be at least {limit}, not {found}")),
            Kind::Maximum { limit } => self.fault(&path, format!("must be at most {limit}, not {found}")),
            Kind::ExclusiveMinimum { limit } => {
                self.fault(&path, format!("must be more than {limit}, not {found}"))
            }
            Kind::ExclusiveMaximum { limit } => {
                self.fault(&path, format!("must be less than {limit}, not {found}"))
            }
            Kind::MultipleOf { multiple_of } => {
                self.fault(&path, format!("must be a multiple of {multiple_of}, not {found}"))
            }
            Kind::MinLength { limit: 1 } | Kind::MinItems { limit: 1 } | Kind::MinProperties { limit: 1 } => {
                self.fault(&path, "must not be empty".to_owned())
            }
            Kind::MinLength { limit } => self.fault(&path, format!("must have at least {limit} characters")),
            Kind::MaxLength { limit } => self.fault(&path, format!("must have at most {limit} characters")),
            Kind::MinItems { limit } => self.fault(&path, format!("must have at least {limit} items")),
            Kind::MaxItems { limit } => self.fault(&path, format!("must have at most {limit} items")),
            Kind::AdditionalItems { limit } => self.fault(&path, format!("must have at most {limit} items")),
            Kind::UniqueItems => self.fault(&path, "must not contain duplicates".to_owned()),
            Kind::Pattern { pattern } => {
                self.fault(&path, format!("must match the pattern `{pattern}`, which {found} does not"))
            }
            Kind::Format { format } => {
                self.fault(&path, format!("must be of the form `{format}`, not {found}"))
            }
            Kind::FalseSchema => self.fault(&path, "must not be set".to_owned()),
            _ if self.table.is_secret(&path) => self.fault(&path, "is not valid".to_owned()),
            _ => self.fault(&path, "is not valid".to_owned()).because(error.to_string()),
        };
        self.errors.push(error);
    }

    fn fault(&self, path: &KeyPath, what: String) -> Error {
        let key = if path.is_empty() { format!("[{}]", self.table.path()) } else { path.to_string() };
        self.table.error(path, format!("`{key}` {what}"))
    }

    fn unknown_key(&mut self, path: &KeyPath, key: &str, known: &[&str], value: &Value) {
        let error = Error::config(format!("unknown key `{key}` in `[{}]`", self.shown_table(path)))
            .at(self.table.key_origin(join(path, key)));
        if let Some((unit, whole)) = Unit::named(key, known).filter(|(_, whole)| value.get(whole).is_none()) {
            let help = format!("write `{whole}`, or a value with a unit: `{key} = \"{}\"`", unit.example());
            self.errors.push(error.help(help));
            return;
        }
        let unset = known.iter().copied().filter(|known| value.get(known).is_none());
        self.errors.push(match nearest(key, unset) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => error.help("it has no keys: remove this one"),
            None => error.help(match nearest(key, known.iter().copied()) {
                Some(near) => format!("`{near}` is set already: remove this one"),
                None if known.len() > KEYS_SHOWN => {
                    format!(
                        "known keys: `{}`, …: `paster config schema` shows all",
                        known[..KEYS_SHOWN].join("`, `")
                    )
                }
                None => format!("known keys: `{}`", known.join("`, `")),
            }),
        });
    }

    fn unknown_value(&self, path: &KeyPath, value: &Value, options: &[Value]) -> Error {
        let names: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
        let Some(text) = value.as_str().filter(|_| !names.is_empty()) else {
            let listed: Vec<_> = options.iter().map(|option| format!("`{option}`")).collect();
            return self
                .fault(path, format!("must be {}, not {}", listed.join(" or "), self.found(path, value)));
        };
        let shown = if self.table.is_secret(path) { "…" } else { text };
        let error = self.table.error(path, format!("unknown value `{}` for `{path}`", cut(shown)));
        match nearest(text, names.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("known: `{}`", names.join("`, `"))),
        }
    }

    fn wrong_type(&self, path: &KeyPath, value: &Value, wanted: &[&str]) -> Error {
        let mut words: Vec<_> =
            wanted.iter().filter(|kind| **kind != "null").map(|kind| type_words(kind)).collect();
        let plain = value.as_str().is_some_and(|text| text.trim().parse::<f64>().is_ok());
        let unit = unit_of(path).filter(|_| value.is_string() && !plain && !wanted.contains(&"string"));
        words.extend(unit.map(Unit::noun));
        let error =
            self.fault(path, format!("must be {}, not {}", words.join(" or "), self.found(path, value)));
        if self.table.is_secret(path) {
            return error;
        }
        match value {
            Value::String(text) => {
                let parsed = match text.trim() {
                    text if wanted.contains(&"integer") => text.parse::<i64>().is_ok(),
                    text if wanted.contains(&"number") => text.parse::<f64>().is_ok(),
                    text if wanted.contains(&"boolean") => text.parse::<bool>().is_ok(),
                    _ => false,
                };
                if let Some(Err(help)) = unit.map(|unit| unit.read(text)) {
                    error.help(help)
                } else if parsed {
                    error.help(format!("write it without quotes: `{}`", text.trim()))
                } else if wanted.contains(&"array") {
                    error.help(format!("write a list: `[{}]`", cut(&value.to_string())))
                } else if wanted.contains(&"boolean") && ["yes", "no", "on", "off"].contains(&text.as_str()) {
                    let boolean = ["yes", "on"].contains(&text.as_str());
                    error.help(format!("write `{boolean}` without quotes"))
                } else {
                    error
                }
            }
            Value::Number(_) | Value::Bool(_) if wanted.contains(&"string") => {
                error.help(format!("write it in quotes: `\"{value}\"`"))
            }
            Value::Number(_) | Value::Bool(_) if wanted.contains(&"array") => {
                error.help(format!("write a list: `[{value}]`"))
            }
            Value::Array(_) | Value::Object(_)
                if !wanted.iter().any(|kind| ["array", "object"].contains(kind)) =>
            {
                match path.keys().last() {
                    Some(key) => error.help(format!("`{key}` takes a single value")),
                    None => error,
                }
            }
            _ => error,
        }
    }

    /// Reports a value that matches none of its alternatives: the nearest alternative determines the message.
    fn no_branch(&mut self, whole: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) {
        let here = whole.instance_path();
        let value: &Value = whole.instance();
        let path = self.path(here);
        let at_root = |error: &ValidationError<'_>| error.instance_path() == here;
        let mut types = Vec::new();
        let mut options = Vec::new();
        let mut fitting: Vec<&Vec<ValidationError<'static>>> = Vec::new();
        for branch in context {
            let mut fits = true;
            for error in branch.iter().filter(|error| at_root(error)) {
                match error.kind() {
                    Kind::Type { kind } => {
                        types.extend(type_names(kind));
                        fits = false;
                    }
                    Kind::Enum { options: known } => {
                        options.extend(known.as_array().into_iter().flatten().cloned());
                        fits = false;
                    }
                    Kind::Constant { expected_value } => {
                        options.push(expected_value.clone());
                        fits = false;
                    }
                    _ => {}
                }
            }
            if fits {
                fitting.push(branch);
            }
        }
        // If a key with a constant value distinguishes several tables, the intended table has that value.
        let tag = |branch: &&Vec<ValidationError<'static>>| {
            branch.iter().any(|error| {
                !at_root(error) && matches!(error.kind(), Kind::Constant { .. } | Kind::Enum { .. })
            })
        };
        if fitting.len() > 1 && fitting.iter().any(|branch| !tag(branch)) {
            fitting.retain(|branch| !tag(branch));
        } else if fitting.len() > 1 {
            let tags = || fitting.iter().flat_map(|branch| branch.iter()).filter(|error| !at_root(error));
            let known: Vec<Value> = tags()
                .filter_map(|error| match error.kind() {
                    Kind::Constant { expected_value } => Some(vec![expected_value.clone()]),
                    Kind::Enum { options } => options.as_array().cloned(),
                    _ => None,
                })
                .flatten()
                .collect();
            let tagged =
                tags().find(|error| matches!(error.kind(), Kind::Constant { .. } | Kind::Enum { .. }));
            if let Some(error) = tagged {
                let path = self.path(error.instance_path());
                self.errors.push(self.unknown_value(&path, error.instance(), &known));
                return;
            }
        }
        if let Some(branch) = fitting.iter().min_by_key(|branch| branch.len()) {
            branch.iter().for_each(|error| self.report(error));
            return;
        }
        let error = if !options.is_empty() && (value.is_string() || types.is_empty()) {
            self.unknown_value(&path, value, &options)
        } else {
            if !options.is_empty() {
                types.push("string");
            }
            types.sort_unstable();
            types.dedup();
            self.wrong_type(&path, value, &types)
        };
        self.errors.push(error);
    }

    /// The key path, from the table on, of a place in the checked value.
    fn path(&self, location: &Location) -> KeyPath {
        location.iter().fold(self.base.clone(), |path, segment| match segment {
            LocationSegment::Property(key) => join(path, &key),
            LocationSegment::Index(index) => item(path, index),
        })
    }

    /// `app.main.settings` for the path `settings`.
    pub(super) fn shown_table(&self, path: &KeyPath) -> String {
        let path = if path.is_empty() { self.base } else { path };
        if path.is_empty() { self.table.path().to_string() } else { format!("{}.{path}", self.table.path()) }
    }

    /// Describes the value: ``the string `"x"` ``; only its type if it is secret.
    pub(super) fn found(&self, path: &KeyPath, value: &Value) -> String {
        match value {
            Value::String(_) if self.table.is_secret(path) => "a string".into(),
            _ if self.table.is_secret(path) => "this value".into(),
            Value::String(_) => format!("the string `{}`", cut(&value.to_string())),
            Value::Number(_) | Value::Bool(_) => format!("`{value}`"),
            Value::Array(_) => "a list".into(),
            Value::Object(_) => "a table".into(),
            Value::Null => "nothing".into(),
        }
    }

    fn how_to_add(&self, key: &str, property: Option<&'a Value>) -> String {
        let resolved = property.and_then(|property| self.follow(property));
        let sample = match resolved.map(accepted).unwrap_or_default().first() {
            Some(&"string") => "\"…\"",
            Some(&"array") => "[…]",
            Some(&"object") => "{ … }",
            Some(&"boolean") => "true",
            _ => "…",
        };
        let key = join("", key);
        let about =
            [property, resolved].into_iter().flatten().find_map(|schema| schema.get("description")?.as_str());
        // Its first sentence, on one line.
        let about = about.map(|about| about.split_whitespace().collect::<Vec<_>>().join(" "));
        let about =
            about.map(|about| about.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned());
        match about.filter(|about| !about.is_empty()) {
            Some(about) => format!("add `{key} = {sample}`: {about}"),
            None => format!("add `{key} = {sample}`"),
        }
    }
}

/// The schema that contains the failing keyword.
fn parent_schema<'s>(schema: &'s Value, keyword: &Location) -> Option<&'s Value> {
    let (parent, _) = keyword.as_str().rsplit_once('/')?;
    schema.pointer(parent)
}

fn type_names(kind: &TypeKind) -> Vec<&'static str> {
    match kind {
        TypeKind::Single(kind) => vec![kind.as_str()],
        TypeKind::Multiple(kinds) => kinds.iter().map(JsonType::as_str).collect(),
    }
}

fn type_words(kind: &str) -> &'static str {
    match kind {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a table",
        _ => "absent",
    }
}

/// At most 60 characters of a value, for a message.
fn cut(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
