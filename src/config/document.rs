//! From TOML text to a [`Node`] tree in which everything knows its place.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::node::{Data, Node, Place};
use super::origin::Text;
use super::secret;
use crate::error::{Error, Source};

/// A document that is worse than this is reported by its first errors only: the rest mostly follows from them.
const ERRORS_SHOWN: usize = 10;

/// Parses one TOML document. `via` is the way its values came, for [`Place::via`].
/// # Errors
/// Every syntax error found, each with its place.
pub(super) fn parse(source: Source, text: String) -> Result<Node, Vec<Error>> {
    let copy = text.clone();
    let mut text = Text::new(source, text);
    let (root, broken) = DeTable::parse_recoverable(&copy);
    if !broken.is_empty() {
        let mut faults: Vec<(Range<usize>, String)> = broken
            .iter()
            .map(|error| (error.span().unwrap_or(copy.len()..copy.len()), error.message().to_owned()))
            .collect();
        faults.sort_by_key(|(span, _)| span.start);
        // One slip often breaks the parser's rule in several ways on its line: the first of them says it best.
        let line = |at: usize| copy[..copy.floor_char_boundary(at)].matches('\n').count();
        faults.dedup_by_key(|(span, _)| line(span.start));
        faults.truncate(ERRORS_SHOWN);
        return Err(faults
            .into_iter()
            .map(|(span, message)| syntax_error(&mut text, span, message))
            .collect());
    }
    let mut errors = Vec::new();
    hide_secrets(root.get_ref(), false, &mut text);
    let place = Place { origin: text.origin(0..0), key: None, via: None, written: Value::Null };
    let node = table(root.get_ref(), place, &mut text, &mut errors);
    if errors.is_empty() { Ok(node) } else { Err(errors) }
}

/// Parses one TOML value, as it stands in an environment variable or after `-D key=`: anything that is not a
/// TOML value is a string.
pub(super) fn parse_value(text: &str, place: &Place) -> Result<Node, Vec<Error>> {
    let string = || Node::new(Data::Value(text.into()), Place { written: text.into(), ..place.clone() });
    let Ok(value) = DeValue::parse(text) else { return Ok(string()) };
    let mut errors = Vec::new();
    let mut inner = Text::new(place.origin.source.clone(), text.to_owned());
    let mut node = self::value(value.get_ref(), value.span(), None, &mut inner, &mut errors);
    // Whatever stands in it, its place is the variable or argument.
    node.walk_mut(&mut |node| {
        let written = node.places.first().map_or(Value::Null, |place| place.written.clone());
        node.places = vec![Place { written, ..place.clone() }];
    });
    if !errors.is_empty() {
        return Err(errors.into_iter().map(|error| error.at(place.origin.clone())).collect());
    }
    Ok(node)
}

fn syntax_error(text: &mut Text, span: Range<usize>, message: String) -> Error {
    text.hide_by_look(span.start.min(text.text().len()));
    let origin = text.origin(span);
    let help = match message.as_str() {
        m if m.starts_with("string values must be quoted") => Some("write it as `\"…\"`"),
        m if m.starts_with("duplicate key") => Some("each key may be set once in a file: remove one of them"),
        m if m.starts_with("invalid basic string") || m.starts_with("missing escaped value") => {
            Some("close it with `\"`; in `'…'` a backslash stands for itself")
        }
        m if m.starts_with("invalid literal string") => Some("close it with `'`"),
        m if m.starts_with("unclosed table") => Some("close the header with `]`"),
        _ => None,
    };
    let error = Error::config(format!("invalid TOML: {message}")).at(origin);
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// Hides the values of keys named like secrets before any excerpt is made.
fn hide_secrets(table: &DeTable<'_>, inherited: bool, text: &mut Text) {
    for (key, value) in table {
        hide_value(value, inherited || secret::is_secret_name(key.get_ref()), text);
    }
}

fn hide_value(value: &Spanned<DeValue<'_>>, secret: bool, text: &mut Text) {
    match value.get_ref() {
        DeValue::Table(table) => hide_secrets(table, secret, text),
        DeValue::Array(list) => list.iter().for_each(|value| hide_value(value, secret, text)),
        DeValue::String(string) => {
            let hide = if secret { !secret::is_reference(string) } else { secret::has_password(string) };
            if hide {
                let span = value.span();
                let quotes = if text.text()[span.clone()].starts_with(['"', '\'']) { 1 } else { 0 };
                text.hide(span.start + quotes..span.end.saturating_sub(quotes));
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) if secret => text.hide(value.span()),
        _ => {}
    }
}

fn table(table: &DeTable<'_>, place: Place, text: &mut Text, errors: &mut Vec<Error>) -> Node {
    let mut entries: Vec<(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let entries = entries.into_iter().map(|(key, inner)| {
        let node = value(inner.get_ref(), inner.span(), Some(key.span()), text, errors);
        (key.get_ref().to_string(), node)
    });
    let data = Data::Table(entries.collect());
    Node::new(data, place)
}

fn value(
    value: &DeValue<'_>,
    span: Range<usize>,
    key: Option<Range<usize>>,
    text: &mut Text,
    errors: &mut Vec<Error>,
) -> Node {
    // A table made by a longer header or a dotted key has no text of its own.
    let span = match (&key, value) {
        (Some(key), DeValue::Table(_)) if span.is_empty() => key.clone(),
        _ => span,
    };
    let mut place = Place {
        origin: text.origin(span.clone()),
        key: key.map(|key| text.origin(key)),
        via: None,
        written: Value::Null,
    };
    let fault = |message: &str| Error::config(message.to_owned()).at(place.origin.clone());
    let plain = match value {
        DeValue::String(string) => Value::from(string.as_ref()),
        DeValue::Boolean(boolean) => Value::from(*boolean),
        DeValue::Datetime(datetime) => Value::from(datetime.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::from(integer),
            Err(_) => {
                errors.push(fault("the whole number does not fit in 64 bits"));
                Value::Null
            }
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>().map(Value::from) {
            Ok(Value::Null) | Err(_) => {
                errors.push(fault("the number is not finite").help("no key takes `inf` or `nan`"));
                Value::Null
            }
            Ok(float) => float,
        },
        DeValue::Array(list) => {
            let items = list.iter().map(|item| self::value(item.get_ref(), item.span(), None, text, errors));
            let data = Data::List(items.collect());
            let mut node = Node::new(data, place);
            node.places[0].written = node.value();
            return node;
        }
        DeValue::Table(inner) => return table(inner, place, text, errors),
    };
    place.written = plain.clone();
    Node::new(Data::Value(plain), place)
}
