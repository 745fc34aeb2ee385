//! The standard layout of a config file: what `paster config fmt` writes.
//!
//! Only spaces, line breaks and commas change. Keys, values and comments are copied, in their order. The lexer of the `toml`
//! crate divides the text; a tree such as `toml_edit`'s would bring dotted keys together.

use toml_parser::parser::{Event, EventKind, parse_document};
use toml_parser::{ParseError, Source as TomlSource};

use super::document;
use crate::error::{Error, Errors, Result, Source};

/// A list on one line is broken if the line is longer than this many characters.
const LINE_LIMIT: usize = 120;
/// The indentation of what is in a list.
const INDENT: &str = "    ";

/// The text of a config file in the standard layout.
/// # Errors
/// What is not TOML in it, with its place.
pub fn formatted(source: Source, text: &str) -> Result<String> {
    let (_, errors) = document::parse(source, text.to_owned());
    Errors::check(errors)?;
    let formatted = format(text);
    let same = |one: &str, other: &str| one.parse::<toml::Table>().ok() == other.parse::<toml::Table>().ok();
    match same(text.strip_prefix('\u{feff}').unwrap_or(text), &formatted) {
        true => Ok(formatted),
        false => Err(Error::new("the file cannot be formatted: its values would change").into()),
    }
}

/// The text of a valid TOML document in the standard layout.
pub(super) fn format(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = TomlSource::new(text);
    let tokens = source.lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    let mut ignored: Option<ParseError> = None; // the caller has parsed it
    parse_document(&tokens, &mut events, &mut ignored);
    Formatter { text, events: &events, at: 0, out: String::with_capacity(text.len() + 64) }.document()
}

struct Formatter<'t> {
    text: &'t str,
    events: &'t [Event],
    /// The next event.
    at: usize,
    out: String,
}

/// A value, as written in the file.
enum WrittenValue<'t> {
    Scalar(&'t str),
    List { brackets: (&'static str, &'static str), parts: Vec<ListPart<'t>> },
}

/// What is between the brackets of a list or of an inline table.
enum ListPart<'t> {
    /// An entry, with its key if there is one, and the comment after it.
    Entry {
        key: String,
        item: WrittenValue<'t>,
        comment: Option<(usize, &'t str)>,
    },
    Comment(&'t str),
    LineBreak {
        blank: bool,
    },
}

impl<'t> Formatter<'t> {
    fn document(mut self) -> String {
        let mut blank = false;
        while let Some(event) = self.next() {
            match event.kind() {
                // `end_line` reads the line breaks that end other lines.
                EventKind::Newline => blank = true,
                EventKind::Comment => {
                    self.blank_line(blank);
                    self.push(self.slice(&event).trim_end());
                    self.end_line();
                    blank = false;
                }
                EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                    let (start, before) = (self.out.len(), self.header_path().to_owned());
                    self.header(&event);
                    let header = self.out.split_off(start);
                    // An inner table may follow its outer one.
                    let is_inner = header.trim_start_matches('[').starts_with(&format!("{before}."));
                    self.blank_line(blank || !(self.follows_comment() || is_inner && !before.is_empty()));
                    self.push(&header);
                    blank = false;
                }
                EventKind::SimpleKey => {
                    // The first key of a table follows its header.
                    self.blank_line(blank && !self.follows_header());
                    self.key_value(&event);
                    blank = false;
                }
                _ => {}
            }
        }
        self.out
    }

    fn next(&mut self) -> Option<Event> {
        let event = self.events.get(self.at).cloned();
        self.at += 1;
        event
    }

    fn peek(&self) -> Option<EventKind> {
        self.events.get(self.at).map(Event::kind)
    }

    fn slice(&self, event: &Event) -> &'t str {
        self.text.get(event.span().start()..event.span().end()).unwrap_or_default()
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn last_line(&self) -> &str {
        self.out.trim_end_matches('\n').rsplit('\n').next().unwrap_or_default()
    }

    fn follows_comment(&self) -> bool {
        self.last_line().starts_with('#') && !self.out.ends_with("\n\n")
    }

    fn follows_header(&self) -> bool {
        self.last_line().starts_with('[')
    }

    /// The path in the last header; empty if there is none.
    fn header_path(&self) -> &str {
        let header = self.out.lines().rev().find(|line| line.starts_with('['));
        let path = header.and_then(|line| line.trim_start_matches('[').split(']').next());
        path.unwrap_or_default()
    }

    fn blank_line(&mut self, wanted: bool) {
        if wanted && !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn header(&mut self, open: &Event) {
        self.push(self.slice(open).trim());
        while let Some(event) = self.next() {
            match event.kind() {
                EventKind::Whitespace => {}
                EventKind::StdTableClose | EventKind::ArrayTableClose => {
                    self.push(self.slice(&event).trim());
                    break;
                }
                _ => self.push(self.slice(&event)),
            }
        }
        self.end_line();
    }

    fn key_value(&mut self, first: &Event) {
        let key = self.key(first);
        self.push(&key);
        self.push(" = ");
        let item = self.item();
        let line = self.out.rsplit('\n').next().unwrap_or_default().chars().count();
        let flat = item
            .flat()
            .filter(|flat| line + flat.lines().next().map_or(0, |line| line.chars().count()) <= LINE_LIMIT);
        match flat {
            Some(flat) => self.push(&flat),
            None => item.write(&mut self.out, 0),
        }
        self.end_line();
    }

    /// The key that begins with `first`, up to its `=`.
    fn key(&mut self, first: &Event) -> String {
        let mut key = self.slice(first).to_owned();
        while let Some(event) = self.next() {
            match event.kind() {
                EventKind::KeyValSep => break,
                EventKind::Whitespace => {}
                _ => key += self.slice(&event),
            }
        }
        key
    }

    /// The value that comes next.
    fn item(&mut self) -> WrittenValue<'t> {
        while let Some(event) = self.next() {
            match event.kind() {
                EventKind::ArrayOpen => {
                    return WrittenValue::List { brackets: ("[", "]"), parts: self.parts() };
                }
                EventKind::InlineTableOpen => {
                    return WrittenValue::List { brackets: ("{", "}"), parts: self.parts() };
                }
                EventKind::Whitespace | EventKind::Newline => {}
                _ => return WrittenValue::Scalar(self.slice(&event)),
            }
        }
        WrittenValue::Scalar("")
    }

    /// What follows, up to the closing bracket.
    fn parts(&mut self) -> Vec<ListPart<'t>> {
        let mut parts = Vec::new();
        // Spaces before the current event; whether it is on the line of the last entry.
        let (mut spaces, mut same_line) = (0, false);
        while let Some(event) = self.next() {
            match event.kind() {
                EventKind::ArrayClose | EventKind::InlineTableClose => break,
                EventKind::Whitespace => spaces = self.slice(&event).chars().count(),
                EventKind::Newline => {
                    let blank = !same_line && matches!(parts.last(), Some(ListPart::LineBreak { .. }));
                    if blank {
                        parts.pop();
                    }
                    parts.push(ListPart::LineBreak { blank });
                    (spaces, same_line) = (0, false);
                }
                EventKind::ValueSep => spaces = 0,
                EventKind::Comment => {
                    let text = self.slice(&event).trim_end();
                    match parts.last_mut() {
                        Some(ListPart::Entry { comment: comment @ None, .. }) if same_line => {
                            *comment = Some((spaces.max(1), text));
                        }
                        _ => parts.push(ListPart::Comment(text)),
                    }
                    spaces = 0;
                }
                EventKind::SimpleKey => {
                    let key = self.key(&event);
                    let item = self.item();
                    parts.push(ListPart::Entry { key, item, comment: None });
                    (spaces, same_line) = (0, true);
                }
                _ => {
                    self.at -= 1;
                    let item = self.item();
                    parts.push(ListPart::Entry { key: String::new(), item, comment: None });
                    (spaces, same_line) = (0, true);
                }
            }
        }
        parts
    }

    /// Writes the comment at the end of the line, with the spaces before it, and the line break.
    fn end_line(&mut self) {
        let mut spaces = 0;
        loop {
            match self.peek() {
                Some(EventKind::Whitespace) => {
                    spaces = self.next().map_or(0, |event| self.slice(&event).chars().count());
                }
                Some(EventKind::Comment) => {
                    let text = self.next().map_or("", |event| self.slice(&event).trim_end());
                    self.push(&" ".repeat(spaces.max(1)));
                    self.push(text);
                }
                Some(EventKind::Newline) => {
                    self.next();
                    break;
                }
                _ => break,
            }
        }
        self.out.push('\n');
    }
}

