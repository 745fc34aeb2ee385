//! Checks a table against a JSON Schema, reports errors in the user's terms, and makes paths absolute.

mod renamed;
mod unit;
mod walk;
mod words;

use std::path::{Component, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::key_path::Key;
use crate::config::networks;
use crate::config::table::Table;
use crate::config::{KeyPath, NamedPath, item, join};
use crate::error::{Error, Errors, Result};

pub use renamed::old_names;
pub(super) use renamed::{OldName, rename};
use unit::Unit;
pub use unit::allow_units;
use walk::{DEPTH_LIMIT, accepted, follow};

/// Checks `value`, found at `base` in `table`, and returns it with absolute paths, and without wrong entries of
/// lists, with their errors.
/// # Errors
/// Every error, in the order of the places, if there are others.
pub(super) fn check(
    table: &Table,
    base: &KeyPath,
    schema: &Value,
    mut value: Value,
) -> Result<(Value, Vec<Error>)> {
    let mut check =
        Check { table, base, schema, errors: Vec::new(), wrong_entries: Vec::new(), paths: Vec::new() };
    check.prepare(schema, &mut value, base, 0);
    let validator = jsonschema::options().build(schema).map_err(|error| {
        Error::new(format!(
            "the schema for `[{}]` is not a valid JSON Schema",
            check.shown_table(&KeyPath::default())
        ))
        .because(error.to_string())
    })?;
    for error in validator.iter_errors(&value) {
        check.report(&error);
    }
    let Check { mut errors, wrong_entries, .. } = check;
    if errors.is_empty() {
        return Ok((value, wrong_entries));
    }
    errors.extend(wrong_entries);
    errors.sort_by_key(|error| error.origin.as_ref().map(|origin| (origin.line, origin.column)));
    Errors::check(errors).map(|()| (value, Vec::new()))
}

/// The paths in `value`, absolute.
pub(super) fn paths(table: &Table, schema: &Value, mut value: Value) -> Vec<NamedPath> {
    let base = &KeyPath::default();
    let mut check =
        Check { table, base, schema, errors: Vec::new(), wrong_entries: Vec::new(), paths: Vec::new() };
    check.prepare(schema, &mut value, base, 0);
    check.paths
}

/// Deserializes a checked value as a `T`.
/// # Errors
/// What the schema cannot express and `T` refuses, with its place.
pub(super) fn read<T: DeserializeOwned>(table: &Table, base: &KeyPath, value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut path = base.clone();
        for segment in error.path() {
            match segment {
                serde_path_to_error::Segment::Map { key } => path = join(path, key),
                serde_path_to_error::Segment::Seq { index } => path = item(path, *index),
                _ => {}
            }
        }
        let inner = error.into_inner();
        let message = match &path {
            path if path.is_empty() => format!("`[{}]`: {inner}", table.path()),
            path if table.is_secret(path) => format!("the value of `{path}` is not valid"),
            path => format!("`{path}`: {inner}"),
        };
        table.error(path, message).into()
    })
}

struct Check<'a> {
    table: &'a Table,
    /// The key path from the table to the checked value.
    base: &'a KeyPath,
    schema: &'a Value,
    errors: Vec<Error>,
    /// Errors about entries of lists, which are left out, so that the rest can be used to find more errors.
    wrong_entries: Vec<Error>,
    /// The values of `format: path` that were found.
    paths: Vec<NamedPath>,
}

