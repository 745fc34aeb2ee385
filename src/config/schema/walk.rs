//! How a schema is walked.

use serde_json::Value;

/// How deep the alternatives of one value may be nested, so that a recursive schema ends.
pub(super) const DEPTH_LIMIT: usize = 8;

/// Resolves `$ref`s within the document `root`.
pub(super) fn follow<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let mut schema = schema;
    for _ in 0..DEPTH_LIMIT {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => schema = root.pointer(reference.strip_prefix('#')?)?,
            None => return Some(schema),
        }
    }
    None
}

/// The types that a schema names, in order.
pub(super) fn accepted(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