impl WrittenValue<'_> {
    /// On one line, unless it has line breaks or comments.
    fn flat(&self) -> Option<String> {
        let (brackets, parts) = match self {
            WrittenValue::Scalar(text) => return Some((*text).to_owned()),
            WrittenValue::List { brackets, parts } => (brackets, parts),
        };
        let entries = parts.iter().map(|part| match part {
            ListPart::Entry { key, item, comment: None } if key.is_empty() => item.flat(),
            ListPart::Entry { key, item, comment: None } => Some(format!("{key} = {}", item.flat()?)),
            _ => None,
        });
        let inner = entries.collect::<Option<Vec<_>>>()?.join(", ");
        let space = if brackets.0 == "{" && !inner.is_empty() { " " } else { "" };
        Some(format!("{}{space}{inner}{space}{}", brackets.0, brackets.1))
    }

    /// With one line per entry, if it is a list. `depth` is its indentation.
    fn write(&self, out: &mut String, depth: usize) {
        let WrittenValue::List { brackets, parts } = self else {
            if let WrittenValue::Scalar(text) = self {
                out.push_str(text);
            }
            return;
        };
        out.push_str(brackets.0);
        out.push('\n');
        let mut is_first = true;
        for (index, part) in parts.iter().enumerate() {
            let indent = INDENT.repeat(depth + 1);
            match part {
                ListPart::LineBreak { blank } => {
                    let more =
                        parts[index + 1..].iter().any(|part| !matches!(part, ListPart::LineBreak { .. }));
                    if *blank && !is_first && more && !out.ends_with("\n\n") {
                        out.push('\n');
                    }
                    continue;
                }
                ListPart::Comment(text) => {
                    out.push_str(&indent);
                    out.push_str(text);
                }
                ListPart::Entry { key, item, comment } => {
                    out.push_str(&indent);
                    if !key.is_empty() {
                        out.push_str(key);
                        out.push_str(" = ");
                    }
                    match item.flat() {
                        Some(flat) => out.push_str(&flat),
                        None => item.write(out, depth + 1),
                    }
                    out.push(',');
                    if let Some((spaces, text)) = comment {
                        out.push_str(&" ".repeat(*spaces));
                        out.push_str(text);
                    }
                }
            }
            out.push('\n');
            is_first = false;
        }
        out.push_str(&INDENT.repeat(depth));
        out.push_str(brackets.1);
    }
}

#[cfg(test)]
mod tests;
