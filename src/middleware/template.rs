//! The rules of `rewrite` and `redirect`: a regular expression, and a template for what replaces the match.

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use regex::{Captures, Regex};

use super::options::Wrong;
use crate::codec::variables::encode_path;

/// A text with references to groups: `/new/$1`, `/$name.html`; `$$` is a dollar.
#[derive(Debug)]
pub(super) struct Template {
    pieces: Vec<TemplatePiece>,
}

#[derive(Debug, PartialEq, Eq)]
enum TemplatePiece {
    Text(String),
    /// The group with this number; `query`: it follows a `?`.
    Group {
        number: usize,
        query: bool,
    },
}

/// A regular expression for decoded paths.
pub(super) fn regex(text: &str) -> Result<Regex, Wrong> {
    Regex::new(text).map_err(|cause| {
        // Its last line contains the problem, and the lines before show the place.
        let cause = cause.to_string();
        let why = cause.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        (format!("`{text}` is not a regular expression: {why}"), "see <https://docs.rs/regex/#syntax>")
    })
}

impl Template {
    /// Parses a template for the groups of `regex`.
    pub(super) fn parse(text: &str, regex: &Regex) -> Result<Template, Wrong> {
        let mut template = Template { pieces: Vec::new() };
        let (mut rest, mut query) = (text, false);
        while let Some(at) = rest.find('$') {
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            query |= before.contains('?');
            template.push(before);
            if let Some(after) = after.strip_prefix('$') {
                template.push("$");
                rest = after;
                continue;
            }
            let number = |byte: &u8| byte.is_ascii_digit();
            let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let length = match after.bytes().next().filter(u8::is_ascii_digit) {
                Some(_) => after.bytes().take_while(number).count(),
                None => after.bytes().take_while(word).count(),
            };
            let (name, after) = after.split_at(length);
            let number = match name.parse() {
                Ok(number) => Some(number).filter(|number| *number < regex.captures_len()),
                Err(_) => regex.capture_names().position(|group| group == Some(name)),
            };
            let Some(number) = number else {
                let help =
                    "write `$1` or `$name` for a group of the regular expression, and `$$` for a dollar";
                return Err((format!("`{text}` refers to a group that does not exist"), help));
            };
            template.pieces.push(TemplatePiece::Group { number, query });
            rest = after;
        }
        template.push(rest);
        Ok(template)
    }

    fn push(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(TemplatePiece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(TemplatePiece::Text(text.to_owned())),
        }
    }

    /// The text for one match, with its groups percent-encoded for the path or the query.
    pub(super) fn expand(&self, found: &Captures<'_>) -> String {
        let group = |number: usize| found.get(number).map_or("", |group| group.as_str()).as_bytes();
        let pieces = self.pieces.iter().map(|piece| match piece {
            TemplatePiece::Text(text) => text.clone(),
            TemplatePiece::Group { number, query: false } => encode_path(group(*number)),
            TemplatePiece::Group { number, query: true } => {
                percent_encode(group(*number), NON_ALPHANUMERIC).to_string()
            }
        });
        pieces.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let check = |pattern: &str, template: &str, path: &str, expected: &str| {
            let regex = regex(pattern).unwrap();
            let template = Template::parse(template, &regex).unwrap();
            assert_eq!(template.expand(&regex.captures(path).unwrap()), expected, "{template:?}");
        };
        check("^/old/(.*)$", "/new/$1", "/old/a/b", "/new/a/b");
        check("^/(?<user>[^/]+)/(.*)$", "/$2?user=$user&x=$$1", "/a&b c/d?e", "/d%3Fe?user=a%26b%20c&x=$1");
        check("^/(a)?", "/x$1", "/b", "/x");
        check("^/(?<x>.)", "/$x.$1a", "/a", "/a.aa");
        for wrong in ["$2", "$other", "$", "${1}"] {
            assert!(Template::parse(wrong, &regex("(a)").unwrap()).is_err(), "{wrong}");
        }
        assert_eq!(regex("(").unwrap_err().0, "`(` is not a regular expression: unclosed group");
    }
}