impl<'a> Check<'a> {
    /// Follows the schema through the value: makes paths absolute, and reads strings that came from `${…}` as
    /// a number or boolean if one is expected.
    fn prepare(&mut self, schema: &'a Value, value: &mut Value, path: &KeyPath, depth: usize) {
        let Some(schema) = self.follow(schema).filter(|_| depth < DEPTH_LIMIT) else { return };
        if value.is_string() && self.wants_strings(schema) {
            *value = Value::Array(vec![value.take()]);
        }
        if let Some(number) = with_unit(schema, value, path) {
            *value = number.into();
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            for branch in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                if self.fits(branch, value) {
                    self.prepare(branch, value, path, depth + 1);
                }
            }
        }
        match value {
            Value::String(text) => {
                let format = schema.get("format").and_then(Value::as_str);
                if format == Some("path") {
                    *text = absolute(self.table.base(path), text);
                    self.paths.push(NamedPath::new(path, text, schema));
                } else if format == Some("address") {
                    *text = absolute_address(self.table.base(path), text);
                } else if self.table.is_expanded(path) {
                    let read = accepted(schema).into_iter().find_map(|kind| match kind {
                        "string" => Some(Value::from(text.as_str())),
                        "integer" => text.trim().parse::<i64>().ok().map(Value::from),
                        "number" => text.trim().parse::<f64>().ok().map(Value::from),
                        "boolean" => text.trim().parse::<bool>().ok().map(Value::from),
                        _ => None,
                    });
                    if let Some(read) = read {
                        *value = read;
                    }
                }
            }
            Value::Object(table) => {
                let properties = schema.get("properties");
                for (key, inner) in table {
                    let below = properties.and_then(|properties| properties.get(key));
                    if let Some(below) = below.or_else(|| schema.get("additionalProperties")) {
                        self.prepare(below, inner, &join(path, key), 0);
                    }
                }
            }
            Value::Array(list) => {
                let prefix = schema.get("prefixItems").and_then(Value::as_array);
                let mut index = 0;
                list.retain_mut(|inner| {
                    let at = item(path, index);
                    let below = prefix.and_then(|prefix| prefix.get(index)).or_else(|| schema.get("items"));
                    index += 1;
                    let Some(below) = below else { return true };
                    let wrong = self.wrong_entry(below, inner, &at);
                    let keep = wrong.is_none();
                    self.wrong_entries.extend(wrong);
                    if keep {
                        self.prepare(below, inner, &at, 0);
                    }
                    keep
                });
            }
            Value::Number(number) => {
                // schemars does not state a maximum for these.
                let largest = match schema.get("format").and_then(Value::as_str) {
                    Some("uint32") => Some(i64::from(u32::MAX)),
                    Some("int32") => Some(i64::from(i32::MAX)),
                    _ => None,
                };
                if let Some(largest) = largest.filter(|largest| number.as_i64().is_some_and(|n| n > *largest))
                {
                    let message =
                        format!("`{path}` must be at most {largest}, not {}", self.found(path, value));
                    self.errors.push(self.table.error(path, message));
                }
            }
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// The error for an entry of a list that is not of the form that the schema names.
    fn wrong_entry(&self, schema: &'a Value, value: &Value, path: &KeyPath) -> Option<Error> {
        let text = value.as_str()?;
        let format = networks::format(self.follow(schema)?.get("format")?.as_str()?)?;
        if (format.holds)(text) {
            return None;
        }
        let shown = if self.table.is_secret(path) { "…" } else { text };
        Some(self.table.error(path, format!("`{shown}` is not {}", format.what)).help(format.help))
    }

    /// Whether a list of strings is expected but not a string. One string then counts as a list.
    fn wants_strings(&self, schema: &'a Value) -> bool {
        let types = accepted(schema);
        let items = schema.get("items").and_then(|items| self.follow(items));
        types.contains(&"array")
            && !types.contains(&"string")
            && items.is_some_and(|items| accepted(items).contains(&"string"))
    }

    /// Resolves `$ref`s within the document.
    fn follow(&self, schema: &'a Value) -> Option<&'a Value> {
        follow(self.schema, schema)
    }

    /// Whether a branch of `anyOf` or `oneOf` may be the intended one: its type and constants match.
    fn fits(&self, branch: &'a Value, value: &Value) -> bool {
        let Some(branch) = self.follow(branch) else { return false };
        let types = accepted(branch);
        let mut fits = types.is_empty() || types.contains(&type_name(value));
        fits |= types.contains(&"number") && value.is_number();
        // A string from `${…}` may become another type.
        fits |= value.is_string() && !types.iter().any(|kind| ["object", "array", "null"].contains(kind));
        let constants = branch.get("properties").and_then(Value::as_object).into_iter().flatten();
        fits && constants
            .filter_map(|(key, schema)| Some((schema.get("const")?, value.get(key)?)))
            .all(|(constant, found)| constant == found)
    }
}

/// The number that a string with a unit means, if it is the value of an option with a unit.
fn with_unit(schema: &Value, value: &Value, path: &KeyPath) -> Option<u64> {
    let text = value.as_str().filter(|_| unit::is_number(schema))?;
    unit_of(path)?.read(text).ok()
}

/// The unit in the name of the option at `path`.
fn unit_of(path: &KeyPath) -> Option<&'static Unit> {
    match path.keys().last()? {
        Key::Name(name) => Unit::of(name),
        Key::Index(_) => None,
    }
}

/// Whether a value that fits `schema` can have something below these keys.
pub(super) fn has_key(root: &Value, schema: &Value, keys: &[&str]) -> bool {
    let Some((key, rest)) = keys.split_first() else { return true };
    let Some(schema) = follow(root, schema).filter(|schema| **schema != Value::Bool(true)) else {
        return true;
    };
    let branches = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
    let mut inner = branches.flatten().chain(schema.get("items"));
    let property = schema.get("properties").and_then(|properties| properties.get(key));
    let below = property.or_else(|| schema.get("additionalProperties"));
    inner.any(|inner| has_key(root, inner, keys))
        || below.is_some_and(|below| *below != Value::Bool(false) && has_key(root, below, rest))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Resolves the path of a Unix socket against `base`; returns any other address unchanged.
fn absolute_address(base: &std::path::Path, text: &str) -> String {
    let start = text.find("unix:").filter(|at| *at == 0 || text[..*at].ends_with("://"));
    match start.map(|at| text.split_at(at + "unix:".len())) {
        Some((scheme, path)) if !path.is_empty() => format!("{scheme}{}", absolute(base, path)),
        _ => text.to_owned(),
    }
}

/// `path` resolved against `base`, without `.`. `..` stays, because its target depends on symbolic links.
fn absolute(base: &std::path::Path, path: &str) -> String {
    let joined: PathBuf = base.join(path).components().filter(|part| *part != Component::CurDir).collect();
    joined.to_string_lossy().into_owned()
}
