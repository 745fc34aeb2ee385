//! Options under their old names. A schema lists them: `"x-renamed-from": ["max_growth_mb"]`.

use serde_json::{Map, Value};

use super::DEPTH_LIMIT;
use crate::config::{KeyPath, item, join};

/// A value that is given under the old name of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct OldName {
    /// Its key path.
    pub(in crate::config) old: KeyPath,
    /// The key path with the current name.
    pub(in crate::config) new: KeyPath,
    /// Whether there is also a value under the current name.
    pub(in crate::config) doubled: bool,
}

/// The old names of an option.
pub fn old_names(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("x-renamed-from").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Gives each value in `value` the current name of its key, and returns the old ones. If
/// there is a value under both names, the one under the old name is removed.
pub(in crate::config) fn rename(root: &Value, value: &mut Value) -> Vec<OldName> {
    let mut found = Vec::new();
    walk(root, root, value, &KeyPath::default(), &mut found, 0);
    found
}

fn walk(
    root: &Value,
    schema: &Value,
    value: &mut Value,
    path: &KeyPath,
    found: &mut Vec<OldName>,
    depth: usize,
) {
    let Some(schema) = super::follow(root, schema).filter(|_| depth < DEPTH_LIMIT) else { return };
    for key in ["allOf", "anyOf", "oneOf"] {
        for branch in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            walk(root, branch, value, path, found, depth + 1);
        }
    }
    match value {
        Value::Object(table) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (key, property) in properties.into_iter().flatten() {
                for old in old_names(property).filter(|old| table.contains_key(*old)).collect::<Vec<_>>() {
                    let doubled = table.contains_key(key);
                    *table = std::mem::take(table)
                        .into_iter()
                        .filter(|(name, _)| !doubled || name != old)
                        .map(|(name, value)| (if name == old { key.clone() } else { name }, value))
                        .collect::<Map<_, _>>();
                    found.push(OldName { old: join(path, old), new: join(path, key), doubled });
                }
            }
            for (key, inner) in table {
                let below = properties.and_then(|properties| properties.get(key));
                if let Some(below) = below.or_else(|| schema.get("additionalProperties")) {
                    walk(root, below, inner, &join(path, key), found, 0);
                }
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter_mut().enumerate() {
                if let Some(below) = schema.get("items") {
                    walk(root, below, inner, &item(path, index), found, 0);
                }
            }
        }
        _ => {}
    }
}
