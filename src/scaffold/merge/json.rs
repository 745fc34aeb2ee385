//! Merges JSON files by keys.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use super::{ByKeys, Versions, may_replace, merged_list};

pub(super) fn merge(versions: Versions<'_>, replaced: &[String]) -> Result<ByKeys, String> {
    let parse = |text: &str| match text.trim() {
        "" => Ok(Map::new()),
        text => serde_json::from_str::<Map<String, Value>>(text).map_err(|error| error.to_string()),
    };
    let (base, mut ours, theirs) = (parse(versions.base)?, parse(versions.ours)?, parse(versions.theirs)?);
    let before = ours.clone();
    let mut conflicts = Vec::new();
    tables(Some(&base), &mut ours, &theirs, replaced, &mut Vec::new(), &mut conflicts);
    // A file without a change keeps its format.
    let text = if ours == before { versions.ours.to_owned() } else { write(&ours, versions.ours)? };
    Ok(ByKeys { text, conflicts })
}

/// Whether two files have the same values. One that cannot be parsed is never the same.
pub(super) fn same(left: &str, right: &str) -> bool {
    let values = |text: &str| serde_json::from_str::<Value>(text).ok();
    values(left).is_some_and(|left| Some(left) == values(right))
}

fn tables(
    base: Option<&Map<String, Value>>,
    ours: &mut Map<String, Value>,
    theirs: &Map<String, Value>,
    replaced: &[String],
    path: &mut Vec<String>,
    conflicts: &mut Vec<String>,
) {
    for (key, new) in theirs {
        let old = base.and_then(|base| base.get(key));
        path.push(key.clone());
        match (ours.get_mut(key), new) {
            (None, _) => {
                if old.is_none() {
                    ours.insert(key.clone(), new.clone());
                }
            }
            (Some(Value::Object(mine)), Value::Object(new)) => {
                tables(old.and_then(Value::as_object), mine, new, replaced, path, conflicts);
            }
            (Some(mine), new) if mine == new || old == Some(new) => {}
            (Some(Value::Array(mine)), Value::Array(new)) => {
                let old = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                *mine = merged_list(old, mine, new, |left, right| left == right);
            }
            (Some(mine), new) if old == Some(&*mine) || may_replace(replaced, path) => *mine = new.clone(),
            _ => conflicts.push(path.join(".")),
        }
        path.pop();
    }
    for (key, old) in base.into_iter().flatten().filter(|(key, _)| !theirs.contains_key(*key)) {
        if ours.get(key) == Some(old) {
            ours.shift_remove(key);
        }
    }
}

/// Writes with the indentation of `like`.
fn write(values: &Map<String, Value>, like: &str) -> Result<String, String> {
    let first = like.lines().nth(1).unwrap_or("  x");
    let indent = &first[..first.len() - first.trim_start().len()];
    let indent = if indent.is_empty() { "  " } else { indent };
    let mut bytes = Vec::new();
    let mut writer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(indent.as_bytes()));
    values.serialize(&mut writer).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}
