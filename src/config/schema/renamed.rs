//! Options under their old names, which a schema lists (`"x-renamed-from": ["max_growth_mb"]`), and without the unit in
//! their names.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::unit::short_name;
use super::walk::{DEPTH_LIMIT, follow};
use crate::config::{KeyPath, item, join};

/// A value that is given under another name of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct OldName {
    /// Its key path.
    pub(in crate::config) old: KeyPath,
    /// The key path with the current name.
    pub(in crate::config) new: KeyPath,
    /// Whether the same source also has a value under the current name.
    pub(in crate::config) doubled: bool,
    /// Whether it is the name without its unit, which is not deprecated.
    pub(in crate::config) short: bool,
}

/// The old names of an option.
pub fn old_names(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("x-renamed-from").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Gives each value in `value`, which is found at `base`, the current name of its key, and returns the other ones. If there
/// are values under both names, the one of the stronger source stays; `compare` tells which one that is.
pub(in crate::config) fn rename(
    root: &Value,
    value: &mut Value,
    base: &KeyPath,
    compare: &dyn Fn(&KeyPath, &KeyPath) -> Ordering,
) -> Vec<OldName> {
    let mut renaming = Renaming { root, compare, found: Vec::new() };
    renaming.walk(root, value, base, 0);
    renaming.found
}

struct Renaming<'a> {
    root: &'a Value,
    compare: &'a dyn Fn(&KeyPath, &KeyPath) -> Ordering,
    found: Vec<OldName>,
}

impl Renaming<'_> {
    fn walk(&mut self, schema: &Value, value: &mut Value, path: &KeyPath, depth: usize) {
        let Some(schema) = follow(self.root, schema).filter(|_| depth < DEPTH_LIMIT) else { return };
        for key in ["allOf", "anyOf", "oneOf"] {
            for branch in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                self.walk(branch, value, path, depth + 1);
            }
        }
        match value {
            Value::Object(table) => {
                let properties = schema.get("properties").and_then(Value::as_object);
                for (key, property) in properties.into_iter().flatten() {
                    for old in old_names(property) {
                        self.rename(table, path, old, key, false);
                    }
                    let short = properties.and_then(|all| short_name(self.root, all, key));
                    // A number has no unit.
                    if let Some(short) = short.filter(|short| table.get(*short).is_some_and(Value::is_string))
                    {
                        self.rename(table, path, short, key, true);
                    }
                }
                for (key, inner) in table {
                    let below = properties.and_then(|properties| properties.get(key));
                    if let Some(below) = below.or_else(|| schema.get("additionalProperties")) {
                        self.walk(below, inner, &join(path, key), 0);
                    }
                }
            }
            Value::Array(list) => {
                for (index, inner) in list.iter_mut().enumerate() {
                    if let Some(below) = schema.get("items") {
                        self.walk(below, inner, &item(path, index), 0);
                    }
                }
            }
            _ => {}
        }
    }

    fn rename(&mut self, table: &mut Map<String, Value>, path: &KeyPath, old: &str, key: &str, short: bool) {
        if !table.contains_key(old) {
            return;
        }
        let (from, to) = (join(path, old), join(path, key));
        let stronger = if table.contains_key(key) { (self.compare)(&from, &to) } else { Ordering::Greater };
        let dropped = if stronger == Ordering::Greater { key } else { old };
        *table = std::mem::take(table)
            .into_iter()
            .filter(|(name, _)| name != dropped)
            .map(|(name, value)| (if name == old { key.to_owned() } else { name }, value))
            .collect();
        if stronger != Ordering::Less {
            self.found.push(OldName { old: from, new: to, doubled: stronger == Ordering::Equal, short });
        }
    }
}
