//! `--app KIND:ARGUMENT`: an app without a config file.

use serde_json::{Map, Value, json};

use super::APPS;
use crate::error::Error;
use crate::registry::nearest;

/// Parses `proxy:http://127.0.0.1:9000` into the table of an app; `None` if the text is only the name of an
/// app.
/// # Errors
/// An unknown kind, or a kind that needs more than one argument.
pub fn from_argument(text: &str) -> Result<Option<Map<String, Value>>, Error> {
    let Some((kind, value)) = text.split_once(':') else { return Ok(None) };
    let Some(entry) = APPS.iter().find(|entry| entry.name == kind) else {
        let error = Error::usage(format!("unknown kind of app `{kind}` in `--app {text}`"));
        return Err(match nearest(kind, APPS.iter().map(|entry| entry.name)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("write the name of an app in the config, or {}", forms())),
        });
    };
    let Some(shorthand) = entry.kind.shorthands.iter().find(|shorthand| value.ends_with(shorthand.ending))
    else {
        let error = Error::usage(format!("an app of the kind `{kind}` needs a config file"));
        return Err(error.help(format!("without one, an app is {}", forms())));
    };
    if value.is_empty() {
        let error = Error::usage(format!("`--app {text}` names only a kind"));
        return Err(error.help(format!("write {}", forms())));
    }
    let schema = (entry.options)();
    let value = match schema.as_value()["properties"][shorthand.key]["type"].as_str() {
        Some("array") => Value::from(value.split(',').map(str::trim).collect::<Vec<_>>()),
        _ => value.into(),
    };
    let mut table = Map::new();
    table.insert("use".to_owned(), kind.into());
    table.insert(shorthand.key.to_owned(), value);
    Ok(Some(table))
}

/// The forms of this argument, for help texts.
fn forms() -> String {
    let forms = APPS.iter().flat_map(|entry| {
        let forms = entry.kind.shorthands.iter().flat_map(|shorthand| shorthand.forms);
        forms.map(|form| format!("`{}:{form}`", entry.name))
    });
    format!("one of {}", forms.collect::<Vec<_>>().join(", "))
}

/// The config of a server that serves one app with the usual middleware.
pub fn config_of(app: Map<String, Value>) -> Value {
    let mut app = app;
    app.insert("middleware".to_owned(), json!(["access_log", "error_page", "body_limit"]));
    json!({
        "server": { "main": { "use": "http", "listen": ["127.0.0.1:8080"], "app": "main" } },
        "app": { "main": app },
        // A table, so that `-D middleware.body_limit.max_bytes=…` can change it.
        "middleware": { "body_limit": { "use": "body_limit" } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_sets_an_option_of_its_kind() {
        for entry in APPS.iter() {
            let schema = (entry.options)();
            for shorthand in &entry.kind.shorthands {
                let option = &schema.as_value()["properties"][shorthand.key];
                assert!(option.is_object(), "{} has no option `{}`", entry.name, shorthand.key);
            }
        }
        let check = |text: &str, expected: Value| {
            assert_eq!(from_argument(text).unwrap().map(Value::from), Some(expected), "{text}");
        };
        check("plugin:hello", json!({ "use": "plugin", "crate": "hello" }));
        check("plugin:libhello.so", json!({ "use": "plugin", "library": "libhello.so" }));
        check("respond:a, b", json!({ "use": "respond", "body": "a, b" }));
        check("scgi:a:1, unix:b", json!({ "use": "scgi", "upstreams": ["a:1", "unix:b"] }));
        assert_eq!(from_argument("main").unwrap(), None);
    }
}
