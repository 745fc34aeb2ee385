//! What the schema of a plugin's settings recommends: each entry of `x-recommended` names settings beside which another should be set.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::config::Config;
use crate::plugin::Library;

/// The recommendations of plugins that a config does not follow.
pub(super) fn recommendations(config: &Config, libraries: &BTreeMap<String, PathBuf>) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, path) in libraries {
        // A library that cannot be loaded has been reported.
        let (Some(table), Ok(library)) = (config.table("app", name), Library::load(path)) else { continue };
        let Some(schema) = &library.info().settings_schema else { continue };
        let missing = missing(schema, &table.value()["settings"]);
        notes.extend(missing.into_iter().map(|message| format!("`[app.{name}.settings]`: {message}")));
    }
    notes
}

/// The messages of the recommendations that `settings` does not follow.
fn missing<'a>(schema: &'a Value, settings: &Value) -> Vec<&'a str> {
    let entries = schema["x-recommended"].as_array().map(Vec::as_slice).unwrap_or_default();
    let applies = |entry: &&Value| {
        let conditions = entry["if"].as_object();
        let hold = conditions.is_some_and(|all| all.iter().all(|(key, value)| settings[key] == *value));
        hold && entry["set"].as_str().is_some_and(|key| settings[key].is_null())
    };
    entries.iter().filter(applies).filter_map(|entry| entry["message"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setting_is_recommended_beside_another() {
        let schema = json!({"x-recommended": [{"if": {"users": "accounts"}, "set": "origin", "message": "set `origin`"}]});
        for (settings, messages) in [
            (json!({"users": "accounts"}), vec!["set `origin`"]),
            (json!({"users": "accounts", "origin": "https://a"}), vec![]),
            (json!({"users": "single"}), vec![]),
            (Value::Null, vec![]),
        ] {
            assert_eq!(missing(&schema, &settings), messages, "{settings}");
        }
        assert!(missing(&json!({}), &json!({"users": "accounts"})).is_empty());
    }
}
