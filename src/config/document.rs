//! Parses TOML text into a [`Node`] tree that keeps the place of every value.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::node::{Data, Node, Occurrence};
use super::origin::Text;
use super::secret;
use crate::error::{Error, Source};

/// Of a document with more errors, only the first ones are shown: the others mostly follow from them.
const ERRORS_SHOWN: usize = 10;
/// How the parser's message about a repeated key or table begins.
const DUPLICATE: &str = "duplicate key";

/// Parses one TOML document. If it is broken, returns what could be read and every error with its place.
pub(super) fn parse(source: Source, text: String) -> (Node, Vec<Error>) {
    let copy = text.clone();
    let mut text = Text::new(source, text);
    let (root, broken) = DeTable::parse_recoverable(&copy);
    let mut errors = syntax_errors(&mut text, &copy, &broken);
    hide_secrets(root.get_ref(), &mut Vec::new(), &mut text);
    let place = Occurrence { origin: text.origin(0..0), key: None, via: None, written: Value::Null };
    let node = table(root.get_ref(), place, &mut text, &mut errors);
    (node, errors)
}

/// The parser's errors, without those that only follow from others.
fn syntax_errors(text: &mut Text, copy: &str, broken: &[toml::de::Error]) -> Vec<Error> {
    let end = copy.len()..copy.len();
    let place = |error: &toml::de::Error| error.span().unwrap_or(end.clone());
    let mut faults: Vec<_> = broken.iter().map(|error| (place(error), error.message().to_owned())).collect();
    faults.sort_by_key(|(span, _)| span.start);
    // One mistake often causes several errors on its line. The first describes it best.
    let line = |at: usize| copy[..copy.floor_char_boundary(at)].matches('\n').count();
    faults.dedup_by_key(|(span, _)| line(span.start));
    // If a table's header is repeated, its keys are reported as repeated too. They are dropped.
    let mut twice = false;
    faults.retain(|(span, message)| {
        let header =
            copy.lines().nth(line(span.start)).is_some_and(|text| text.trim_start().starts_with('['));
        let follows = twice && !header && message.starts_with(DUPLICATE);
        twice = if header { message.starts_with(DUPLICATE) } else { follows };
        !follows
    });
    faults.truncate(ERRORS_SHOWN);
    faults.into_iter().map(|(span, message)| syntax_error(text, span, message)).collect()
}

/// Parses one TOML value from an environment variable or after `-D key=`. Text that is not a TOML value is a
/// string.
pub(super) fn parse_value(text: &str, place: &Occurrence) -> Result<Node, Vec<Error>> {
    let string = || Node::new(Data::Value(text.into()), Occurrence { written: text.into(), ..place.clone() });
    let Ok(value) = DeValue::parse(text) else { return Ok(string()) };
    let mut errors = Vec::new();
    let mut inner = Text::new(place.origin.source.clone(), text.to_owned());
    let mut node = self::value(value.get_ref(), value.span(), None, &mut inner, &mut errors);
    // The place of every value in it is the variable or argument.
    node.walk_mut(&mut |node| {
        let written = node.places.first().map_or(Value::Null, |place| place.written.clone());
        node.places = vec![Occurrence { written, ..place.clone() }];
    });
    if !errors.is_empty() {
        return Err(errors.into_iter().map(|error| error.at(place.origin.clone())).collect());
    }
    Ok(node)
}

fn syntax_error(text: &mut Text, span: Range<usize>, message: String) -> Error {
    text.hide_by_look(span.start.min(text.text().len()));
    let (words, help) = match message.as_str() {
        m if m.starts_with(DUPLICATE) => {
            let key = text.text().get(span.clone()).unwrap_or_default();
            let words = format!("`{key}` is set twice");
            let help = match first_line_of(text.text(), span.start, key) {
                Some(line) => format!("line {line} sets it first: remove one of them"),
                None => "remove one of them".into(),
            };
            return Error::config(words).at(text.origin(span)).help(help);
        }
        m if m.starts_with("string values must be quoted") => ("a string must be in quotes", "write `\"…\"`"),
        m if m.starts_with("invalid basic string, expected `\"`") => {
            ("the string is not closed", "close it with `\"`")
        }
        m if m.starts_with("invalid literal string") => ("the string is not closed", "close it with `'`"),
        m if m.starts_with("missing escaped value") => {
            (m, "write `\\\\` for a backslash, or put the string in `'…'`")
        }
        m if m.starts_with("unclosed table") => ("the header is not closed", "close it with `]`"),
        m if m.starts_with("unclosed array") => ("the list is not closed", "close it with `]`"),
        m if m.starts_with("unclosed inline table") => ("the table is not closed", "close it with `}`"),
        m if m.starts_with("key with no value") => ("the key has no value", "write `key = value`"),
        m => (m, ""),
    };
    let error = Error::config(format!("invalid TOML: {words}")).at(text.origin(span));
    if help.is_empty() { error } else { error.help(help) }
}

/// The line, counted from 1, that first has what is repeated at `at`.
fn first_line_of(text: &str, at: usize, key: &str) -> Option<usize> {
    let before = &text[..at];
    let number = before.matches('\n').count();
    let line = text.lines().nth(number)?.trim();
    let mut above = text.lines().take(number).enumerate().map(|(index, line)| (index + 1, line.trim()));
    if line.starts_with('[') {
        return above.find(|(_, other)| *other == line).map(|(index, _)| index);
    }
    let above: Vec<_> = above.collect();
    let own = above.iter().rev().take_while(|(_, other)| !other.starts_with('['));
    let sets = |other: &str| other.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
    own.filter(|(_, other)| sets(other)).last().map(|(index, _)| *index)
}

/// Hides the values of secret keys before any excerpt is made.
fn hide_secrets<'t>(table: &'t DeTable<'_>, keys: &mut Vec<&'t str>, text: &mut Text) {
    for (key, value) in table {
        keys.push(key.get_ref());
        hide_value(value, keys, text);
        keys.pop();
    }
}

fn hide_value<'t>(value: &'t Spanned<DeValue<'_>>, keys: &mut Vec<&'t str>, text: &mut Text) {
    let secret = || secret::is_secret_path(keys.iter().copied());
    match value.get_ref() {
        DeValue::Table(table) => hide_secrets(table, keys, text),
        DeValue::Array(list) => list.iter().for_each(|value| hide_value(value, keys, text)),
        DeValue::String(string) => {
            let hide = if secret() { !secret::is_reference(string) } else { secret::has_password(string) };
            if hide {
                let span = value.span();
                let quotes = if text.text()[span.clone()].starts_with(['"', '\'']) { 1 } else { 0 };
                text.hide(span.start + quotes..span.end.saturating_sub(quotes));
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) if secret() => text.hide(value.span()),
        _ => {}
    }
}

fn table(table: &DeTable<'_>, place: Occurrence, text: &mut Text, errors: &mut Vec<Error>) -> Node {
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
    // A table that a longer header or a dotted key implies has no text.
    let span = match (&key, value) {
        (Some(key), DeValue::Table(_)) if span.is_empty() => key.clone(),
        _ => span,
    };
    let mut place = Occurrence {
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
                errors.push(fault("the number does not fit in 64 bits"));
                Value::Null
            }
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>().map(Value::from) {
            Ok(Value::Null) | Err(_) => {
                errors.push(fault("the number is not finite").help("`inf` and `nan` are not supported"));
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
