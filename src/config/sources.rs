//! The sources that are not files: variables of the environment, `-D`, and arguments that stand for a config.

use serde_json::Value;

use super::node::{Data, Node, Occurrence};
use super::provider::SourceValues;
use super::sections::profile_keys;
use super::{Argument, document, merge, secret};
use crate::error::{Error, Origin, Source};
use crate::registry::nearest;

/// Adds the variables `PASTER_SECTION__NAME__KEY=value` to the sources.
pub(super) fn add_environment(
    all: &mut Vec<SourceValues>,
    profile: Option<&str>,
    variables: &[(String, String)],
    errors: &mut Vec<Error>,
) {
    let mut variables: Vec<_> = variables.iter().collect();
    variables.sort();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("PASTER_") else { continue };
        // `PASTER_PROFILE`, `PASTER_LOG` and variables of other programs (`PASTER_PORT_80_TCP`) are not
        // config.
        if !rest.contains("__") {
            continue;
        }
        let mut path = Vec::new();
        for segment in rest.split("__") {
            path.push(spelled(all, profile, &path, segment));
        }
        let shown = if hidden(&path, value) { secret::MASK } else { value };
        let text = format!("{name}={shown}");
        let source = Source::Environment(name.clone());
        let place = outside(source.clone(), text, 0..name.len());
        if !profile_keys().any(|section| section == path[0]) || path.iter().any(String::is_empty) {
            let error = Error::config(format!("`{name}` is not a key of the config")).at(place.key);
            let near = nearest(&path[0], profile_keys()).map(|near| near.to_ascii_uppercase());
            errors.push(match near {
                Some(near) if path.iter().all(|key| !key.is_empty()) => {
                    let name = name.replacen(&rest[..rest.find("__").unwrap_or(rest.len())], &near, 1);
                    error.help(format!("did you mean `{name}`?"))
                }
                _ => error.help(
                    "write it as `PASTER_SERVER__MAIN__THREADS`: section, table and key, separated by `__`",
                ),
            });
            continue;
        }
        all.extend(single(source, &path, value, place, errors));
    }
}

/// What a command-line argument stands for. The argument is the place of every value in it.
pub(super) fn argument(argument: &Argument) -> SourceValues {
    let Argument { option, text, tree } = argument;
    let source = Source::Argument(option.clone());
    let shown = if secret::has_password(text) { secret::MASK } else { text };
    let place = outside(source.clone(), format!("{option} {shown}"), 0..option.len());
    SourceValues::new(source, node_of(tree, &place))
}

/// A value with everything in it, all at `place`.
fn node_of(value: &Value, place: &Occurrence) -> Node {
    let data = match value {
        Value::Object(table) => {
            Data::Table(table.iter().map(|(key, value)| (key.clone(), node_of(value, place))).collect())
        }
        Value::Array(list) => Data::List(list.iter().map(|value| node_of(value, place)).collect()),
        value => Data::Value(value.clone()),
    };
    Node::new(data, Occurrence { written: value.clone(), ..place.clone() })
}

/// How the config spells the name that a variable has in capitals: a `_` may stand for `-` and similar characters.
fn spelled(all: &[SourceValues], profile: Option<&str>, path: &[String], segment: &str) -> String {
    let folded = |key: &str| -> String {
        key.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
    };
    let wanted = folded(segment);
    merge::find_key(all, profile, path, |key| folded(key) == wanted)
        .unwrap_or_else(|| segment.to_ascii_lowercase())
}

/// Adds `-D key=value` arguments to the sources.
pub(super) fn add_overrides(all: &mut Vec<SourceValues>, overrides: &[String], errors: &mut Vec<Error>) {
    for text in overrides {
        let usage = |message: String| {
            Error::usage(message).help(
                "write it as `-D server.main.threads=4`: a dotted key, `=`, then a TOML value or plain text",
            )
        };
        let Some(at) = equals_sign(text) else {
            // Without `=` the whole argument is a key, so it contains no secret.
            errors.push(usage(format!("`-D {text}` has no `=`")));
            continue;
        };
        let (key, value) = (text[..at].trim(), text[at + 1..].trim());
        let path: Vec<String> = match toml_edit::Key::parse(key) {
            Ok(keys) => keys.iter().map(|key| key.get().to_owned()).collect(),
            Err(_) => {
                errors.push(usage(format!("`-D {key}=…`: `{key}` is not a dotted TOML key")));
                continue;
            }
        };
        let shown = if hidden(&path, value) { secret::MASK } else { value };
        let text = format!("-D {key}={shown}");
        let source = Source::Argument(format!("-D {key}"));
        let place = outside(source.clone(), text, 3..3 + key.len());
        if ["include", "profile"].contains(&path[0].as_str()) {
            errors.push(usage(format!("`{}` cannot be set by -D", path[0])));
            continue;
        }
        all.extend(single(source, &path, value, place, errors));
    }
}

fn hidden(path: &[String], value: &str) -> bool {
    secret::is_secret_path(path.iter().map(String::as_str)) || secret::has_password(value)
}

/// Where the key ends: at the first `=` outside quotes.
fn equals_sign(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, '=') => return Some(at),
            _ => {}
        }
    }
    None
}

/// The place of a value that is not in a file but in `text`: the key at `key`, then `=` and the value.
fn outside(source: Source, text: String, key: std::ops::Range<usize>) -> Occurrence {
    let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let text: std::sync::Arc<str> = text.into();
    let mark = |span: std::ops::Range<usize>| Origin {
        source: source.clone(),
        line: 0,
        column: 0,
        width: count(&text[span.clone()]).max(1),
        mark: count(&text[..span.start]),
        text: text.clone(),
    };
    let origin = mark(key.end + 1..text.len());
    Occurrence { origin, key: Some(mark(key)), via: None, written: Value::Null }
}

/// A source that sets only the value at `path`.
fn single(
    source: Source,
    path: &[String],
    value: &str,
    place: Occurrence,
    errors: &mut Vec<Error>,
) -> Option<SourceValues> {
    let value = document::parse_value(value, &place).map_err(|mut faults| errors.append(&mut faults)).ok()?;
    let tree = path.iter().rev().fold(value, |node, key| {
        Node::new(Data::Table([(key.clone(), node)].into_iter().collect()), place.clone())
    });
    Some(SourceValues::single(source, tree, path.len()))
}
